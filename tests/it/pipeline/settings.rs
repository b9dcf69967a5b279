//! Settings of single repositories: the limit on their jobs, and the cancels of superseded builds.

use std::time::Duration;

use sqlx::PgPool;
use trainyard::domain::{JobKind, RepoId};
use trainyard::store::queue::{self, QueueConfig};

use crate::support::app::App;
use crate::support::database;
use crate::support::payload::{self, Delivery};
use crate::support::web::{build, job, push};

/// No runner is there, so that builds stay as they are.
const NO_RUNNER: &str = "[[runner]]\nname = \"away\"\nendpoint = \"unix:///nowhere/docker.sock\"\n";

async fn repo(db: &PgPool, number: i64, slots: Option<i32>) -> RepoId {
    sqlx::query_scalar(
        "insert into repo (github_id, owner, name, private, default_branch, clone_url, slots)
         values ($1, 'acme', 'r' || $1, false, 'main', 'http://localhost/', $2) returning id",
    )
    .bind(number)
    .bind(slots)
    .fetch_one(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_repository_has_a_limit_of_its_own_in_the_queue() {
    let db = database::pool().await;
    let limits = QueueConfig { slots_per_repository: 2, slots_for_forks: 0, has_own_limits: true };
    for (number, slots) in [(1, None), (2, Some(1)), (3, Some(0)), (4, Some(3))] {
        let repo = repo(&db, number, slots).await;
        let jobs: Vec<_> = (0..5).map(|n| job(JobKind::Script, None, &format!("{n}"))).collect();
        build(&db, repo, &push("main"), &jobs, &[]).await;
    }
    let order = queue::order(&db, &limits, 50).await.unwrap();
    assert_eq!(order.iter().filter(|job| job.is_held).count(), 3 + 4 + 2, "as many as the limits hold back");
    let mut claimed = Vec::new();
    while let Some(job) = queue::claim_limited(&db, "w", Duration::from_secs(60), &limits).await.unwrap() {
        claimed.push(job.id);
    }
    let running: Vec<(i64, i64)> = sqlx::query_as(
        "select github_id, count(*) from job join repo on repo.id = repo_id where state = 'running'
         group by github_id order by github_id",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    assert_eq!(running, [(1, 2), (2, 1), (3, 5), (4, 3)]);
    // The end of a job gives its repository a slot.
    let one: i64 = sqlx::query_scalar(
        "select job.id from job join repo on repo.id = repo_id where github_id = 2 and state = 'running'",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    sqlx::query(
        "update job set state = 'finished', lease_until = null, verdict = 'passed', finished_at = now() where id = $1",
    )
    .bind(one)
    .execute(&db)
    .await
    .unwrap();
    let next = queue::claim_limited(&db, "w", Duration::from_secs(60), &limits).await.unwrap().unwrap();
    let of: i64 = sqlx::query_scalar("select github_id from job join repo on repo.id = repo_id where job.id = $1")
        .bind(next.id)
        .fetch_one(&db)
        .await
        .unwrap();
    assert_eq!(of, 2);
    assert!(queue::claim_limited(&db, "w", Duration::from_secs(60), &limits).await.unwrap().is_none());
}

/// Sends two builds of a repository, the first of which is running. Returns the states, of the build and of its job, of
/// the first.
async fn two_builds(app: &App, name: &str, is_pull_request: bool) -> (String, bool) {
    let git = app.github.repo(name);
    git.write(".travis.yml", "language: shell\nscript: true\n");
    let base = git.commit("Begin");
    let short = name.split_once('/').unwrap().1;
    for n in 0..2 {
        let (event, payload) = if is_pull_request {
            git.git(&["checkout", "--quiet", "-B", "topic", "main"]);
            git.write("topic", &n.to_string());
            git.git(&["add", "--all"]);
            git.git(&["commit", "--quiet", "-m", "Propose"]);
            let head = git.head();
            git.open_pull_request(1, "main", &head);
            ("pull_request", payload::pull_request(&app.github, &git, 1, &base, &head))
        } else {
            git.write("main", &n.to_string());
            git.commit("Push");
            ("push", payload::pushed(&app.github, &git, "main"))
        };
        let id = format!("{short}-{n}");
        assert_eq!(Delivery::new(&id, event, &payload).post(&app.base).await.0, 202);
        assert_eq!(app.outcome(&id).await, format!("{name}#{}", n + 1));
        if n == 0 && short.contains("running") {
            // As a worker claims it.
            let claimed = queue::claim(&app.db, "away", Duration::from_secs(3600)).await.unwrap();
            assert!(claimed.is_some());
        }
    }
    sqlx::query_as(
        "select build.state::text, bool_or(job.state = 'running' and cancel_requested) from build join job on job.build_id = build.id
         join repo on repo.id = build.repo_id where owner || '/' || repo.name = $1 and build.number = 1 group by build.state",
    )
    .bind(name)
    .fetch_one(&app.db)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_repository_decides_which_builds_a_newer_one_cancels() {
    let settings = "[repositories]\n\
        acme = { slots = 7 }\n\
        \"acme/keeps\" = { cancel_pushes = false, slots = 0 }\n\
        \"acme/keeps-pulls\" = { cancel_pull_requests = false }\n\
        \"acme/running-too\" = { cancel_running = true }\n";
    let app = App::start(&format!("{NO_RUNNER}{settings}")).await;
    for (name, is_pull_request, state, is_asked_to_stop) in [
        ("acme/usual", false, "canceled", false),
        ("acme/usual-pulls", true, "canceled", false),
        ("acme/keeps", false, "queued", false),
        ("acme/keeps-pulls", true, "queued", false),
        ("acme/running-usual", false, "running", false),
        ("acme/running-too", false, "running", true),
        ("bob/other", false, "canceled", false),
    ] {
        let told = two_builds(&app, name, is_pull_request).await;
        assert_eq!(told, (state.to_owned(), is_asked_to_stop), "{name}");
        // The next claim must not take a job of this one.
        sqlx::query("update job set state = 'finished', verdict = 'canceled', finished_at = now(), lease_until = null where state in ('queued', 'running')")
            .execute(&app.db)
            .await
            .unwrap();
    }
    let slots: Vec<(String, Option<i32>)> =
        sqlx::query_as("select owner || '/' || name, slots from repo order by 1").fetch_all(&app.db).await.unwrap();
    let of = |name: &str| slots.iter().find(|(repo, _)| repo == name).unwrap().1;
    assert_eq!((of("acme/usual"), of("acme/keeps"), of("bob/other")), (Some(7), Some(0), None));
    app.stop().await;
}

#[tokio::test]
async fn a_start_stores_the_limits_of_the_known_repositories() {
    let url = database::url().await;
    let pool = PgPool::connect(&url).await.unwrap();
    trainyard::store::MIGRATOR.run(&pool).await.unwrap();
    repo(&pool, 1, Some(9)).await;
    repo(&pool, 2, Some(9)).await;
    let folder = tempfile::tempdir().unwrap();
    let github = crate::support::github::GitHub::start(folder.path().join("github")).await;
    let change = format!("{NO_RUNNER}[repositories]\n\"acme/r2\" = {{ slots = 3 }}\n");
    let app = App::start_on(folder, github, &url, &url, &change).await;
    for _ in 0..200 {
        let slots: Vec<Option<i32>> =
            sqlx::query_scalar("select slots from repo order by github_id").fetch_all(&pool).await.unwrap();
        if slots == [None, Some(3)] {
            return app.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the limits are not stored");
}
