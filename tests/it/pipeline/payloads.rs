//! GitHub's own example payloads, and the results of deliveries: exactly one build, or a recorded reason for none.

use std::path::{Path, PathBuf};

use serde_json::Value;
use trainyard::domain::TriggerKind;
use trainyard::github::event::{self, Event};

use crate::support::app::App;
use crate::support::github::{GitHub, number};
use crate::support::payload::{self, Delivery};

/// Returns a file of the packages that `make setup-test` installs from `tests/npm`.
fn package(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm/node_modules/@octokit").join(path);
    assert!(file.exists(), "{} is missing: run `make setup-test`", file.display());
    file
}

/// Returns GitHub's examples as (event, payload).
fn examples() -> Vec<(String, Value)> {
    let text = std::fs::read(package("webhooks-examples/api.github.com/index.json")).unwrap();
    let events: Vec<Value> = serde_json::from_slice(&text).unwrap();
    events
        .into_iter()
        .flat_map(|event| {
            let name = event["name"].as_str().unwrap().to_owned();
            event["examples"]
                .as_array()
                .unwrap()
                .iter()
                .map(|example| (name.clone(), example.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_example_of_github_is_understood_or_ignored() {
    let mut builds = Vec::new();
    let (mut nothing, mut installations, mut asks) = (0, 0, Vec::new());
    for (name, payload) in examples() {
        match event::parse(&name, &serde_json::to_vec(&payload).unwrap()) {
            Ok(Event::Build(repository, trigger)) => {
                assert_eq!(repository.name, trigger.repo);
                let action = payload["action"].as_str().unwrap_or("-").to_owned();
                builds.push((name, action, trigger.kind));
            }
            Ok(Event::Installations(words)) => {
                assert!(name.starts_with("installation") && words.starts_with(&name), "{name}: {words}");
                installations += 1;
            }
            Ok(Event::Ask(..)) => asks.push(format!("{name} {}", payload["action"].as_str().unwrap())),
            Ok(Event::Repository(id, words)) => {
                assert!(id == payload["repository"]["id"] && words.starts_with("repository "), "{name}: {words}");
            }
            Ok(Event::Ignored(_)) => nothing += 1,
            Err(error) => panic!("{name}: {error:#}\n{payload:#}"),
        }
    }
    let count = |kind| builds.iter().filter(|(.., k)| *k == kind).count();
    let counts = [TriggerKind::Push, TriggerKind::Tag, TriggerKind::PullRequest].map(count);
    assert!(counts.iter().all(|count| *count > 0) && nothing > 100, "{counts:?}, {nothing} ignored");
    assert!(installations > 3, "{installations}");
    asks.sort();
    asks.dedup();
    // The buttons of the examples are not ours, their comments are no commands, and a program asked for their suites.
    // A label asks for something only if the configuration names it, which is not known here.
    assert_eq!(asks, ["check_run rerequested", "pull_request labeled"]);
    for (_, action, kind) in &builds {
        if *kind == TriggerKind::PullRequest {
            assert!(matches!(action.as_str(), "opened" | "synchronize" | "reopened"), "{action} gives a build");
        }
    }
}

/// Returns GitHub's example of a push to a branch, as a push of this commit of the stand-in's repository.
fn example_push(github: &GitHub, name: &str, sha: &str) -> Value {
    let mut push = examples()
        .into_iter()
        .find(|(event, payload)| {
            event == "push" && payload["ref"] == "refs/heads/master" && !payload["head_commit"].is_null()
        })
        .map(|(_, payload)| payload)
        .unwrap();
    push["after"] = sha.into();
    push["head_commit"]["id"] = sha.into();
    push["repository"]["clone_url"] = github.clone_url(name).into();
    push["repository"]["full_name"] = name.into();
    push["repository"]["id"] = number(name).into();
    push["ref"] = "refs/heads/main".into();
    push
}

const HELLO: &str = "language: shell\nscript: echo hello\n";

async fn outcome(app: &App, delivery: &str) -> String {
    for _ in 0..600 {
        let outcome: Option<String> = sqlx::query_scalar("select outcome from delivery where id = $1")
            .bind(delivery)
            .fetch_one(&app.db)
            .await
            .unwrap();
        match outcome {
            Some(outcome) => return outcome,
            None => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    panic!("the delivery is not dealt with");
}

async fn builds(app: &App) -> i64 {
    sqlx::query_scalar("select count(*) from build").fetch_one(&app.db).await.unwrap()
}

#[tokio::test]
async fn githubs_own_push_gives_one_build_however_often_it_comes() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/hello-world");
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Hello");
    let delivery = Delivery::new("same-id", "push", &example_push(&app.github, "acme/hello-world", &sha));
    let (code, answer) = delivery.post(&app.base).await;
    assert!(code == 202 && answer.contains("accepted"), "{code} {answer}");
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    assert_eq!(outcome(&app, "same-id").await, "acme/hello-world#1");
    let (code, answer) = delivery.post(&app.base).await;
    assert!(code == 202 && answer.contains("already processed"), "{code} {answer}");
    assert_eq!(builds(&app).await, 1);
    app.stop().await;
}

#[tokio::test]
async fn a_wrong_signature_stores_nothing() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.commit("Empty");
    let mut delivery = Delivery::new("forged", "push", &payload::push(&app.github, &repo, "main"));
    delivery.signature = trainyard::github::signature::sign(b"a guess", &delivery.body);
    assert_eq!(delivery.post(&app.base).await.0, 401);
    let stored: i64 = sqlx::query_scalar("select count(*) from delivery").fetch_one(&app.db).await.unwrap();
    assert_eq!(stored, 0);
    app.stop().await;
}

#[tokio::test]
async fn deletions_pings_and_skip_words_are_recorded_as_reasons() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.commit("Not worth a build [skip ci]");
    let skipped = payload::push(&app.github, &repo, "main");
    let mut deleted = skipped.clone();
    deleted["deleted"] = true.into();
    deleted["after"] = "0".repeat(40).into();
    deleted["head_commit"] = Value::Null;
    for (id, event, body, reason) in [
        ("ping", "ping", serde_json::json!({"zen": "Keep it logically awesome.", "hook_id": 1}), "ping"),
        ("deleted", "push", deleted, "was deleted"),
        ("skipped", "push", skipped, "skip ci"),
        ("star", "star", serde_json::json!({"action": "created"}), "ask for nothing"),
        ("odd", "push", serde_json::json!({"ref": 7}), "not a push payload"),
    ] {
        assert_eq!(Delivery::new(id, event, &body).post(&app.base).await.0, 202, "{id}");
        let outcome = outcome(&app, id).await;
        assert!(outcome.contains(reason), "{id}: {outcome}");
    }
    assert_eq!(builds(&app).await, 0);
    assert!(app.github.posted().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_tag_a_forced_push_and_an_empty_commit_are_built() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: test \"$TRAVIS_TAG\" = \"$(git log -1 --format=%s)\"\n");
    let first = repo.commit("v1.0");
    let mut tag = payload::push(&app.github, &repo, "main");
    repo.git(&["tag", "-a", "-m", "First", "v1.0"]);
    repo.git(&["push", "-q", "origin", "v1.0"]);
    tag["ref"] = "refs/tags/v1.0".into();
    // As GitHub does for an annotated tag: the tag object, and the commit next to it.
    tag["after"] = repo.git(&["rev-parse", "v1.0"]).into();
    Delivery::new("tag", "push", &tag).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&first, "trainyard/push").await.state, "success");

    repo.write(".travis.yml", HELLO);
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "-q", "--amend", "-m", "Rewritten"]);
    let amended = repo.commit("Empty");
    let mut forced = payload::push(&app.github, &repo, "main");
    forced["forced"] = true.into();
    Delivery::new("forced", "push", &forced).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&amended, "trainyard/push").await.state, "success");
    app.stop().await;
}

