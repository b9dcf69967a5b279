//! The plan of a `.travis.yml`.

use std::cmp::Reverse;

use serde_json::{Value as Json, json};

use super::problems::{Told, fatal, problem};
use super::{CONFIG, MAX_JOBS, MAX_OF_FILE, Plan, PlannedJob, Settings, SourceFile, bounds, skipped};
use crate::domain::{JobKind, Problem, RequestConfig, Rule, Severity, Trigger, TriggerKind};
use crate::lora;
use crate::travis::document::{Fault, document};
use crate::travis::import::{self, Imports, Merged, Source};
use crate::travis::normal::{Options, normalize};
use crate::travis::unsupported::unsupported;
use crate::travis::{branches, condition, extensions, matrix, notifications, traps};
use crate::yaml;

/// Returns the files that the `.travis.yml` imports, directly or through other imports, and that were not looked up
/// yet. The caller looks them up and asks again, until there are none.
pub fn wanted_imports(files: &[SourceFile], imports: &Imports, trigger: &Trigger, settings: &Settings) -> Vec<Source> {
    let config = files.iter().find(|file| file.path == CONFIG);
    if skipped(trigger).is_some() || config.is_none() && settings.requested.is_empty() {
        return Vec::new();
    }
    let merged = merged(config, imports, trigger, &settings.requested, &data(trigger, settings));
    merged.map(|merged| merged.wanted).unwrap_or_default()
}

/// Merges the configuration with its imports. A fault of the file itself is an error, unless a request has another
/// configuration.
fn merged(
    config: Option<&SourceFile>,
    imports: &Imports,
    trigger: &Trigger,
    requested: &[RequestConfig],
    data: &Json,
) -> Result<Merged, Fault> {
    let build = import::Build { repo: &trigger.repo, config: CONFIG, data };
    let text = config.map(|file| file.text.as_slice());
    if requested.is_empty() {
        Ok(import::merged(document(0, text.unwrap_or_default())?, imports, build))
    } else {
        Ok(import::merged_request(requested, text, imports, build))
    }
}

/// The content of a `.travis.yml`.
#[derive(Default)]
pub(super) struct Travis {
    /// Jobs and problems of the file.
    pub(super) plan: Plan,
    /// The job whose set-up is used for jobs that the file does not spell out.
    pub(super) like: matrix::Config,
    /// Settings for trainings.
    pub(super) lora: lora::Settings,
}

impl From<Plan> for Travis {
    fn from(plan: Plan) -> Self {
        Self { plan, ..Self::default() }
    }
}

pub(super) fn travis(config: Option<&SourceFile>, imports: &Imports, trigger: &Trigger, settings: &Settings) -> Travis {
    let data = data(trigger, settings);
    let mut merged = match merged(config, imports, trigger, &settings.requested, &data) {
        Ok(merged) => merged,
        Err(fault) => return fatal(fault.rule, &fault.message, Some(fault.at)).into(),
    };
    if merged.document.root.is_none() && merged.faults.is_empty() {
        return fatal(Rule::EmptyConfig, "the file is empty: say what to run, with the key `script`", None).into();
    }
    // `lora` is not part of Travis's language.
    let lora = merged.document.root.as_mut().and_then(|root| root.take("lora"));
    let (lora, findings) = lora.map(|entry| lora::Settings::read(&entry.value)).unwrap_or_default();
    let text = config.and_then(|file| std::str::from_utf8(&file.text).ok()).unwrap_or_default();
    let told = Told { sources: &merged.sources, text };
    let wrong: Vec<Problem> = findings.into_iter().map(|finding| told.finding(finding)).collect();
    let has = |key| merged.document.root.as_ref().is_some_and(|root| root.get(key).is_some());
    let is_only_lora = lora.given && !["script", "jobs", "matrix"].into_iter().any(has);
    let mut plan = of_document(merged, text, &data, trigger);
    if plan.skip.is_none() {
        plan.problems.extend(wrong);
    }
    let like = plan.jobs.iter().filter_map(|job| job.config.as_object());
    let like =
        like.clone().find(|config| config.get("language").is_some_and(|name| name == "python")).or(like.clone().next());
    let like = like.cloned().unwrap_or_else(python);
    if is_only_lora {
        plan.jobs.clear();
        plan.stages.clear();
    }
    Travis { plan, like, lora }
}

/// Returns the job of a repository that does not describe its machine.
pub(super) fn python() -> matrix::Config {
    let document = yaml::read("language: python").unwrap_or_default();
    let normal = normalize(&document, Options::PRODUCTION).map(|normal| normal.config).unwrap_or_default();
    normal.as_object().cloned().unwrap_or_default()
}

