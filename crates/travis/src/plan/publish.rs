//! The orders to publish the weights of trainings.

use std::collections::BTreeSet;

use globset::GlobBuilder;
use serde::{Deserialize, Serialize};

use super::PlannedJob;
use super::problems::problem;
use crate::domain::{Problem, Rule, Severity, Trigger};
use crate::lora::{Publish, Train};

const KEY: &str = "lora.train.publish";

/// Permits of the operator for a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PublishPermits {
    /// Patterns of the repositories on the Hugging Face Hub.
    pub huggingface: Vec<String>,
    /// Patterns of the folders in buckets.
    pub s3: Vec<String>,
    /// True if it may publish releases at GitHub.
    pub releases: bool,
    /// Names of its environments.
    pub environments: Vec<String>,
    /// The environment without whose approval nothing of it is published.
    pub required: Option<String>,
}

impl PublishPermits {
    /// Returns why something is not allowed, with the words for it; `None` if all is.
    fn refusal(&self, publish: &Publish) -> Option<String> {
        let matches = |patterns: &[String], target: &str| {
            patterns.iter().any(|pattern| {
                let glob = GlobBuilder::new(pattern).literal_separator(true).case_insensitive(true).build();
                glob.is_ok_and(|glob| glob.compile_matcher().is_match(target))
            })
        };
        if let Some(target) = publish.huggingface.as_ref().filter(|target| !matches(&self.huggingface, target)) {
            return Some(format!(
                "may not publish to {target} on the Hugging Face Hub: {ASK} an entry [[publish.huggingface]] in config.toml"
            ));
        }
        if let Some(folder) = publish.s3.as_ref().filter(|folder| !matches(&self.s3, folder)) {
            return Some(format!("may not publish to {folder}: {ASK} an entry [[publish.s3]] in config.toml"));
        }
        if publish.release && !self.releases {
            return Some(format!("may not publish releases: {ASK} an entry in publish.releases of config.toml"));
        }
        let environment = publish.environment.as_ref()?;
        if let Some(required) = self.required.as_ref().filter(|required| *required != environment) {
            return Some(format!(
                "publishes with the approval of the environment {required}, not of {environment}: name that one"
            ));
        }
        let is_there = self.environments.contains(environment);
        (!is_there)
            .then(|| format!("has no environment {environment}: {ASK} an entry [[publish.environment]] in config.toml"))
    }
}

const ASK: &str = "ask the operator of this server for";

/// Returns the places to which a training that starts publishes its weights. Pull requests publish nothing, and what the
/// operator has not opened to the repository is an error, if that is known.
pub(super) fn places(
    train: &Train,
    trigger: &Trigger,
    permits: Option<&PublishPermits>,
) -> (Option<Publish>, Option<Problem>) {
    let Some(publish) = &train.publish else { return (None, None) };
    let told = |severity, message| {
        let problem = problem(severity, Rule::Train, message, Some(publish.at), Some(KEY.to_owned()));
        (None, Some(problem))
    };
    if trigger.pull_request.is_some() {
        let places: Vec<String> = publish.places().collect();
        let places = places.join(", ");
        return told(Severity::Info, format!("the weights are not published ({places}): this is a pull request"));
    }
    let Some(permits) = permits else { return (Some(publish.clone()), None) };
    if let Some(why) = permits.refusal(publish) {
        return told(Severity::Error, format!("{} {why}", trigger.repo));
    }
    let mut publish = publish.clone();
    publish.environment = publish.environment.or_else(|| permits.required.clone());
    (Some(publish), None)
}

/// Returns an error if two jobs of the build publish to one place: one of them would hide the other.
pub(super) fn twice(jobs: &[PlannedJob], trainings: &[Train]) -> Option<Problem> {
    let mut seen = BTreeSet::new();
    let orders =
        jobs.iter().filter_map(|job| serde_json::from_value::<Publish>(job.config["train"]["publish"].clone()).ok());
    let place = orders
        .flat_map(|publish| publish.places().collect::<Vec<_>>())
        .find(|place| !seen.insert(place.to_lowercase()))?;
    let is_of = |publish: &&Publish| publish.places().any(|its| its == place);
    let at = trainings.iter().filter_map(|train| train.publish.as_ref()).find(is_of).map(|publish| publish.at);
    let message = format!(
        "several train jobs of this build publish to one place ({place}): a build publishes one training to it, so name one \
         config, and no matrix"
    );
    Some(problem(Severity::Error, Rule::Train, message, at, Some(KEY.to_owned())))
}
