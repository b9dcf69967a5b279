//! The GitHub App: its key, its permissions and its installations.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Findings, MOST_APART, database};
use crate::config::Config;
use crate::domain::RepoName;
use crate::github::{Access, AppFacts, Client, SendError, allows};

const APP: &str = "GitHub App";
/// Events without which no build begins.
const EVENTS: [&str; 2] = ["push", "pull_request"];

/// Checks the App. Repositories that the service knows are asked for one by one.
pub(super) async fn check(config: &Config, client: &Client, found: &mut Findings) {
    let app = match client.app().await {
        Ok(app) => app,
        Err(SendError::Refused { said, .. }) => {
            let advice = "Check github.app_id, and make a new private key on the App's page at GitHub.";
            return found.problem(APP, said, advice);
        }
        Err(error) => {
            let advice = "Check github.api_url, the network, and any proxy or firewall in between.";
            return found.problem("GitHub", error.to_string(), advice);
        }
    };
    clock(app.date, found);
    asked(&app, config, found);
    match client.app_installations().await {
        Err(error) => found.problem(APP, error.to_string(), "Try again later."),
        Ok(all) if all.is_empty() => {
            let advice = "Install it for the owner of the repositories, on the App's page at GitHub.";
            found.problem(APP, "is not installed anywhere", advice);
        }
        Ok(all) => {
            for installation in all {
                let owner = &installation.account.login;
                if let Some(since) = installation.suspended_at {
                    let told = format!("is suspended for {owner} since {}", since.format("%Y-%m-%d"));
                    found.problem(APP, told, "The owner can end that in the settings of the installation.");
                } else if let Some(missing) = missing(&installation.permissions, config) {
                    let told = format!("{owner} has not allowed {missing}");
                    found.problem(APP, told, "The owner has to accept the App's new permissions at GitHub.");
                } else {
                    found.ok(APP, format!("is installed for {owner}"));
                }
            }
        }
    }
    repositories(config, client, found).await;
}

fn asked(app: &AppFacts, config: &Config, found: &mut Findings) {
    let name = &app.name;
    if let Some(missing) = missing(&app.permissions, config) {
        let advice = "Add it on the App's page at GitHub; then each owner has to accept it.";
        found.problem(APP, format!("{name} does not ask for {missing}"), advice);
    } else if let Some(event) = EVENTS.iter().find(|event| !app.events.iter().any(|sent| sent == *event)) {
        let told = format!("{name} does not get the event {event}");
        found.warning(APP, told, "Subscribe to it on the App's page at GitHub, unless repositories have webhooks.");
    } else {
        found.ok(APP, format!("GitHub accepts the key of {name}"));
    }
}

/// Returns the first permission that is needed and not there.
fn missing(permissions: &BTreeMap<String, String>, config: &Config) -> Option<String> {
    let missing =
        Access::needed(&config.github, config.publish.has_releases()).find(|access| !allows(permissions, *access))?;
    let (name, level) = missing.permission();
    Some(format!("{name}: {level}"))
}

fn clock(date: Option<DateTime<Utc>>, found: &mut Findings) {
    if let Some(apart) = date.map(|date| (date - Utc::now()).abs()).filter(|apart| *apart > MOST_APART) {
        let told = format!("this machine's clock and GitHub's are {} s apart", apart.num_seconds());
        found.warning("clock", told, "Synchronize this machine with a time server, by chrony or systemd-timesyncd.");
    }
}

/// Names the repositories of the service on which the App is not installed.
async fn repositories(config: &Config, client: &Client, found: &mut Findings) {
    let mut without = Vec::new();
    for repo in database::repositories(config).await {
        match client.has_installation(&repo).await {
            Ok(true) => {}
            Ok(false) => without.push(repo),
            Err(SendError::NoAccess(said)) => found.problem(APP, said, "The owner can end that at GitHub."),
            Err(error) => return found.problem(APP, error.to_string(), "Try again later."),
        }
    }
    if without.is_empty() {
        return;
    }
    let names: Vec<String> = without.iter().take(10).map(RepoName::to_string).collect();
    let more = without.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let told = format!("is not installed on {}{more}", names.join(", "));
    let advice = match config.github.token {
        Some(_) => "There, github.token is used.",
        None => "Their pushes get no builds. Install it there, or remove them.",
    };
    found.warning(APP, told, advice);
}
