//! Builds, jobs, logs and artifacts of a real service.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use trainyard::domain::Right;

use super::{Person, until};
use crate::support::app::App;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::support::people;
use crate::support::people::proposal::{HELLO, Proposal};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TRAVIS: &str = "language: shell
addons: {artifacts: {paths: out}}
script:
  - for n in 1 2 3 4 5 6 7 8 9; do echo \"step $n/9 loss=0.$((10 - n))\"; done
  - printf '\\033[32mgreen\\033[0m \\033]0;title\\007done\\n'
  - mkdir -p out/deep; printf weights > out/w.safetensors; printf 'deep' > 'out/deep/a b#1.txt'
  - test \"$BAD\" != yes
";

async fn service(settings: &str, travis: &str) -> (App, Repo) {
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n{settings}")).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", travis);
    let sha = repo.commit("Begin \u{1b}[31mred");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let known = || async {
        let found: Option<String> = sqlx::query_scalar("select sha from build").fetch_optional(&app.db).await.unwrap();
        found.as_deref() == Some(sha.as_str())
    };
    until("the push is built", known).await;
    (app, repo)
}

#[tokio::test]
async fn a_person_logs_in_and_out() {
    let (app, repo) = service("", "language: shell\nscript: true\n").await;
    let anna = Person::new(repo.work());
    anna.says(&["builds"]).await.expect(2, &["no server is known here", "trainyard login URL"]);
    anna.says(&["servers"]).await.expect(0, &["not logged in to any server"]);
    let log_in = ["login", &app.base, "--token-stdin"];
    anna.says_given(&log_in, "wrong-token-of-nobody\n").await.expect(5, &["This token is not among those"]);
    anna.says_given(&log_in, "\n").await.expect(1, &["there is no token"]);
    anna.says_given(&log_in, "trainyard: error\n").await.expect(1, &["without spaces"]);
    assert!(!anna.store().exists());
    let said = anna.says_given(&log_in, &format!("{TOKEN}\n")).await;
    said.expect(0, &["You are anna at", ".config/trainyard/servers.toml"]);
    assert!(!format!("{said:?}").contains(TOKEN), "{said:?}");
    assert_eq!(anna.store().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    anna.says(&["builds"]).await.expect(0, &["Begin [31mred", "main"]);
    anna.says(&["servers"]).await.expect(0, &[&app.base, "anna", "default"]);
    let said = anna.says(&["servers", "--json"]).await;
    assert!(said.out.contains("\"default\": true") && !said.out.contains(TOKEN), "{said:?}");

    // A token that others can read is not used.
    std::fs::set_permissions(anna.store(), std::fs::Permissions::from_mode(0o640)).unwrap();
    anna.says(&["builds"]).await.expect(1, &["others than you may read", "chmod 600"]);
    std::fs::set_permissions(anna.store(), std::fs::Permissions::from_mode(0o600)).unwrap();
    anna.says(&["logout"]).await.expect(0, &["is no longer here", "/settings/tokens"]);
    anna.says(&["logout"]).await.expect(2, &["not logged in"]);
    assert!(!std::fs::read_to_string(anna.store()).unwrap().contains(TOKEN));
    app.stop().await;
}

#[tokio::test]
async fn a_build_is_triggered_followed_and_read() {
    let (app, repo) = service("", TRAVIS).await;
    let anna = Person::with_token(repo.work(), &app.base, TOKEN);
    let said = anna.says(&["trigger", "--follow", "--message", "By hand"]).await;
    said.expect(0, &["acme/styles #2  http://", "/acme/styles/builds/2", "2.1  ✔ passed", "acme/styles #2  ✔ passed"]);
    let config = repo.work().join("more.yml");
    std::fs::write(&config, "env: {global: [BAD=yes]}\n").unwrap();
    let said = anna.says(&["trigger", "--follow", "--branch", "main", "--config", config.to_str().unwrap()]).await;
    said.expect(1, &["3.1  ✘ failed", "acme/styles #3  ✘ failed"]);
    anna.says(&["trigger", "--branch", "gone"]).await.expect(1, &["there is no build: ", "has no branch gone"]);
    let said = anna.says(&["trigger", "--json", "--sha", &repo.head()]).await;
    assert_eq!(
        (said.code, serde_json::from_str::<Value>(&said.out).unwrap()["build"].as_i64()),
        (0, Some(4)),
        "{said:?}"
    );

    anna.says(&["builds", "--limit", "3"]).await.expect(0, &["BUILD", "✘ failed", "By hand", "AGO"]);
    anna.says(&["builds", "--branch", "none"]).await.expect(0, &["There are no builds yet."]);
    let said = anna.says(&["builds", "--json", "--limit", "2"]).await;
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["builds"].as_array().unwrap().len(), 2);
    anna.says(&["build", "3"]).await.expect(0, &["acme/styles #3  ✘ failed", "JOB", "3.1", "local"]);
    anna.says(&["build", "99"]).await.expect(2, &["There is no such build"]);
    anna.says(&["build", "99", "--repo", "acme/none"]).await.expect(2, &["There is no such"]);
    anna.says(&["open", "3.1"]).await.expect(0, &["/acme/styles/builds/3/jobs/1\n"]);
    // The newest build of the commit that is checked out.
    anna.says(&["open"]).await.expect(0, &["/acme/styles/builds/4\n"]);

    let said = anna.says(&["logs", "2"]).await;
    said.expect(0, &["Job 2.1", "── script", "green done\n", "step 9/9 loss=0.1"]);
    assert!(!said.out.contains('\u{1b}'), "{said:?}");
    let said = anna.says(&["logs", "2.1", "--raw"]).await;
    assert!(said.out.contains("\u{1b}[32mgreen\u{1b}[0m \u{1b}]0;title\u{7}done"), "{said:?}");
    assert_eq!(said.out.into_bytes(), app.log(2).await);
    anna.says(&["logs", "-f", "2.1"]).await.expect(0, &["green done\n", "✔ passed"]);
    anna.says(&["logs", "-f", "3"]).await.expect(1, &["green done\n", "✘ failed: "]);
    anna.says(&["logs", "3.7"]).await.expect(2, &["has no such job"]);
    anna.says(&["logs", "2.1", "--attempt", "7"]).await.expect(2, &["There is no such attempt"]);
    app.stop().await;
}

