//! Publications that begin again, and decisions about those that wait for a person.

use axum::Json;
use axum::extract;
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::Change;
use crate::domain::{JobId, RepoName};
use crate::store::publications::{self, Decision};
use crate::web::State;
use crate::web::access::View;
use crate::web::error::{Error, InJson, Problem};
use crate::web::rows::Build;

/// Publications that a request has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Republished {
    /// Number of publications that begin again.
    publications: u64,
}

/// Publications that a person has decided on.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Decided {
    /// Number of publications.
    publications: u64,
    /// Name of the person.
    decided_by: String,
}

/// Lets the publications of a job begin again that have failed or were rejected. Nothing is trained again.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/publish", operation_id = "publishJob", tag = "Jobs",
    responses((status = 200, description = "The publications begin again", body = Republished),
        (status = 409, description = "None has failed", body = Problem)))]
pub(in crate::web) async fn again(
    extract::State(state): extract::State<State>,
    change: Change,
) -> Result<Json<Republished>, InJson> {
    let (job, repo) = (job_of(&change)?, repo_of(&change.build)?);
    let mut tx = state.db.begin().await?;
    let publications = publications::retry(&mut tx, job, state.publish.required(&repo)).await?;
    if publications == 0 {
        return Err(Error::Conflict("No publication of this job has failed.".to_owned()).into());
    }
    tx.commit().await?;
    info!(%job, "{} publishes job {job} of {repo} again", change.who);
    Ok(Json(Republished { publications }))
}

/// Lets the publications of a job go out that wait for an approval.
///
/// Only the people of the environment may do that.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/publish/approve",
    operation_id = "approvePublication", tag = "Jobs",
    responses((status = 200, description = "They are on their way", body = Decided),
        (status = 403, description = "You are none of the environment's people", body = Problem),
        (status = 409, description = "None waits for an approval", body = Problem)))]
pub(in crate::web) async fn approve(
    extract::State(state): extract::State<State>,
    view: View,
    change: Change,
) -> Result<Json<Decided>, InJson> {
    decide(&state, &view, &change, Decision::Approve).await
}

/// Ends the publications of a job that wait for an approval.
///
/// Only the people of the environment may do that. A person who may write can publish again, and they wait again.
#[utoipa::path(post, path = "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/publish/reject",
    operation_id = "rejectPublication", tag = "Jobs",
    responses((status = 200, description = "Nothing is published", body = Decided),
        (status = 403, description = "You are none of the environment's people", body = Problem),
        (status = 409, description = "None waits for an approval", body = Problem)))]
pub(in crate::web) async fn reject(
    extract::State(state): extract::State<State>,
    view: View,
    change: Change,
) -> Result<Json<Decided>, InJson> {
    decide(&state, &view, &change, Decision::Reject).await
}

async fn decide(state: &State, view: &View, change: &Change, decision: Decision) -> Result<Json<Decided>, InJson> {
    let (job, repo) = (job_of(change)?, repo_of(&change.build)?);
    let nothing = || Error::Conflict("No publication of this job waits for an approval.".to_owned());
    let mut tx = state.db.begin().await?;
    let environment = publications::environment(&mut tx, job).await?.ok_or_else(nothing)?;
    let person = view.viewer.as_person().filter(|_| is_approver(state, view, &repo, &environment));
    let person = person.ok_or_else(|| {
        Error::Forbidden(format!("Only the people of the environment {environment} may decide on this publication."))
    })?;
    let publications = publications::decide(&mut tx, job, &environment, (&person.name, decision)).await?;
    if publications == 0 {
        return Err(nothing().into());
    }
    tx.commit().await?;
    let did = if decision == Decision::Approve { "approved" } else { "rejected" };
    info!(%job, "{} has {did} the publications of job {job} of {repo}", change.who);
    Ok(Json(Decided { publications, decided_by: person.name.clone() }))
}

/// Returns true if the viewer is one of the people of an environment.
pub(in crate::web) fn is_approver(state: &State, view: &View, repo: &RepoName, environment: &str) -> bool {
    let environment = state.publish.environment(repo, environment);
    environment.zip(view.viewer.as_person()).is_some_and(|(environment, person)| environment.is_approver(person))
}

fn job_of(change: &Change) -> Result<JobId, Error> {
    change.job.ok_or(Error::NotFound("job"))
}

fn repo_of(build: &Build) -> Result<RepoName, Error> {
    let name = format!("{}/{}", build.owner, build.name).parse();
    name.map_err(|_| Error::NotFound("repository"))
}
