//! Images that have most files of a large repository.

use std::time::Duration;

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// More than are worth an image.
const FILES: usize = 2_200;

/// What every job asks of its checkout, however its files came there.
const CHECKS: &str = "test -z \"$(git status --porcelain)\" && git fsck --connectivity-only --no-dangling &&
  test \"$(git rev-parse HEAD)\" = \"$TRAVIS_COMMIT\" && test \"$(cat run)\" = \"$(git show HEAD:run)\" &&
  test \"$(git ls-files | wc -l)\" = \"$(find . -not -path './.git/*' -not -type d | wc -l)\" &&
  git diff-index --quiet HEAD --";

/// The image that is made of the files.
async fn base(app: &App) -> String {
    for _ in 0..300 {
        let is_made = !docker::names(&app.db).await.iter().any(|name| name.contains("-base-"));
        if let Some(id) = docker::images(&app.db).await.into_iter().next().filter(|_| is_made) {
            // The service hears of it at the same time.
            tokio::time::sleep(Duration::from_millis(500)).await;
            return id;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no image is made of the files");
}

/// Pushes what is there, and gives the log of its job, which has to pass.
async fn pushed(app: &App, repo: &Repo, job: i64, (git, script): (&str, &str)) -> String {
    repo.write("run", &job.to_string());
    repo.write(".travis.yml", &format!("language: shell\ngit: {git}\nscript:\n- |\n  {CHECKS}\n- {script}\n"));
    let sha = repo.commit("Change files");
    Delivery::new(&format!("push-{job}"), "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    let log = String::from_utf8(app.log(job).await).unwrap();
    assert_eq!(end.state, "success", "{log}");
    log
}

#[tokio::test]
async fn jobs_of_a_large_repository_write_only_what_differs() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    for n in 0..FILES {
        repo.write(&format!("data/{:02}/{n}.txt", n % 50), &format!("caption {n}\n"));
    }
    for n in 0..3 {
        repo.write("n", &n.to_string());
        repo.commit(&format!("Commit {n}"));
    }
    let first = pushed(&app, &repo, 1, ("{}", "test ! -f .git/shallow")).await;
    assert!(
        first.contains("$ git checkout -qf ") && first.contains("Image trainyard/minimal:bookworm (sha256:"),
        "{first}"
    );
    let image = base(&app).await;
    let base_commit = repo.head();

    // Everything that can become of a file.
    repo.write("data/01/1.txt", "another caption\n");
    repo.write("data/new/file.txt", "new\n");
    std::fs::remove_file(repo.work().join("data/02/2.txt")).unwrap();
    std::fs::remove_dir_all(repo.work().join("data/03")).unwrap();
    repo.write("data/03", "a file where a folder was\n");
    std::os::unix::fs::symlink("../run", repo.work().join("data/link")).unwrap();
    let script = repo.work().join("data/04/4.txt");
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = "test -x data/04/4.txt -a -f data/03 -a ! -e data/02/2.txt && cat data/link data/new/file.txt";
    let second =
        pushed(&app, &repo, 2, ("{depth: 3}", &format!("{script} && test $(git rev-list --count HEAD) = 3"))).await;
    assert!(second.contains(&format!("$ git read-tree -m -u {base_commit} {}", repo.head())), "{second}");
    assert!(!second.contains(&image), "the log names the job's image: {second}");
    let all =
        pushed(&app, &repo, 3, ("{depth: false}", "test ! -f .git/shallow && git log --format=%s | tail -1")).await;
    assert!(all.contains("git read-tree"), "{all}");

    // A job whose files git would write in another way gets them from it.
    let plain = pushed(&app, &repo, 4, ("{symlinks: true}", "true")).await;
    assert!(plain.contains("git checkout -qf"), "{plain}");
    repo.write(".gitattributes", "*.txt eol=crlf\n");
    repo.git(&["add", "--renormalize", "."]);
    let crlf = pushed(&app, &repo, 5, ("{}", "grep -c $'\\r' data/01/1.txt")).await;
    assert!(crlf.contains("git checkout -qf"), "{crlf}");
    std::fs::remove_file(repo.work().join(".gitattributes")).unwrap();

    // So does one whose image is gone, and it is made anew.
    for image in docker::images(&app.db).await {
        docker::remove_image(&image);
    }
    let gone = pushed(&app, &repo, 6, ("{}", "true")).await;
    assert!(gone.contains("git checkout -qf"), "{gone}");
    let image = base(&app).await;
    let again = pushed(&app, &repo, 7, ("{}", "true")).await;
    assert!(again.contains(&format!("git read-tree -m -u {}", parent_of(&repo))), "{again}");

    let db = app.db.clone();
    app.stop().await;
    docker::assert_no_containers(&db).await;
    docker::remove_image(&image);
}

fn parent_of(repo: &Repo) -> String {
    repo.git(&["rev-parse", "HEAD~1"])
}