#[tokio::test]
async fn artifacts_are_fetched_once_and_verified() {
    let (app, repo) = service("", TRAVIS).await;
    app.github.wait_for_end(&repo.head(), "trainyard/push").await;
    let anna = Person::with_token(repo.work(), &app.base, TOKEN);
    anna.says(&["artifacts", "list"]).await.expect(0, &["7 B", "out/w.safetensors", "out/deep/a b#1.txt", "SHA-256"]);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let said = anna.says(&["artifacts", "download", "1", "--to", to, "--only", "**/*.safetensors"]).await;
    said.expect(0, &["1 file fetched into"]);
    assert!(!folder.path().join("out/deep").exists());
    // The rest of a file whose download was cut off: this server gives it whole.
    let hash = "c1e0bbd1a1a0ee9f9a3ae8a3bf1d8b6a";
    std::fs::write(folder.path().join(format!("out/.{hash}.part")), "we").unwrap();
    let said = anna.says(&["artifacts", "download", "1.1", "--to", to]).await;
    said.expect(0, &["1 file fetched into", "1 were there already"]);
    let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
    assert_eq!((read("out/w.safetensors"), read("out/deep/a b#1.txt")), ("weights".to_owned(), "deep".to_owned()));
    std::fs::write(folder.path().join("out/w.safetensors"), "mine").unwrap();
    let said = anna.says(&["artifacts", "download", "1.1", "--to", to]).await;
    said.expect(1, &["has another content", "1 failed"]);
    assert_eq!(read("out/w.safetensors"), "mine");
    anna.says(&["artifacts", "download", "1", "--only", "none/*"]).await.expect(2, &["no such artifacts"]);
    app.stop().await;
}

