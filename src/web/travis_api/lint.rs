//! The lint of a `.travis.yml` over Travis's API, without a repository.

use axum::Json;
use axum::extract::{self, Request};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::domain::{Problem, Severity, Trigger};
use crate::plan::{CONFIG, Settings, SourceFile};
use crate::planner::{Answer, PlanError, Request as ToPlan};
use crate::travis::import::{Found, Imports};
use crate::web::State;
use crate::web::error::{Error, InTravisForm};

/// Maximum size of a file, in bytes.
const MAX_BODY: usize = 256 << 10;
/// Number of rounds in which a file asks for its imports, which are not looked up.
const MAX_ROUNDS: usize = 20;
/// Turn of a lint. Each is a child process with much memory, and intake needs them too.
static LINTS: Semaphore = Semaphore::const_new(1);

/// `POST /lint`: the body is the file. Nothing of it runs, and nothing is fetched.
pub(in crate::web) async fn lint(
    extract::State(state): extract::State<State>,
    request: Request,
) -> Result<Json<Value>, InTravisForm> {
    let _turn = LINTS.try_acquire().map_err(|_| Error::Busy)?;
    let received = state.webhook_room.receive(request.into_body(), MAX_BODY).await?;
    let warnings = match problems(&state, received.bytes.to_vec()).await {
        Ok(problems) => problems.iter().filter(|it| it.severity != Severity::Info).map(warning).collect(),
        // The file is at fault: it is too large, or takes too long.
        Err(PlanError::Commit(why)) => vec![json!({"key": [], "message": why})],
        Err(PlanError::Away(error)) => return Err(Error::Internal(error).into()),
    };
    Ok(Json(json!({"@type": "lint", "@href": "/lint", "@representation": "standard", "warnings": warnings})))
}

async fn problems(state: &State, text: Vec<u8>) -> Result<Vec<Problem>, PlanError> {
    let away = |error: anyhow::Error| PlanError::Away(error);
    // Nothing in the answer is about a commit. Conditions see a push to the main branch.
    let repo = "lint/travis-yml".parse().map_err(|error| away(anyhow::Error::from(error)))?;
    let sha = "0".repeat(40).parse().map_err(|error| away(anyhow::Error::from(error)))?;
    let trigger = Trigger::push(repo, "main", sha);
    let mut request = ToPlan {
        trigger: &trigger,
        settings: &Settings::default(),
        files: &[SourceFile { path: CONFIG.to_owned(), text }],
        paths: &[CONFIG],
        changed: None,
        imports: Imports::new(),
    };
    let mut planning = state.planner.begin();
    for _ in 0..MAX_ROUNDS {
        match planning.ask(&request).await? {
            Answer::Planned(plan) => return Ok(plan.problems),
            Answer::Wanted(wanted) => {
                request.imports.extend(wanted.into_iter().map(|source| (source, Found::NotHere)));
            }
        }
    }
    Err(PlanError::Commit("the file imports too many others".to_owned()))
}

fn warning(problem: &Problem) -> Value {
    let key: Vec<&str> = problem.key.iter().flat_map(|key| key.split('.')).collect();
    json!({"key": key, "message": problem.message, "line": problem.line, "rule": problem.rule})
}
