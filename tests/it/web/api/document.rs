//! The description of the API, and its page.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trainyard::domain::{JobKind, Problem, Right, Severity, Trigger, Verdict};
use trainyard::web::{self, Need, Route};

use super::world::{OPERATOR, World, job_with_gpus};
use crate::support::web as support;

async fn document(world: &World) -> Value {
    let answer = world.get("/api/openapi.json", "").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    answer.body
}

fn names(path: &str) -> BTreeSet<String> {
    path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect()
}

/// Returns what the description says of a route's need, for each need that a route of the API has.
fn need_in_words(need: Need) -> (&'static str, Value) {
    let either = json!([{"token": []}, {"session": []}]);
    let optional = json!([{}, {"token": []}, {"session": []}]);
    match need {
        Need::Anyone => ("nothing; the answer has what you may read", optional),
        Need::Known => ("a login or a token", either),
        Need::Person => ("a person in a browser", json!([{"session": []}])),
        Need::WholePerson => ("a person in a browser, or a token for everything of its person", either),
        Need::Everything => ("an operator, or anybody while reading is open", either),
        Need::Operator => ("an operator", either),
        Need::Right(Right::Read, web::Of::Job) => ("the right read in the repository of the job", optional),
        Need::Right(Right::Read, _) => ("the right read in the repository", optional),
        Need::Right(Right::Write, _) => ("the right write in the repository", either),
        Need::Right(Right::Admin, _) => ("the right admin in the repository", either),
        Need::Nothing | Need::Signature => panic!("no route of the API needs {need:?}"),
    }
}

#[tokio::test]
async fn the_document_has_every_route_and_no_other() {
    let world = World::new().await;
    let document = document(&world).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let mut described = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert((method.to_ascii_uppercase(), path.clone()), operation);
        }
    }
    let mut ids = BTreeSet::new();
    for Route { method, path, need } in web::routes().into_iter().filter(|route| route.path.starts_with("/api/v1/")) {
        let path = path.replace("{*", "{");
        let operation = described.remove(&(method.to_string(), path.clone()));
        let operation = operation.unwrap_or_else(|| panic!("{method} {path} is not described"));
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: its id is not its own");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        let (words, security) = need_in_words(need);
        assert_eq!((&operation["x-need"], &operation["security"]), (&json!(words), &security), "{method} {path}");
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path =
            parameters.iter().filter(|it| it["in"] == "path").map(|it| it["name"].as_str().unwrap().to_owned());
        assert_eq!(in_path.collect::<BTreeSet<_>>(), names(&path), "{method} {path}");
        for parameter in parameters {
            assert!(parameter["description"].is_string() && parameter["schema"].is_object(), "{path}: {parameter}");
        }
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
        for status in ["401", "500", "503"] {
            assert!(answers.contains_key(status), "{method} {path} {status}");
        }
        for (status, answer) in answers.iter().filter(|(status, _)| status.starts_with(['4', '5'])) {
            let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/ProblemDetails", "{method} {path} {status}");
        }
    }
    assert!(described.is_empty(), "described, but there is no such route: {:?}", described.keys());
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

