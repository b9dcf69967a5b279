//! Rules on strings that must not be in a file that others see or run: folders of one person, and secrets.

use super::{Config, finding};
use crate::domain::{Rule, Severity};
use crate::tree::{Entry, Node};
use crate::{Finding, secret};

/// The home folder in most containers.
const ROOT: &str = "/root/";
/// Folders that exist on one machine or for one person only.
const PRIVATE: [&str; 9] = [
    ROOT,
    "/home/",
    "/Users/",
    "C:/Users/",
    "/mnt/c/",
    "/hy-tmp/",
    "/content/drive/MyDrive/",
    "/kaggle/working/",
    "/kaggle/input/",
];

/// Placeholder user names, as used in documented examples.
const PLACEHOLDERS: [&str; 10] =
    ["user", "username", "you", "your_name", "yourname", "your_username", "name", "me", "someone", "ubuntu"];

/// Finds paths that work for their author only.
pub(super) fn private_path(config: &Config<'_>) -> Vec<Finding> {
    each_text(config, |entry, text, node| {
        // All of these folders begin with a slash or a drive, and few values do.
        if !text.starts_with('/') && text.get(1..2) != Some(":") {
            return None;
        }
        let path = text.replace('\\', "/");
        let start = PRIVATE.iter().find(|start| path.starts_with(**start))?;
        let owner = path[start.len()..].split('/').next().unwrap_or_default();
        let is_example = PLACEHOLDERS.contains(&owner.to_lowercase().as_str()) || owner.contains(['<', '{', '$']);
        if is_example || owner.is_empty() {
            return None;
        }
        let key = entry.map_or("a value", Entry::name);
        // The container that the config is for may have its folders there.
        let (severity, place) = match *start {
            ROOT => (Severity::Warning, "in one container only"),
            _ => (Severity::Error, "on one machine only"),
        };
        let message = format!(
            "{} finds nothing at this {key}, which exists {place}: make the path relative",
            config.dialect.trainer()
        );
        Some(finding(Rule::PrivatePath, severity, message, node.at, key.to_owned()))
    })
}

/// Finds tokens and keys, which everyone with access to the repository can use. The message does not repeat them.
pub(super) fn secret(config: &Config<'_>) -> Vec<Finding> {
    each_text(config, |entry, text, node| {
        let key = entry.map_or("a value", Entry::name);
        if !secret::is_secret(key, text) {
            return None;
        }
        let message = format!(
            "everyone can read the secret in {key}: revoke it, and give it to the job as an encrypted variable"
        );
        Some(finding(Rule::Secret, Severity::Error, message, node.at, key.to_owned()))
    })
}

fn each_text(config: &Config<'_>, look: impl Fn(Option<&Entry>, &str, &Node) -> Option<Finding>) -> Vec<Finding> {
    let mut findings = Vec::new();
    config.root.each_scalar(None, &mut |entry, node| {
        findings.extend(node.text().and_then(|text| look(entry, text, node)));
    });
    findings
}
