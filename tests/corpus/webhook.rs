//! Signed webhooks of Travis.

use serde_json::{Value, json};
use trainyard::domain::BuildState;
use trainyard::travis::notifications::{WebhookBuild, WebhookJob, WebhookRepository};
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
    vec![vectors, payloads(&corpus)]
}

/// Compares our payloads of the same builds, down to the order of the keys.
fn payloads(corpus: &Value) -> Score {
    let mut score = Score::new("webhook payloads", 100.0);
    for (index, vector) in corpus["vectors"].as_array().expect("a list").iter().enumerate() {
        let mut expected = vector["payload"].clone();
        let ours = build(&expected, &vector["previous_state"]).payload();
        // What is not known here.
        let people = ["committed_at", "author_email", "committer_name", "committer_email"];
        people.iter().for_each(|key| expected[*key] = Value::Null);
        expected["commit_id"] = expected["id"].clone();
        for job in expected["matrix"].as_array_mut().expect("a list") {
            people.iter().for_each(|key| job[*key] = Value::Null);
        }
        // As texts, since the order of the keys counts.
        let (ours, expected) = (ours.to_string(), expected.to_string());
        score.count(index, ours == expected, || format!("{ours}\n{expected}"));
    }
    score
}

fn build(payload: &Value, previous: &Value) -> WebhookBuild {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let state = |word: &Value| match word.as_str()? {
        "started" => Some(BuildState::Running),
        word => serde_json::from_value(json!(word)).ok(),
    };
    let kinds = ["push", "pull_request", "cron", "api"];
    WebhookBuild {
        id: payload["id"].as_i64().expect("a number"),
        number: text(&payload["number"]).expect("a text"),
        config: payload["config"].clone(),
        kind: kinds.into_iter().find(|kind| payload["type"] == *kind).expect("a kind"),
        state: state(&payload["state"]).expect("a state"),
        previous: state(previous),
        started_at: text(&payload["started_at"]),
        finished_at: text(&payload["finished_at"]),
        duration: payload["duration"].as_i64(),
        url: text(&payload["build_url"]).expect("a text"),
        commit: text(&payload["commit"]).expect("a text"),
        base_commit: text(&payload["base_commit"]),
        head_commit: text(&payload["head_commit"]),
        branch: text(&payload["branch"]),
        message: text(&payload["message"]),
        compare_url: text(&payload["compare_url"]),
        author_name: text(&payload["author_name"]),
        pull_request: payload["pull_request_number"].as_i64().map(|it| (it, text(&payload["pull_request_title"]))),
        tag: text(&payload["tag"]),
        repository: WebhookRepository {
            id: payload["repository"]["id"].as_i64().expect("a number"),
            owner: text(&payload["repository"]["owner_name"]).expect("a text"),
            name: text(&payload["repository"]["name"]).expect("a text"),
            url: text(&payload["repository"]["url"]),
        },
        jobs: payload["matrix"].as_array().expect("a list").iter().map(job).collect(),
    }
}

fn job(payload: &Value) -> WebhookJob {
    let text = |key: &str| payload[key].as_str().map(str::to_owned);
    let words = ["passed", "failed", "errored", "canceled", "started"];
    WebhookJob {
        id: payload["id"].as_i64().expect("a number"),
        number: text("number").expect("a text"),
        state: words.into_iter().find(|word| payload["state"] == *word).expect("a state"),
        config: payload["config"].clone(),
        started_at: text("started_at"),
        finished_at: text("finished_at"),
        allow_failure: payload["allow_failure"].as_bool().expect("a boolean"),
    }
}
