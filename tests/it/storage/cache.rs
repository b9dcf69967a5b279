//! Caches: the files that a job leaves for the next one, and access to them.

use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

const TRAVIS: &str = r#"language: shell
env: FLAVOUR=plain
cache:
  timeout: 60
  directories:
    - data
    - $HOME/.cache/$FLAVOUR*
script:
  - echo "found [$(cat data/seen ~/.cache/plain-one/seen 2>/dev/null | tr '\n' ' ')]"
  - mkdir -p data ~/.cache/plain-one
  - test -n "$TRAVIS_COMMIT_MESSAGE" && test "$TRAVIS_COMMIT_MESSAGE" = "Change nothing" || echo "$TRAVIS_PULL_REQUEST" >> data/seen
  - test "$TRAVIS_COMMIT_MESSAGE" != "Fail"
before_cache: echo tidied > ~/.cache/plain-one/seen; chmod 600 data/seen; ln -sf /etc/passwd data/link
"#;

async fn pushed(app: &App, repo: &Repo, job: i64, message: &str) -> String {
    let sha = repo.commit(message);
    Delivery::new(&format!("push-{job}"), "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, if message == "Fail" { "failure" } else { "success" });
    String::from_utf8(app.log(job).await).unwrap()
}

#[tokio::test]
async fn a_cache_goes_from_job_to_job_and_from_a_branch_to_pull_requests_but_not_back() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", TRAVIS);
    let log = pushed(&app, &repo, 1, "Begin").await;
    assert!(log.contains("There is no cache yet for branch main.") && log.contains("found []\n"), "{log}");
    assert!(log.contains("Stored the cache of branch main ("), "{log}");

    let log = pushed(&app, &repo, 2, "Change nothing").await;
    assert!(log.contains("Restored the cache of branch main (") && log.contains("found [false tidied ]\n"), "{log}");
    assert!(log.contains("The cache has not changed."), "{log}");

    // A script that fails leaves its cache too, as on Travis.
    let log = pushed(&app, &repo, 3, "Fail").await;
    assert!(log.contains("Stored the cache of branch main ("), "{log}");

    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write("head.txt", "head");
    let head = repo.commit("Add head");
    repo.git(&["checkout", "-q", "main"]);
    let base = repo.head();
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("pr", "pull_request", &opened).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&head, "trainyard/pr").await.state, "success");
    let log = String::from_utf8(app.log(4).await).unwrap();
    assert!(
        log.contains("Restored the cache of branch main (") && log.contains("found [false false tidied ]"),
        "{log}"
    );
    assert!(log.contains("Stored the cache of pull request #7 ("), "{log}");

    let log = pushed(&app, &repo, 5, "Change nothing").await;
    assert!(log.contains("found [false false tidied ]\n"), "main reads what a pull request wrote: {log}");
    app.stop().await;
}

#[tokio::test]
async fn a_cache_that_is_too_large_is_told_of_and_changes_no_verdict() {
    let app = App::start("[cache]\nmax_size = \"1 MiB\"\n").await;
    let repo = app.github.repo("acme/styles");
    repo.write(
        ".travis.yml",
        "language: shell\ncache: {directories: [big, none], bundler: true}\nscript: mkdir big && head -c 2000000 /dev/zero > big/zeros\n",
    );
    let log = pushed(&app, &repo, 1, "Begin").await;
    assert!(
        log.contains("The cache is not stored: there is more than 1.0 MiB to be cached (cache.max_size)."),
        "{log}"
    );
    assert!(log.contains("`cache: bundler` has no effect here"), "{log}");
    repo.write(".travis.yml", "language: shell\ncache: {directories: [none]}\nscript: echo nothing\n");
    let log = pushed(&app, &repo, 2, "Cache nothing").await;
    assert!(!log.contains("Stored") && !log.contains("not stored"), "{log}");
    app.stop().await;
}
