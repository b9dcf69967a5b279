//! The check of many repositories after an outage, and its time.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgPool};

use crate::support::app::App;
use crate::support::database;
use crate::support::github::open_pulls::Open;
use crate::support::github::{GitHub, number};

/// Number of repositories, unless `TRAINYARD_TEST_REPOSITORIES` says another one. With that, the time is checked, too.
const REPOSITORIES: usize = 50;
/// Time from the start of the service until all that an outage has hidden is built.
const LIMIT: Duration = Duration::from_secs(60);
/// No runner is there: only the way to the builds is measured.
const SETTINGS: &str = "[[runner]]\nname = \"away\"\nendpoint = \"unix:///nowhere/docker.sock\"\n";

/// An outage of many repositories: each has a build of its main branch, and its heads and open pull requests were checked
/// before. Then a push came to each.
struct Outage {
    github: GitHub,
    url: String,
    pool: PgPool,
    /// The commit that nobody told of.
    missed: String,
    _folder: tempfile::TempDir,
}

impl Outage {
    async fn of(repositories: usize) -> Self {
        let (url, folder) = (database::url().await, tempfile::tempdir().unwrap());
        let github = GitHub::start(folder.path().join("github")).await;
        let first = github.repo("acme/r0");
        first.write(".travis.yml", "language: shell\nscript: true\n");
        let before = first.commit("Begin");
        first.write("new", "from the outage\n");
        let missed = first.commit("Push while the service is away");
        let name = |n: usize| format!("acme/r{n}");
        let pool = PgPool::connect(&url).await.unwrap();
        trainyard::store::MIGRATOR.run(&pool).await.unwrap();
        let mut rows = String::new();
        for n in 0..repositories {
            if n > 0 {
                let bare = first.bare.with_file_name(format!("r{n}.git"));
                assert!(Command::new("cp").arg("-r").arg(&first.bare).arg(bare).status().unwrap().success());
            }
            let values =
                format!("({}, 'acme', 'r{n}', false, 'main', '{}')", number(&name(n)), github.clone_url(&name(n)));
            let _ = write!(rows, "{}{values}", if n > 0 { ", " } else { "" });
            // One in ten has an open pull request that a check knows.
            if n % 10 == 0 {
                let known = Open { number: 1, head: (&before, "old", "bob/x"), base: (&before, "main"), draft: false };
                github.open_pulls.open(&name(n), known);
            }
        }
        let fill = format!(
            "insert into repo (github_id, owner, name, private, default_branch, clone_url) values {rows};
             update repo set last_build = 1, pulls_checked_at = now(), heads_checked_at = now() - interval '2 hours';
             insert into build (repo_id, number, kind, branch, sha, built_sha, state, finished_at)
                 select id, 1, 'push', 'main', '{before}', '{before}', 'passed', now() from repo;
             insert into head (repo_id, ref, sha) select id, 'refs/heads/main', '{before}' from repo;
             insert into open_pull (repo_id, number, sha, base) select id, 1, '{before}', 'main' from repo;"
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&pool).await.unwrap();
        Self { github, url, pool, missed, _folder: folder }
    }

    async fn end(&self) -> App {
        App::start_on(tempfile::tempdir().unwrap(), self.github.clone(), &self.url, &self.url, SETTINGS).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_of_an_outage_are_found_in_all_repositories() {
    let asked = std::env::var("TRAINYARD_TEST_REPOSITORIES").ok().map(|number| number.parse().unwrap());
    let repositories: usize = asked.unwrap_or(REPOSITORIES);
    let outage = Outage::of(repositories).await;
    let pool = &outage.pool;
    let begin = Instant::now();
    let app = outage.end().await;
    let reached = async |query: &'static str| {
        while sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.unwrap() < repositories as i64 {
            assert!(begin.elapsed() < 3 * LIMIT, "not yet: {query}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begin.elapsed()
    };
    let checked = reached("select count(*) from repo where heads_checked_at > now() - interval '1 hour'").await;
    let built = reached("select count(*) from build where number = 2").await;
    println!("{repositories} repositories: checked {checked:.1?} after the start, built {built:.1?} after it");
    assert!(asked.is_none() || built < LIMIT, "checked after {checked:?}, built after {built:?}");
    let told: i64 = sqlx::query_scalar("select count(distinct build_id) from problem where rule = 'found-push'")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(told, repositories as i64, "each says that no webhook came");
    let right: i64 = sqlx::query_scalar("select count(*) from build where number = 2 and sha = $1")
        .bind(&outage.missed)
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(right, repositories as i64);
    app.stop().await;
}

#[tokio::test]
async fn a_github_that_asks_to_wait_is_left_alone() {
    const ANSWERED: usize = 6;
    /// Checks that are under way at once.
    const AT_ONCE: usize = 8;
    let outage = Outage::of(40).await;
    outage.github.limit_questions(ANSWERED);
    let app = outage.end().await;
    let known = "select count(*) from repo where heads_checked_at > now() - interval '1 hour'";
    let checked = async || sqlx::query_scalar::<_, i64>(known).fetch_one(&outage.pool).await.unwrap();
    for _ in 0..300 {
        if checked().await == ANSWERED as i64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Time in which the others would be asked for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(checked().await, ANSWERED as i64, "the others are due as before");
    let asked = outage.github.questions();
    assert!((ANSWERED + 1..=ANSWERED + AT_ONCE + 6).contains(&asked), "{asked} questions");
    app.stop().await;
}
