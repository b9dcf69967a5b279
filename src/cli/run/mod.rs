//! `trainyard run`: runs the jobs of a folder on this machine, with the service's engine.

mod container;
mod snapshot;
mod summary;
pub(super) mod view;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;

use super::files::{files_of, paths_of, plan_of};
use super::jobs::{Column, columns, label};
use super::problems::{self, number_of};
use super::table::{Colour, paint, wants_colours, width_of};
use super::trigger_args::TriggerArgs;
use crate::attempt::{Additions, HOME, JobImage, Judgement, NewContainer, SmokeJob, Training};
use crate::config::Config;
use crate::domain::{AttemptId, BuildState, JobId, JobKind, PullRequest, Trigger, TriggerKind, Verdict, in_words};
use crate::executor::{Engine, ExecError, Mount};
use crate::lora::smoke::Smoke;
use crate::plan::{Commit, Plan, PlannedJob};
use crate::travis::script::{self, Facts, Files, Numbered, PullRequestFacts};
use container::{INTERRUPTED, Interrupts, Runner, canceled};
use snapshot::Snapshot;
use summary::Ended;
use view::View;

/// The number of the pull request that a run pretends to build.
const PULL_REQUEST: i64 = 1;

const IMAGES_ARE_NOT_PULLED: &str =
    "Images are never pulled: `docker images` lists what is here, and --image names another one to run in.\n";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder with the `.travis.yml`. In git, the jobs see the files that a commit would contain: also changes that
    /// are not committed yet, but no files that git ignores.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Run this job only. A train job runs only if it is named here.
    #[arg(long, value_name = "N")]
    job: Option<String>,
    #[command(flatten)]
    asked: TriggerArgs,
    /// Run the smoke job of this training config only: a path in DIR.
    #[arg(long, value_name = "CONFIG", conflicts_with = "job")]
    smoke: Option<String>,
    /// Run every job in this image, whatever the `.travis.yml` says.
    #[arg(long)]
    image: Option<String>,
    /// The service's configuration, for its images, limits and Docker engine.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
    /// Print facts as JSON at the end, and the logs to standard error.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if arguments.config.is_none() {
        // The list keeps foreign code away from an operator's machine. Here users run their own code.
        config.images.allowed = vec!["*".to_owned()];
    }
    let snapshot = Snapshot::take(&arguments.folder).await?;
    let trigger = trigger(&arguments.asked, &snapshot);
    let smoke = arguments.smoke.as_deref().map(|path| path.trim_start_matches("./"));
    if let Some(path) = smoke
        && !snapshot.path().join(path).is_file()
    {
        eprintln!("trainyard: there is no {path} in {}: name a training config in it", arguments.folder.display());
        return Ok(super::USAGE);
    }
    let plan = plan_of(snapshot.path(), &trigger, smoke)?;
    let mut view = view(arguments.json);
    let found = problems::render(&plan.problems, view.colours());
    view.say(&found)?;
    if let Some(state) = nothing_to_run(&plan, smoke, &mut view)? {
        return finish(&arguments, &plan, state, &[]);
    }
    let Some(wanted) = wanted(&plan, arguments.job.as_deref()) else {
        let numbers: Vec<&str> = plan.jobs.iter().map(|job| job.number.as_str()).collect();
        let numbers = numbers.join(", ");
        match &arguments.job {
            Some(job) => eprintln!("trainyard: there is no job {job}; trainyard plan lists the jobs: {numbers}"),
            None => eprintln!("trainyard: there are train jobs only, which run here when --job names one: {numbers}"),
        }
        return Ok(super::USAGE);
    };
    for note in &snapshot.notes {
        let line = format!("{}: {note}\n", paint("note", Colour::Faint, view.colours()));
        view.say(&line)?;
    }
    let docker = config.runner.first().context("a configuration without a runner")?.docker(&instance())?;
    docker.version().await?;
    let build = Build {
        runner: Runner {
            engine: Engine::new(docker, 0),
            images: config.images,
            limits: config.limits,
            mounts: config.mount,
        },
        image: arguments.image.as_deref(),
        checkout: snapshot.path(),
        trigger,
        columns: columns(&plan.jobs),
        plan: &plan,
    };
    let mut interrupts = Interrupts::listen().context("listening for signals")?;
    let ended = build.run(&wanted, &mut view, &mut interrupts).await?;
    let state = summary::state_of(&ended);
    build.conclude(&ended, state, &mut view)?;
    let status = finish(&arguments, &plan, state, &ended)?;
    Ok(interrupts.caught.map_or(status, |signal| 128 + signal))
}

