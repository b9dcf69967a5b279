//! Smoke jobs: one for each training config that shall prove that it can be trained with.

use serde_json::{Value as Json, json};

use super::problems::of_file;
use super::{CONFIG, Commit, MAX_JOBS, Plan, PlannedJob, SourceFile};
use crate::domain::{JobKind, Severity, Trigger, TriggerKind};
use crate::lora::smoke::{self, Ask, Smoke, Unfit};
use crate::lora::{Dialect, Repository, Settings, Wanted};
use crate::travis::matrix::Config;

/// Where the files of a smoke job are in its container: beside the checkout, and not in it.
pub const FOLDER: &str = "/home/travis/smoke";
/// The most smoke jobs of a build: who changes a hundred configs at once wants to know whether they can work at all.
const MOST: usize = 20;
/// What a smoke job has of a script job: what sets its machine up. Data and script are its own.
const KEPT: [&str; 15] = [
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

/// Adds the smoke jobs to a plan without errors. Their machines are set up as that of the job `like`.
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
    // A tag, a schedule or a person asks for the whole, not for a change.
    let is_change = matches!(trigger.kind, TriggerKind::Push | TriggerKind::PullRequest | TriggerKind::Travis);
    let wants_all = settings.smoke.wanted == Wanted::All || !is_change;
    let ask =
        Ask { steps: settings.smoke.steps, resolution: settings.smoke.resolution, command: settings.command.clone() };
    let mut fit = Vec::new();
    let is_wanted = |file: &&SourceFile| match commit.only_smoke {
        Some(path) => file.path == path,
        None => file.path != CONFIG && settings.covers(&file.path) && (wants_all || is_changed(file, commit)),
    };
    for file in commit.files.iter().filter(is_wanted) {
        match smoke::derive(&file.path, &file.text, &ask, repository, FOLDER) {
            Err(Unfit::NotRun(_)) => {}
            Err(Unfit::Cannot(why)) => {
                let severity = if is_asked { Severity::Warning } else { Severity::Info };
                plan.problems.push(of_file(severity, "smoke", &file.path, format!("there is no smoke job: {why}")));
            }
            Ok(smoke) if !is_asked && !installs(smoke.dialect, commit) => {
                let trainer = smoke.dialect.name();
                let message = format!(
                    "there is no smoke job, since nothing here installs {trainer}; with the key `lora` in {CONFIG} \
                     there is one"
                );
                plan.problems.push(of_file(Severity::Info, "smoke", &file.path, message));
            }
            Ok(smoke) => fit.push((file, smoke)),
        }
    }
    let room = MOST.min(MAX_JOBS.saturating_sub(plan.jobs.len()));
    for (file, _) in fit.iter().skip(room) {
        let message = format!("there is no smoke job: a build has at most {MOST} of them, and {MAX_JOBS} jobs");
        plan.problems.push(of_file(Severity::Warning, "smoke", &file.path, message));
    }
    // Beside the jobs of the first stage.
    let stage = plan.jobs.first().and_then(|job| job.stage.clone());
    for (file, smoke) in fit.into_iter().take(room) {
        plan.jobs.push(PlannedJob {
            number: (plan.jobs.len() + 1).to_string(),
            kind: JobKind::Smoke,
            stage: stage.clone(),
            name: Some(format!("smoke {}", file.path)),
            allow_failure: false,
            config: config_of(like, &file.path, &smoke, &ask, settings.smoke.timeout.as_secs()),
        });
    }
}

/// Whether the push or pull request changes the config, or a file that it names.
fn is_changed(file: &SourceFile, commit: &Commit<'_>) -> bool {
    let Some(changed) = commit.changed else { return true };
    let text = String::from_utf8_lossy(&file.text);
    let is_named = |path: &String| (path.ends_with(".toml") || path.ends_with(".json")) && text.contains(path.as_str());
    changed.contains(&file.path) || changed.iter().any(is_named)
}

/// Whether the repository brings a trainer that comes as a package. One that is a script of its own was looked for
/// already.
fn installs(dialect: Dialect, commit: &Commit<'_>) -> bool {
    let names: &[&str] = match dialect {
        Dialect::Axolotl => &["axolotl"],
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

/// Whether pip reads a file of this name.
pub(super) fn is_requirements(path: &str) -> bool {
    path.starts_with("requirements") && path.ends_with(".txt") && !path.contains('/')
}

/// The job in Travis's form. What is asked for stands under `smoke`; whoever starts the job derives the rest from the
/// commit again, since that is megabytes.
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
