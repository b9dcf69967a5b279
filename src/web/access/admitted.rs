//! The findings of the gate about a request that it has let in, for handlers.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::lookup::{Named, find};
use super::viewer::Viewer;
use super::{Access, Sight};
use crate::domain::{BuildId, JobId, RepoId, RepoName, Right};
use crate::web::State;
use crate::web::error::Error;

/// A repository that the viewer may read, and for a change also write.
#[derive(Debug, Clone)]
pub(in crate::web) struct Repo {
    pub(in crate::web) id: RepoId,
    pub(in crate::web) owner: String,
    pub(in crate::web) name: String,
    pub(in crate::web) default_branch: String,
    /// The viewer's right.
    pub(in crate::web) right: Right,
}

/// A job whose repository the viewer may read.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct OfJob(pub(in crate::web) JobId);

/// A build whose repository the viewer may read.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct OfBuild(pub(in crate::web) BuildId);

/// The viewer of a request, who has what the route needs.
#[derive(Debug, Clone)]
pub(in crate::web) struct View {
    pub(in crate::web) viewer: Arc<Viewer>,
    /// True if everyone may read everything.
    pub(in crate::web) is_open: bool,
    /// Path of the login that returns to the page of the request.
    pub(in crate::web) login: String,
    pub(super) access: Access,
}

/// Mark of an answer that was given before, to the same request. It is not in the record of changes a second time.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Replayed;

/// A request that the gate has let in.
#[derive(Debug, Clone)]
pub(in crate::web) struct Admitted {
    pub(super) view: View,
    pub(super) repo: Option<Repo>,
    pub(super) named: Option<Named>,
}

impl View {
    /// Returns the name of the viewer, for rows and logs.
    pub(in crate::web) fn who(&self) -> String {
        self.viewer.name().unwrap_or_default()
    }

    /// Returns true if a page offers changes to the viewer. Somebody who is not logged in may have a token.
    pub(in crate::web) fn may_change(&self, repo: &Repo) -> bool {
        matches!(*self.viewer, Viewer::Anonymous) || repo.right >= Right::Write
    }

    /// Returns true if the viewer sees the alerts, which name repositories and machines.
    pub(in crate::web) fn sees_alerts(&self) -> bool {
        self.is_open || self.viewer.is_operator()
    }

    /// Returns the id of a repository of this name, if the viewer may read it.
    pub(in crate::web) async fn readable(&self, name: &RepoName) -> Result<Option<RepoId>, Error> {
        let Access(inner) = &self.access;
        let Some(found) = find(&inner.db, self.viewer.person(), &Named::Repo(name.clone())).await? else {
            return Ok(None);
        };
        let right = self.access.right(&self.viewer, self.is_open, &found, Right::Read).await?;
        Ok(right.map(|_| found.id))
    }

    /// Returns the private repositories that the viewer may read, for lists.
    pub(in crate::web) async fn sight(&self) -> Result<Sight, Error> {
        self.access.sight(&self.viewer, self.is_open).await
    }
}

impl Admitted {
    /// Returns the private repositories that the viewer may read now; `None` if the session or the token is over. A stream
    /// asks that at times.
    pub(in crate::web) async fn sight(&self) -> Result<Option<Sight>, Error> {
        let View { viewer, access, .. } = &self.view;
        let is_open = access.is_open().await?;
        if !is_open && !viewer.is_good(&access.0.db).await? {
            return Ok(None);
        }
        access.sight(viewer, is_open).await.map(Some)
    }

    /// Returns true if the viewer may still read the repository of the request. A stream asks that at times.
    pub(in crate::web) async fn may_still_read(&self) -> Result<bool, Error> {
        let View { viewer, access, .. } = &self.view;
        let Some(named) = &self.named else { return Ok(true) };
        let is_open = access.is_open().await?;
        if !viewer.is_good(&access.0.db).await? {
            return Ok(is_open);
        }
        let Some(found) = find(&access.0.db, viewer.person(), named).await? else { return Ok(false) };
        Ok(access.right(viewer, is_open, &found, Right::Read).await?.is_some())
    }
}

/// Returns what the gate has found. A route that stands in no table would have none.
fn admitted(parts: &Parts) -> Result<&Admitted, Error> {
    let admitted = parts.extensions.get::<Admitted>();
    admitted.ok_or_else(|| Error::Internal(anyhow::anyhow!("a handler stands behind no gate")))
}

macro_rules! from_gate {
    ($type:ty, $get:expr) => {
        impl FromRequestParts<State> for $type {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Error> {
                let missing = || Error::Internal(anyhow::anyhow!("a handler needs what its route does not name"));
                let get: fn(&Admitted) -> Option<$type> = $get;
                get(admitted(parts)?).ok_or_else(missing)
            }
        }
    };
}

from_gate!(Admitted, |admitted| Some(admitted.clone()));
from_gate!(View, |admitted| Some(admitted.view.clone()));
from_gate!(Repo, |admitted| admitted.repo.clone());
from_gate!(OfJob, |admitted| match admitted.named {
    Some(Named::Job(job)) => Some(OfJob(job)),
    _ => None,
});
from_gate!(OfBuild, |admitted| match admitted.named {
    Some(Named::Build(build)) => Some(OfBuild(build)),
    _ => None,
});
