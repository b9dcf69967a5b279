//! Smoke jobs: one for each training config, to prove that a training with it works.

use serde_json::{Value as Json, json};

use super::problems::{of_build, of_file};
use super::{CONFIG, Commit, MAX_JOBS, Plan, PlannedJob, SourceFile, bounds};
use crate::domain::{JobKind, Problem, Rule, Severity, TrainingRequest, Trigger, TriggerKind};
use crate::lora::smoke::{self, Ask, Smoke, Unfit};
use crate::lora::{Dialect, Repository, Settings, Wanted};
use crate::travis::matrix::Config;

/// Folder of a smoke job's files in its container: next to the checkout, not in it.
pub const FOLDER: &str = "/home/travis/smoke";
/// Maximum number of smoke jobs in a build. An author who changes a hundred configs at once wants to know whether they
/// can work at all.
const MOST: usize = 20;
/// Keys that a smoke job and a train job take from a script job: those that set up its machine.
pub(super) const KEPT: [&str; 15] = [
    "os",
    "dist",
    "language",
    "python",
    "image",
    "env",
    "git",
    "addons",
    "services",
    "cache",
    "before_install",
    "install",
    "filter_secrets",
    "conda",
    "arch",
];

/// Adds the smoke jobs to a plan without errors. Their machines are set up like that of the job `like`.
pub(super) fn add(
    plan: &mut Plan,
    like: &Config,
    commit: &Commit<'_>,
    repository: &Repository<'_>,
    settings: &Settings,
    trigger: &Trigger,
) {
    if settings.smoke.wanted == Wanted::Nothing && commit.only_smoke.is_none() {
        return;
    }
    let is_asked = settings.given || commit.config().is_none() || commit.only_smoke.is_some();
    // A tag, a schedule or a person requests a test of everything, not of a change.
    let is_change = matches!(trigger.kind, TriggerKind::Push | TriggerKind::PullRequest | TriggerKind::Travis);
    let wants_all = settings.smoke.wanted == Wanted::All || !is_change;
    let ask =
        Ask { steps: settings.smoke.steps, resolution: settings.smoke.resolution, command: settings.command.clone() };
    let room = MOST.min(MAX_JOBS.saturating_sub(plan.jobs.len()));
    // Smoke jobs run next to the jobs of the first stage.
    let stage = plan.jobs.first().and_then(|job| job.stage.clone());
    let mut jobs = Vec::new();
    let is_wanted = |file: &&SourceFile| match commit.only_smoke {
        Some(path) => file.path == path,
        None => file.path != CONFIG && settings.covers(&file.path) && (wants_all || is_changed(file, commit)),
    };
    for file in commit.files.iter().filter(is_wanted) {
        if jobs.len() == room {
            // A config that gets no job is not derived: that takes megabytes.
            if smoke::is_run(&file.path, &file.text) {
                let message = format!("there is no smoke job: a build has at most {MOST} of them, and {MAX_JOBS} jobs");
                plan.problems.push(of_file(Severity::Warning, Rule::Smoke, &file.path, message));
            }
            continue;
        }
        match smoke::derive(&file.path, &file.text, &ask, repository, FOLDER) {
            Err(Unfit::NotRun(_)) => {}
            Err(Unfit::Cannot(why)) => {
                let severity = if is_asked { Severity::Warning } else { Severity::Info };
                plan.problems.push(of_file(severity, Rule::Smoke, &file.path, format!("there is no smoke job: {why}")));
            }
            Ok(smoke) if !is_asked && !installs(smoke.dialect, commit) => {
                let trainer = smoke.dialect.name();
                let message = format!(
                    "there is no smoke job: no file here installs {trainer}; add the key `lora` to {CONFIG} \
                     to get one"
                );
                plan.problems.push(of_file(Severity::Info, Rule::Smoke, &file.path, message));
            }
            Ok(smoke) => jobs.push(PlannedJob {
                number: (plan.jobs.len() + jobs.len() + 1).to_string(),
                kind: JobKind::Smoke,
                stage: stage.clone(),
                name: Some(bounds::name(&format!("smoke {}", file.path))),
                allow_failure: false,
                config: config_of(like, &file.path, &smoke, &ask, settings.smoke.timeout.as_secs()),
            }),
        }
    }
    plan.jobs.extend(jobs);
}

/// Returns the error of a requested config that gets no smoke job: nothing was tried, so the build must not pass.
pub(super) fn untried(plan: &Plan, asked: Option<&TrainingRequest>) -> Option<Problem> {
    let path = asked.filter(|asked| !asked.whole)?.config.as_deref()?;
    if !plan.jobs.is_empty() || plan.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return None;
    }
    let is_there = plan.problems.iter().any(|problem| problem.file.as_deref() == Some(path));
    let why = if is_there { "see its problems" } else { "the commit has no training config of this path" };
    Some(of_build(Severity::Error, Rule::Smoke, format!("{path} has no smoke job: {why}")))
}

/// Returns true if the push or pull request changes the config, or a file that it names.
pub(super) fn is_changed(file: &SourceFile, commit: &Commit<'_>) -> bool {
    let Some(changed) = commit.changed else { return true };
    let text = String::from_utf8_lossy(&file.text);
    let is_named = |path: &&str| (path.ends_with(".toml") || path.ends_with(".json")) && text.contains(*path);
    changed.contains(file.path.as_str()) || changed.iter().any(is_named)
}

/// Returns true if the repository installs a trainer that comes as a package. A trainer that is a script was already
/// looked for when the smoke job was derived.
fn installs(dialect: Dialect, commit: &Commit<'_>) -> bool {
    let names: &[&str] = match dialect {
        Dialect::Axolotl => &["axolotl"],
        Dialect::Trl => &["trl"],
        Dialect::LlamaFactory => &["llamafactory", "LLaMA-Factory", "llama-factory"],
        _ => return true,
    };
    let tells =
        |file: &&SourceFile| file.path == CONFIG || file.path == "pyproject.toml" || is_requirements(&file.path);
    commit.files.iter().filter(tells).any(|file| {
        let text = String::from_utf8_lossy(&file.text);
        names.iter().any(|name| text.contains(name))
    })
}

/// Returns true if pip reads a file of this name.
pub(super) fn is_requirements(path: &str) -> bool {
    path.starts_with("requirements") && path.ends_with(".txt") && !path.contains('/')
}

/// Returns the job in Travis's form. The request stands under `smoke`. The rest is derived from the commit again when
/// the job starts, since it takes megabytes.
fn config_of(like: &Config, path: &str, smoke: &Smoke, ask: &Ask, timeout: u64) -> Json {
    let kept = like.iter().filter(|(key, _)| KEPT.contains(&key.as_str()));
    let mut config: Config = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    config.insert("script".to_owned(), json!([smoke.command]));
    let Ask { steps, resolution, command } = ask;
    let asked = json!({
        "config": path, "steps": steps, "resolution": resolution, "command": command, "timeout": timeout,
        "expected_steps": smoke.steps,
    });
    config.insert("smoke".to_owned(), asked);
    Json::Object(config)
}
