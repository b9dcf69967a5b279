//! Changes in the form of Travis's API: restarts, cancels, and requests for builds. Each has the right of its own route in
//! the table, as those of our own API.

use axum::Json;
use axum::extract::{self, Path, Request};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::rows;
use crate::domain::{BuildId, DeliveryId, JobId};
use crate::store::{queue, requests};
use crate::web::State;
use crate::web::access::{OfBuild, OfJob, Repo, View};
use crate::web::changes::requests as wanted;
use crate::web::error::{Error, InTravisForm};

type Accepted = Result<(StatusCode, Json<Value>), InTravisForm>;

/// A change of a build or a job.
#[derive(Debug, Clone, Copy)]
enum Act {
    Restart,
    Cancel,
}

impl Act {
    fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Cancel => "cancel",
        }
    }
}

/// `POST /build/{id}/restart`
pub(in crate::web) async fn restart_build(
    extract::State(state): extract::State<State>,
    view: View,
    OfBuild(id): OfBuild,
) -> Accepted {
    change(&state, &view, Act::Restart, id, None).await
}

/// `POST /build/{id}/cancel`
pub(in crate::web) async fn cancel_build(
    extract::State(state): extract::State<State>,
    view: View,
    OfBuild(id): OfBuild,
) -> Accepted {
    change(&state, &view, Act::Cancel, id, None).await
}

/// `POST /job/{id}/restart`
pub(in crate::web) async fn restart_job(
    extract::State(state): extract::State<State>,
    view: View,
    OfJob(id): OfJob,
) -> Accepted {
    change(&state, &view, Act::Restart, build_of(&state, id).await?, Some(id)).await
}

/// `POST /job/{id}/cancel`
pub(in crate::web) async fn cancel_job(
    extract::State(state): extract::State<State>,
    view: View,
    OfJob(id): OfJob,
) -> Accepted {
    change(&state, &view, Act::Cancel, build_of(&state, id).await?, Some(id)).await
}

async fn build_of(state: &State, job: JobId) -> Result<BuildId, Error> {
    Ok(rows::job(&state.db, job).await?.ok_or(Error::NotFound("job"))?.build_id)
}

async fn change(state: &State, view: &View, act: Act, build: BuildId, job: Option<JobId>) -> Accepted {
    let (who, kind) = (view.who(), if job.is_some() { "job" } else { "build" });
    let mut tx = state.db.begin().await?;
    match act {
        Act::Restart => {
            let restarted = queue::restart(&mut tx, build, job, &who).await?;
            restarted.map_err(|refused| Error::Conflict(refused.to_string()))?;
        }
        Act::Cancel => {
            if queue::cancel(&mut tx, build, job, &format!("canceled by {who}")).await? == 0 {
                return Err(Error::Conflict(format!("The {kind} has ended already.")).into());
            }
        }
    }
    tx.commit().await?;
    state.bells.outbox.ring();
    state.bells.worker.ring();
    let described = match job {
        Some(job) => rows::job(&state.db, job).await?.map(|job| job.minimal()),
        None => rows::build(&state.db, build).await?.map(|build| build.minimal()),
    };
    let pending = json!({
        "@type": "pending", kind: described, "state_change": act.word(), "resource_type": kind,
    });
    Ok((StatusCode::ACCEPTED, Json(pending)))
}

/// `POST /repo/{slug or id}/requests`
pub(in crate::web) async fn request_build(
    extract::State(state): extract::State<State>,
    view: View,
    repo: Repo,
    request: Request,
) -> Accepted {
    let (id, asked) = wanted::store(&state, &view, &repo, request).await?;
    let repository = rows::repository(repo.id, &repo.owner, &repo.name);
    let request = json!({
        "@type": "request", "@href": href(&repo, &id), "@representation": "minimal", "id": id.as_str(),
        "repository": repository, "branch": asked.branch, "message": asked.message, "state": "pending",
    });
    let pending = json!({
        "@type": "pending", "repository": repository, "request": request, "resource_type": "request",
    });
    Ok((StatusCode::ACCEPTED, Json(pending)))
}

/// `GET /repo/{slug or id}/request/{request}`
pub(in crate::web) async fn request(
    extract::State(state): extract::State<State>,
    repo: Repo,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, InTravisForm> {
    let id: DeliveryId = id.parse().map_err(|_| Error::NotFound("request"))?;
    let told = requests::state(&state.db, repo.id, &id).await?.ok_or(Error::NotFound("request"))?;
    let build = match told.build_id {
        Some(build) => rows::build(&state.db, build).await?.map(|build| build.minimal()),
        None => None,
    };
    Ok(Json(json!({
        "@type": "request", "@href": href(&repo, &id), "@representation": "standard", "id": id.as_str(),
        "state": if told.outcome.is_some() { "finished" } else { "pending" },
        "result": told.outcome.as_ref().map(|_| if build.is_some() { "approved" } else { "rejected" }),
        "message": told.outcome, "repository": rows::repository(repo.id, &repo.owner, &repo.name),
        "builds": build.into_iter().collect::<Vec<_>>(),
    })))
}

fn href(repo: &Repo, id: &DeliveryId) -> String {
    format!("/repo/{}/request/{id}", repo.id.0)
}
