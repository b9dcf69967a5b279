//! The plan of a commit: the jobs and problems that follow from its files. Pure: it reads no file and knows no clock.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::domain::{JobKind, Problem, RequestConfig, Rule, Severity, TrainingRequest, Trigger, TriggerKind};
use crate::lora::Wanted;
use crate::lora::smoke::{Ask, Smoke, Unfit};
use crate::travis::import::Imports;
use crate::travis::notifications::Webhooks;
use crate::{lora, yaml};
use bounds::LeftOut;
pub use bounds::MAX_PROBLEMS;
use problems::{fatal, of_file};
pub use publish::PublishPermits;
pub use smoke::FOLDER as SMOKE_FOLDER;
pub use sources::Sources;
pub use travis::wanted_imports;
use travis::{Travis, python, travis};

mod bounds;
mod problems;
mod publish;
mod smoke;
mod sources;
mod train;
mod travis;

/// Path of the CI configuration.
pub const CONFIG: &str = ".travis.yml";
/// Maximum number of jobs in a build, as on Travis.
pub const MAX_JOBS: usize = 200;
/// Maximum number of bytes that the caller reads of a file. It is one more than the plan accepts, so that a longer file
/// is recognized.
pub const READ_AT_MOST: usize = yaml::MAX_BYTES + 1;
/// Maximum number of problems reported for one file. After the author fixes these, the next ones appear.
const MAX_OF_FILE: usize = 200;
/// Maximum size of a table of data, in bytes.
const MAX_TABLE: u64 = READ_AT_MOST as u64 - 1;
/// Maximum size of an image of which the beginning is read, in bytes. An image that is too small for a training is smaller.
const MAX_IMAGE: u64 = READ_AT_MOST as u64 - 1;
/// Number of bytes at the beginning of an image that tell its format and its size.
const IMAGE_HEAD: usize = 16 * 1024;
/// Maximum size of a file that may be a training config, or hold command lines, in bytes.
const MAX_TRAINING_CONFIG: u64 = 256 * 1024;
/// Maximum size of a file without an extension, which is a script at best, in bytes.
const MAX_UNNAMED: u64 = 64 * 1024;

/// A file of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path from the root of the repository.
    pub path: String,
    /// Content of the file, at most as many bytes as [`bytes_wanted`] returns.
    pub text: Vec<u8>,
}

/// The commit to plan, as far as it was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Commit<'a> {
    /// The files that [`wants`] selects.
    pub files: &'a [SourceFile],
    /// Paths of all files in the commit; empty when they are not known.
    pub paths: &'a [&'a str],
    /// Paths that the push or pull request changes; `None` when every file counts as changed.
    pub changed: Option<&'a BTreeSet<&'a str>>,
    /// The training config whose smoke job is the only job to plan, whatever the files contain.
    pub only_smoke: Option<&'a str>,
}

impl<'a, F: AsRef<[SourceFile]> + ?Sized> From<&'a F> for Commit<'a> {
    fn from(files: &'a F) -> Self {
        Self { files: files.as_ref(), ..Self::default() }
    }
}

impl<'a> Commit<'a> {
    /// Derives the training of a smoke job from the commit's files.
    ///
    /// # Errors
    /// Fails when the config is not in the commit or cannot be tried.
    pub fn smoke(&self, path: &str, ask: &Ask) -> Result<Smoke, Unfit> {
        let file = self.files.iter().find(|file| file.path == path);
        let file = file.ok_or_else(|| Unfit::Cannot(format!("{path} is not in the commit")))?;
        lora::smoke::derive(path, &file.text, ask, &self.repository(), SMOKE_FOLDER)
    }

    fn config(&self) -> Option<&'a SourceFile> {
        self.files.iter().find(|file| file.path == CONFIG)
    }

    fn counts_as_changed(&self, path: &str) -> bool {
        self.changed.is_none_or(|changed| changed.contains(path))
    }

    fn repository(&self) -> lora::Repository<'a> {
        self.repository_with(std::iter::empty())
    }

    /// Returns the repository as a training sees it, with the places of its data.
    fn repository_with<'b>(&self, places: impl Iterator<Item = &'b str>) -> lora::Repository<'b>
    where
        'a: 'b,
    {
        let texts = self.files.iter().map(|file| (file.path.as_str(), file.text.as_slice()));
        // Without any path, the files of the commit are not known.
        let paths: &'b [&'b str] = self.paths;
        let places = places.filter(|_| !paths.is_empty());
        lora::Repository::of(paths.iter().copied().chain(places), texts)
    }
}