#[tokio::test]
async fn jobs_are_watched_canceled_and_run_again() {
    let slow = "language: shell\nenv: [A=1, A=2]\nscript: echo begun; sleep 60\n";
    let (app, repo) = service("[[runner]]\nname = \"local\"\nslots = 1\n", slow).await;
    let anna = Person::with_token(repo.work(), &app.base, TOKEN);
    let begun = || async { anna.says(&["logs", "1.1"]).await.out.contains("\nbegun\n") };
    until("the job begins", begun).await;
    // Without a terminal, the view is lines.
    let watching = anna.command(&["watch"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let following = anna.command(&["logs", "-f", "1.1"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    anna.says(&["queue"]).await.expect(0, &["acme/styles", "1.2"]);
    anna.says(&["runners"]).await.expect(0, &["local", "ready", "SLOTS"]);
    for list in ["queue", "runners"] {
        let said = anna.says(&[list, "--json"]).await;
        let answer: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(answer.as_object().unwrap().values().next().unwrap().as_array().unwrap().len(), 1, "{said:?}");
    }
    anna.says(&["cancel", "1.2"]).await.expect(0, &["1 job of acme/styles #1 canceled"]);
    anna.says(&["restart", "1.1"]).await.expect(1, &["has not ended"]);
    anna.says(&["cancel"]).await.expect(0, &["1 job of acme/styles #1 canceled"]);
    let followed = super::Said::from(following.wait_with_output().await.unwrap());
    followed.expect(1, &["begun\n", "– canceled"]);
    let watched = super::Said::from(watching.wait_with_output().await.unwrap());
    watched.expect(1, &["1.1  ● running", "1.2  – canceled", "acme/styles #1  – canceled"]);
    anna.says(&["cancel"]).await.expect(0, &["Nothing of acme/styles #1 was left to cancel"]);
    anna.says(&["restart", "1.2"]).await.expect(0, &["1 job of acme/styles #1 will run again"]);
    anna.says(&["approve"]).await.expect(1, &["needs no approval"]);
    app.stop().await;
}

#[tokio::test]
async fn the_build_of_a_fork_waits_for_an_approval() {
    let settings = format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n");
    let it = Proposal::start(&settings, &[(".travis.yml", HELLO)]).await;
    let anna = Person::with_token(it.repo.work(), &it.app.base, TOKEN);
    anna.says(&["builds"]).await.expect(0, &["○ needs approval", "PR 7"]);
    anna.says(&["build", "1"]).await.expect(0, &["waits for: trainyard approve 1"]);
    let said = anna.says(&["approve", "1", "--follow"]).await;
    said.expect(0, &["acme/styles #1 is approved, and will run", "1.1  ✔ passed", "acme/styles #1  ✔ passed"]);
    it.app.stop().await;
}

#[tokio::test]
async fn rights_are_missing_and_servers_away() {
    let (app, repo) = service("", "language: shell\nscript: true\n").await;
    app.github.wait_for_end(&repo.head(), "trainyard/push").await;
    // Until somebody can log in, everyone at the loopback may read everything.
    assert!(trainyard::store::people::persons::insert_local(&app.db, "olga", "no hash", true).await.unwrap());
    let person = people::person(&app.db, 7, "bert").await;
    let id = trainyard::store::repos::find(&app.db, &"acme/styles".parse().unwrap()).await.unwrap().unwrap();
    people::allow(&app.db, person.id, id, Some(Right::Read)).await;
    let token = people::token(&app.db, person.id, "cli", Right::Write, None).await;
    let mut bert = Person::with_token(repo.work(), &app.base, &token);
    bert.says(&["builds"]).await.expect(0, &["✔ passed"]);
    bert.says(&["builds", "--all"]).await.expect(0, &["REPOSITORY", "acme/styles", "✔ passed"]);
    for change in ["cancel", "restart", "trigger"] {
        bert.says(&[change]).await.expect(5, &["trainyard: "]);
    }
    let nobody = Person { environment: vec![("TRAINYARD_URL", app.base.clone())], ..Person::new(repo.work()) };
    nobody.says(&["builds"]).await.expect(0, &["✔ passed"]);
    nobody.says(&["cancel"]).await.expect(5, &["Authorization: Bearer", "No token was sent"]);
    sqlx::query("update repo set private = true").execute(&app.db).await.unwrap();
    nobody.says(&["builds"]).await.expect(2, &["No token was sent", "trainyard login"]);
    bert.says(&["builds"]).await.expect(0, &["✔ passed"]);
    let elsewhere = tempfile::tempdir().unwrap();
    bert.folder = elsewhere.path().to_owned();
    bert.says(&["builds"]).await.expect(2, &["no remote origin", "--repo OWNER/NAME"]);
    let base = app.base.clone();
    app.stop().await;
    bert.says(&["builds", "--repo", "acme/styles"]).await.expect(4, &["does not answer"]);
    bert.says(&["watch", "1", "--repo", "acme/styles"]).await.expect(4, &[&base, "does not answer"]);
}
