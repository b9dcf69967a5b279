//! Programs that know the API from its description alone: a fuzzer, and generated clients in TypeScript and Python.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trainyard::domain::Right;
use trainyard::web;

use super::world::{OPERATOR, World, job, job_with_gpus};
use crate::support::web as support;

/// A server with a few builds, and a token for them.
struct Served {
    base: String,
    token: String,
    _tasks: JoinSet<()>,
}

/// Returns a file of the tests of other languages.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// Runs a program in a folder. Returns what it has printed; panics with that if it fails.
async fn run(folder: &Path, program: &Path, arguments: &[&str]) -> String {
    assert!(program.exists(), "{} is missing: make setup-test", program.display());
    let command = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let out = String::from_utf8_lossy(&command.stdout).into_owned();
    let error = String::from_utf8_lossy(&command.stderr);
    assert!(command.status.success(), "{} {arguments:?}\n{out}\n{error}", program.display());
    out
}

impl Served {
    async fn new() -> Self {
        let world = World::new().await;
        world.finished(world.open).await;
        world.finished(world.secret).await;
        for repo in [world.open, world.secret] {
            world.build(repo, &[job("waits"), job_with_gpus("train")]).await;
        }
        sqlx::raw_sql(
            "insert into runner (name, endpoint, slots, labels, seen_at) values ('a', 'x', 1, '{}', now());
             insert into gpu (runner, uuid, name, class, memory) values ('a', 'GPU-1', 'H200', 'h200', 1);
             insert into cron (repo_id, branch, every, skip_if_recent) select id, 'main', 'daily', true from repo;
             insert into delivery (id, event, body, done_at, outcome) values ('d1', 'push', '{\"a\": 1}', now(), 'no build: x')",
        )
        .execute(world.db())
        .await
        .unwrap();
        // An operator, so that the fuzzer gets past the gate.
        let (person, token) = world.person("ada", Right::Admin).await;
        sqlx::query("update person set is_operator = true where id = $1")
            .bind(person.id)
            .execute(world.db())
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let (address, mut tasks) = support::serve(world.state.clone(), web::Bounds::default(), &shutdown).await;
        // In place of intake, which would fetch from a forge.
        let db = world.db().clone();
        tasks.spawn(async move {
            loop {
                let done = "update delivery set done_at = now(), outcome = 'no build: a test' where done_at is null";
                sqlx::query(done).execute(&db).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        Self { base: format!("http://{address}"), token, _tasks: tasks }
    }

    /// Stores the description, with the address of this server.
    async fn describe(&self, folder: &Path) -> PathBuf {
        let text = reqwest::get(format!("{}/api/openapi.json", self.base)).await.unwrap().text().await.unwrap();
        let mut document: Value = serde_json::from_str(&text).unwrap();
        document["servers"] = json!([{ "url": self.base }]);
        let path = folder.join("openapi.json");
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }
}

/// Number of requests that the fuzzer makes for each operation, apart from those at the bounds of its types.
const EXAMPLES: &str = "10";
/// Operations with streams that have no end. `events` tests them.
const ENDLESS: &str = "(/events|/log/stream)$";
/// All checks but one: not every text is the name of a branch.
const CHECKS: [&str; 4] = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fuzzer_gets_no_answer_that_is_not_described() {
    let served = Served::new().await;
    let folder = tempfile::tempdir().unwrap();
    let document = served.describe(folder.path()).await;
    let examples = std::env::var("API_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let authorization = format!("Authorization: Bearer {OPERATOR}");
    let known_names = file("python/schemathesis.toml");
    // First with names of its own, for which there is mostly nothing.
    for config in [&[][..], &["--config-file", known_names.to_str().unwrap()]] {
        let mut arguments = config.to_vec();
        arguments.extend(["run", document.to_str().unwrap(), "--url", &served.base, "--header", &authorization]);
        arguments.extend(["--phases", "coverage,fuzzing", "--max-examples", &examples, "--workers", "2"]);
        arguments.extend(["--exclude-path-regex", ENDLESS, "--continue-on-failure", "--warnings", "off", "--no-color"]);
        arguments.extend(CHECKS);
        let report = run(folder.path(), &file("python/venv/bin/schemathesis"), &arguments).await;
        println!("{report}");
        let described = web::routes().into_iter().filter(|route| route.path.starts_with("/api/v1/")).count();
        assert!(report.contains(&format!("Tested: {}\n", described - 3)), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_in_typescript_works() {
    let served = Served::new().await;
    let folder = tempfile::tempdir().unwrap();
    let document = served.describe(folder.path()).await;
    std::os::unix::fs::symlink(file("npm/node_modules"), folder.path().join("node_modules")).unwrap();
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    for name in ["client.ts", "tsconfig.json"] {
        std::fs::copy(file("npm").join(name), folder.path().join(name)).unwrap();
    }
    let types = ["--output", "schema.d.ts", document.to_str().unwrap()];
    run(folder.path(), &file("npm/node_modules/.bin/openapi-typescript"), &types).await;
    run(folder.path(), &file("npm/node_modules/.bin/tsc"), &["--project", "."]).await;
    let told =
        run(folder.path(), Path::new("/usr/bin/env"), &["node", "out/client.js", &served.base, &served.token]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&told).unwrap(),
        json!({
            "builds": ["2 queued", "1 passed"],
            "jobs": ["1 waits queued", "2 train queued"],
            "missing": "404 /api/v1/repos/acme/secret/builds/99",
            "canceled": [2, 2, "true"],
            "queue": ["1 acme/open 2.2 2", "1 acme/open 2.1 0"],
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_client_in_python_works() {
    let served = Served::new().await;
    let folder = tempfile::tempdir().unwrap();
    let document = served.describe(folder.path()).await;
    let config = file("python/generate.yml");
    let generate = [
        "generate",
        "--path",
        document.to_str().unwrap(),
        "--output-path",
        "trainyard_client",
        "--meta",
        "none",
        "--config",
        config.to_str().unwrap(),
        "--fail-on-warning",
    ];
    run(folder.path(), &file("python/venv/bin/openapi-python-client"), &generate).await;
    std::fs::copy(file("python/client.py"), folder.path().join("client.py")).unwrap();
    let python = file("python/venv/bin/python");
    let told = run(folder.path(), &python, &["client.py", &served.base, &served.token]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&told).unwrap(),
        json!({
            "me": "ada admin",
            "builds": ["2 queued", "1 passed"],
            "job": "unit passed 1",
            "log": "hello\n",
            "missing": "404 There is no such thing",
            "same": 304,
            "asked": 202,
            "canceled": [2, 2],
        })
    );
}
