//! What a commit's files ask for: jobs and problems. Pure: it reads no file and knows no clock.

use std::cmp::Reverse;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::domain::{JobKind, Problem, Severity, Trigger, TriggerKind};
use crate::travis::document::document;
use crate::travis::import::{self, Imports, Merged, Source};
use crate::travis::normal::{Options, normalize};
use crate::travis::without_effect::without_effect;
use crate::travis::{branches, condition, matrix, traps};
use crate::yaml::Document;
use crate::{lora, yaml};
use problems::{Told, fatal, problem};

mod problems;

/// The file of the CI.
pub const CONFIG: &str = ".travis.yml";
/// The most jobs of a build, as on Travis.
pub const MAX_JOBS: usize = 200;
/// How much of a file the caller reads, in bytes: one more than is planned with, so that a longer file shows as such.
pub const READ_AT_MOST: usize = yaml::MAX_BYTES + 1;
/// The most problems that are told of one file; who has mended those sees the next.
const MAX_PROBLEMS: usize = 200;
/// The largest file that may be a training config, in bytes.
const MAX_TRAINING_CONFIG: u64 = 256 * 1024;

/// A file of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path from the root of the repository.
    pub path: String,
    /// Its bytes, at most [`READ_AT_MOST`].
    pub text: Vec<u8>,
}

/// What the plan must know of the repository.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Whether the repository is a fork.
    pub fork: bool,
    /// The settings' variables that conditions may see, by name.
    pub env: serde_json::Map<String, Json>,
}

/// What to build.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    /// The jobs, in the order of their numbers.
    pub jobs: Vec<PlannedJob>,
    /// The names of the stages that have jobs, in their order; empty without stages.
    pub stages: Vec<String>,
    /// What is wrong or worth knowing.
    pub problems: Vec<Problem>,
    /// Why nothing is to be built, if so: not a problem, the author asked for it.
    pub skip: Option<String>,
    /// Whether the build is decided without the jobs that may fail (`jobs.fast_finish`).
    #[serde(skip)]
    pub fast_finish: bool,
    /// How many training configs were linted.
    #[serde(skip)]
    pub linted: usize,
    /// The other files that the config was put together from, as problems name them.
    #[serde(skip)]
    pub imported: Vec<String>,
}

/// A job to run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedJob {
    /// Its number in the build, from 1.
    pub number: String,
    /// What it does.
    pub kind: JobKind,
    /// Its stage.
    pub stage: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Whether its failure does not count.
    pub allow_failure: bool,
    /// Travis's normal form of the job.
    pub config: Json,
}

impl Plan {
    /// Whether the `.travis.yml` cannot be built from: the build is errored.
    pub fn is_fatal(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error && self.is_of_travis(problem))
    }

    /// Whether a training config has errors: the build is failed.
    pub fn has_lint_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error && !self.is_of_travis(problem))
    }

    fn is_of_travis(&self, problem: &Problem) -> bool {
        let is_config = |file: &str| file == CONFIG || self.imported.iter().any(|imported| imported == file);
        problem.file.as_deref().is_none_or(is_config)
    }
}

/// Whether the plan wants to see the file of this path and size in bytes.
pub fn wants(path: &str, size: u64) -> bool {
    // A `.travis.yml` that is too large is wanted too: that is said to its author.
    if path == CONFIG {
        return true;
    }
    const NOT_THE_AUTHORS: [&str; 6] = [".git", "node_modules", "vendor", "third_party", ".venv", "site-packages"];
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let is_config = matches!(path.rsplit_once('.'), Some((_, "yaml" | "yml" | "toml" | "json")));
    is_config
        && size <= MAX_TRAINING_CONFIG
        && path.len() <= 300
        && folders.split('/').count() <= 8
        && !folders.split('/').any(|folder| NOT_THE_AUTHORS.contains(&folder))
}