/// Facts about the repository and the request that the plan depends on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// True when the repository is a fork.
    pub fork: bool,
    /// Variables from the repository settings that conditions may see, by name.
    pub env: serde_json::Map<String, Json>,
    /// Configurations of the request, which win over the `.travis.yml`.
    pub requested: Vec<RequestConfig>,
    /// A request for trainings alone.
    #[serde(default)]
    pub trainings: Option<TrainingRequest>,
    /// The places to which the weights may go; `None` when they are not known.
    #[serde(default)]
    pub publish: Option<PublishPermits>,
}

/// The jobs to build, and the problems found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Jobs in the order of their numbers.
    pub jobs: Vec<PlannedJob>,
    /// Names of the stages that have jobs, in their order; empty without stages.
    pub stages: Vec<String>,
    pub problems: Vec<Problem>,
    /// Reason why nothing is built, if so. This is not a problem: the author asked for it.
    pub skip: Option<String>,
    /// True when the build is decided without the jobs that may fail (`jobs.fast_finish`).
    pub fast_finish: bool,
    /// Number of training configs, and of other files with command lines of trainers, that were linted.
    pub linted: usize,
    /// Webhooks that the config asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<Webhooks>,
    /// Other files that the config was merged from, as problems name them.
    pub imported: Vec<String>,
}

/// A job to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedJob {
    /// Number of the job in the build, from 1.
    pub number: String,
    pub kind: JobKind,
    pub stage: Option<String>,
    pub name: Option<String>,
    /// True when a failure of the job does not count.
    pub allow_failure: bool,
    /// The job in Travis's normal form.
    pub config: Json,
}

impl Plan {
    /// Returns true if nothing can be built from the `.travis.yml`: the build is errored.
    pub fn is_fatal(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error && self.is_of_travis(problem))
    }

    /// Returns true if a training config has errors: the build is failed.
    pub fn has_lint_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error && !self.is_of_travis(problem))
    }

    fn is_of_travis(&self, problem: &Problem) -> bool {
        let is_config = |file: &str| file == CONFIG || self.imported.iter().any(|imported| imported == file);
        problem.file.as_deref().is_none_or(is_config)
    }
}

/// Returns true if the plan requires the file with this path and size in bytes.
pub fn wants(path: &str, size: u64) -> bool {
    // A `.travis.yml` that is too large is wanted, too, so that its author sees a problem.
    if path == CONFIG {
        return true;
    }
    if is_data(path, size) {
        return true;
    }
    const NOT_THE_AUTHORS: [&str; 6] = [".git", "node_modules", "vendor", "third_party", ".venv", "site-packages"];
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    let is_config = matches!(path.rsplit_once('.'), Some((_, "yaml" | "yml" | "toml" | "json")));
    let is_unnamed = !path.rsplit('/').next().unwrap_or(path).contains('.');
    let is_setup = ["setup.cfg", "setup.py"].contains(&path);
    (is_config || is_setup || smoke::is_requirements(path) || lora::may_hold_commands(path))
        && size <= if is_unnamed { MAX_UNNAMED } else { MAX_TRAINING_CONFIG }
        && path.len() <= 300
        && folders.split('/').count() <= 8
        && !folders.split('/').any(|folder| NOT_THE_AUTHORS.contains(&folder))
}

/// Returns the number of bytes at the beginning of a file that the plan reads.
pub fn bytes_wanted(path: &str) -> usize {
    if lora::is_image(path) { IMAGE_HEAD } else { READ_AT_MOST }
}

/// Returns true for data that a lint inspects: tables, and images.
fn is_data(path: &str, size: u64) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_captions = name.starts_with("metadata") && (name.ends_with(".csv") || name.ends_with(".jsonl"));
    let is_table = is_captions || name.ends_with(".parquet");
    (is_table && size <= MAX_TABLE) || (size <= MAX_IMAGE && lora::is_image(name))
}

/// Plans the build of a commit. `imports` holds the result for each file that the commit imports.
pub fn plan<'a>(commit: impl Into<Commit<'a>>, imports: &Imports, trigger: &Trigger, settings: &Settings) -> Plan {
    let mut left_out = LeftOut::default();
    let plan = unbounded(commit.into(), imports, trigger, settings, &mut left_out);
    left_out.finish(plan)
}