/// Reports why no job runs, and returns the build's state then. Returns `None` when there are jobs to run.
fn nothing_to_run(plan: &Plan, smoke: Option<&str>, view: &mut View) -> anyhow::Result<Option<BuildState>> {
    if problems::has_errors(&plan.problems) {
        view.say("Nothing was run: mend the errors first.\n")?;
        let state = if plan.is_fatal() { BuildState::Errored } else { BuildState::Failed };
        return Ok(Some(state));
    }
    if let Some(reason) = &plan.skip {
        view.say(&format!("Nothing to build: {reason}\n"))?;
        return Ok(Some(BuildState::Passed));
    }
    if let Some(path) = smoke.filter(|_| plan.jobs.is_empty()) {
        view.say(&format!("Nothing was run: {path} is not a training config that can be run by itself.\n"))?;
        return Ok(Some(BuildState::Errored));
    }
    if plan.jobs.is_empty() {
        view.say("Nothing to run.\n")?;
        return Ok(Some(BuildState::Passed));
    }
    Ok(None)
}

fn view(json: bool) -> View {
    if json {
        let stderr = std::io::stderr();
        let (colours, columns) = (wants_colours(&stderr), width_of(&stderr));
        View::new(Box::new(stderr), colours, columns)
    } else {
        let stdout = std::io::stdout();
        let (colours, columns) = (wants_colours(&stdout), width_of(&stdout));
        View::new(Box::new(stdout), colours, columns)
    }
}

/// Prints the facts if JSON was asked for, and returns the exit status.
fn finish(arguments: &Arguments, plan: &Plan, state: BuildState, ended: &[Ended]) -> anyhow::Result<u8> {
    if arguments.json {
        let facts = json!({"state": state, "jobs": ended, "problems": plan.problems, "skip": plan.skip});
        super::print(&format!("{}\n", serde_json::to_string_pretty(&facts)?))?;
    }
    Ok(if state == BuildState::Passed { super::FINE } else { super::PROBLEMS })
}

/// Returns a new id for the labels of this run's containers, so that no other Trainyard touches them.
fn instance() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
}

/// Returns the trigger. A pull request merges the checked-out branch into the branch that the options name.
fn trigger(asked: &TriggerArgs, snapshot: &Snapshot) -> Trigger {
    let known = &snapshot.known;
    let mut trigger = asked.trigger(known);
    if trigger.kind == TriggerKind::PullRequest {
        trigger.pull_request = Some(PullRequest {
            number: PULL_REQUEST,
            title: known.message.lines().next().unwrap_or_default().to_owned(),
            head_branch: known.branch.clone().unwrap_or_else(|| "local".to_owned()),
            head_repo: Some(known.repo.clone()),
            draft: false,
        });
    }
    trigger
}

/// Returns the jobs to run with the places of their stages, in that order; `None` when there is no such job.
fn wanted<'a>(plan: &'a Plan, number: Option<&str>) -> Option<Vec<(usize, &'a PlannedJob)>> {
    let place = |job: &PlannedJob| plan.stages.iter().position(|stage| Some(stage) == job.stage.as_ref()).unwrap_or(0);
    // A whole training runs here only if it is named: it may take days.
    let is_wanted = |job: &&PlannedJob| number.map_or(job.kind != JobKind::Train, |number| job.number == number);
    let chosen = plan.jobs.iter().filter(is_wanted);
    let mut jobs: Vec<_> = chosen.map(|job| (place(job), job)).collect();
    jobs.sort_by_key(|(place, _)| *place);
    (!jobs.is_empty()).then_some(jobs)
}

