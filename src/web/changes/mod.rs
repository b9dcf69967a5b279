//! Changes over HTTP. Each needs a right in its repository, by a token or in a browser.

pub(super) mod approve;
pub(super) mod cancel;
pub(super) mod crons;
pub(super) mod publish;
pub(super) mod replay;
pub(super) mod requests;
pub(super) mod restart;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;

use super::State;
use super::access::{Repo, View};
use super::error::{Error, InJson};
use super::rows::{self, Build};
use crate::domain::JobId;

/// A build, or one of its jobs, that somebody wants to change who may.
pub(super) struct Change {
    /// Name of the person or the token.
    who: String,
    build: Build,
    /// `None` for the whole build.
    job: Option<JobId>,
}

/// The parts of an address such as `/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/cancel`.
#[derive(Deserialize)]
struct Address {
    number: String,
    job: Option<String>,
}

impl FromRequestParts<State> for Change {
    type Rejection = InJson;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, InJson> {
        let view = View::from_request_parts(parts, state).await?;
        let repo = Repo::from_request_parts(parts, state).await?;
        let address = Path::<Address>::from_request_parts(parts, state).await;
        let Path(Address { number, job }) = address.map_err(|_| Error::NotFound("build"))?;
        let build = rows::build(&state.db, &repo, &number).await?;
        let job = match job {
            Some(job) => Some(rows::job(&state.db, build.id, &job).await?.id),
            None => None,
        };
        Ok(Self { who: view.who(), build, job })
    }
}
