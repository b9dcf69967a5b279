//! Client for the REST API of MLflow. Each step of it may be repeated: a run is found by a tag, and the server keeps a
//! value once.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};
use url::Url;

use super::MlflowConfig;

/// Time limit for a request.
const LIMIT: Duration = Duration::from_secs(30);
/// Maximum length of an answer, in bytes, and of words in it, in characters.
const MAX_ANSWER: usize = 4 << 20;
const MAX_WORDS: usize = 200;
/// Maximum number of metrics and of parameters in a request.
const METRICS: usize = 900;
const PARAMETERS: usize = 100;
/// Maximum length of a name and of a parameter, in characters.
const MAX_NAME: usize = 250;
const MAX_PARAMETER: usize = 500;
/// Tag by which a run is known.
const MARKER: &str = "trainyard.attempt";
const USER_AGENT: &str = concat!("trainyard/", env!("CARGO_PKG_VERSION"));

/// A client for one server.
#[derive(Debug, Clone)]
pub struct Mlflow {
    client: Client,
    url: Url,
    token: Option<SecretString>,
}

/// A training as MLflow keeps it.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    pub experiment: &'a str,
    /// Text that no other run has.
    pub marker: &'a str,
    /// Name for people.
    pub name: &'a str,
    /// Begin and end, in milliseconds since 1970.
    pub began: i64,
    pub ended: i64,
    pub has_passed: bool,
    pub metrics: Vec<Metric<'a>>,
    pub parameters: &'a [(String, Json)],
    pub tags: Vec<(&'static str, String)>,
}

/// A value at a step.
#[derive(Debug, Clone, Copy)]
pub struct Metric<'a> {
    pub name: &'a str,
    pub step: u64,
    pub value: f64,
}

/// Reason why a server has not taken a training.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// Another try may succeed.
    #[error("{0}")]
    Later(String),
    /// No other try can succeed.
    #[error("{0}")]
    Never(String),
}

impl Mlflow {
    /// # Errors
    /// Fails when the system's certificates cannot be read.
    pub fn new(config: &MlflowConfig) -> anyhow::Result<Self> {
        // An answer must not choose who sees the token.
        let client = Client::builder().redirect(Policy::none()).timeout(LIMIT).user_agent(USER_AGENT).build()?;
        Ok(Self { client, url: config.url.clone(), token: config.token.clone() })
    }

    /// Stores a training. Returns the address of its page.
    ///
    /// # Errors
    /// Fails with words for people.
    pub async fn store(&self, run: &Run<'_>) -> Result<String, TrackerError> {
        let experiment = self.experiment(run.experiment).await?;
        let id = match self.find(&experiment, run.marker).await? {
            Some(id) => id,
            None => self.create(&experiment, run).await?,
        };
        for metrics in run.metrics.chunks(METRICS) {
            let metrics: Vec<Json> = metrics.iter().map(|metric| metric_of(metric, run.ended)).collect();
            self.post("runs/log-batch", &json!({"run_id": id, "metrics": metrics})).await?;
        }
        for parameters in parameters(run.parameters).chunks(PARAMETERS) {
            self.post("runs/log-batch", &json!({"run_id": id, "params": parameters})).await?;
        }
        for (key, value) in &run.tags {
            self.post("runs/set-tag", &json!({"run_id": id, "key": key, "value": value})).await?;
        }
        let status = if run.has_passed { "FINISHED" } else { "FAILED" };
        self.post("runs/update", &json!({"run_id": id, "status": status, "end_time": run.ended})).await?;
        Ok(format!("{}/#/experiments/{experiment}/runs/{id}", self.url.as_str().trim_end_matches('/')))
    }

    /// Returns the id of the experiment, which is made if there is none.
    async fn experiment(&self, name: &str) -> Result<String, TrackerError> {
        let known = self.named(name).await?;
        if let Some(id) = known {
            return Ok(id);
        }
        match self.ask(Method::POST, "experiments/create", &[], Some(&json!({"name": name}))).await? {
            Answer::Good(json) => text(&json, "/experiment_id"),
            // Another process was faster.
            Answer::Bad { code, .. } if code == "RESOURCE_ALREADY_EXISTS" => {
                self.named(name).await?.ok_or_else(|| unexpected("an experiment"))
            }
            bad @ Answer::Bad { .. } => Err(bad.into_error()),
        }
    }

    async fn named(&self, name: &str) -> Result<Option<String>, TrackerError> {
        let query = [("experiment_name", name)];
        match self.ask(Method::GET, "experiments/get-by-name", &query, None).await? {
            Answer::Good(json) if json.pointer("/experiment/lifecycle_stage") == Some(&json!("deleted")) => {
                Err(TrackerError::Never(format!("the experiment {name} was deleted in MLflow: restore it there")))
            }
            Answer::Good(json) => text(&json, "/experiment/experiment_id").map(Some),
            Answer::Bad { code, .. } if code == "RESOURCE_DOES_NOT_EXIST" => Ok(None),
            bad @ Answer::Bad { .. } => Err(bad.into_error()),
        }
    }

    /// Finds the run that an earlier try has made.
    async fn find(&self, experiment: &str, marker: &str) -> Result<Option<String>, TrackerError> {
        let filter = format!("tags.`{MARKER}` = '{marker}'");
        let query = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
        let found = self.post("runs/search", &query).await?;
        Ok(found.pointer("/runs/0/info/run_id").and_then(Json::as_str).map(str::to_owned))
    }