/// A build that runs on this machine.
struct Build<'a> {
    runner: Runner,
    image: Option<&'a str>,
    checkout: &'a Path,
    trigger: Trigger,
    plan: &'a Plan,
    columns: Vec<Column>,
}

impl Build<'_> {
    /// Runs the jobs one after another.
    async fn run(
        &self,
        jobs: &[(usize, &PlannedJob)],
        view: &mut View,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Vec<Ended>> {
        let mut ended: Vec<Ended> = Vec::new();
        for (stage_order, job) in jobs {
            let begin = Instant::now();
            let earlier: Vec<Ended> = ended.iter().filter(|job| job.stage_order < *stage_order).cloned().collect();
            let (judged, seconds) = if interrupts.caught.is_some() {
                (canceled(INTERRUPTED), 0.0)
            } else if summary::state_of(&earlier) != BuildState::Passed {
                (canceled("an earlier stage did not pass"), 0.0)
            } else {
                let judged = self.run_job(job, view, interrupts).await?;
                (judged, (begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0)
            };
            let job = Ended {
                number: job.number.clone(),
                stage: job.stage.clone(),
                name: job.name.clone(),
                allow_failure: job.allow_failure,
                verdict: judged.verdict,
                exit_status: judged.exit_status,
                seconds,
                reason: judged.reason,
                stage_order: *stage_order,
            };
            if seconds > 0.0 {
                view.say(&summary::verdict_line(&job, view.colours()))?;
            }
            if seconds > 0.0 && job.verdict == Verdict::Errored && job.exit_status.is_none() {
                view.say(IMAGES_ARE_NOT_PULLED)?;
            }
            ended.push(job);
        }
        Ok(ended)
    }

    async fn run_job(
        &self,
        job: &PlannedJob,
        view: &mut View,
        interrupts: &mut Interrupts,
    ) -> anyhow::Result<Judgement> {
        view.begin_job(&summary::title(job, &self.label(job)))?;
        let judged = match self.image_of(job).await {
            Err(ExecError::Job(reason)) => Judgement::could_not_begin(reason),
            Err(ExecError::System(error)) => return Err(error),
            Ok(found) => {
                let number: i64 = job.number.parse().context("a job's number")?;
                let training = Training::of(job.kind, &job.config)?;
                let limits = training.as_ref().map(|training| training.limits(&self.runner.limits));
                let attempt = AttemptId { job: JobId(number), number: 1 };
                let (mut smoke, mut additions) = (None, Additions::default());
                match &training {
                    Some(Training::Smoke(order)) => smoke = Some(self.derived(order)?),
                    Some(Training::Train(order)) => {
                        let config = std::fs::read(self.checkout.join(&order.config)).context("reading the config")?;
                        additions = order.additions(&config, attempt)?;
                        for input in &order.inputs {
                            let missing =
                                format!("{} is not fetched here, so {} is not there.\n", input.from, input.to);
                            view.say(&missing)?;
                        }
                    }
                    None => {}
                }
                let repo = &self.trigger.repo;
                let mounts: Vec<&Mount> = self.runner.mounts.iter().filter(|mount| mount.is_for(repo)).collect();
                let new = NewContainer {
                    attempt,
                    repo,
                    trust_domain: String::new(),
                    script: script::compile(&job.config, &self.facts(number, &found, smoke.as_ref())),
                    image: &found.image.id,
                    cache: None,
                    additions: smoke.map_or(additions, Additions::from),
                    limits: limits.as_ref().unwrap_or(&self.runner.limits),
                    mounts: &mounts,
                    inputs: &[],
                    egress_only: None,
                    gpus: &[],
                };
                self.runner.run(new, training.as_ref(), self.checkout, view, interrupts).await?
            }
        };
        if judged.exit_status.is_some() {
            view.feed(judged.closing.as_bytes())?;
        }
        view.end_job()?;
        Ok(judged)
    }

    async fn image_of(&self, job: &PlannedJob) -> Result<JobImage, ExecError> {
        let Runner { engine, images, .. } = &self.runner;
        match self.image {
            Some(name) => Ok(JobImage { name: name.to_owned(), image: engine.image(name).await?, python: None }),
            None => images.find(engine, &job.config).await,
        }
    }

    /// Derives a smoke job's training again, as the plan did.
    fn derived(&self, smoke: &SmokeJob) -> anyhow::Result<Smoke> {
        let (files, paths) = (files_of(self.checkout)?, paths_of(self.checkout)?);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let commit = Commit { files: &files, paths: &paths, ..Commit::default() };
        Ok(commit.smoke(&smoke.config, &smoke.ask())?)
    }

    fn label(&self, job: &PlannedJob) -> String {
        let index = self.plan.jobs.iter().position(|planned| planned.number == job.number).unwrap_or_default();
        label(&self.columns, index)
    }

    /// Collects the facts for the script. Facts that only the service knows are empty.
    fn facts(&self, number: i64, found: &JobImage, smoke: Option<&Smoke>) -> Facts {
        let Trigger { kind, repo, branch, tag, sha, message, pull_request, .. } = &self.trigger;
        let commit = sha.to_string();
        let pull_request = pull_request.as_ref().map(|pull| PullRequestFacts {
            number: pull.number,
            branch: pull.head_branch.clone(),
            sha: commit.clone(),
            slug: pull.head_repo.as_ref().map(ToString::to_string).unwrap_or_default(),
            draft: pull.draft,
        });
        Facts {
            home: HOME.to_owned(),
            image: found.name.clone(),
            image_id: found.image.id.clone(),
            python: found.python.clone(),
            // The files are those of the work tree, committed or not.
            files: Files::InPlace,
            host: "localhost".to_owned(),
            repo: repo.clone(),
            private: false,
            event: *kind,
            branch: branch.clone().unwrap_or_default(),
            tag: tag.clone(),
            commit,
            commit_range: String::new(),
            commit_message: message.clone().unwrap_or_default(),
            pull_request,
            build: Numbered { id: 1, number: "1".to_owned(), url: String::new() },
            job: Numbered { id: number, number: format!("1.{number}"), url: String::new() },
            restarted: false,
            secrets_allowed: false,
            settings: Vec::new(),
            github_api: None,
            cache: None,
            decrypted: Vec::new(),
            is_training: false,
            smoke: smoke.map(|smoke| smoke.changes.clone()),
        }
    }

    /// Shows the table of the jobs and the verdict.
    fn conclude(&self, ended: &[Ended], state: BuildState, view: &mut View) -> anyhow::Result<()> {
        let table = summary::table(self.plan, &self.columns, ended).render(view.colours(), view.columns());
        let took: f64 = ended.iter().map(|job| job.seconds).sum();
        let (words, colour) = match state {
            BuildState::Passed => ("The build passed", Colour::Green),
            BuildState::Canceled => ("The build was canceled", Colour::Yellow),
            BuildState::Errored => ("The build errored", Colour::Red),
            BuildState::Failed | BuildState::Queued | BuildState::Running => ("The build failed", Colour::Red),
        };
        let count = number_of(ended.len(), "job");
        let took = in_words(std::time::Duration::from_secs_f64(took));
        let verdict = paint(words, colour, view.colours());
        view.say(&format!("\n{table}\n{verdict}: {count} in {took}\n"))
    }
}
