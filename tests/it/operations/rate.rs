//! The rate of requests to the API.

use reqwest::{Client, Response};
use trainyard::domain::Right;

use crate::support::app::App;
use crate::support::people;
use crate::support::web::repo_named;

const OPERATOR: &str = "0123456789abcdef0123456789abcdef";

async fn ask(app: &App, token: Option<&str>) -> Response {
    let request = Client::new().get(format!("{}/api/v1/repos/acme/styles/builds", app.base));
    match token {
        Some(token) => request.bearer_auth(token).send().await.unwrap(),
        None => request.send().await.unwrap(),
    }
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn each_caller_of_the_api_has_a_limit_of_its_own() {
    let settings = format!("[server]\napi_per_minute = 5\n[auth]\ntokens = {{ ops = '{OPERATOR}' }}\n");
    let app = App::start(&settings).await;
    app.get("/healthz").await;
    let repo = repo_named(&app.db, 1, "acme/styles", false).await;
    let anna = people::person(&app.db, 7, "anna").await;
    people::allow(&app.db, anna.id, repo, Some(Right::Read)).await;
    let (first, second) = (
        people::token(&app.db, anna.id, "a", Right::Read, None).await,
        people::token(&app.db, anna.id, "b", Right::Read, None).await,
    );
    for left in (0..5).rev() {
        let answer = ask(&app, Some(&first)).await;
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"api\";q=5;w=60");
        assert!(header(&answer, "ratelimit").starts_with(&format!("\"api\";r={left};t=")), "{answer:?}");
    }
    let refused = ask(&app, Some(&first)).await;
    assert_eq!(refused.status().as_u16(), 429);
    let wait: u64 = header(&refused, "retry-after").parse().unwrap();
    assert!((1..=13).contains(&wait), "{wait}");
    assert!(refused.text().await.unwrap().contains("5 requests in a minute"));
    // Others are not affected: another token, an operator, and somebody unknown.
    for other in [Some(second.as_str()), Some(OPERATOR), None] {
        assert_eq!(ask(&app, other).await.status().as_u16(), 200, "{other:?}");
    }
    // Wrong tokens count for their address, however many there are. One request came without any.
    let mut seen = Vec::new();
    for number in 0..6 {
        seen.push(ask(&app, Some(&format!("trainyard_guess-{number}"))).await.status().as_u16());
    }
    assert_eq!(seen, [401, 401, 401, 401, 429, 429]);
    assert_eq!(ask(&app, None).await.status().as_u16(), 429);
    // Pages, health checks and webhooks are not of the API.
    for path in ["/healthz", "/readyz", "/", "/acme/styles"] {
        assert_eq!(app.get(path).await.0, 200, "{path}");
    }
    assert_eq!(ask(&app, Some(OPERATOR)).await.status().as_u16(), 200);
    app.stop().await;
}
