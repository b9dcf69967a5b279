//! Requests for builds.

use std::time::Duration;

use axum::Json;
use axum::extract::{self, Path, Request};
use axum::http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tracing::info;
use utoipa::ToSchema;

use crate::domain::{BuildRequest, DeliveryId, MERGE_MODES, RequestConfig, Sha, Trigger, TriggerKind};
use crate::store::requests::{self, RequestState};
use crate::web::State;
use crate::web::access::{Repo, View};
use crate::web::error::{Error, InJson, Problem};

/// Maximum size of a request, in bytes.
const MAX_BODY: usize = 256 << 10;
/// Type of the body of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// Maximum number of configurations.
const MAX_CONFIGS: usize = 10;
/// Maximum length of a branch's name, in bytes.
const MAX_BRANCH: usize = 255;
/// Time for which an answer waits for its build. Most builds are there before.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);

/// A request in the form of Travis's API: the fields of its `request`, which may also stand alone.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = NewBuild)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Wanted {
    /// The default branch if it is missing.
    branch: Option<String>,
    /// A commit of the branch. Its newest one if it is missing.
    sha: Option<Sha>,
    message: Option<String>,
    /// A configuration, as a map or as a text in YAML, that is merged into `.travis.yml`.
    #[schema(value_type = Option<ConfigText>)]
    config: Option<Value>,
    /// `deep_merge_append`, `deep_merge_prepend`, `deep_merge`, `merge` or `replace`.
    merge_mode: Option<String>,
    /// Several configurations, the one that wins first.
    #[serde(default)]
    configs: Vec<Config>,
}

/// One of several configurations.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RequestConfig)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Config {
    #[schema(value_type = ConfigText)]
    config: Value,
    mode: Option<String>,
}

/// Forms of a request: its fields, or Travis's form with them in `request`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = BuildRequest)]
#[serde(untagged)]
pub(in crate::web) enum Form {
    Travis { request: Wanted },
    Plain(Wanted),
}

/// Progress of a request for a build.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = RequestProgress)]
pub(in crate::web) enum Progress {
    #[serde(rename = "pending")]
    Pending,
    #[serde(rename = "built")]
    Built,
    #[serde(rename = "not built")]
    NotBuilt,
}

/// A request for a build, and what has come of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Request)]
pub(in crate::web) struct Described {
    /// Id of the request.
    request: DeliveryId,
    /// Address of the request.
    url: String,
    state: Progress,
    /// The outcome, in words.
    outcome: Option<String>,
    /// Failure of the last try.
    last_error: Option<String>,
    /// Number of its build.
    build: Option<i32>,
    /// Address of the page of its build.
    build_url: Option<String>,
}

/// Asks for a build of a branch.
///
/// The answer has the request's address, and the build's as soon as there is one.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds", operation_id = "requestBuild", tag = "Builds", request_body = Form,
    responses((status = 202, description = "The request", body = Described),
        (status = 409, description = "Too many requests of the repository wait", body = Problem)))]
pub(in crate::web) async fn create(
    extract::State(state): extract::State<State>,
    view: View,
    repo: Repo,
    request: Request,
) -> Result<(StatusCode, Json<Described>), InJson> {
    let (id, _) = store(&state, &view, &repo, request).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = requests::state(&state.db, repo.id, &id).await?.ok_or(Error::NotFound("request"))?;
        if told.outcome.is_some() || Instant::now() >= deadline {
            return Ok((StatusCode::ACCEPTED, Json(described(&state, &repo, &id, told))));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Stores the request for a build that a body asks for.
pub(in crate::web) async fn store(
    state: &State,
    view: &View,
    repo: &Repo,
    request: Request,
) -> Result<(DeliveryId, BuildRequest), Error> {
    let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == FORM);
    let received = state.webhook_room.receive(request.into_body(), MAX_BODY).await?;
    let wanted = if is_form { of_form(&received.bytes)? } else { parse(&received.bytes)? };
    drop(received);
    let request = asked(repo, view.who(), wanted)?;
    let id = requests::insert(&mut *state.db.acquire().await?, &request).await?;
    let id = id.ok_or_else(|| {
        let most = requests::MAX_OPEN;
        Error::Conflict(format!(
            "There are {most} requests of this repository that wait for their builds. Try again later."
        ))
    })?;
    info!("{} asks for a build of {}/{} {}", request.requested_by, repo.owner, repo.name, request.branch);
    state.bells.intake.ring();
    Ok((id, request))
}

/// Returns what has come of a request for a build.
#[utoipa::path(get, path = "/api/v1/repos/{owner}/{repo}/requests/{request}", operation_id = "getRequest", tag = "Builds",
    responses((status = 200, description = "The request", body = Described)))]
