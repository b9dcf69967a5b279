//! Providers of OpenID Connect: a real one from npm, and a stand-in that makes mistakes on demand.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::Utc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub const CLIENT_ID: &str = "trainyard";
pub const CLIENT_SECRET: &str = "oidc-client-secret-of-the-tests";
pub const CODE: &str = "the-code";
pub const ACCESS_TOKEN: &str = "access-token-of-the-provider";

/// Returns the section of the configuration with a provider.
pub fn section(issuer: &str, more: &str) -> String {
    format!(
        "[auth.oidc]\nname = 'Studio'\nissuer = '{issuer}'\nclient_id = '{CLIENT_ID}'\n\
         client_secret = '{CLIENT_SECRET}'\n{more}\n"
    )
}

/// oidc-provider, in a process of node that ends with the test.
pub struct RealProvider {
    pub issuer: String,
    process: Child,
    /// It ends when nobody reads what it writes.
    _stdout: BufReader<ChildStdout>,
}

impl RealProvider {
    pub fn start(redirect: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/npm/oidc-provider.mjs");
        let mut process = Command::new("node")
            .args([script, redirect, CLIENT_ID, CLIENT_SECRET])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is installed (`make setup-test`)");
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut lines = stdout.by_ref().lines().map_while(Result::ok);
        let issuer = lines.find(|line| line.starts_with("http")).expect("it says its address");
        Self { issuer, process, _stdout: stdout }
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A mistake of the stand-in, or an attack of somebody between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nonce,
    Audience,
    /// The client is one of two audiences.
    SecondAudience,
    Issuer,
    Expired,
    /// The token was made in an hour.
    Later,
    /// `alg: none`, and no signature.
    Unsigned,
    /// `alg: HS256`, with the client's secret as the key.
    Shared,
    /// Another key, under the name of the right one.
    OtherKey,
    /// A changed claim under the old signature.
    Changed,
    NoToken,
    /// The userinfo is that of another person.
    OtherUser,
    /// The token endpoint redirects to another place.
    Redirect,
    /// The document names another issuer.
    Document,
}

struct Model {
    key: EcdsaKeyPair,
    key_id: String,
    claims: Value,
    /// Claims that only the userinfo has.
    more: Value,
    fault: Option<Fault>,
    nonce: String,
    challenge: String,
    redirect: String,
    /// True if the client's secret has to be in the form and not in the header.
    wants_form: bool,
    /// Number of times that the keys were fetched.
    fetched: usize,
    /// Number of codes that were redeemed.
    redeemed: usize,
}

/// The running stand-in.
pub struct FakeProvider {
    pub issuer: String,
    model: Arc<Mutex<Model>>,
    _serving: JoinSet<()>,
}

fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

impl FakeProvider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let model = Arc::new(Mutex::new(Model {
            key: new_key(),
            key_id: "first".to_owned(),
            claims: json!({}),
            more: json!({}),
            fault: None,
            nonce: String::new(),
            challenge: String::new(),
            redirect: String::new(),
            wants_form: false,
            fetched: 0,
            redeemed: 0,
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state((address, Arc::clone(&model)));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { issuer: issuer(address), model, _serving: serving }
    }

    /// Sets who is logged in, by claims of the token, and by claims of the userinfo alone.
    pub fn log_in(&self, claims: Value, more: Value) {
        let mut model = self.model.lock().unwrap();
        (model.claims, model.more) = (claims, more);
    }

    pub fn will(&self, fault: Option<Fault>) {
        self.model.lock().unwrap().fault = fault;
    }

    /// Takes the client's secret in the form alone from here on.
    pub fn want_form(&self) {
        self.model.lock().unwrap().wants_form = true;
    }

    /// Signs with another key from here on.
    pub fn rotate(&self) {
        let mut model = self.model.lock().unwrap();
        (model.key, model.key_id) = (new_key(), format!("{}-next", model.key_id));
    }

    pub fn fetched(&self) -> usize {
        self.model.lock().unwrap().fetched
    }

    pub fn redeemed(&self) -> usize {
        self.model.lock().unwrap().redeemed
    }

    /// Takes the request that a browser brings, as the provider's page does. Returns the state.
    pub fn authorize(&self, url: &str) -> String {
        let url = url::Url::parse(url).unwrap();
        assert_eq!(format!("{}{}", url.origin().ascii_serialization(), url.path()), format!("{}/auth", self.issuer));
        let value = |name: &str| {
            let mut values = url.query_pairs().filter(|(its, _)| its == name).map(|(_, value)| value.into_owned());
            let value = values.next().unwrap_or_else(|| panic!("{name} is missing in {url}"));
            assert_eq!(values.next(), None, "{name}");
            value
        };
        assert_eq!(value("response_type"), "code");
        assert_eq!(value("client_id"), CLIENT_ID);
        assert_eq!(value("code_challenge_method"), "S256");
        assert!(value("scope").split(' ').any(|scope| scope == "openid"));
        let mut model = self.model.lock().unwrap();
        (model.nonce, model.challenge, model.redirect) =
            (value("nonce"), value("code_challenge"), value("redirect_uri"));
        assert!(model.nonce.len() >= 40 && value("state").len() >= 40 && value("state") != model.nonce);
        value("state")
    }
}

type Shared = State<(SocketAddr, Arc<Mutex<Model>>)>;

fn issuer(address: SocketAddr) -> String {
    format!("http://{address}")
}

async fn document(State((address, model)): Shared) -> Json<Value> {
    let own = issuer(address);
    let (is_other, wants_form) = {
        let model = model.lock().unwrap();
        (model.fault == Some(Fault::Document), model.wants_form)
    };
    Json(json!({
        "issuer": if is_other { "https://other.example".to_owned() } else { own.clone() },
        "authorization_endpoint": format!("{own}/auth"), "token_endpoint": format!("{own}/token"),
        "userinfo_endpoint": format!("{own}/userinfo"), "jwks_uri": format!("{own}/keys"),
        "token_endpoint_auth_methods_supported": [if wants_form { "client_secret_post" } else { "client_secret_basic" }],
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        // Also what a client must not take.
        "id_token_signing_alg_values_supported": ["ES256", "RS256", "HS256", "none"],
    }))
}

async fn keys(State((_, model)): Shared) -> Json<Value> {
    let mut model = model.lock().unwrap();
    model.fetched += 1;
    let point = model.key.public_key().as_ref();
    let number = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    Json(json!({"keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": model.key_id,
        "x": number(&point[1..33]), "y": number(&point[33..]),
    }]}))
}

