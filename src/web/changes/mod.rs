//! Changes over HTTP. Each needs a token of `[auth]`.

pub(super) mod approve;
pub(super) mod cancel;
pub(super) mod crons;
pub(super) mod replay;
pub(super) mod requests;
pub(super) mod restart;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::State;
use super::error::{Error, InJson};
use super::rows::{self, Build};
use crate::domain::JobId;

/// A build, or one of its jobs, that a person with a token wants to change.
pub(super) struct Change {
    /// The token's name.
    who: String,
    build: Build,
    /// `None` for the whole build.
    job: Option<JobId>,
}

/// The parts of an address such as `/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/cancel`.
#[derive(Deserialize)]
struct Address {
    owner: String,
    repo: String,
    number: String,
    job: Option<String>,
}

impl FromRequestParts<State> for Change {
    type Rejection = InJson;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, InJson> {
        let who = state.auth.who(&parts.headers)?.to_owned();
        let address = Path::<Address>::from_request_parts(parts, state).await;
        let Path(Address { owner, repo, number, job }) = address.map_err(|_| Error::NotFound("build"))?;
        let build = rows::build(&state.db, &owner, &repo, &number).await?;
        let job = match job {
            Some(job) => Some(rows::job(&state.db, build.id, &job).await?.id),
            None => None,
        };
        Ok(Self { who, build, job })
    }
}
