//! Pull requests whose webhook never came: a check of the open ones finds them.

use trainyard::domain::{Sha, Trigger};
use trainyard::store::missed::pulls;

use super::wait_until;
use crate::github::openapi;
use crate::support::app::App;
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::github::GitHub;
use crate::support::github::open_pulls::Open;
use crate::support::payload::{self, Delivery};
use crate::support::web::{push, repo};

const HELLO: &str = "language: shell\nscript: cat watercolour || true\n";
const STYLES: &str = "acme/styles";

/// Makes a commit of a pull request on a branch of its own, with GitHub's merge commit.
fn propose(git: &Repo, number: u32, text: &str) -> String {
    git.git(&["checkout", "--quiet", "-B", "watercolour", "main"]);
    git.write("watercolour", text);
    git.git(&["add", "--all"]);
    git.git(&["commit", "--quiet", "-m", text]);
    let head = git.head();
    git.open_pull_request(number, "main", &head);
    head
}

/// The repository and a service that has built its main branch.
struct World {
    github: GitHub,
    git: Repo,
    base: String,
    url: String,
    change: &'static str,
    _folder: tempfile::TempDir,
}

impl World {
    /// Builds a push, records the open pull requests, and stops the service.
    async fn new(change: &'static str) -> Self {
        let (url, folder) = (database::url().await, tempfile::tempdir().unwrap());
        let github = GitHub::start(folder.path().join("github")).await;
        let git = github.repo(STYLES);
        git.write(".travis.yml", HELLO);
        let base = git.commit("Begin");
        let world = Self { github, git, base, url, change, _folder: folder };
        let old = propose(&world.git, 1, "from before the first check");
        world.open(1, &old, "bob/styles");
        let app = world.start().await;
        world.git.git(&["checkout", "--quiet", "main"]);
        Delivery::new("d-1", "push", &payload::push(&world.github, &world.git, "main")).post(&app.base).await;
        world.github.wait_for_end(&world.base, "trainyard/push").await;
        app.stop().await;
        let app = world.start().await;
        wait_until(&app.db, "the open ones are recorded", "select pulls_checked_at is not null from repo").await;
        app.stop().await;
        world
    }

    async fn start(&self) -> App {
        let folder = tempfile::tempdir().unwrap();
        App::start_on(folder, self.github.clone(), &self.url, &self.url, self.change).await
    }

    fn open(&self, number: u32, head: &str, from: &str) {
        let pull = Open { number, head: (head, "watercolour", from), base: (&self.base, "main"), draft: number == 3 };
        self.github.open_pulls.open(STYLES, pull);
    }
}

