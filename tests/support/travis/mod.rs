//! A stand-in for Travis: it signs payloads and serves its key.

pub mod receiver;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use axum::routing::get;
use axum::{Json, Router};
use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use trainyard::repo_keys::PrivateKey;
use trainyard::travis_ci::signature::SigningKey;

/// A key pair of a Travis.
pub struct Pair {
    pub public: String,
    pub private: SigningKey,
}

/// The pair of the usual Travis, and one of another.
pub static OURS: LazyLock<Pair> = LazyLock::new(Pair::new);
pub static OTHER: LazyLock<Pair> = LazyLock::new(Pair::new);

impl Pair {
    fn new() -> Self {
        let pair = PrivateKey::generate_for_signatures().unwrap();
        let private = SigningKey::from_pkcs8(&pair.to_pkcs8().unwrap()).unwrap();
        Self { public: pair.public_pem().unwrap(), private }
    }
}

/// Returns a configuration that takes the webhooks of the usual Travis.
pub fn pinned() -> String {
    format!("[travis]\non_passed = \"smoke\"\npublic_key = {:?}\n", OURS.public)
}

/// Returns the payload of a build that passed just now.
pub fn passed(repo: &str, branch: &str, sha: &str) -> Value {
    let (owner, name) = repo.split_once('/').unwrap();
    json!({
        "id": 4242, "number": "42", "type": "push", "state": "passed", "status": 0, "result": 0,
        "finished_at": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        "build_url": format!("https://travis.example/{repo}/builds/4242"), "commit": sha, "branch": branch,
        "message": "Train longer", "compare_url": "https://github.example/compare/a...b", "author_name": "Ada",
        "pull_request": false, "pull_request_number": null, "tag": null,
        "repository": {"id": 7, "name": name, "owner_name": owner, "url": null},
    })
}

/// A request of a Travis.
pub struct Request {
    pub form: String,
    pub signature: Option<String>,
}

impl Request {
    /// Returns the request that the usual Travis makes of a payload.
    pub fn new(payload: &Value) -> Self {
        Self::signed(&OURS, payload)
    }

    pub fn signed(pair: &Pair, payload: &Value) -> Self {
        let text = payload.to_string();
        let signature = pair.private.sign(text.as_bytes()).unwrap();
        Self { form: form(&text), signature: Some(signature) }
    }

    /// Posts it to the service at `base`. Returns the status code and the answer.
    pub async fn post(&self, base: &str) -> (u16, Value) {
        let request = reqwest::Client::new()
            .post(format!("{base}/webhooks/travis"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(self.form.clone());
        let request = self.signature.iter().fold(request, |request, signature| request.header("signature", signature));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// Returns a form with this payload.
pub fn form(payload: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish()
}

/// Serves a key as Travis does, until the set is dropped. Returns the address, and the number of requests.
pub async fn serve(keys: Vec<String>) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let config = get(move || async move {
        let place = count.fetch_add(1, Ordering::SeqCst).min(keys.len() - 1);
        Json(json!({"config": {"host": "travis.example", "notifications": {"webhook": {"public_key": keys[place]}}}}))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/config", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, Router::new().route("/config", config)).await.unwrap() });
    (address, asked, serving)
}
