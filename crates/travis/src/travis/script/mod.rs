//! The compiler that turns one job's config and the facts of its build into one bash script.
//!
//! The order of the stages is travis-build's: set-up, checkout, environment, language, the job's phases, the end.
//! Everything that comes from outside is either quoted or, where Travis lets bash evaluate it, passed to `eval` as one
//! quoted word, so that no text can end the script's own syntax.

mod checkout;
mod deploy;
mod environment;
mod languages;
mod phases;
mod prepare;

pub use checkout::{Files, checkout_of};
pub use deploy::{is_supported as deploys_with, may_deploy, missing as missing_for_deploy, surely_deploys};

use serde_json::Value as Json;

use super::matrix::Config;
use super::shell::quoted;
use super::{cache, secrets};
use crate::domain::{ConfigChange, RepoName, TriggerKind};

/// Start of the last line that a script prints when it reaches its end; the result follows (`functions.sh`).
pub const LAST_WORDS: &str = "Done. Your build exited with ";

/// The facts about a job besides its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Home folder in the container, without a slash at its end. The checkout is in `build/OWNER/NAME` below it.
    pub home: String,
    /// Image that the job runs in, for messages.
    pub image: String,
    /// Id of the image that the name stood for when the job began.
    pub image_id: String,
    /// The version of Python that runs in place of the one that the job asks for, which has no image.
    pub python: Option<PythonSubstitute>,
    /// Place of the checkout's files before the script runs.
    pub files: Files,
    /// The server's host name, and the start of its pages' addresses, such as `https://ci.example.org`.
    pub host: String,
    /// The repository; for a pull request, its base repository.
    pub repo: RepoName,
    /// True when the repository is private.
    pub private: bool,
    /// Kind of event that requested the build.
    pub event: TriggerKind,
    /// The branch; a pull request's base branch; empty for a tag.
    pub branch: String,
    pub tag: Option<String>,
    /// The commit that is built.
    pub commit: String,
    /// `before...after`; empty when there is nothing to compare with.
    pub commit_range: String,
    pub commit_message: String,
    pub pull_request: Option<PullRequestFacts>,
    /// The build's row, its number and the address of its page.
    pub build: Numbered,
    /// The job's row, its number (`12.3`) and the address of its page.
    pub job: Numbered,
    /// True when a person started the job again.
    pub restarted: bool,
    /// True when the job may have the repository's secrets.
    pub secrets_allowed: bool,
    /// Variables of the repository's settings.
    pub settings: Vec<Setting>,
    /// Address of GitHub's API, for releases; `None` when nothing may be deployed.
    pub github_api: Option<String>,
    /// The cache that the job begins with, in words; `None` without a server that keeps caches.
    pub cache: Option<String>,
    /// True for a train job.
    pub is_training: bool,
    /// Changes to a smoke job's config; `None` for other jobs.
    pub smoke: Option<Vec<ConfigChange>>,
    /// Clear texts of the config's `secure:` strings. A secret that is missing here is left out.
    pub decrypted: Vec<(String, String)>,
}

impl Facts {
    /// Returns true if the job gets any secret.
    fn has_secrets(&self) -> bool {
        !self.decrypted.is_empty() || self.settings.iter().any(|setting| setting.secret)
    }
}

/// A version of Python that stands in for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonSubstitute {
    pub version: String,
    /// Sentence for the log and the page.
    pub warning: String,
}

/// The details of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequestFacts {
    pub number: i64,
    /// The branch that the pull request comes from.
    pub branch: String,
    /// Id of the head commit.
    pub sha: String,
    /// The repository that the pull request comes from, `owner/name`; empty when that repository was deleted.
    pub slug: String,
    pub draft: bool,
}

/// The identity of a build or a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Id of the row.
    pub id: i64,
    /// Number that people see.
    pub number: String,
    /// Address of the page.
    pub url: String,
}

/// A variable of the repository's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    /// The value, which bash does not evaluate.
    pub value: String,
    /// True when the log shows `[secure]` instead of the value.
    pub secret: bool,
}