#[tokio::test]
async fn a_pull_request_of_an_outage_is_built_after_it() {
    let world = World::new("").await;
    let missed = propose(&world.git, 2, "from the outage");
    world.open(2, &missed, "bob/styles");
    let draft = propose(&world.git, 3, "a draft of the outage");
    world.open(3, &draft, "bob/styles");
    let app = world.start().await;
    let built = "select count(*) = 2 from build where kind = 'pull_request' and state = 'passed'";
    wait_until(&app.db, "both are built", built).await;
    let builds: Vec<(i32, String, bool, bool, Option<String>)> = sqlx::query_as(
        "select pull_request, sha, draft, from_fork, author from build where kind = 'pull_request' order by pull_request",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    let bob = Some("bob".to_owned());
    assert_eq!(builds, [(2, missed.clone(), false, true, bob.clone()), (3, draft, true, true, bob)]);
    assert_eq!(world.github.wait_for_end(&missed, "trainyard/pr").await.state, "success");
    let number: i32 =
        sqlx::query_scalar("select number from build where pull_request = 2").fetch_one(&app.db).await.unwrap();
    let (_, page) = app.get(&format!("/acme/styles/builds/{number}")).await;
    assert!(page.contains("this pull request was found") && page.contains("no webhook came"), "{page}");
    // The webhook comes at last.
    let late = payload::pull_request(&world.github, &world.git, 2, &world.base, &missed);
    Delivery::new("d-2", "pull_request", &late).post(&app.base).await;
    let outcome = app.outcome("d-2").await;
    assert!(outcome.contains("was built already"), "{outcome}");
    app.stop().await;
    // Nothing has changed since: GitHub's mark of the list says so, and nothing is asked for.
    let app = world.start().await;
    for _ in 0..600 {
        if world.github.open_pulls.answers().last() == Some(&304) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.github.open_pulls.answers().last(), Some(&304));
    let count: i64 = sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap();
    assert_eq!(count, 3);
    app.stop().await;
    let api = openapi::description();
    for (method, path, body) in world.github.open_pulls.requests() {
        assert_eq!(openapi::faults(&api, &method, &path, &body), Vec::<String>::new(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_found_pull_request_has_the_policy_and_the_proofs_of_a_webhook() {
    let world = World::new("[forks]\npolicy = \"approve\"\n").await;
    let stranger = propose(&world.git, 2, "by a stranger");
    world.open(2, &stranger, "bob/styles");
    // It claims to come from the repository's own branch, which has another commit.
    let forged = propose(&world.git, 4, "claims to be of the team");
    world.open(4, &forged, STYLES);
    world.git.git(&["push", "--quiet", "--force", "origin", &format!("{}:refs/heads/watercolour", world.base)]);
    let app = world.start().await;
    let is_waiting = "select count(*) = 1 from build where pull_request = 2 and needs_approval and state = 'queued'";
    wait_until(&app.db, "the stranger's waits for its approval", is_waiting).await;
    let request: String = sqlx::query_scalar(
        "select id from delivery where event = 'pull_request' and convert_from(body, 'utf8') like '%claims%' \
         or convert_from(body, 'utf8') like '%\"number\":4,%'",
    )
    .fetch_one(&app.db)
    .await
    .unwrap();
    let outcome = app.outcome(&request).await;
    assert!(outcome.starts_with("refused: refs/heads/watercolour"), "{outcome}");
    let waiting: i64 = sqlx::query_scalar("select count(*) from job where state <> 'waiting' and build_id in (select id from build where kind = 'pull_request')")
        .fetch_one(&app.db).await.unwrap();
    assert_eq!(waiting, 0, "no job of a stranger has begun");
    app.stop().await;
}

#[tokio::test]
async fn a_token_without_the_right_only_leaves_pull_requests_out() {
    let (url, folder) = (database::url().await, tempfile::tempdir().unwrap());
    let github = GitHub::start(folder.path().join("github")).await;
    let git = github.repo(STYLES);
    git.write(".travis.yml", HELLO);
    let sha = git.commit("Begin");
    github.app.install(&[STYLES]);
    github.app.permit(&[("metadata", "read"), ("contents", "read"), ("statuses", "write")]);
    let settings = github.app_settings();
    let start = async || App::start_on(tempfile::tempdir().unwrap(), github.clone(), &url, &url, &settings).await;
    let app = start().await;
    Delivery::new("d-1", "push", &payload::push(&github, &git, "main")).post(&app.base).await;
    github.wait_for_end(&sha, "trainyard/push").await;
    app.stop().await;
    let app = start().await;
    wait_until(&app.db, "the heads are recorded", "select count(*) = 1 from head").await;
    let asked = || github.app.requests().iter().any(|(.., body)| body["permissions"]["pull_requests"] == "read");
    for _ in 0..600 {
        if asked() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(asked(), "the right is asked for by name");
    let checked: bool =
        sqlx::query_scalar("select pulls_checked_at is not null from repo").fetch_one(&app.db).await.unwrap();
    assert!(!checked);
    app.stop().await;
}

#[tokio::test]
async fn only_what_changed_since_the_last_check_is_requested_and_not_too_much() {
    let db = database::pool().await;
    let repo = repo(&db).await;
    let sha = |n: usize| -> Sha { format!("{n:040x}").parse().unwrap() };
    let pull = |number: usize, head: usize, base: &str| -> Trigger {
        let mut trigger = Trigger { kind: trainyard::domain::TriggerKind::PullRequest, sha: sha(head), ..push(base) };
        trigger.pull_request = Some(trainyard::domain::PullRequest {
            number: number.try_into().unwrap(),
            title: String::new(),
            head_branch: "topic".to_owned(),
            head_repo: None,
            draft: false,
        });
        trigger
    };
    let compare = async |pulls: &[Trigger]| {
        pulls::compare(&mut db.acquire().await.unwrap(), repo, pulls, Some("mark")).await.unwrap()
    };
    let etag = async || pulls::etag(&db, repo).await.unwrap();
    let all = |head: usize| -> Vec<Trigger> { (1..16).map(|n| pull(n, head * 100 + n, "main")).collect() };
    assert_eq!((compare(&all(1)).await, etag().await.as_deref()), (0, Some("mark")), "the first check knows none");
    assert_eq!((compare(&all(2)).await, etag().await), (10, None), "no more at once, and the list is read again");
    assert_eq!((compare(&all(2)).await, etag().await.as_deref()), (5, Some("mark")), "the others come next");
    assert_eq!(compare(&all(2)).await, 0);
    // One whose webhook came is built; with another base branch it is another merge.
    crate::support::web::build(&db, repo, &pull(1, 301, "main"), &[], &[]).await;
    assert_eq!(compare(&[pull(1, 301, "main")]).await, 0);
    assert_eq!(compare(&[pull(1, 301, "next")]).await, 1);
    // A commit that an older build had, and the latest has not.
    crate::support::web::build(&db, repo, &pull(1, 302, "main"), &[], &[]).await;
    assert_eq!(compare(&[pull(1, 301, "main")]).await, 1);
    // One of which only the smoke jobs were asked for.
    let smoke = crate::support::web::build(&db, repo, &pull(1, 303, "main"), &[], &[]).await;
    sqlx::query("update build set scope = 'smoke' where id = $1").bind(smoke).execute(&db).await.unwrap();
    assert_eq!(compare(&[pull(1, 303, "main")]).await, 1);
}