#[tokio::test]
async fn a_pull_request_is_built_as_its_merge_and_its_head_gets_the_status() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript:\n  - test -f base.txt -a -f head.txt\n  - test $TRAVIS_PULL_REQUEST = 7 -a $TRAVIS_BRANCH = main -a $TRAVIS_PULL_REQUEST_SLUG = bob/styles\n");
    repo.commit("Begin");
    repo.git(&["checkout", "-q", "-b", "watercolour"]);
    repo.write("head.txt", "head");
    let head = repo.commit("Add head");
    repo.git(&["checkout", "-q", "main"]);
    repo.write("base.txt", "base");
    let base = repo.commit("Move main on");
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("pr", "pull_request", &opened).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    assert_eq!(end.state, "success", "{end:?}\n{}", String::from_utf8_lossy(&app.log(1).await));
    assert!(app.github.states(&head, "trainyard/push").is_empty());

    let mut closed = opened;
    closed["action"] = "closed".into();
    Delivery::new("closed", "pull_request", &closed).post(&app.base).await;
    assert!(outcome(&app, "closed").await.contains("pull request closed"));
    app.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_planned_gives_an_errored_build_with_the_reason() {
    let app = App::start("").await;
    for (number, (travis, reason)) in [
        (None, "there is no .travis.yml"),
        (Some(String::new()), ".travis.yml"),
        (Some("script: [".to_owned()), ".travis.yml:1"),
        (Some("- a list\n".to_owned()), ".travis.yml"),
        (Some(format!("script: echo\nx: {}\n", "y".repeat(1_100_000))), "larger than 1000000 bytes"),
    ]
    .into_iter()
    .enumerate()
    {
        let repo = app.github.repo(&format!("acme/broken-{number}"));
        if let Some(text) = travis {
            repo.write(".travis.yml", &text);
        }
        let sha = repo.commit("Break it");
        Delivery::new(&format!("d{number}"), "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
        let end = app.github.wait_for_end(&sha, "trainyard/push").await;
        assert!(end.state == "error" && end.description.contains(reason), "{number}: {end:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_training_config_without_base_model_fails_before_anything_runs() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    repo.write("configs/style.yaml", "train_data_dir: ./data\noutput_dir: ./out\nlora_rank: 4\nmax_train_steps: 5\n");
    let sha = repo.commit("Forget the base model");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "failure");
    assert!(end.description.contains("configs/style.yaml") && end.description.contains("needs base_model"), "{end:?}");
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/lint").await.state, "failure");
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&app.db).await.unwrap();
    assert_eq!(jobs, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_repository_that_cannot_be_fetched_at_first_is_built_in_the_end() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Hello");
    app.github.git.fail_next(2);
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    assert_eq!(app.github.wait_for_end(&sha, "trainyard/push").await.state, "success");
    app.stop().await;
}

#[tokio::test]
async fn what_github_is_sent_follows_its_published_description() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", HELLO);
    let sha = repo.commit("Hello");
    Delivery::new("d", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let text = std::fs::read(package("openapi/generated/api.github.com.json")).unwrap();
    let api: Value = serde_json::from_slice(&text).unwrap();
    let operation = &api["paths"]["/repos/{owner}/{repo}/statuses/{sha}"]["post"];
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    assert!(schema["properties"]["state"].is_object(), "the description has another form: {operation:#}");
    let validator = jsonschema::validator_for(schema).unwrap();
    let known: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let requests = app.github.requests();
    assert!(!requests.is_empty());
    for (method, path, body) in requests {
        assert_eq!((method.as_str(), path), ("POST", format!("/repos/acme/styles/statuses/{sha}")));
        let errors: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert!(body.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{body}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_repository_elsewhere_is_not_asked() {
    use std::sync::{Arc, Mutex};
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = listener.local_addr().unwrap();
    let remember = Arc::clone(&seen);
    let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| {
        remember.lock().unwrap().push(headers.contains_key("authorization"));
        async { axum::http::StatusCode::UNAUTHORIZED }
    });
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });

    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.commit("Hello");
    let mut push = payload::push(&app.github, &repo, "main");
    push["repository"]["clone_url"] = format!("http://{elsewhere}/acme/styles.git").into();
    Delivery::new("d", "push", &push).post(&app.base).await;
    let outcome = outcome(&app, "d").await;
    assert!(outcome.starts_with("refused: the payload's clone_url"), "{outcome}");
    assert!(seen.lock().unwrap().is_empty(), "the other server was asked");
    app.stop().await;
}