    async fn create(&self, experiment: &str, run: &Run<'_>) -> Result<String, TrackerError> {
        let tags = json!([{"key": MARKER, "value": run.marker}]);
        let new = json!({"experiment_id": experiment, "run_name": run.name, "start_time": run.began, "tags": tags});
        text(&self.post("runs/create", &new).await?, "/run/info/run_id")
    }

    async fn post(&self, path: &str, body: &Json) -> Result<Json, TrackerError> {
        match self.ask(Method::POST, path, &[], Some(body)).await? {
            Answer::Good(json) => Ok(json),
            bad @ Answer::Bad { .. } => Err(bad.into_error()),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<Answer, TrackerError> {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/api/2.0/mlflow/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret().trim());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| away(&error))?;
        let (status, body) = read(answer).await?;
        let json: Json = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(Answer::Good(json));
        }
        let words = |key: &str| in_one_line(json[key].as_str().unwrap_or_default());
        Ok(Answer::Bad { status, code: words("error_code"), message: self.without_token(&words("message")) })
    }

    /// Takes the token out of the server's words: they are shown to people.
    fn without_token(&self, words: &str) -> String {
        match &self.token {
            Some(token) if !token.expose_secret().trim().is_empty() => {
                words.replace(token.expose_secret().trim(), "[secure]")
            }
            _ => words.to_owned(),
        }
    }
}

enum Answer {
    Good(Json),
    Bad { status: StatusCode, code: String, message: String },
}

impl Answer {
    fn into_error(self) -> TrackerError {
        let Self::Bad { status, code, message } = self else { return unexpected("a failure") };
        let words = format!("MLflow answers {}: {code} {message}", status.as_u16());
        match status.as_u16() {
            // The operator mends a token.
            401 | 403 | 408 | 429 | 500.. => TrackerError::Later(words),
            _ => TrackerError::Never(words),
        }
    }
}

async fn read(mut answer: reqwest::Response) -> Result<(StatusCode, Vec<u8>), TrackerError> {
    let (status, mut body) = (answer.status(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| away(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(TrackerError::Never("the answer of MLflow is too long".to_owned()));
        }
    }
    Ok((status, body))
}

fn text(json: &Json, pointer: &str) -> Result<String, TrackerError> {
    json.pointer(pointer).and_then(Json::as_str).map(str::to_owned).ok_or_else(|| unexpected(pointer))
}

fn unexpected(what: &str) -> TrackerError {
    // A proxy or a page of maintenance answers for it now and then.
    TrackerError::Later(format!("the answer is not in the form of MLflow: it has no {what}"))
}

fn away(error: &reqwest::Error) -> TrackerError {
    let words = if error.is_timeout() { "MLflow does not answer in time" } else { "MLflow cannot be reached" };
    TrackerError::Later(words.to_owned())
}

fn metric_of(Metric { name, step, value }: &Metric<'_>, timestamp: i64) -> Json {
    let value = match value {
        value if value.is_finite() => json!(value),
        value if value.is_nan() => json!("NaN"),
        value if *value > 0.0 => json!("Infinity"),
        _ => json!("-Infinity"),
    };
    json!({"key": name_of(name), "value": value, "step": step, "timestamp": timestamp})
}

/// Returns the parameters in the server's form, each name once.
fn parameters(all: &[(String, Json)]) -> Vec<Json> {
    let named: BTreeMap<String, String> = all
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name_of(key), value.chars().take(MAX_PARAMETER).collect())
        })
        .collect();
    named.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// Returns a name that the server takes: it may use names as paths of files.
fn name_of(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "_-. /".contains(c) { c } else { '_' };
    let plain: String = name.chars().take(MAX_NAME).map(plain).collect();
    let parts: Vec<&str> = plain.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    if parts.is_empty() { "_".to_owned() } else { parts.join("/") }
}

fn in_one_line(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_repository_are_made_harmless() {
        for (name, expected) in [
            ("eval/clip", "eval/clip"),
            ("../../etc/passwd", "etc/passwd"),
            ("/a//b/./c", "a/b/c"),
            ("a\nb<c>", "a_b_c_"),
            ("..", "_"),
            ("", "_"),
        ] {
            assert_eq!(name_of(name), expected, "{name:?}");
        }
        let all = [("a:b".to_owned(), json!(1)), ("a_b".to_owned(), json!("x")), ("c".to_owned(), json!([1, "y"]))];
        assert_eq!(parameters(&all), [json!({"key": "a_b", "value": "x"}), json!({"key": "c", "value": "[1,\"y\"]"})]);
    }

    #[test]
    fn a_refusal_of_the_token_may_be_mended_and_one_of_the_request_may_not() {
        let bad = |status: u16| Answer::Bad {
            status: StatusCode::from_u16(status).expect("a status"),
            code: "X".to_owned(),
            message: "no".to_owned(),
        };
        let later = |status| matches!(bad(status).into_error(), TrackerError::Later(_));
        assert!([401, 403, 429, 500, 503].into_iter().all(later));
        assert_eq!(bad(400).into_error(), TrackerError::Never("MLflow answers 400: X no".to_owned()));
    }
}
