//! Builds and jobs, with their addresses.

use serde::Serialize;
use utoipa::ToSchema;

use crate::web::State;
use crate::web::rows::{Build, Job};

/// A build, with the address of its page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Build)]
pub(in crate::web) struct BuildAnswer {
    #[serde(flatten)]
    build: Build,
    /// Address of the build's page.
    url: String,
}

impl BuildAnswer {
    pub(in crate::web) fn new(state: &State, build: Build) -> Self {
        Self { url: state.public(&build.path()), build }
    }
}

/// A job, with the addresses of what belongs to it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(in crate::web) struct JobAnswer {
    #[serde(flatten)]
    job: Job,
    /// Address of the job's page.
    url: String,
    log_url: String,
    series_url: String,
    resources_url: String,
    artifacts_url: String,
}

impl JobAnswer {
    pub(super) fn new(state: &State, build: &Build, job: Job) -> Self {
        let part = |part: &str| state.public(&format!("/api/v1/jobs/{}/{part}", job.id));
        Self {
            url: state.public(&format!("{}/jobs/{}", build.path(), job.number)),
            log_url: part("log"),
            series_url: part("series"),
            resources_url: part("resources"),
            artifacts_url: part("artifacts"),
            job,
        }
    }
}
