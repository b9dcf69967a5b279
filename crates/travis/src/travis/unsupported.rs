//! Keys that have an effect on Travis's machines but not in a separate container.

use super::artifacts;
use super::script::deploys_with;
use super::traps::Trap;
use crate::domain::{Rule, Severity};
use crate::yaml::{Data, Entry, Node};

/// Addons that have the same effect here as on Travis.
const ADDONS: [&str; 6] = ["apt", "apt_packages", "artifacts", "hosts", "ssh_known_hosts", "apt_sources"];
/// Caches that have no counterpart here.
const CACHES: [&str; 4] = ["apt", "bundler", "cocoapods", "packages"];

/// Returns the places where a file asks for something that is not available here.
pub fn unsupported(root: &Node) -> Vec<Trap> {
    let mut traps = Vec::new();
    for addon in root.get("addons").map(|addons| addons.value.entries()).unwrap_or_default() {
        if !ADDONS.contains(&addon.key.as_str()) {
            let message = format!(
                "the addon `{}` has no effect here: jobs run in containers; put what it stands for into the job's image, \
                 or into `before_install`",
                addon.key
            );
            traps.push(trap(addon, Rule::AddonWithoutEffect, message, format!("addons.{}", addon.key)));
        }
        let keys = addon.value.entries().iter().filter(|_| addon.key == "artifacts");
        for key in keys.filter(|key| !artifacts::KEYS.contains(&key.key.as_str())) {
            let message = format!(
                "`{}` has no effect here: artifacts are kept by this server, and the job's page lists them",
                key.key
            );
            traps.push(trap(key, Rule::AddonWithoutEffect, message, format!("addons.artifacts.{}", key.key)));
        }
    }
    if let Some(services) = root.get("services") {
        let names = words(&services.value);
        if names.iter().any(|name| name.eq_ignore_ascii_case("docker")) {
            let message =
                "the service `docker` is not available: a job with access to Docker is in effect root on the host";
            traps.push(trap(services, Rule::ServiceWithoutEffect, message.to_owned(), "services".to_owned()));
        }
    }
    if let Some(cache) = root.get("cache") {
        let names: Vec<&str> = match &cache.value.data {
            Data::Map(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
            _ => words(&cache.value),
        };
        for name in names.into_iter().filter(|name| CACHES.contains(name)) {
            let message = format!("`cache: {name}` has no effect here: name the folders under `cache: directories:`");
            traps.push(trap(cache, Rule::CacheWithoutEffect, message, "cache".to_owned()));
        }
    }
    if let Some(deploy) = root.get("deploy") {
        let entries = match &deploy.value.data {
            Data::Seq(items) => items.as_slice(),
            _ => std::slice::from_ref(&deploy.value),
        };
        let providers = entries.iter().filter_map(|entry| match entry.get("provider") {
            Some(provider) => provider.value.text(),
            None => entry.text(),
        });
        for provider in providers.filter(|provider| !deploys_with(provider)) {
            let message = format!(
                "the provider `{provider}` is not run here: put its commands into `provider: script`, or nothing is deployed"
            );
            traps.push(trap(deploy, Rule::ProviderWithoutEffect, message, "deploy".to_owned()));
        }
    }
    traps
}

fn words(value: &Node) -> Vec<&str> {
    match &value.data {
        Data::Seq(items) => items.iter().filter_map(Node::text).collect(),
        _ => value.text().into_iter().collect(),
    }
}

fn trap(entry: &Entry, rule: Rule, message: String, key: String) -> Trap {
    Trap { severity: Severity::Warning, rule, message, at: entry.at, key }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traps_of(text: &str) -> Vec<Trap> {
        let document = crate::travis::normal::read(text).expect("YAML");
        unsupported(document.root.as_ref().expect("a root"))
    }

    #[test]
    fn keys_that_have_no_effect_here_are_named_with_their_place() {
        let text = "language: shell\nscript: make\naddons:\n  apt: {packages: [jq]}\n  sauce_connect: true\n  artifacts: {paths: [out], bucket: b}\n\
                    services: [redis, docker]\ncache: [pip, bundler]\ndeploy:\n  - provider: script\n    script: x\n  - provider: npm\n";
        let traps = traps_of(text);
        let found: Vec<(&str, &str, u32)> =
            traps.iter().map(|trap| (trap.rule.name(), trap.key.as_str(), trap.at.line)).collect();
        assert_eq!(
            found,
            [
                ("addon-without-effect", "addons.sauce_connect", 5),
                ("addon-without-effect", "addons.artifacts.bucket", 6),
                ("service-without-effect", "services", 7),
                ("cache-without-effect", "cache", 8),
                ("provider-without-effect", "deploy", 9),
            ]
        );
        assert!(traps[4].message.contains("`npm`"), "{}", traps[4].message);
        let fine = "language: shell\nscript: make\naddons: {hosts: [a]}\nservices: redis\ncache: pip\n\
                    deploy: [{provider: releases, token: {secure: x}}, s3, pages, pypi, huggingface]\n";
        assert_eq!(traps_of(fine), []);
    }
}
