//! The orders to publish the weights of trainings.

use std::collections::BTreeSet;

use globset::GlobBuilder;

use super::PlannedJob;
use super::problems::problem;
use crate::domain::{Problem, Rule, Severity, Trigger};
use crate::lora::{Publish, Train};

const KEY: &str = "lora.train.publish";

/// Returns the place to which a training that starts publishes its weights. `open` has the patterns of the places to
/// which the repository may publish, if they are known. Pull requests publish nothing, and a place
/// that the operator has not opened to the repository is an error.
pub(super) fn place<'a>(
    train: &'a Train,
    trigger: &Trigger,
    open: Option<&[String]>,
) -> (Option<&'a Publish>, Option<Problem>) {
    let Some(publish) = &train.publish else { return (None, None) };
    let told = |severity, message| {
        let problem = problem(severity, Rule::Train, message, Some(publish.at), Some(KEY.to_owned()));
        (None, Some(problem))
    };
    let (repo, target) = (&trigger.repo, &publish.huggingface);
    if trigger.pull_request.is_some() {
        return told(Severity::Info, format!("the weights are not published to {target}: this is a pull request"));
    }
    let matches = |pattern: &String| {
        let glob = GlobBuilder::new(pattern).literal_separator(true).case_insensitive(true).build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(target))
    };
    if open.is_some_and(|open| !open.iter().any(matches)) {
        let message = format!(
            "{repo} may not publish to {target} on the Hugging Face Hub: ask the operator of this server for an entry \
             [[publish.huggingface]] in config.toml"
        );
        return told(Severity::Error, message);
    }
    (Some(publish), None)
}

/// Returns an error if two jobs of the build publish to one place: one of them would hide the other.
pub(super) fn twice(jobs: &[PlannedJob], trainings: &[Train]) -> Option<Problem> {
    let mut seen = BTreeSet::new();
    let targets = jobs.iter().filter_map(|job| job.config["train"]["publish"]["huggingface"].as_str());
    let target = targets.into_iter().find(|target| !seen.insert(target.to_lowercase()))?;
    let is_of = |publish: &&Publish| publish.huggingface == target;
    let at = trainings.iter().filter_map(|train| train.publish.as_ref()).find(is_of).map(|publish| publish.at);
    let message = format!(
        "several train jobs of this build publish to {target}: a build publishes one training to a repository, so name one \
         config, and no matrix"
    );
    Some(problem(Severity::Error, Rule::Train, message, at, Some(KEY.to_owned())))
}
