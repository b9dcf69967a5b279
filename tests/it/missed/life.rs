//! The life of a repository (renamed, transferred, deleted, archived, made private or public), deliveries out of order and
//! pushes that race: what becomes of the stored repository and of each build.

use serde_json::{Value, json};

use super::wait_until;
use crate::support::app::App;
use crate::support::database;
use crate::support::git_host::Repo;
use crate::support::github::open_pulls::Open;
use crate::support::github::{GitHub, number};
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// No runner is there, so that every build stays as intake has left it. Forks have the usual policy, which depends on
/// whether the repository is public.
const SETTINGS: &str = "[auth]\ntokens = { anna = \"0123456789abcdef0123456789abcdef\" }\n[forks]\n\
    [[runner]]\nname = \"away\"\nendpoint = \"unix:///nowhere/docker.sock\"\n";

/// A repository whose main branch was built once, and whose heads a check knows.
struct World {
    github: GitHub,
    url: String,
    git: Repo,
    app: App,
    _folder: tempfile::TempDir,
}

const STYLES: &str = "acme/styles";
const HELLO: &str = "language: shell\nscript: true\n";

impl World {
    async fn new() -> Self {
        let (url, folder) = (database::url().await, tempfile::tempdir().unwrap());
        let github = GitHub::start(folder.path().join("github")).await;
        let git = github.repo(STYLES);
        git.write(".travis.yml", HELLO);
        git.commit("Begin");
        let app = Self::start(&github, &url).await;
        Delivery::new("first", "push", &payload::push(&github, &git, "main")).post(&app.base).await;
        assert_eq!(app.outcome("first").await, "acme/styles#1");
        let world = Self { github, url, git, app, _folder: folder }.restart().await;
        let known = "select pulls_checked_at is not null and heads_checked_at is not null from repo";
        wait_until(&world.app.db, "the heads are known", known).await;
        world
    }

    async fn start(github: &GitHub, url: &str) -> App {
        App::start_on(tempfile::tempdir().unwrap(), github.clone(), url, url, SETTINGS).await
    }

    /// Starts the service again, which checks every repository.
    async fn restart(self) -> Self {
        let Self { github, url, git, app, _folder } = self;
        app.stop().await;
        let app = Self::start(&github, &url).await;
        Self { github, url, git, app, _folder }
    }

    /// Pushes a commit whose webhook is lost.
    fn push_unseen(&self) -> String {
        self.git.write("new", &format!("{:?}", std::time::Instant::now()));
        self.git.commit("Nobody tells")
    }

    /// Restarts the service, and waits until the check has asked GitHub.
    async fn after_check(self) -> Self {
        sqlx::query("update repo set heads_checked_at = null").execute(&self.app.db).await.unwrap();
        let world = self.restart().await;
        wait_until(&world.app.db, "it is checked", "select bool_and(heads_checked_at is not null) from repo").await;
        let idle = "select not exists (select from delivery where done_at is null)";
        wait_until(&world.app.db, "nothing is open", idle).await;
        world
    }

