//! Traps about deployments that cannot happen.

mod missing;
mod on;
mod shell_test;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use serde_json::Value as Json;

use super::Trap;
use super::commands::{Command, included};
use crate::domain::{Rule, Severity};
use crate::travis::condition::possible::Budget;
use crate::travis::condition::{self, Condition};
use crate::travis::matrix::Config;
use crate::travis::script::missing_for_deploy;
use crate::yaml::{Data, Mark, Node};
pub use missing::missing_keys;
use on::On;

/// Maximum number of deployments of a file that are checked.
const MAX_DEPLOYMENTS: usize = 50;

/// Returns a trap for each deployment that is cut in two, or whose conditions never hold.
pub(super) fn impossible_deployments(root: &Node, config: &Config, commands: &[Command<'_>]) -> Vec<Trap> {
    let deployments = deployments(root, config);
    let mut traps: Vec<Trap> = deployments.iter().filter_map(cut_in_two).collect();
    // A command may tell the deployment that the build is one of another branch or tag.
    let sets = |name| commands.iter().any(|command| command.text.contains(name));
    if !["TRAVIS_BRANCH=", "TRAVIS_TAG="].into_iter().any(sets) {
        let mut budget = Budget::default();
        traps.extend(deployments.iter().filter_map(|deployment| never_runs(deployment, config, &mut budget)));
    }
    traps
}

/// A deployment as it is written and in its normal form.
struct Deployment<'a> {
    node: &'a Node,
    config: &'a Config,
    /// The entry below it, as written.
    next: Option<&'a Node>,
    /// The job in `jobs.include` that it belongs to.
    job: Option<&'a Config>,
}

impl<'a> Deployment<'a> {
    /// Returns the entry below it, if that surely is the rest of this one.
    fn rest(&self) -> Option<&'a Node> {
        self.next.filter(|next| !next.entries().is_empty() && next.get("provider").is_none())
    }
}

/// Returns the deployments of a file, each place once: an alias repeats others.
fn deployments<'a>(root: &'a Node, config: &'a Config) -> Vec<Deployment<'a>> {
    let mut all = of_map(root, config, None);
    let jobs = config.get("jobs").and_then(|jobs| jobs.get("include")).and_then(Json::as_array);
    let jobs: Vec<&Config> = jobs.into_iter().flatten().filter_map(Json::as_object).collect();
    let nodes: Vec<&Node> = included(root).filter(|job| !job.entries().is_empty()).collect();
    if jobs.len() == nodes.len() {
        all.extend(nodes.into_iter().zip(jobs).flat_map(|(node, job)| of_map(node, job, Some(job))));
    }
    let mut seen = HashSet::new();
    all.retain(|deployment| seen.insert(deployment.node.at));
    all.truncate(MAX_DEPLOYMENTS);
    all
}

/// Returns the deployments of the whole file or of a job; none when the normal form has another number of them.
fn of_map<'a>(node: &'a Node, config: &'a Config, job: Option<&'a Config>) -> Vec<Deployment<'a>> {
    let Some(entry) = node.get("deploy") else { return Vec::new() };
    let nodes = match &entry.value.data {
        Data::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    let nodes: Vec<&Node> = nodes.iter().filter(|node| !node.is_null()).collect();
    let configs = config.get("deploy").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    if nodes.len() != configs.len() {
        return Vec::new();
    }
    let pairs = nodes.iter().zip(configs).enumerate();
    let all = pairs.filter_map(|(index, (node, config))| {
        Some(Deployment { node, config: config.as_object()?, next: nodes.get(index + 1).copied(), job })
    });
    all.collect()
}

/// Reports an entry whose options stand in the next one.
fn cut_in_two(deployment: &Deployment<'_>) -> Option<Trap> {
    let provider = deployment.config.get("provider")?.as_str()?;
    let lacks_script = provider == "script" && !missing_for_deploy(deployment.config).is_empty();
    let message = format!(
        "this entry of `deploy` ends at the `- ` of line {}, which begins another one, so the provider `{provider}` gets \
         nothing of what follows there{}: remove that `- `",
        deployment.rest()?.at.line,
        if lacks_script { ", and without `script` it deploys nothing" } else { "" }
    );
    Some(trap(Rule::IncompleteDeployment, message, deployment.node.at))
}

fn never_runs(deployment: &Deployment<'_>, config: &Config, budget: &mut Budget) -> Option<Trap> {
    let on = On::read(deployment.config, config.get("branches"))?;
    let conditions = conditions(deployment, config);
    let conditions: Vec<&Condition> = conditions.iter().collect();
    let why = on.why_never(&conditions, budget)?;
    Some(trap(Rule::DeploymentNeverRuns, format!("this deployment never runs: {why}"), deployment.node.at))
}

/// Returns the conditions of the job, its stage and the build.
fn conditions(deployment: &Deployment<'_>, config: &Config) -> Vec<Condition> {
    let text = |config: &Config| config.get("if").and_then(Json::as_str).map(str::to_owned);
    let mut texts: Vec<String> = text(config).into_iter().collect();
    if let Some(job) = deployment.job {
        texts.extend(text(job));
        let stages = config.get("stages").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_object);
        let stage = job.get("stage").and_then(|name| stages.clone().find(|stage| stage.get("name") == Some(name)));
        texts.extend(stage.and_then(text));
    }
    texts.iter().filter_map(|text| condition::parse(text).ok()).collect()
}

fn trap(rule: Rule, message: String, at: Mark) -> Trap {
    Trap { severity: Severity::Warning, rule, message, at, key: "deploy".to_owned() }
}
