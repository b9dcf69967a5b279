//! A stand-in for the services of chats. Each checks what its documentation says of a message: its form, its size, its
//! signature and its word.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Secret of the robots that want a signature.
pub const SECRET: &str = "SEC0123456789abcdef";
/// Word that DingTalk's robot wants.
pub const KEYWORD: &str = "CI";

#[derive(Debug, Default)]
struct Model {
    got: Vec<(String, Value)>,
    /// Answers of the next requests to a service, in place of its own.
    answers: HashMap<String, Vec<(u16, Value)>>,
}

/// Running services.
#[derive(Debug)]
pub struct ChatServices {
    pub address: SocketAddr,
    model: Arc<Mutex<Model>>,
    _serving: JoinSet<()>,
}

impl ChatServices {
    pub async fn start() -> Self {
        let model = Arc::new(Mutex::new(Model::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/{service}/hook", post(receive)).with_state(Arc::clone(&model));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, model, _serving: serving }
    }

    /// Returns the sections of the configuration with these chats, each named after its service.
    pub fn sections(&self, services: &[&str], more: &str) -> String {
        let sections: String = services.iter().map(|service| self.section_of(service, more)).collect();
        format!("[notifications]\nallow = [\"127.0.0.1\"]\n{sections}")
    }

    /// Returns the section of one chat.
    pub fn section_of(&self, service: &str, more: &str) -> String {
        let own = match service {
            "dingtalk" => format!("secret = \"{SECRET}\"\nkeyword = \"{KEYWORD}\"\n"),
            "feishu" => format!("secret = \"{SECRET}\"\n"),
            "telegram" => "chat_id = \"-100123\"\n".to_owned(),
            _ => String::new(),
        };
        format!(
            "[[notifications.chat]]\nname = \"{service}\"\nkind = \"{service}\"\nurl = \"http://{}/{service}/hook\"\n{own}{more}",
            self.address
        )
    }

    /// Lets a service give these answers to the next requests.
    pub fn will_answer(&self, service: &str, answers: &[(u16, Value)]) {
        self.model.lock().unwrap().answers.insert(service.to_owned(), answers.to_vec());
    }

    /// Lists the accepted messages of a service.
    pub fn got(&self, service: &str) -> Vec<Value> {
        let model = self.model.lock().unwrap();
        model.got.iter().filter(|(of, _)| of == service).map(|(_, body)| body.clone()).collect()
    }

    /// Waits for this number of messages to a service.
    pub async fn wait_for(&self, service: &str, count: usize) -> Vec<Value> {
        for _ in 0..1200 {
            let got = self.got(service);
            if got.len() >= count {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{service} got {:?}", self.got(service));
    }
}

fn mac(key: &[u8], message: &[u8]) -> String {
    BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message))
}

async fn receive(
    State(model): State<Arc<Mutex<Model>>>,
    Path(service): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Response {
    let mut model = model.lock().unwrap();
    if let Some(answers) = model.answers.get_mut(&service).filter(|answers| !answers.is_empty()) {
        let (code, answer) = answers.remove(0);
        return (StatusCode::from_u16(code).unwrap(), Json(answer)).into_response();
    }
    let refused = check(&service, &query, &body);
    if refused.is_none() {
        model.got.push((service.clone(), body));
    }
    let ok = |json: Value| Json(json).into_response();
    match (service.as_str(), refused) {
        ("slack", None) => "ok".into_response(),
        ("slack", Some(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        ("dingtalk" | "wecom", None) => ok(json!({"errcode": 0, "errmsg": "ok"})),
        ("dingtalk", Some(why)) => ok(json!({"errcode": 310_000, "errmsg": why})),
        ("wecom", Some(why)) => ok(json!({"errcode": 40_008, "errmsg": why})),
        ("feishu", None) => ok(json!({"code": 0, "msg": "success", "data": {}})),
        ("feishu", Some(why)) => ok(json!({"code": 19_021, "msg": why})),
        ("telegram", None) => ok(json!({"ok": true, "result": {"message_id": 1}})),
        ("telegram", Some(why)) => {
            (StatusCode::BAD_REQUEST, Json(json!({"ok": false, "error_code": 400, "description": why}))).into_response()
        }
        ("discord", None) => StatusCode::NO_CONTENT.into_response(),
        ("discord", Some(why)) => {
            (StatusCode::BAD_REQUEST, Json(json!({"message": why, "code": 50_006}))).into_response()
        }
        ("teams", None) => StatusCode::ACCEPTED.into_response(),
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Returns the reason why a service refuses a message, if it does.
fn check(service: &str, query: &HashMap<String, String>, body: &Value) -> Option<String> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = |is_good: bool, why: &str| (!is_good).then(|| why.to_owned());
    match service {
        "slack" => wanted(
            !text("/text").is_empty() && text("/attachments/0/blocks/0/text/text").chars().count() <= 3000,
            "invalid_payload",
        ),
        "dingtalk" => {
            let time = query.get("timestamp").cloned().unwrap_or_default();
            let sign = mac(SECRET.as_bytes(), format!("{time}\n{SECRET}").as_bytes());
            let age = chrono::Utc::now().timestamp_millis() - time.parse::<i64>().unwrap_or_default();
            if query.get("sign") != Some(&sign) || age.abs() > 3_600_000 {
                return Some("sign not match".to_owned());
            }
            let whole = [text("/markdown/title"), text("/markdown/text")].concat();
            wanted(whole.contains(KEYWORD) && body["msgtype"] == "markdown", "keywords not in content")
        }
        "feishu" => {
            let time = text("/timestamp");
            let age = chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap_or_default();
            let sign = mac(format!("{time}\n{SECRET}").as_bytes(), b"");
            wanted(
                text("/sign") == sign && age.abs() <= 3600 && body["msg_type"] == "interactive",
                "sign match fail or timestamp is not within one hour from current time",
            )
        }
        "wecom" => {
            let kind = text("/msgtype");
            let content = text(&format!("/{kind}/content"));
            // The one kind would show the image as text, the other one the tags.
            let fits = match kind.as_str() {
                "markdown" => !content.contains("!["),
                "markdown_v2" => !content.contains("<font") && !content.contains("<@"),
                _ => return Some("invalid message type".to_owned()),
            };
            let has_size = (1..=4096).contains(&content.len());
            wanted(
                fits && has_size && *body == json!({"msgtype": kind, (kind): {"content": content}}),
                "invalid content",
            )
        }
        "telegram" => {
            let whole = text("/text");
            // Of its HTML, these are the signs that we use.
            let plain = whole.replace("<b>", "").replace("</b>", "").replace("</a>", "").replace("<a href=", "");
            let is_good = body["chat_id"] == "-100123" && body["parse_mode"] == "HTML" && !plain.contains('<');
            wanted(is_good && whole.chars().count() <= 4096, "Bad Request: can't parse entities")
        }
        "discord" => wanted(
            body["allowed_mentions"]["parse"] == json!([]) && text("/embeds/0/description").chars().count() <= 4096,
            "Cannot send an empty message",
        ),
        "teams" => wanted(
            text("/attachments/0/contentType") == "application/vnd.microsoft.card.adaptive"
                && text("/attachments/0/content/type") == "AdaptiveCard",
            "bad card",
        ),
        _ => Some("no such service".to_owned()),
    }
}
