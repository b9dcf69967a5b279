//! Signed webhooks of Travis.

use trainyard::travis_ci::event::{self, Request};
use trainyard::travis_ci::signature::{PublicKey, Signature};

use crate::support::{Score, corpus};

pub fn scores() -> Vec<Score> {
    let mut vectors = Score::new("webhook", 100.0);
    let Some(corpus) = corpus("webhook.json") else { return vec![vectors] };
    let key = corpus["config_endpoint"]["json"]["config"]["notifications"]["webhook"]["public_key"].as_str();
    let key = PublicKey::from_pem(key.expect("a key")).expect("an RSA key");
    for (index, vector) in corpus["vectors"].as_array().expect("a list").iter().enumerate() {
        let text = |name: &str| vector[name].as_str().expect("a text");
        let form = url::form_urlencoded::parse(text("form_body").as_bytes()).into_owned();
        let payload = form.into_iter().find(|(name, _)| name == "payload").expect("a payload").1;
        let signature = Signature::read(text("signature")).expect("a signature");
        let is_signed = key.verifies(payload.as_bytes(), &signature);
        let changed = payload.replace("\"number\":\"42\"", "\"number\":\"43\"");
        let is_forged = changed == payload || key.verifies(changed.as_bytes(), &signature);
        let asked = event::parse(payload.as_bytes());
        let asks = matches!(&asked, Ok(asked) if matches!(asked.request, Request::Build { .. }));
        let should_ask = text("state") == "passed" && vector["payload"]["pull_request"] == false;
        let equal = payload == text("payload_json") && is_signed && !is_forged && asks == should_ask;
        vectors.count(index, equal, || format!("signed: {is_signed}, forged: {is_forged}, {asked:?}"));
    }
    vec![vectors]
}
