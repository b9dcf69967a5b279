//! `trainyard webhook-secret`: no secret is forgotten that GitHub may still have.

use std::process::{Command, Output, Stdio};

use crate::support::app::App;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

fn command(app: &App, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["webhook-secret", "acme/styles", "--config"]).arg(app.folder.path().join("config.toml"));
    command.args(arguments);
    command
}

async fn run(app: &App, arguments: &[&str]) -> Output {
    let mut command = command(app, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_third_secret_is_refused_until_the_first_one_is_ended() {
    let app = App::start("").await;
    // The service has its key by the time that it answers.
    app.get("/healthz").await;
    for (arguments, status, said) in [
        (&[][..], Some(0), "/webhooks/github/acme/styles\nsecret:  "),
        (&[], Some(0), "secret:  "),
        (&[], Some(1), "two secrets are good already"),
        (&["--end-previous"], Some(0), "done"),
        (&[], Some(0), "secret:  "),
        (&["--remove"], Some(0), "done"),
        (&["--remove"], Some(1), "there is no such secret"),
    ] {
        let output = run(&app, arguments).await;
        let text = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.code() == status && text.contains(said), "{arguments:?}: {text}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_panic() {
    let app = App::start("").await;
    // The service has its key by the time that it answers.
    app.get("/healthz").await;
    let mut command = command(&app, &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    app.stop().await;
}