/// The files that the `.travis.yml` imports, or that imported ones import, and that nobody has looked for yet. Whoever
/// wants a plan looks for them and asks again, until there are none.
pub fn wanted_imports(files: &[SourceFile], imports: &Imports, trigger: &Trigger, settings: &Settings) -> Vec<Source> {
    let config = files.iter().find(|file| file.path == CONFIG).filter(|_| skipped(trigger).is_none());
    let document = config.and_then(|file| document(0, &file.text).ok());
    document.map_or_else(Vec::new, |document| merged(document, imports, trigger, &data(trigger, settings)).wanted)
}

fn merged(document: Document, imports: &Imports, trigger: &Trigger, data: &Json) -> Merged {
    import::merged(document, imports, import::Build { repo: &trigger.repo, config: CONFIG, data })
}

/// Plans the build of a commit with these files and with what was found of the files that it imports.
pub fn plan(files: &[SourceFile], imports: &Imports, trigger: &Trigger, settings: &Settings) -> Plan {
    if let Some(skip) = skipped(trigger) {
        return Plan { skip: Some(skip), ..Plan::default() };
    }
    let mut plan = match files.iter().find(|file| file.path == CONFIG) {
        None => fatal("no-config", "there is no .travis.yml: add one, with the key `script` at least", None),
        Some(file) => travis(&file.text, imports, trigger, settings),
    };
    if plan.skip.is_none() {
        let others = files.iter().filter(|file| file.path != CONFIG);
        // Only these files are known here, so only what they say can be looked up, and not which others are there.
        let repository = lora::Repository::of([], files.iter().map(|file| (file.path.as_str(), file.text.as_slice())));
        for lint in others.filter_map(|file| lora::lint(&file.path, &file.text, &repository)) {
            plan.linted += 1;
            plan.problems.extend(lint.problems);
        }
    }
    plan
}

/// The plan of a `.travis.yml`.
fn travis(text: &[u8], imports: &Imports, trigger: &Trigger, settings: &Settings) -> Plan {
    let document = match document(0, text) {
        Ok(document) => document,
        Err(fault) => return fatal(fault.rule, &fault.message, Some(fault.at)),
    };
    if document.root.is_none() {
        return fatal("empty-config", "the file is empty: say what to run, with the key `script`", None);
    }
    let data = data(trigger, settings);
    let Merged { document, sources, messages, faults, wanted } = merged(document, imports, trigger, &data);
    let told = Told(&sources);
    let mut problems: Vec<Problem> = messages.iter().map(|message| told.message(message)).collect();
    problems.extend(faults.iter().map(|fault| told.fault(fault)));
    problems.extend(wanted.iter().map(Told::not_looked_for));
    problems.sort_by_key(|problem| Reverse(problem.severity));
    problems.truncate(MAX_PROBLEMS);
    let imported: Vec<String> = sources.iter().skip(1).map(Source::to_string).collect();
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        // What is left out may decide everything, so nothing more can be said.
        return Plan { problems, imported, ..Plan::default() };
    }
    let normal = match normalize(&document, Options::PRODUCTION) {
        Ok(normal) => normal,
        Err(error) => return fatal("not-a-map", &error.to_string(), None),
    };
    let config = normal.config.as_object().cloned().unwrap_or_default();
    if let Some(skip) = unwanted(&config, &data, trigger) {
        return Plan { skip: Some(skip), ..Plan::default() };
    }
    let matrix = matrix::matrix(&config, &data);
    let messages = normal.messages.iter().chain(&matrix.messages);
    problems.extend(messages.take(MAX_PROBLEMS).map(|message| told.message(message)));
    let untold = normal.untold + (normal.messages.len() + matrix.messages.len()).saturating_sub(MAX_PROBLEMS);
    if untold > 0 {
        let message = format!("{untold} more problems of the file are not shown: mend these first");
        problems.push(problem(Severity::Warning, "too-many-problems", message, None, None));
    }
    for (name, at) in document.unresolved.iter().take(MAX_PROBLEMS) {
        let message = format!("`*{name}` has no anchor `&{name}` above it, so it stands for nothing");
        problems.push(told.problem(Severity::Warning, "unknown-alias", message, *at, None));
    }
    if let Some(root) = &document.root {
        let traps = traps::traps(root, &config, &matrix.jobs).into_iter().chain(without_effect(root));
        problems.extend(traps.map(|trap| told.trap(trap)));
    }
    problems.extend(too_many_or_none(matrix.jobs.len(), matrix.truncated));
    let jobs = matrix.jobs.into_iter().take(MAX_JOBS).enumerate().map(|(index, job)| planned(index, job)).collect();
    let name = |stage: &Json| stage.get("name").and_then(Json::as_str).map(str::to_owned);
    let stages = matrix.stages.iter().filter_map(name).collect();
    let fast_finish = config.get("jobs").and_then(|jobs| jobs.get("fast_finish")) == Some(&Json::Bool(true));
    Plan { jobs, stages, problems, imported, fast_finish, ..Plan::default() }
}

