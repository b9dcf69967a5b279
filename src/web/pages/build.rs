//! `/{owner}/{repo}/builds/{number}`: a build, its problems and its jobs.

use askama::Template;
use axum::extract::{self, Path};

use super::{Chrome, Page, render};
use crate::domain::{BuildState, Problem};
use crate::store::problems;
use crate::web::State;
use crate::web::access::{Repo, View};
use crate::web::error::Error;
use crate::web::rows::{self, Build, Job, Told};
use crate::web::show::{Mark, Prose};

/// A problem with a link to its line.
struct Row {
    mark: Mark,
    place: String,
    link: Option<String>,
    message: Prose,
    problem: Problem,
}

/// Jobs that run at the same time.
struct Stage {
    name: Option<String>,
    jobs: Vec<Job>,
}

#[derive(Template)]
#[template(path = "build.html")]
struct BuildPage {
    chrome: Chrome,
    build: Build,
    /// True if the viewer may approve, cancel and restart.
    may_change: bool,
    problems: Vec<Row>,
    stages: Vec<Stage>,
    told: Vec<Told>,
}

pub(in crate::web) async fn page(
    extract::State(state): extract::State<State>,
    view: View,
    repo: Repo,
    Path((_, _, number)): Path<(String, String, String)>,
) -> Result<Page, Error> {
    let build = rows::build(&state.db, &repo, &number).await?;
    let jobs = rows::jobs(&state.db, build.id).await?;
    let mut connection = state.db.acquire().await?;
    let mut problems = problems::of(&mut connection, build.id).await?;
    drop(connection);
    // Errors come first. Problems of equal severity keep the order in which they were found.
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    let forge = build.forge();
    let row = |problem: Problem| Row {
        mark: problem.severity.into(),
        place: problem.place(),
        message: Prose(problem.message.clone()),
        link: problem.file.as_deref().and_then(|file| forge.line(build.built_sha.as_str(), file, problem.line)),
        problem,
    };
    let problems = problems.into_iter().map(row).collect();
    let told = rows::told(&state.db, build.id).await?;
    let chrome = Chrome::load(&state, &view, !build.state.is_finished()).await?;
    let may_change = view.may_change(&repo);
    render(&BuildPage { chrome, may_change, problems, stages: by_stage(jobs), told, build })
}

/// Groups the jobs by stage, in their order.
fn by_stage(jobs: Vec<Job>) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for job in jobs {
        match stages.last_mut().filter(|stage| stage.name == job.stage) {
            Some(stage) => stage.jobs.push(job),
            None => stages.push(Stage { name: job.stage.clone(), jobs: vec![job] }),
        }
    }
    stages
}

impl BuildPage {
    fn is_live(&self) -> bool {
        !self.build.state.is_finished()
    }

    /// Returns the text for a build without jobs.
    fn why_no_jobs(&self) -> &'static str {
        match self.build.state {
            BuildState::Failed | BuildState::Errored => "Nothing ran: the problems above must be fixed first.",
            BuildState::Canceled => "Nothing ran: the build was canceled before it had any jobs.",
            _ => "There was nothing to run.",
        }
    }
}