/// Plans a document with all its imports.
fn of_document(merged: Merged, text: &str, data: &Json, trigger: &Trigger) -> Plan {
    let Merged { document, sources, messages, faults, conditions, wanted } = merged;
    let told = Told { sources: &sources, text };
    let mut problems: Vec<Problem> = messages.iter().map(|message| told.message(message)).collect();
    problems.extend(faults.iter().map(|fault| told.fault(fault)));
    problems.extend(wanted.iter().map(Told::not_looked_for));
    problems.sort_by_key(|problem| Reverse(problem.severity));
    problems.truncate(MAX_OF_FILE);
    let imported: Vec<String> = sources.iter().map(Source::to_string).filter(|name| name != CONFIG).collect();
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        // A file that is left out may decide everything, so nothing more can be reported.
        return Plan { problems, imported, ..Plan::default() };
    }
    let normal = match normalize(&document, Options::PRODUCTION) {
        Ok(normal) => normal,
        Err(error) => return fatal(Rule::NotAMap, &error.to_string(), None),
    };
    let config = normal.config.as_object().cloned().unwrap_or_default();
    if let Some(skip) = unwanted(&config, data, trigger) {
        return Plan { skip: Some(skip), ..Plan::default() };
    }
    let matrix = matrix::matrix(&config, data);
    let messages =
        normal.messages.iter().chain(&matrix.messages).filter(|message| !extensions::is_of_extension(message));
    problems.extend(messages.take(MAX_OF_FILE).map(|message| told.message(message)));
    let untold = normal.untold + (normal.messages.len() + matrix.messages.len()).saturating_sub(MAX_OF_FILE);
    if untold > 0 {
        let message = format!("{untold} more problems of the file are not shown: fix these first");
        problems.push(problem(Severity::Warning, Rule::TooManyProblems, message, None, None));
    }
    for (name, at) in document.unresolved.iter().take(MAX_OF_FILE) {
        let message = format!("`*{name}` has no anchor `&{name}` above it, so it stands for nothing");
        problems.push(told.problem(Severity::Warning, Rule::UnknownAlias, message, *at, None));
    }
    problems.extend(traps::import_traps(&conditions).into_iter().map(|trap| told.trap(trap)));
    if let Some(root) = &document.root {
        let traps = traps::traps(root, &config, &matrix.jobs).into_iter().chain(unsupported(root));
        let traps = traps.chain(extensions::wrong_values(root));
        let traps = traps.chain(traps::missing_keys(root, &config, &matrix.jobs, data));
        problems.extend(traps.map(|trap| told.trap(trap)));
    }
    problems.extend(too_many_or_none(matrix.jobs.len(), matrix.truncated));
    let jobs = matrix.jobs.into_iter().take(MAX_JOBS).enumerate().map(|(index, job)| planned(index, job)).collect();
    let name = |stage: &Json| stage.get("name").and_then(Json::as_str).map(bounds::name);
    let stages = matrix.stages.iter().filter_map(name).collect();
    let fast_finish = config.get("jobs").and_then(|jobs| jobs.get("fast_finish")) == Some(&Json::Bool(true));
    let webhooks = notifications::webhooks(&config, data);
    Plan { jobs, stages, problems, imported, fast_finish, webhooks, ..Plan::default() }
}

fn planned(index: usize, config: matrix::Config) -> PlannedJob {
    let text = |key: &str| config.get(key).and_then(Json::as_str).map(bounds::name);
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
        let message = "the matrix is too large to expand: give it fewer values, entries or conditions".to_owned();
        return Some(problem(Severity::Error, Rule::TooManyJobs, message, None, None));
    }
    if jobs == 0 {
        let message = "no job is left: the conditions, `exclude` and `stages` leave all of them out".to_owned();
        return Some(problem(Severity::Error, Rule::NoJobs, message, None, None));
    }
    let message = format!("the file makes {jobs} jobs, of which {MAX_JOBS} at most are built: make the matrix smaller");
    (jobs > MAX_JOBS).then(|| problem(Severity::Error, Rule::TooManyJobs, message, None, None))
}

/// Returns the data that conditions see.
pub(super) fn data(trigger: &Trigger, settings: &Settings) -> Json {
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

/// Returns the reason why the file excludes this event from building, if it does.
fn unwanted(config: &matrix::Config, data: &Json, trigger: &Trigger) -> Option<String> {
    let name = trigger.branch.as_deref().or(trigger.tag.as_deref()).unwrap_or_default();
    if let Err(why) = branches::builds(config.get("branches"), name) {
        return Some(why);
    }
    let text = config.get("if")?.as_str()?;
    // The normal form reports a condition that cannot be parsed, and its jobs are left out.
    let condition = condition::parse(text).ok()?;
    let holds = condition.holds(condition::Data { variables: data, env: &data["env"] });
    (holds == Ok(false)).then(|| format!("the condition `{text}` of the file does not hold"))
}
