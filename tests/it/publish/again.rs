//! Publications that begin again without a new training, and what operators see of those that have failed.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use trainyard::janitor::{Duties, Janitor};
use trainyard::storage::Room;
use trainyard::store::publications::{self, PublicationState};
use trainyard::store::wakeup::bell::Bells;
use trainyard::web;
use trainyard::worker::Database;

use super::world::{JOB, World, publish, usual};
use crate::support::trouble::Fault;
use crate::support::web::{access, state};

const OPERATOR: &str = "0123456789abcdef0123456789abcdef";
const JOB_PATH: &str = "/api/v1/repos/acme/styles/builds/12/jobs/3";

/// Lets the failed publications of the first job begin again. Returns their number.
pub(super) async fn retry(world: &World) -> u64 {
    publications::retry(&mut world.db.acquire().await.unwrap(), JOB, None).await.unwrap()
}

/// Returns the web side on the world's rows, with an operator's token.
fn web_of(world: &World) -> web::State {
    let access = access(&world.db, &format!("tokens = {{ ops = {OPERATOR:?} }}"));
    web::State { access, publish: world.publisher.permissions.clone(), ..state(&world.db) }
}

async fn ask(state: &web::State, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = web::router(state.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// Returns the alert about publications.
async fn alert(world: &World) -> Option<String> {
    let folder = world.folder.path().to_owned();
    let room = Room::new(folder, bytesize::ByteSize::b(1));
    let database = Database { pool: world.db.clone(), bells: Bells::new() };
    Janitor::new(Duties::Installation, database, Vec::new(), room).step(std::time::Instant::now()).await.unwrap();
    sqlx::query_scalar("select message from alert where component = 'publications'")
        .fetch_optional(&world.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_failed_publication_is_tried_again_and_nothing_is_trained() {
    let order = {
        let mut order = publish();
        order["release"] = json!(true);
        order
    };
    let world = World::with(&usual(), order).await;
    world.trouble.will_fail("POST commit", &[Fault::Refuse(403, &[])]);
    world.finish().await;
    let states: Vec<PublicationState> = world.publications().await.iter().map(|it| it.state).collect();
    assert_eq!(states, [PublicationState::Failed, PublicationState::Published]);

    let state = web_of(&world);
    let (status, page) = ask(&state, "GET", "/acme/styles/builds/12/jobs/3", Some(OPERATOR)).await;
    assert!(
        status == 200 && page.contains("<strong>not published</strong>: the Hub does not let this token in"),
        "{page}"
    );
    assert!(page.contains(&format!("data-republish=\"{JOB_PATH}/publish\"")), "{page}");
    assert!(
        page.contains("href=\"https://github.example/acme/styles/releases/tag/build-12\">acme/styles</a>"),
        "{page}"
    );
    let (_, metrics) = ask(&state, "GET", "/metrics", Some(OPERATOR)).await;
    assert!(metrics.contains("trainyard_publications_failed 1\n"), "{metrics}");
    let alert_of_failure = alert(&world).await.expect("an alert");
    assert!(
        alert_of_failure.contains("the weights of acme/styles build 12, job 3 are not published to acme/ink"),
        "{alert_of_failure}"
    );

    let path = format!("{JOB_PATH}/publish");
    assert_eq!(ask(&state, "POST", &path, None).await.0, 401);
    let (status, body) = ask(&state, "POST", &path, Some(OPERATOR)).await;
    assert_eq!((status, parsed(&body)), (200, json!({"publications": 1})));
    let (status, body) = ask(&state, "POST", &path, Some(OPERATOR)).await;
    assert!(status == 409 && parsed(&body)["error"] == "No publication of this job has failed.", "{body}");
    let record: BTreeMap<String, String> =
        sqlx::query_as::<_, (String, String)>("select what, target from audit where who = 'ops'")
            .fetch_all(&world.db)
            .await
            .unwrap()
            .into_iter()
            .collect();
    assert_eq!(record.get("publish again"), Some(&path), "{record:?}");

    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    world.assert_published_once();
    assert_eq!(world.github.releases.all().len(), 1);
    let attempt: i32 = sqlx::query_scalar("select attempt from job").fetch_one(&world.db).await.unwrap();
    assert_eq!(attempt, 1);
    assert_eq!(alert(&world).await, None);

    let (_, body) = ask(&state, "GET", "/api/v1/jobs/1/publications", Some(OPERATOR)).await;
    let listed = parsed(&body);
    let of = |number: usize, key: &str| listed["publications"][number][key].clone();
    assert_eq!(
        (of(0, "place"), of(0, "state"), of(0, "target")),
        (json!("huggingface"), json!("published"), json!("acme/ink"))
    );
    assert_eq!((of(1, "place"), of(1, "state"), of(1, "error")), (json!("release"), json!("published"), Value::Null));
}

#[tokio::test]
async fn a_job_that_passes_again_begins_its_failed_publication_anew() {
    let world = World::start().await;
    world.trouble.will_fail("POST commit", &[Fault::Refuse(403, &[])]);
    assert_eq!(world.finish().await.1.state, PublicationState::Failed);
    let tries = world.publication().await.unwrap().tries;
    assert_eq!(retry(&world).await, 1);
    assert_eq!(retry(&world).await, 0, "it is on its way");
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    assert_eq!(world.publication().await.unwrap().tries, tries + 1, "the fence stays");
    assert_eq!(retry(&world).await, 0, "it is published");
    world.assert_published_once();
}