/// Checks answers against the description of their operation.
async fn conforms(world: &World, document: &Value, operation: &str, path: &str) {
    let answer = world.get(path, OPERATOR).await;
    let status = answer.status.as_u16().to_string();
    let media = answer.header("content-type").to_owned();
    let described = &document["paths"][operation]["get"]["responses"][&status]["content"][&media]["schema"];
    assert!(described.is_object(), "{path}: {status} {media} is not described");
    let mut schema = json!({"components": document["components"]});
    schema.as_object_mut().unwrap().extend(described.as_object().unwrap().clone());
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(&answer.body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{path}: {wrong:?}\n{}", answer.body);
}

#[tokio::test]
async fn answers_are_as_they_are_described() {
    let world = World::new().await;
    let document = document(&world).await;
    let done = world.finished(world.open).await;
    let trigger = Trigger { repo: "acme/open".parse().unwrap(), ..support::push("main") };
    let problem = Problem {
        severity: Severity::Warning,
        rule: "missing-required".into(),
        message: "`rank` is missing.".into(),
        file: Some("a.toml".into()),
        line: Some(3),
        column: None,
        key: None,
        fix: None,
    };
    support::build(world.db(), world.open, &trigger, &[support::job(JobKind::Script, Some("one"), "b")], &[problem])
        .await;
    let claimed = support::claim(world.db()).await;
    support::write(&world.state, &claimed, 0, "step 1/3 loss=0.5\nstep 2/3 loss=nan\nstep 3/3 loss=0.1\n").await;
    support::finish(&world.state, &claimed, 54, Verdict::Failed, Some("exit status 1")).await;
    world.build(world.open, &[job_with_gpus("train")]).await;
    sqlx::raw_sql(
        "insert into runner (name, endpoint, slots, labels, seen_at) values ('a', 'x', 1, '{big}', now());
         insert into gpu (runner, uuid, name, class, memory) values ('a', 'GPU-1', 'H200', 'h200', 1);
         insert into alert (component, message) values ('runner a', 'It does not answer.');
         insert into cron (repo_id, branch, every, skip_if_recent) select id, 'main', 'daily', true from repo;
         insert into delivery (id, event, body, done_at, outcome) values ('d1', 'push', '{\"a\": 1}', now(), 'no build: x');
         insert into variable (repo_id, name, branch, value, is_public) select id, 'A', '', '', true from repo;
         insert into publication (job_id, place, repo_id, attempt, target, state, error, done_at)
         select id, 'release', repo_id, 1, 'acme/open', 'failed', 'there is another release', now() from job",
    )
    .execute(world.db())
    .await
    .unwrap();
    let id = done.id;
    let repo = "/api/v1/repos/{owner}/{repo}";
    let job = "/api/v1/jobs/{id}";
    for (operation, path) in [
        ("/api/v1/me".to_owned(), "/api/v1/me".to_owned()),
        ("/api/v1/repos".to_owned(), "/api/v1/repos".to_owned()),
        ("/api/v1/builds".to_owned(), "/api/v1/builds?limit=1".to_owned()),
        ("/api/v1/queue".to_owned(), "/api/v1/queue".to_owned()),
        ("/api/v1/runners".to_owned(), "/api/v1/runners".to_owned()),
        ("/api/v1/audit".to_owned(), "/api/v1/audit".to_owned()),
        ("/api/v1/alerts".to_owned(), "/api/v1/alerts".to_owned()),
        ("/api/v1/deliveries".to_owned(), "/api/v1/deliveries".to_owned()),
        ("/api/v1/deliveries/{id}".to_owned(), "/api/v1/deliveries/d1".to_owned()),
        (repo.to_owned(), "/api/v1/repos/acme/open".to_owned()),
        (format!("{repo}/builds"), "/api/v1/repos/acme/open/builds".to_owned()),
        (format!("{repo}/builds/{{number}}"), "/api/v1/repos/acme/open/builds/2".to_owned()),
        (format!("{repo}/key"), "/api/v1/repos/acme/open/key".to_owned()),
        (format!("{repo}/crons"), "/api/v1/repos/acme/open/crons".to_owned()),
        (format!("{repo}/variables"), "/api/v1/repos/acme/open/variables".to_owned()),
        (job.to_owned(), format!("/api/v1/jobs/{}", claimed.id)),
        (format!("{job}/series"), format!("/api/v1/jobs/{}/series", claimed.id)),
        (format!("{job}/resources"), format!("/api/v1/jobs/{id}/resources")),
        (format!("{job}/artifacts"), format!("/api/v1/jobs/{id}/artifacts")),
        (format!("{job}/publications"), format!("/api/v1/jobs/{id}/publications")),
        (job.to_owned(), "/api/v1/jobs/999999".to_owned()),
        (format!("{repo}/builds"), "/api/v1/repos/acme/open/builds?limit=x".to_owned()),
    ] {
        conforms(&world, &document, &operation, &path).await;
    }
}
