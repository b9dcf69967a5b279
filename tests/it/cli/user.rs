//! `trainyard user`, and the address of a service where nobody can log in.

use std::io::Write as _;
use std::process::{Command, Stdio};

use trainyard::store::people::persons;

use crate::support::app::{App, configuration, merged};
use crate::support::database;
use crate::support::github::GitHub;
use crate::support::oidc::section;
use crate::support::people::visitor::Visitor;
use crate::support::service::Service;
use crate::support::web::repo_named;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
const PASSWORD: &str = "correct horse battery";

/// Runs `trainyard user` with a password on standard input. Returns the status, and what was printed.
async fn user(
    config: std::path::PathBuf,
    arguments: &'static [&'static str],
    password: &'static str,
) -> (Option<i32>, String) {
    let run = move || {
        let mut command = Command::new(PROGRAM);
        command.arg("user").args(arguments).arg("--config").arg(config);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let written = child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes());
        // A command that asks for no password may have ended.
        drop(written);
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn users_are_made_and_get_rights() {
    let app = App::start("").await;
    app.get("/healthz").await;
    repo_named(&app.db, 1, "acme/styles", true).await;
    let config = app.folder.path().join("config.toml");
    let steps: [(&'static [&'static str], &'static str, i32, &str); 14] = [
        (&["add", "anna"], "short", 1, "at least 12 characters"),
        (&["add", "a/b"], PASSWORD, 2, "a name has letters"),
        (&["add", "anna"], PASSWORD, 0, "done"),
        (&["add", "Anna"], PASSWORD, 1, "there is a user Anna already"),
        (&["add", "olga", "--admin"], PASSWORD, 0, "done"),
        (&["grant", "anna", "acme/styles", "write"], "", 0, "done"),
        (&["grant", "anna", "acme/none", "write"], "", 2, "there is no repository acme/none"),
        (&["grant", "nobody", "acme/styles", "write"], "", 1, "there is no such user"),
        (&["grant", "anna", "acme/styles", "all"], "", 2, "read, write, admin or none"),
        (&["list"], "", 0, "acme/styles write"),
        (&["list"], "", 0, "operator"),
        (&["password", "anna"], "another horse battery", 0, "done"),
        (&["remove", "olga"], "", 0, "done"),
        (&["remove", "olga"], "", 1, "there is no such user"),
    ];
    for (arguments, password, status, said) in steps {
        let (code, text) = user(config.clone(), arguments, password).await;
        assert!(code == Some(status) && text.contains(said), "{arguments:?}: {code:?} {text}");
    }
    let anna = Visitor::new(&app.base);
    assert_eq!(anna.log_in("anna", PASSWORD).await.status().as_u16(), 401);
    assert_eq!(anna.log_in("anna", "another horse battery").await.status().as_u16(), 303);
    assert_eq!(anna.status("/acme/styles").await, 200);
    let record: Vec<String> =
        sqlx::query_scalar("select what || ' ' || target from audit where address = '' order by id")
            .fetch_all(&app.db)
            .await
            .unwrap();
    let expected = [
        "add a user anna",
        "add a user olga",
        "grant a right anna acme/styles write",
        "change a password anna",
        "remove a user olga",
    ];
    assert_eq!(record, expected);
    app.stop().await;
}

#[tokio::test]
async fn people_of_a_provider_get_rights_by_their_subjects() {
    let issuer = "https://id.example.org";
    let app = App::start(&section(issuer, "groups = ['ci']")).await;
    app.get("/healthz").await;
    repo_named(&app.db, 1, "acme/styles", true).await;
    let new = persons::OfProvider { issuer, subject: "24 8|x", name: "anna\u{1b}[31m", is_operator: true };
    persons::of_provider(&app.db, &new).await.unwrap();
    // The same subject of another provider, and a local user of the name.
    let other = persons::OfProvider { issuer: "https://other.example.org", ..new };
    persons::of_provider(&app.db, &other).await.unwrap();
    persons::insert_local(&app.db, "anna", "$argon2id$x", false).await.unwrap();
    let config = app.folder.path().join("config.toml");
    let steps: [(&'static [&'static str], i32, &str); 7] = [
        (&["list"], 0, "oidc:24 8|x (anna"),
        (&["grant", "oidc:24 8|x", "acme/styles", "read"], 0, "done"),
        (&["list"], 0, "acme/styles read"),
        (&["grant", "oidc:anna", "acme/styles", "read"], 1, "there is no such user"),
        (&["password", "oidc:24 8|x"], 1, "there is no user"),
        (&["remove", "oidc:24 8|x"], 0, "done"),
        (&["remove", "oidc:24 8|x"], 1, "there is no such user"),
    ];
    for (arguments, status, said) in steps {
        let (code, text) = user(config.clone(), arguments, "").await;
        assert!(
            code == Some(status) && text.contains(said) && !text.contains('\u{1b}'),
            "{arguments:?}: {code:?} {text:?}"
        );
    }
    let left: Vec<String> =
        sqlx::query_scalar("select coalesce(issuer, '') from person order by 1").fetch_all(&app.db).await.unwrap();
    assert_eq!(left, ["", "https://other.example.org"]);
    app.stop().await;
}

#[tokio::test]
async fn until_somebody_can_log_in_the_service_is_reached_from_this_machine_alone() {
    let folder = tempfile::tempdir().unwrap();
    let github = GitHub::start(folder.path().join("github")).await;
    let url = database::url().await;
    let text =
        merged(&configuration(&folder.path().join("data"), Some(&url), &github), "[server]\nlisten = '0.0.0.0:0'\n");
    let listens = |change: &str| {
        let config = folder.path().join("config.toml");
        std::fs::write(&config, merged(&text, change)).unwrap();
        let service = Service::start(std::path::Path::new(PROGRAM), &config);
        let (base, said) = (service.base.clone(), service.said());
        assert_eq!(service.interrupt(), Some(0));
        (base, said)
    };
    let (base, said) = listens("");
    assert!(base.starts_with("http://127.0.0.1:") && said.contains("trainyard user add NAME --admin"), "{said}");
    assert!(listens("[auth]\nopen = true\n").0.starts_with("http://0.0.0.0:"));
    assert!(listens(&github.login_settings()).0.starts_with("http://0.0.0.0:"));
    let (code, text) = user(folder.path().join("config.toml"), &["add", "anna"], PASSWORD).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(listens("").0.starts_with("http://0.0.0.0:"));
}
