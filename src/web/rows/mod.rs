//! Rows of builds and jobs that both the pages and the JSON API read.

mod build;
mod job;
mod told;

pub(super) use self::build::{Build, build, history, last_of, latest, with_repos};
pub(super) use self::job::{Job, JobFacts, build_and_job, find_job_facts, in_line, job, job_facts, jobs};
pub(super) use self::told::{Told, told};
