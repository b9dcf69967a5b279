//! GitHub: the token, the webhook secret, and the connection; and the servers of `[[forge]]`.

use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret as _;

use super::{Findings, MOST_APART, github_app};
use crate::app;
use crate::config::Config;
use crate::github::{Client, GitHubConfig, SendError, Token, WebhookSecrets};

const TOKEN: &str = "github.token";
const SECRET: &str = "github.webhook_secret";
/// Rights that a fine-grained token must have, without releases and with them.
const RIGHTS: &str = "Contents: read, and Commit statuses: read and write";
const RIGHTS_WITH_RELEASES: &str = "Contents: read and write, and Commit statuses: read and write";
/// Minimum length of the webhook secret, in bytes: a shorter one can be guessed.
const LEAST_SECRET: usize = 16;
/// Scopes of a classic token: each of them allows writing statuses.
const ENOUGH: [&str; 3] = ["repo", "public_repo", "repo:status"];
/// Scopes that Trainyard never needs, and that let a thief of the token do harm.
const TOO_MUCH: [&str; 6] =
    ["delete_repo", "admin:org", "admin:repo_hook", "admin:enterprise", "site_admin", "admin:public_key"];
/// Time before a token expires from which the doctor warns.
const SOON: TimeDelta = TimeDelta::days(14);

pub(super) async fn check(whole: &Config, found: &mut Findings) {
    let config = &whole.github;
    webhook_secret(config, found);
    let client = match app::github_client(whole).await {
        Ok(client) => client,
        Err(error) => return found.failure("GitHub", &error),
    };
    forges(&client, whole, found).await;
    if client.has_app() {
        github_app::check(whole, &client, found).await;
    }
    let wanted = if whole.publish.has_releases() { RIGHTS_WITH_RELEASES } else { RIGHTS };
    let advice = format!("Create one on GitHub with the rights {wanted}.");
    if config.token.as_ref().is_none_or(|token| token.expose_secret().is_empty()) {
        // A team may have all its repositories on other servers.
        if client.has_app() || client.has_forges() {
            return;
        }
        let told = "is not set: private repositories cannot be fetched, and GitHub accepts no statuses";
        return found.problem(TOKEN, told, &advice);
    }
    match client.examine().await {
        Ok(token) => {
            found.ok("GitHub", format!("{} answers", config.api_url));
            rights(&token, wanted, found);
        }
        Err(SendError::Refused { status: 401, said, .. }) => {
            found.problem(
                TOKEN,
                format!("GitHub does not accept it: {said}"),
                &format!("It has expired, or is not the right one. {advice}"),
            );
        }
        Err(error) => {
            let advice = "Check github.api_url, the network, and any proxy or firewall in between.";
            found.problem("GitHub", error.to_string(), advice);
        }
    }
}

async fn forges(client: &Client, config: &Config, found: &mut Findings) {
    for (name, url, result) in client.examine_forges().await {
        let (what, variable) = (format!("forge {name}"), name.to_uppercase().replace('-', "_"));
        let has_token = config.forge.iter().any(|forge| forge.name == name && forge.token.is_some());
        match result {
            Ok(()) if has_token => found.ok(&what, format!("{url} answers, and accepts the token")),
            Ok(()) => found.problem(
                &what,
                format!("{url} answers, but there is no token: it accepts no statuses"),
                &format!("Make one there, and set it as TRAINYARD__FORGE__{variable}__TOKEN."),
            ),
            Err(error) => {
                let advice = "Check its url and token, the network, and any proxy or firewall in between.";
                found.problem(&what, error.to_string(), advice);
            }
        }
    }
}

fn webhook_secret(config: &GitHubConfig, found: &mut Findings) {
    let advice = "Generate one, for example with openssl rand -hex 32, and set it here and at the webhook on GitHub.";
    let all = config.webhook_secrets.values().chain([&config.webhook_secret]);
    match all.filter_map(WebhookSecrets::shortest).min() {
        None => {
            let told = "is not set: webhooks are rejected, unless trainyard webhook-secret has made one";
            found.warning(SECRET, told, advice);
        }
        Some(0..LEAST_SECRET) => found.warning(SECRET, "is so short that it can be guessed", advice),
        Some(_) => found.ok(SECRET, "is set"),
    }
}

fn rights(token: &Token, wanted: &str, found: &mut Findings) {
    let until = token.expires.map(|at| format!(", until {}", at.format("%Y-%m-%d"))).unwrap_or_default();
    match &token.scopes {
        // GitHub reports a fine-grained token's rights only where one is missing.
        None => {
            found.ok(TOKEN, format!("GitHub accepts it{until}; the first push shows if it has the rights {wanted}"))
        }
        Some(scopes) => {
            let has = |some: &[&str]| scopes.iter().find(|scope| some.contains(&scope.as_str()));
            if has(&ENOUGH).is_none() {
                let told = format!("GitHub accepts it, but its scopes ({}) do not allow statuses", scopes.join(", "));
                found.problem(TOKEN, told, &format!("Create a fine-grained one with the rights {wanted}."));
            } else if let Some(scope) = has(&TOO_MUCH) {
                let told = format!("GitHub accepts it, but it may do more than is needed ({scope})");
                found.warning(TOKEN, told, &format!("Create a fine-grained one with the rights {wanted}."));
            } else {
                found.ok(TOKEN, format!("GitHub accepts it, with the scopes {}{until}", scopes.join(", ")));
            }
        }
    }
    if let Some(expires) = token.expires.filter(|at| *at - Utc::now() < SOON) {
        let told = format!("expires at {}", expires.format("%Y-%m-%d %H:%M UTC"));
        found.warning(TOKEN, told, "Create a new one in time.");
    }
    if let Some(apart) = token.date.map(|date| (date - Utc::now()).abs()).filter(|apart| *apart > MOST_APART) {
        let told = format!("this machine's clock and GitHub's are {} s apart", apart.num_seconds());
        found.warning("clock", told, "Synchronize this machine with a time server, by chrony or systemd-timesyncd.");
    }
}
