//! A receiver of webhooks that was written for Travis: it verifies with the key that a server's `/config` has.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use trainyard::travis_ci::signature::{PublicKey, Signature};

/// A webhook as it came.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub payload: String,
    pub signature: String,
    pub slug: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

impl Webhook {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap()
    }

    pub fn is_signed_with(&self, pem: &str) -> bool {
        let key = PublicKey::from_pem(pem).expect("an RSA key");
        key.verifies(self.payload.as_bytes(), &Signature::read(&self.signature).expect("a signature"))
    }
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    pub address: SocketAddr,
    model: Arc<Mutex<Model>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Model {
    got: Vec<Webhook>,
    /// Status codes of the next answers; 200 when there are none.
    answers: Vec<u16>,
}

impl Receiver {
    pub async fn start() -> Self {
        let model = Arc::new(Mutex::new(Model::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/{*path}", post(receive)).with_state(Arc::clone(&model));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, model, _serving: serving }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn got(&self) -> Vec<Webhook> {
        self.model.lock().unwrap().got.clone()
    }

    /// Answers the next requests with these status codes.
    pub fn will_answer(&self, codes: &[u16]) {
        self.model.lock().unwrap().answers = codes.to_vec();
    }

    /// Waits for this number of webhooks.
    pub async fn wait_for(&self, count: usize) -> Vec<Webhook> {
        for _ in 0..1200 {
            let got = self.got();
            if got.len() >= count {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} webhooks came, and not {count}", self.got().len());
    }
}

async fn receive(State(model): State<Arc<Mutex<Model>>>, headers: HeaderMap, form: String) -> StatusCode {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let payload = url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "payload").unwrap().1;
    let mut model = model.lock().unwrap();
    model.got.push(Webhook {
        payload: payload.into_owned(),
        signature: text("signature").unwrap(),
        slug: text("travis-repo-slug").unwrap(),
        authorization: text("authorization"),
    });
    let code = if model.answers.is_empty() { 200 } else { model.answers.remove(0) };
    StatusCode::from_u16(code).unwrap()
}
