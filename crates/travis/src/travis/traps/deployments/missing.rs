//! Deployments that lack a key which their provider needs.

use serde_json::Value as Json;

use super::{Deployment, deployments, trap};
use crate::domain::{Rule, Severity};
use crate::travis::matrix::Config;
use crate::travis::script::{missing_for_deploy, surely_deploys};
use crate::travis::traps::Trap;
use crate::yaml::Node;

/// Reports the keys that deployments lack, by the jobs of a build. A deployment that one of them surely begins is an error:
/// the job would run for nothing. Others may be of another branch, so the build goes on. `data` is that of
/// [`matrix::matrix`](crate::travis::matrix::matrix).
pub fn missing_keys(root: &Node, config: &Config, jobs: &[Config], data: &Json) -> Vec<Trap> {
    let all = deployments(root, config).into_iter().filter(|deployment| deployment.rest().is_none());
    all.flat_map(|deployment| of_deployment(&deployment, jobs, data)).collect()
}

fn of_deployment(deployment: &Deployment<'_>, jobs: &[Config], data: &Json) -> Vec<Trap> {
    let Deployment { config, node, .. } = deployment;
    let missing = missing_for_deploy(config);
    if missing.is_empty() {
        return Vec::new();
    }
    let has_it = |job: &Config| {
        let entries = job.get("deploy").and_then(Json::as_array).into_iter().flatten();
        entries.filter_map(Json::as_object).any(|entry| entry == *config)
    };
    let is_sure = surely_deploys(config, data) && jobs.iter().any(has_it);
    let severity = if is_sure { Severity::Error } else { Severity::Warning };
    let provider = config.get("provider").and_then(Json::as_str).unwrap_or_default();
    let told = |(key, value)| {
        let message = format!("the provider `{provider}` deploys nothing without `{key}`: add `{key}:` with {value}");
        Trap { severity, ..trap(Rule::IncompleteDeployment, message, node.at) }
    };
    missing.into_iter().map(told).collect()
}