async fn token(
    State((address, model)): Shared,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> Result<Json<Value>, (StatusCode, [(header::HeaderName, String); 1], Json<Value>)> {
    let value = |name: &str| form.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str());
    let mut model = model.lock().unwrap();
    let refuse = |error: &str| {
        (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store".to_owned())], Json(json!({"error": error})))
    };
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
    let in_header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) == Some(&basic);
    let in_form = value("client_id") == Some(CLIENT_ID) && value("client_secret") == Some(CLIENT_SECRET);
    if (in_header, in_form) != (!model.wants_form, model.wants_form) {
        return Err(refuse("invalid_client"));
    }
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(value("code_verifier").unwrap_or_default()));
    let is_right = value("grant_type") == Some("authorization_code") && value("code") == Some(CODE);
    if !is_right || challenge != model.challenge || value("redirect_uri") != Some(&model.redirect) {
        return Err(refuse("invalid_grant"));
    }
    if model.fault == Some(Fault::Redirect) {
        let to = format!("{}/elsewhere", issuer(address));
        return Err((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)], Json(Value::Null)));
    }
    model.redeemed += 1;
    let mut answer = json!({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 60});
    if model.fault != Some(Fault::NoToken) {
        answer["id_token"] = id_token(address, &model).into();
    }
    Ok(Json(answer))
}

/// Returns the token with the claims, and with the fault.
fn id_token(address: SocketAddr, model: &Model) -> String {
    let now = Utc::now().timestamp();
    let mut claims = json!({
        "iss": issuer(address), "aud": CLIENT_ID, "nonce": model.nonce, "iat": now, "exp": now + 300,
    });
    for (name, value) in model.claims.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let mut header = json!({"alg": "ES256", "kid": model.key_id});
    match model.fault {
        Some(Fault::Nonce) => claims["nonce"] = "another".into(),
        Some(Fault::Audience) => claims["aud"] = "another".into(),
        Some(Fault::SecondAudience) => claims["aud"] = json!([CLIENT_ID, "another"]),
        Some(Fault::Issuer) => claims["iss"] = "https://other.example".into(),
        Some(Fault::Expired) => claims["exp"] = (now - 120).into(),
        Some(Fault::Later) => claims["iat"] = (now + 3600).into(),
        Some(Fault::Unsigned) => header["alg"] = "none".into(),
        Some(Fault::Shared) => header = json!({"alg": "HS256"}),
        _ => {}
    }
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let by = |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec();
    let signature = match model.fault {
        Some(Fault::Unsigned) => Vec::new(),
        Some(Fault::Shared) => {
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
            aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
        }
        Some(Fault::OtherKey) => by(&new_key()),
        _ => by(&model.key),
    };
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
    if model.fault == Some(Fault::Changed) {
        claims["sub"] = "somebody else".into();
        return format!("{}.{}.{signature}", part(&header), part(&claims));
    }
    format!("{signed}.{signature}")
}

async fn userinfo(State((_, model)): Shared, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != &format!("Bearer {ACCESS_TOKEN}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let model = model.lock().unwrap();
    let mut claims = model.more.clone();
    claims["sub"] = match model.fault {
        Some(Fault::OtherUser) => "somebody else".into(),
        _ => model.claims["sub"].clone(),
    };
    Ok(Json(claims))
}
