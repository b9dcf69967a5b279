//! Pushes whose webhook never came: a check of the heads finds them.

use std::time::{Duration, Instant};

use trainyard::domain::Sha;
use trainyard::store::missed::heads;

use super::wait_until;
use crate::support::app::App;
use crate::support::database;
use crate::support::github::GitHub;
use crate::support::payload::{self, Delivery};
use crate::support::web::{build, push, repo};

#[tokio::test]
async fn a_push_during_an_outage_is_built_after_it() {
    let (url, folder) = (database::url().await, tempfile::tempdir().unwrap());
    let github = GitHub::start(folder.path().join("github")).await;
    let start = async || App::start_on(tempfile::tempdir().unwrap(), github.clone(), &url, &url, "").await;
    let app = start().await;
    let git = github.repo("acme/styles");
    git.write(".travis.yml", "language: shell\nscript: cat new || true\n");
    let sha = git.commit("Begin");
    git.git(&["push", "--quiet", "origin", "HEAD:refs/heads/old"]);
    Delivery::new("d-1", "push", &payload::push(&github, &git, "main")).post(&app.base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    app.stop().await;
    // The first check records the heads. It builds none: `old` was not built either.
    let app = start().await;
    wait_until(&app.db, "the heads are recorded", "select heads_checked_at is not null from repo").await;
    app.stop().await;
    git.write("new", "from the outage\n");
    let missed = git.commit("Push while the service is away");
    git.git(&["tag", "-a", "v1", "-m", "Version 1"]);
    git.git(&["push", "--quiet", "origin", "v1"]);
    let begin = Instant::now();
    let app = start().await;
    wait_until(&app.db, "both are built", "select count(*) = 3 from build where state = 'passed'").await;
    assert!(begin.elapsed() < Duration::from_secs(60));
    let builds: Vec<(String, Option<String>, Option<String>, String)> =
        sqlx::query_as("select kind::text, branch, tag, sha from build where number > 1 order by kind")
            .fetch_all(&app.db)
            .await
            .unwrap();
    let pushed = ("push".to_owned(), Some("main".to_owned()), None, missed.clone());
    assert_eq!(builds, [pushed, ("tag".to_owned(), None, Some("v1".to_owned()), missed)]);
    let (_, page) = app.get("/acme/styles/builds/2").await;
    assert!(page.contains("no webhook came"), "{page}");
    // The webhook comes at last.
    Delivery::new("d-2", "push", &payload::pushed(&github, &git, "main")).post(&app.base).await;
    wait_until(&app.db, "the delivery is done", "select outcome is not null from delivery where id = 'd-2'").await;
    let outcome: String =
        sqlx::query_scalar("select outcome from delivery where id = 'd-2'").fetch_one(&app.db).await.unwrap();
    assert!(outcome.contains("was built already"), "{outcome}");
    let count: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(count, 3);
    app.stop().await;
}

#[tokio::test]
async fn only_heads_that_changed_since_the_last_check_are_found_and_not_too_many() {
    let db = database::pool().await;
    let repo = repo(&db).await;
    build(&db, repo, &push("main"), &[], &[]).await;
    assert_eq!(heads::due(&db, Duration::ZERO).await.unwrap(), [repo]);
    let sha = |n: usize| -> Sha { format!("{n:040x}").parse().unwrap() };
    let branches = |count: usize, of: usize| -> Vec<(String, Sha)> {
        (0..count).map(|n| (format!("refs/heads/b{n}"), sha(of * 100 + n + 1))).collect()
    };
    let compare =
        async |heads: &[(String, Sha)]| heads::compare(&mut db.acquire().await.unwrap(), repo, heads).await.unwrap();
    assert_eq!(compare(&branches(15, 1)).await, 0, "the first check knows no pushes");
    assert_eq!(compare(&branches(15, 1)).await, 0);
    assert_eq!(compare(&branches(15, 2)).await, 10, "no more at once");
    assert_eq!(compare(&branches(15, 2)).await, 5, "the others come next");
    assert_eq!(compare(&branches(15, 2)).await, 0);
    // A push whose webhook came is built.
    let main = vec![("refs/heads/main".to_owned(), push("main").sha)];
    assert_eq!(compare(&main).await, 0);
    heads::record_check(&db, repo).await.unwrap();
    assert_eq!(heads::due(&db, Duration::from_secs(60)).await.unwrap(), []);
    sqlx::query("update build set created_at = now() - interval '1 year'").execute(&db).await.unwrap();
    assert_eq!(heads::due(&db, Duration::ZERO).await.unwrap(), [], "nobody builds here any more");
}