pub(in crate::web) async fn show(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, _, id)): Path<(String, String, String)>,
) -> Result<Json<Described>, InJson> {
    let id: DeliveryId = id.parse().map_err(|_| Error::NotFound("request"))?;
    let told = requests::state(&state.db, repo.id, &id).await?.ok_or(Error::NotFound("request"))?;
    Ok(Json(described(&state, &repo, &id, told)))
}

fn described(state: &State, repo: &Repo, id: &DeliveryId, told: RequestState) -> Described {
    let of_repo = format!("{}/{}", repo.owner, repo.name);
    let progress = match (&told.outcome, told.build) {
        (None, _) => Progress::Pending,
        (Some(_), Some(_)) => Progress::Built,
        (Some(_), None) => Progress::NotBuilt,
    };
    Described {
        request: id.clone(),
        url: state.public(&format!("/api/v1/repos/{of_repo}/requests/{id}")),
        state: progress,
        outcome: told.outcome,
        last_error: told.last_error,
        build: told.build,
        build_url: told.build.map(|number| state.public(&format!("/{of_repo}/builds/{number}"))),
    }
}

fn parse(body: &[u8]) -> Result<Wanted, Error> {
    let form: Form = serde_json::from_slice(body).map_err(|_| {
        Error::BadRequest(
            "The body is not a request in JSON. Its fields are branch, sha, message, config, merge_mode and configs."
                .to_owned(),
        )
    })?;
    Ok(match form {
        Form::Travis { request } => request,
        Form::Plain(wanted) => wanted,
    })
}

/// Reads a request in the form that some clients of Travis send: fields such as `request.branch`.
fn of_form(body: &[u8]) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = value.into_owned();
        match name.strip_prefix("request.") {
            Some("branch") => wanted.branch = Some(value),
            Some("message") => wanted.message = Some(value),
            Some("sha") => {
                let sha =
                    value.parse().map_err(|_| Error::BadRequest("This is not the sha of a commit.".to_owned()))?;
                wanted.sha = Some(sha);
            }
            _ => {
                let why = "A form has request.branch, request.message and request.sha. Send all else as JSON.";
                return Err(Error::BadRequest(why.to_owned()));
            }
        }
    }
    Ok(wanted)
}

/// Checks the name of a branch roughly: git has the last word.
pub(super) fn check_branch(branch: &str) -> Result<(), Error> {
    if branch.is_empty() || branch.len() > MAX_BRANCH || branch.contains(|c: char| c.is_control() || c == ' ') {
        return Err(Error::BadRequest("This is no name of a branch.".to_owned()));
    }
    Ok(())
}

/// Checks a request. Its texts are cut to the lengths that the rows of builds have.
fn asked(repo: &Repo, who: String, wanted: Wanted) -> Result<BuildRequest, Error> {
    let wrong = |why: String| Err(Error::BadRequest(why));
    let branch = wanted.branch.unwrap_or_else(|| repo.default_branch.clone());
    check_branch(&branch)?;
    let mut configs = wanted.configs;
    if let Some(config) = wanted.config {
        configs.insert(0, Config { config, mode: wanted.merge_mode });
    } else if wanted.merge_mode.is_some() {
        return wrong("merge_mode needs a config.".to_owned());
    }
    if configs.len() > MAX_CONFIGS {
        return wrong(format!("A request has at most {MAX_CONFIGS} configurations."));
    }
    let mut requested = Vec::new();
    for Config { config, mode } in configs {
        if let Some(mode) = mode.as_deref().filter(|mode| !MERGE_MODES.contains(mode)) {
            return wrong(format!("There is no merge mode {mode:?}. The modes are {}.", MERGE_MODES.join(", ")));
        }
        let text = match config {
            Value::String(yaml) => yaml,
            config @ Value::Object(_) => config.to_string(),
            _ => return wrong("A config is a map, or a text in YAML.".to_owned()),
        };
        requested.push(RequestConfig { text, mode });
    }
    if wanted.message.as_ref().is_some_and(|message| message.len() > Trigger::MAX_MESSAGE) {
        return wrong(format!("A message has at most {} bytes.", Trigger::MAX_MESSAGE));
    }
    Ok(BuildRequest {
        repo: repo.id,
        kind: TriggerKind::Api,
        branch,
        sha: wanted.sha,
        before: None,
        message: wanted.message,
        requested_by: who,
        configs: requested,
        pull_request: None,
        trainings: None,
    })
}

/// A configuration in a request: a map, or a text in YAML.
#[derive(ToSchema)]
#[schema(as = ConfigText)]
#[serde(untagged)]
#[expect(dead_code, reason = "a schema alone")]
pub(in crate::web) enum ConfigText {
    Map(serde_json::Map<String, Value>),
    Yaml(String),
}