fn unbounded(
    commit: Commit<'_>,
    imports: &Imports,
    trigger: &Trigger,
    settings: &Settings,
    left_out: &mut LeftOut,
) -> Plan {
    let is_of_trainings = commit.only_smoke.is_some() || settings.trainings.is_some();
    if let Some(skip) = skipped(trigger).filter(|_| !is_of_trainings) {
        return Plan { skip: Some(skip), ..Plan::default() };
    }
    let has_config = commit.config().is_some() || !settings.requested.is_empty();
    let Travis { mut plan, like, mut lora } = match commit.config() {
        None if !has_config => Travis { like: python(), ..Travis::default() },
        file => travis(file, imports, trigger, settings),
    };
    if is_of_trainings {
        (plan.skip, plan.jobs, plan.stages) = (None, Vec::new(), Vec::new());
    }
    if settings.trainings.is_some() {
        (lora.given, lora.smoke.wanted) = (true, Wanted::All);
    }
    if plan.skip.is_some() {
        return plan;
    }
    if trigger.kind == TriggerKind::Travis {
        // Travis ran them.
        (plan.jobs, plan.stages) = (Vec::new(), Vec::new());
    }
    if plan.jobs.is_empty() {
        let of_deployments = plan.problems.iter_mut().filter(|it| it.rule == Rule::IncompleteDeployment.name());
        // Only the jobs of the file deploy.
        of_deployments.for_each(|problem| problem.severity = Severity::Warning);
    }
    apply_levels(&mut plan.problems, &lora);
    let repository = commit.repository_with(lora.places());
    let is_covered = |file: &&SourceFile| match commit.only_smoke {
        Some(path) => file.path == path,
        None => file.path != CONFIG && lora.covers(&file.path),
    };
    let mut linter = lora::Linter::new(&lora, &repository);
    plan.problems.extend(linter.take_problems(CONFIG));
    if let Some(file) = commit.config().filter(|_| commit.only_smoke.is_none()) {
        plan.problems.extend(linter.lint_commands(CONFIG, &file.text).unwrap_or_default());
    }
    for file in commit.files.iter().filter(is_covered) {
        if let Some(lint) = linter.lint(&file.path, &file.text) {
            plan.linted += 1;
            // A training that cannot begin has no useful estimate of its duration.
            let is_fine = lint.problems.iter().all(|problem| problem.severity < Severity::Error);
            plan.problems.extend(lint.problems);
            let estimate = lint.estimate.filter(|_| is_fine && commit.counts_as_changed(&file.path));
            plan.problems.extend(estimate.map(|told| of_file(Severity::Info, Rule::Estimate, &file.path, told)));
            left_out.trim(&mut plan.problems);
        }
    }
    if !has_config && plan.linted == 0 {
        return fatal(Rule::NoConfig, "there is no .travis.yml: add one, with the key `script` at least", None);
    }
    if !plan.problems.iter().any(|problem| problem.severity == Severity::Error) {
        smoke::add(&mut plan, &like, &commit, &repository, &lora, trigger);
    }
    let data = train::data(trigger, settings);
    let (request, publish) = (settings.trainings.as_ref(), settings.publish.as_ref());
    let asked = train::Asked { trigger, data: &data, request, publish };
    let is_smoke = commit.only_smoke.is_some() && !settings.trainings.as_ref().is_some_and(|request| request.whole);
    if !is_smoke && !plan.problems.iter().any(|problem| problem.severity == Severity::Error) {
        plan.problems.extend(train::without_file(&lora, &commit));
        train::add(&mut plan, &like, &commit, &repository, &lora, &asked);
    }
    plan.problems.extend(smoke::untried(&plan, settings.trainings.as_ref()));
    plan.problems.extend(train::untried(&plan, &lora, &asked));
    plan
}

/// Gives the problems of the `.travis.yml` the levels that its key `lora` sets. An error stays one: it decides the build.
fn apply_levels(problems: &mut Vec<Problem>, lora: &lora::Settings) {
    problems.retain_mut(|problem| {
        let rule = Rule::named(&problem.rule).filter(|_| problem.severity < Severity::Error);
        let level = rule.map_or(Some(problem.severity), |rule| lora.severity(rule, problem.severity));
        problem.severity = level.unwrap_or(problem.severity);
        level.is_some()
    });
}

/// Returns the reason if the commit message asks for no build. Cron builds ignore the message.
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

#[cfg(test)]
mod tests;