    async fn request(&self) -> String {
        let url = format!("{}/api/v1/repos/{STYLES}/builds", self.app.base);
        let answer = reqwest::Client::new().post(url).bearer_auth(TOKEN).body("{}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 202);
        let answer: Value = answer.json().await.unwrap();
        self.app.outcome(answer["request"].as_str().unwrap()).await
    }

    /// Returns the stored repository, and the builds as `number:sender:state` in order.
    async fn told(&self) -> (String, Vec<String>) {
        let repo = "select owner || '/' || name || case when private then ' private' else ' public' end from repo \
                    where github_id = $1";
        let repo = sqlx::query_scalar(repo).bind(i64::from(number(STYLES))).fetch_one(&self.app.db).await.unwrap();
        let builds = "select number || ':' || case when sender like 'a check%' then 'check' else coalesce(sender, '') end \
                      || ':' || state || case when needs_approval then ':unapproved' else '' end \
                      from build order by id";
        (repo, sqlx::query_scalar(builds).fetch_all(&self.app.db).await.unwrap())
    }
}

/// What happens to the repository while no webhook comes.
#[derive(Debug, Clone, Copy)]
enum Change {
    Renamed,
    Transferred,
    Retaken,
    Deleted,
    Archived,
    MadePrivate,
    MadePublic,
}

#[tokio::test]
async fn what_github_did_not_tell_is_learned_at_the_next_check() {
    let found = "2:check:queued";
    // The repository as it is stored afterwards, the builds besides the first one, and the outcome of a request for a build.
    let table: [(Change, &str, &[&str], &str); 7] = [
        (Change::Renamed, "acme/looks public", &[found], "acme/looks#3"),
        (Change::Transferred, "bob/styles public", &[found], "bob/styles#3"),
        (Change::Retaken, "acme/styles public", &[], "refused: acme/styles is another repository by now"),
        (
            Change::Deleted,
            "acme/styles public",
            &[],
            "no build: GitHub does not show acme/styles: GitHub refused (404)",
        ),
        (Change::Archived, "acme/styles public", &[], "refused: acme/styles is archived"),
        (Change::MadePrivate, "acme/styles private", &[found], "acme/styles#3"),
        (Change::MadePublic, "acme/styles public", &[found, "3:check:queued:unapproved"], "acme/styles#4"),
    ];
    for (change, stored, builds, requested) in table {
        let mut world = World::new().await;
        world.push_unseen();
        let (github, styles) = (world.github.clone(), STYLES.to_owned());
        match change {
            Change::Renamed => github.rename(STYLES, "acme/looks"),
            Change::Transferred => github.rename(STYLES, "bob/styles"),
            Change::Retaken => {
                github.rename(STYLES, "acme/looks");
                let other = github.retake(STYLES);
                other.write(".travis.yml", "language: shell\nscript: env\n");
                other.commit("Mine now");
            }
            Change::Deleted => github.delete(STYLES),
            Change::Archived => github.archive(STYLES),
            Change::MadePrivate => github.set_private(STYLES, true),
            Change::MadePublic => {
                // As it was stored while it was private. Then the code of forks would run without an approval.
                sqlx::query("update repo set private = true").execute(&world.app.db).await.unwrap();
                world.git.git(&["checkout", "--quiet", "-b", "fork"]);
                world.git.write("fork", "x");
                world.git.git(&["add", "--all"]);
                world.git.git(&["commit", "--quiet", "-m", "From a fork"]);
                let head = world.git.head();
                world.git.open_pull_request(9, "main", &head);
                let base = world.git.head();
                let pull = Open { number: 9, head: (&head, "fork", "bob/styles"), base: (&base, "main"), draft: false };
                github.open_pulls.open(&styles, pull);
            }
        }
        world = world.after_check().await;
        let (repo, all) = world.told().await;
        let mut others = all[1..].to_vec();
        others.sort();
        assert_eq!(
            (repo.as_str(), others.iter().map(String::as_str).collect::<Vec<_>>()),
            (stored, builds.to_vec()),
            "{change:?}"
        );
        if matches!(change, Change::Renamed | Change::Transferred) {
            // The old name leads nowhere here any more; the stored repository is known under its new one.
            assert_eq!(world.app.get("/acme/styles").await.0, 404, "{change:?}");
            sqlx::query("update repo set owner = 'acme', name = 'styles'").execute(&world.app.db).await.unwrap();
        }
        let outcome = world.request().await;
        assert!(outcome.starts_with(requested), "{change:?}: {outcome}");
        world.app.stop().await;
    }
}

#[tokio::test]
async fn a_webhook_about_the_repository_brings_the_check_forward() {
    let world = World::new().await;
    world.github.set_private(STYLES, true);
    let told = json!({"action": "privatized", "repository": payload::repository(&world.github, STYLES), "sender": {"login": "ada"}});
    Delivery::new("private", "repository", &told).post(&world.app.base).await;
    let outcome = world.app.outcome("private").await;
    assert!(outcome.ends_with("the repository is checked within a minute"), "{outcome}");
    let due: bool =
        sqlx::query_scalar("select heads_checked_at is null from repo").fetch_one(&world.app.db).await.unwrap();
    assert!(due);
    let world = world.restart().await;
    wait_until(&world.app.db, "it is private", "select private from repo").await;
    let mut other = told;
    (other["action"], other["repository"]["id"]) = ("renamed".into(), 12345.into());
    Delivery::new("unknown", "repository", &other).post(&world.app.base).await;
    assert!(world.app.outcome("unknown").await.ends_with("is not known here"));
    world.app.stop().await;
}

#[tokio::test]
async fn deliveries_out_of_order_and_pushes_that_race_leave_the_latest_commit_its_build() {
    let world = World::new().await;
    let World { github, git, app, .. } = &world;
    let commit = |text: &str| {
        git.write("text", text);
        git.commit(text);
        payload::pushed(github, git, "main")
    };
    let send = async |id: &str, event: &'static str, payload: &Value| {
        assert_eq!(Delivery::new(id, event, payload).post(&app.base).await.0, 202);
        app.outcome(id).await
    };
    let states = async || -> Vec<(i32, String)> {
        let states = "select number, state::text from build where number > 1 order by number";
        sqlx::query_as(states).fetch_all(&app.db).await.unwrap()
    };
    let row = |number: i32, state: &str| (number, state.to_owned());

