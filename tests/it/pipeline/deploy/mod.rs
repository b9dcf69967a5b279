//! The key `deploy`: its conditions, and the requests to GitHub for a release.

mod providers;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

pub(super) async fn pushed(app: &App, repo: &Repo, job: i64, git_ref: Option<&str>) -> (String, String) {
    let sha = repo.head();
    let mut push = payload::push(&app.github, repo, "main");
    if let Some(tag) = git_ref {
        repo.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/tags/{tag}")]);
        push["ref"] = format!("refs/tags/{tag}").into();
    }
    Delivery::new(&format!("push-{job}"), "push", &push).post(&app.base).await;
    let ended = async {
        loop {
            let state: Option<String> = sqlx::query_scalar("select verdict::text from job where id = $1")
                .bind(job)
                .fetch_optional(&app.db)
                .await
                .unwrap()
                .flatten();
            if let Some(state) = state {
                break state;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let verdict = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.expect(&sha);
    (verdict, String::from_utf8(app.log(job).await).unwrap())
}

#[tokio::test]
async fn a_script_is_deployed_where_its_conditions_hold() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let entry = |on: &str, more: &str| {
        format!("  - provider: script\n    script: echo deployed-$TRAVIS_BRANCH\n    on: {on}\n{more}")
    };
    let travis = |entries: &[String]| {
        format!(
            "language: shell\nscript: echo tested\nenv: FLAVOUR=\"good one\"\nafter_script: echo after all\ndeploy:\n{}",
            entries.concat()
        )
    };
    repo.write(
        ".travis.yml",
        &travis(&[
            entry("main", "    before_deploy: echo before-it\n    after_deploy: false\n"),
            entry("{branch: [next, release]}", ""),
            entry("{all_branches: true, condition: $FLAVOUR = \"good one\"}", ""),
            entry("{all_branches: true, condition: $FLAVOUR = bad}", ""),
            entry("{tags: true}", ""),
            entry("{branch: main, repo: other/styles}", ""),
            "  - provider: npm\n    email: somebody\n    on: main\n".to_owned(),
        ]),
    );
    repo.commit("Deploy");
    let (verdict, log) = pushed(&app, &repo, 1, None).await;
    assert_eq!(verdict, "passed", "{log}");
    assert_eq!(log.matches("\ndeployed-main\n").count(), 2, "{log}");
    assert!(log.contains("\nbefore-it\n"), "{log}");
    for reason in [
        "because this branch is not permitted (only next, release).",
        "because the condition $FLAVOUR = bad does not hold.",
        "because this is not a tagged commit.",
        "because this is not the right repository.",
    ] {
        assert!(log.contains(&format!("Skipping a deployment with the script provider {reason}")), "{reason}\n{log}");
    }
    assert!(log.contains("Not deployed: Trainyard does not run the provider `npm`."), "{log}");
    assert!(log.find("after all") > log.rfind("deployed-main"), "{log}");

    let (_, log) = pushed(&app, &repo, 2, Some("v1")).await;
    assert!(log.contains("\ndeployed-v1\n"), "{log}");

    for (job, (script, more, verdict)) in
        [("false", "", "errored"), ("false", "    allow_failure: true\n", "passed")].into_iter().enumerate()
    {
        let entry = format!("  - provider: script\n    script: {script}\n    on: main\n{more}");
        repo.write(".travis.yml", &travis(&[entry]));
        repo.commit("Fail to deploy");
        let (told, log) = pushed(&app, &repo, 3 + job as i64, None).await;
        assert_eq!(told, verdict, "{log}");
        assert_eq!(log.contains("after all"), verdict == "passed", "{log}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_deployment_that_lacks_a_key_is_told_before_anything_runs() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let entry = "  - provider: s3\n    access_key_id: $KEY\n    bucket: site\n    on: main\n";
    repo.write(".travis.yml", &format!("language: shell\nscript: echo tested\ndeploy:\n{entry}"));
    let sha = repo.commit("Deploy");
    Delivery::new("main", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(end.state, "error", "{}", end.description);
    assert!(end.description.contains(".travis.yml:4") && end.description.contains("secret_access_key"), "{end:?}");
    let (_, page) = app.get("/acme/styles/builds/1").await;
    assert!(page.contains("deploys nothing without"), "{page}");
    // A build of another branch deploys nothing, and goes on.
    Delivery::new("next", "push", &payload::push(&app.github, &repo, "next")).post(&app.base).await;
    app.github.wait_for(Duration::from_secs(60), |posted| posted.sha == sha && posted.state == "success").await;
    let (_, page) = app.get("/acme/styles/builds/2").await;
    assert!(page.contains("deploys nothing without"), "{page}");
    let jobs: i64 = sqlx::query_scalar("select count(*) from job").fetch_one(&app.db).await.unwrap();
    assert_eq!(jobs, 1);
    app.stop().await;
}

/// Requests to a stand-in for GitHub's releases.
type Asked = Arc<Mutex<Vec<(String, String, Bytes)>>>;

async fn releases(State((asked, base)): State<(Asked, String)>, request: Request) -> impl IntoResponse {
    assert_eq!(request.headers()["authorization"], "Bearer a-token");
    let method = request.method().to_string();
    let uri = request.uri().to_string();
    let uri = uri[uri.find("/repos/").unwrap()..].to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let is_first = !asked.lock().unwrap().iter().any(|(m, u, _)| *m == method && *u == uri);
    asked.lock().unwrap().push((method.clone(), uri.clone(), body));
    let release = json!({
        "url": format!("{base}/repos/acme/styles/releases/77"), "html_url": "https://github.example/release",
        "upload_url": format!("{base}/repos/acme/styles/releases/77/assets{{?name,label}}"), "id": 77,
        "author": {"id": 5},
    });
    let asset = |id: i64, name: &str| json!({"url": format!("{base}/repos/acme/styles/releases/assets/{id}"), "id": id, "name": name, "uploader": {"url": "x"}});
    let (status, answer) = match (method.as_str(), uri.as_str()) {
        ("GET", "/repos/acme/styles/releases/tags/v1") => (404, json!({"message": "Not Found"})),
        ("POST", "/repos/acme/styles/releases") => (201, release),
        ("POST", upload) if upload.contains("weights.bin") && is_first => (422, json!({"message": "already_exists"})),
        ("POST", _) => (201, json!({"id": 1})),
        ("GET", _) => (200, json!([asset(8, "other.bin"), asset(9, "weights.bin")])),
        ("DELETE", _) => (204, Value::Null),
        ("PATCH", _) => (200, release),
        _ => (500, Value::Null),
    };
    (StatusCode::from_u16(status).unwrap(), answer.to_string())
}

#[tokio::test]
async fn a_release_gets_its_files_and_is_shown_at_last() {
    let listener = tokio::net::TcpListener::bind((docker::bridge(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let base = format!("http://{address}");
    let asked = Asked::default();
    let router = Router::new().fallback(releases).with_state((Arc::clone(&asked), base.clone()));
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    tokio::spawn(async move { axum::serve(listener, router).await });

    let app = App::start(&docker::reach_bridge()).await;
    let repo = app.github.repo("acme/styles");
    // The stand-in for statuses listens where no container reaches it, so curl goes to the one for releases instead.
    repo.write(
        ".travis.yml",
        &format!(
            "language: shell\nscript:\n  - 'curl() {{ command curl --connect-to ::{address} \"$@\"; }}'\n  - mkdir out; echo one > out/weights.bin; echo two > 'out/a b.txt'\n\
             deploy:\n  provider: releases\n  token: a-token\n  name: Style $TRAVIS_TAG\n  body: \"said \\\"well\\\"\"\n  file: out/*\n  overwrite: true\n  on: {{tags: true}}\n"
        ),
    );
    repo.commit("Release");
    let (verdict, log) = pushed(&app, &repo, 1, Some("v1")).await;
    assert_eq!(verdict, "passed", "{log}");
    assert!(log.contains("The release v1 is published at https://github.example/release."), "{log}");
    let asked = asked.lock().unwrap().clone();
    let short: Vec<String> = asked.iter().map(|(method, uri, _)| format!("{method} {uri}")).collect();
    let at = "/repos/acme/styles/releases";
    assert_eq!(
        short,
        [
            format!("GET {at}/tags/v1"),
            format!("POST {at}"),
            format!("POST {at}/77/assets?name=a.b.txt"),
            format!("POST {at}/77/assets?name=weights.bin"),
            format!("GET {at}/77/assets?per_page=100"),
            format!("DELETE {at}/assets/9"),
            format!("POST {at}/77/assets?name=weights.bin"),
            format!("PATCH {at}/77"),
        ]
    );
    assert_eq!(asked[2].2, "two\n");
    let made: Value = serde_json::from_slice(&asked[1].2).unwrap();
    assert_eq!(made, json!({"tag_name": "v1", "draft": true}));
    let shown: Value = serde_json::from_slice(&asked[7].2).unwrap();
    let expected =
        json!({"draft": false, "prerelease": false, "tag_name": "v1", "name": "Style v1", "body": "said \"well\""});
    assert_eq!(shown, expected);
    app.stop().await;
}

#[tokio::test]
async fn a_job_that_may_have_deployed_is_not_begun_again_when_it_is_lost() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let deploy = |branch: &str| {
        format!(
            "language: shell\nscript: echo begun; sleep 5\ndeploy:\n  - provider: script\n    script: echo deployed\n    \
             on: {branch}\n"
        )
    };
    let lose = async |job: i64| {
        while !String::from_utf8_lossy(&app.log(job).await).contains("\nbegun\n") {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        docker::remove(&docker::container_of(&app.db, job).await.expect("a container"));
    };
    for (job, branch, attempts, state) in [(1, "main", 1, "error"), (2, "next", 2, "success")] {
        repo.write(".travis.yml", &deploy(branch));
        let sha = repo.commit(branch);
        Delivery::new(branch, "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
        while sqlx::query_scalar::<_, i64>("select count(*) from job").fetch_one(&app.db).await.unwrap() < job {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        lose(job).await;
        let end = app.github.wait_for_end(&sha, "trainyard/push").await;
        assert_eq!(end.state, state, "{}", end.description);
        let attempt: i32 =
            sqlx::query_scalar("select attempt from job where id = $1").bind(job).fetch_one(&app.db).await.unwrap();
        assert_eq!(attempt, attempts, "{}", end.description);
        assert_eq!(end.description.contains("it may have deployed, so it is not run again"), state == "error");
    }
    app.stop().await;
}