/// Compiles the script of a job. Its exit status is 0 when the job passed, 1 when it failed, and anything else when it
/// could not do its work.
pub fn compile(config: &Json, facts: &Facts) -> String {
    let mut config = config.clone();
    secrets::reveal(&mut config, &facts.decrypted);
    let empty = Config::new();
    let config = config.as_object().unwrap_or(&empty);
    let mut script = Script::default();
    // No terminal is attached: with a single stream, the log has a single order.
    script.line("exec 2>&1");
    // The variable is for the container's init only: in a job it would change what the job's own init does.
    script.line("unset TINI_KILL_PROCESS_GROUP");
    script.text(include_str!("functions.sh"));
    environment::header(&mut script, config, facts);
    prepare::prepare(&mut script, config, facts);
    checkout::checkout(&mut script, config, facts);
    environment::export(&mut script, config, facts);
    if let Some(why) = languages::unsupported(config) {
        script.stop(&why);
        return script.0;
    }
    languages::setup(&mut script, config, facts);
    cache(&mut script, config, facts);
    smoke(&mut script, config, facts);
    train(&mut script, config, facts);
    phases::phases(&mut script, config, facts);
    script.line("travis_footer");
    script.0
}

/// Shows the cache in the log. The worker puts the cache in place before the start, and takes it out after the end.
fn cache(script: &mut Script, config: &Config, facts: &Facts) {
    let (Some(found), Some(_)) = (&facts.cache, cache::wanted(config)) else { return };
    script.line("travis_fold start cache.1");
    script.line(&format!("printf '%s\\n' {}", quoted(found)));
    script.line("travis_fold end cache.1");
    for word in cache::without_effect(config) {
        script.print(
            "YELLOW",
            &format!("`cache: {word}` has no effect here: name the folders under `cache: directories:`."),
        );
    }
}

/// Shows what the job tries, so that the author does not have to guess it from a failure.
fn smoke(script: &mut Script, config: &Config, facts: &Facts) {
    let (Some(changes), Some(asked)) = (&facts.smoke, config.get("smoke")) else { return };
    let path = asked.get("config").and_then(Json::as_str).unwrap_or_default();
    let head = format!("A smoke job tries {path} on a CPU, with a mock model and dummy data.");
    script.print("YELLOW", &head);
    script.line("travis_fold start smoke.1");
    script.line(&format!("printf '%s\\n' {}", quoted("In its config these keys differ:")));
    for ConfigChange { key, from, to } in changes {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        script.line(&format!("printf '%s\\n' {}", quoted(&format!("  {key}: {} -> {}", shown(from), shown(to)))));
    }
    script.line("travis_fold end smoke.1");
}

/// Watches for checkpoints of a whole training, and says from which one it goes on.
fn train(script: &mut Script, config: &Config, facts: &Facts) {
    let of_order = |key: &str| config.get("train").and_then(|train| train.get(key)).and_then(Json::as_str);
    let place = of_order("checkpoints").or(of_order("output"));
    let Some(place) = place.filter(|_| facts.is_training) else { return };
    let folder = quoted(&format!("{}/build/{}/{place}", facts.home, facts.repo));
    let mark = quoted(&format!("{}/.travis/checkpoint", facts.home));
    script.line("[ -z \"${RESUME_FROM:-}\" ] || printf 'Goes on from %s, which attempt %s has saved.\\n' \"$RESUME_FROM\" \"$RESUME_ATTEMPT\"");
    script.line("[ -z \"${RESUME_FROM:-}\" ] || travis_order_files \"$RESUME_FROM\"");
    // Not a child of this shell: a `wait` of the job must not wait for it.
    script.line(&format!("mkdir -p {}", quoted(&format!("{}/.travis", facts.home))));
    script.line(&format!("( travis_watch_checkpoints {folder} {mark} >/dev/null 2>&1 & )"));
}

/// A script in progress.
#[derive(Debug, Default)]
struct Script(String);

impl Script {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Adds a command of the author's, with Travis's options for it.
    fn command(&mut self, command: &str, options: &str) {
        self.line(&format!("travis_cmd {} {options}", quoted(command)));
    }

    /// Adds text for the log, in a colour of `functions.sh`.
    fn print(&mut self, color: &str, text: &str) {
        self.line(&format!("printf '%b%s%b\\n' \"$ANSI_{color}\" {} \"$ANSI_RESET\"", quoted(text)));
    }

    /// Ends the job as errored.
    fn stop(&mut self, why: &str) {
        self.print("RED", why);
        self.line("printf '\\nYour build has been stopped.\\n'");
        self.line("travis_terminate 2");
    }
}

#[cfg(test)]
mod tests;