    // The webhook of the older push comes last: it is built, and cancels nothing.
    let (older, newer) = (commit("older"), commit("newer"));
    assert_eq!(send("newer", "push", &newer).await, "acme/styles#2");
    assert_eq!(send("older", "push", &older).await, "acme/styles#3");
    assert_eq!(states().await, [row(2, "queued"), row(3, "queued")]);

    // Pushes that race: all come at once, and in the end the build of the latest commit is the only one that waits.
    let raced: Vec<Value> = (0..6).map(|n| commit(&format!("race {n}"))).collect();
    let posts = raced.iter().enumerate().map(|(n, push)| {
        let delivery = Delivery::new(&format!("race-{n}"), "push", push);
        let base = app.base.clone();
        async move { delivery.post(&base).await.0 }
    });
    assert_eq!(futures::future::join_all(posts).await, [202; 6]);
    for n in 0..6 {
        app.outcome(&format!("race-{n}")).await;
    }
    let latest: String = raced[5]["after"].as_str().unwrap().to_owned();
    let state: String = sqlx::query_scalar("select state::text from build where sha = $1")
        .bind(&latest)
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!(state, "queued", "{:?}", states().await);

    // A commit that was pushed over is refused, whenever its webhook comes.
    let gone = commit("gone");
    git.git(&["commit", "--quiet", "--amend", "-m", "in its place"]);
    git.git(&["push", "--quiet", "--force", "origin", "main"]);
    let stays = payload::pushed(github, git, "main");
    assert!(send("stays", "push", &stays).await.starts_with("acme/styles#"));
    assert!(send("gone", "push", &gone).await.starts_with("refused: "));

    // A pull request that got another commit: the late webhook of the first one leaves the second one its build.
    git.git(&["checkout", "--quiet", "-b", "topic"]);
    let mut heads = Vec::new();
    for n in 0..2 {
        git.write("topic", &format!("{n}"));
        git.git(&["add", "--all"]);
        git.git(&["commit", "--quiet", "-m", "Propose"]);
        heads.push(git.head());
    }
    git.open_pull_request(5, "main", &heads[1]);
    let base = git.head();
    let second = payload::pull_request(github, git, 5, &base, &heads[1]);
    let first = payload::pull_request(github, git, 5, &base, &heads[0]);
    let built = send("second", "pull_request", &second).await;
    let late = send("late", "pull_request", &first).await;
    assert!(built.starts_with("acme/styles#") && late.starts_with("acme/styles#"), "{built}, {late}");
    let of = "select state::text from build where pull_request = 5 order by number";
    let states: Vec<String> = sqlx::query_scalar(of).fetch_all(&app.db).await.unwrap();
    assert_eq!(states, ["queued", "errored"]);
    world.app.stop().await;
}
