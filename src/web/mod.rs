//! stub
use axum::Router;
/// What every handler can reach.
#[derive(Debug, Clone)]
pub struct State {
    /// Postgres.
    pub db: sqlx::PgPool,
    /// Wake-ups.
    pub bells: crate::store::bell::Bells,
    /// GitHub's secret.
    pub webhook_secret: Option<secrecy::SecretString>,
    /// Our address.
    pub public_url: url::Url,
    /// Ends live logs.
    pub shutdown: tokio_util::sync::CancellationToken,
}
/// Routes.
pub fn router(state: State) -> Router {
    Router::new().route("/webhooks/github", axum::routing::post(hook)).with_state(state)
}
async fn hook(axum::extract::State(s): axum::extract::State<State>, h: axum::http::HeaderMap, body: axum::body::Bytes) -> axum::http::StatusCode {
    let t = |n: &str| h.get(n).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if let (Ok(id), Ok(_)) = (t("x-github-delivery").parse(), "x".parse::<String>()) {
        if crate::store::deliveries::put(&s.db, &id, &t("x-github-event"), &body).await.is_ok() { s.bells.intake.ring(); return axum::http::StatusCode::ACCEPTED; }
    }
    axum::http::StatusCode::BAD_REQUEST
}