fn planned(index: usize, config: matrix::Config) -> PlannedJob {
    let text = |key: &str| config.get(key).and_then(Json::as_str).map(str::to_owned);
    PlannedJob {
        number: (index + 1).to_string(),
        kind: JobKind::Script,
        stage: text("stage"),
        name: text("name"),
        allow_failure: config.get("allow_failure") == Some(&Json::Bool(true)),
        config: Json::Object(config),
    }
}

fn too_many_or_none(jobs: usize, truncated: bool) -> Option<Problem> {
    if truncated {
        let message =
            "the matrix is too large to be worked out: give it fewer values, entries or conditions".to_owned();
        return Some(problem(Severity::Error, "too-many-jobs", message, None, None));
    }
    if jobs == 0 {
        let message = "no job is left: the conditions, `exclude` and `stages` leave all of them out".to_owned();
        return Some(problem(Severity::Error, "no-jobs", message, None, None));
    }
    let message = format!("the file makes {jobs} jobs, of which {MAX_JOBS} at most are built: make the matrix smaller");
    (jobs > MAX_JOBS).then(|| problem(Severity::Error, "too-many-jobs", message, None, None))
}

/// The data for conditions.
fn data(trigger: &Trigger, settings: &Settings) -> Json {
    let kind = match trigger.kind {
        TriggerKind::Push | TriggerKind::Tag | TriggerKind::Travis => "push",
        TriggerKind::PullRequest => "pull_request",
        TriggerKind::Cron => "cron",
        TriggerKind::Api => "api",
    };
    let pull = trigger.pull_request.as_ref();
    json!({
        "type": kind,
        "repo": trigger.repo.to_string(),
        "head_repo": pull.and_then(|pull| pull.head_repo.as_ref()).map(ToString::to_string),
        "head_branch": pull.map(|pull| pull.head_branch.clone()),
        "branch": trigger.branch.as_ref().or(trigger.tag.as_ref()),
        "tag": trigger.tag,
        "sender": trigger.sender,
        "fork": settings.fork,
        "draft": pull.map(|pull| pull.draft),
        "commit_message": trigger.message,
        "env": [Json::Object(settings.env.clone())],
    })
}

/// Words in a commit message that ask for no build; cron builds do not read it.
fn skipped(trigger: &Trigger) -> Option<String> {
    const WORDS: [&str; 5] = ["ci", "travis", "travis ci", "travis-ci", "travisci"];
    if trigger.kind == TriggerKind::Cron {
        return None;
    }
    let message = trigger.message.as_deref()?.to_lowercase();
    let mut forms = WORDS.iter().flat_map(|word| [format!("[skip {word}]"), format!("[{word} skip]")]);
    let found = forms.find(|form| message.contains(form))?;
    Some(format!("the commit message has {found}"))
}

/// Why the file wants no build of this event.
fn unwanted(config: &matrix::Config, data: &Json, trigger: &Trigger) -> Option<String> {
    let name = trigger.branch.as_deref().or(trigger.tag.as_deref()).unwrap_or_default();
    if let Err(why) = branches::builds(config.get("branches"), name) {
        return Some(why);
    }
    let text = config.get("if")?.as_str()?;
    // One that cannot be read is told of by the normal form, and its jobs are left out.
    let condition = condition::parse(text).ok()?;
    let holds = condition.holds(condition::Data { variables: data, env: &data["env"] });
    (holds == Ok(false)).then(|| format!("the condition `{text}` of the file does not hold"))
}

#[cfg(test)]
mod tests;
