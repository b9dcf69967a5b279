//! GitHub: the token, the webhook's secret, the way there.

use chrono::{TimeDelta, Utc};
use secrecy::ExposeSecret as _;

use super::Findings;
use crate::github::{Client, Config, SendError, Token};

const TOKEN: &str = "github.token";
const SECRET: &str = "github.webhook_secret";
/// What a fine-grained token needs.
const RIGHTS: &str = "Contents: read, and Commit statuses: read and write";
/// A secret that is shorter can be guessed.
const LEAST_SECRET: usize = 16;
/// Scopes of a classic token that let it write statuses.
const ENOUGH: [&str; 3] = ["repo", "public_repo", "repo:status"];
/// Scopes with which whoever gets hold of the token can do harm that Trainyard never does.
const TOO_MUCH: [&str; 6] =
    ["delete_repo", "admin:org", "admin:repo_hook", "admin:enterprise", "site_admin", "admin:public_key"];
/// A token that ends sooner is warned of.
const SOON: TimeDelta = TimeDelta::days(14);
const MOST_APART: TimeDelta = TimeDelta::seconds(60);

pub(super) async fn check(config: &Config, found: &mut Findings) {
    webhook_secret(config, found);
    let advice = format!("Make one on GitHub with the rights {RIGHTS}.");
    if config.token.as_ref().is_none_or(|token| token.expose_secret().is_empty()) {
        let told = "is not set: private repositories cannot be fetched, and GitHub takes no status";
        return found.problem(TOKEN, told, &advice);
    }
    let client = match Client::new(config) {
        Ok(client) => client,
        Err(error) => return found.failure("GitHub", &error),
    };
    match client.examine().await {
        Ok(token) => {
            found.ok("GitHub", format!("{} answers", config.api_url));
            rights(&token, found);
        }
        Err(SendError::Refused { status: 401, said }) => {
            found.problem(
                TOKEN,
                format!("GitHub does not take it: {said}"),
                &format!("It has ended, or is another's. {advice}"),
            );
        }
        Err(error) => {
            let advice = "Look at github.api_url, the network, and a proxy or firewall on the way.";
            found.problem("GitHub", error.to_string(), advice);
        }
    }
}

fn webhook_secret(config: &Config, found: &mut Findings) {
    let length = config.webhook_secret.as_ref().map_or(0, |secret| secret.expose_secret().len());
    let advice = "Make one up, for example with openssl rand -hex 32, and set it here and at the webhook on GitHub.";
    match length {
        0 => found.problem(SECRET, "is not set: no webhook is taken until it is", advice),
        1..LEAST_SECRET => found.warning(SECRET, "is so short that it can be guessed", advice),
        _ => found.ok(SECRET, "is set"),
    }
}

fn rights(token: &Token, found: &mut Findings) {
    let until = token.expires.map(|at| format!(", until {}", at.format("%Y-%m-%d"))).unwrap_or_default();
    match &token.scopes {
        // GitHub tells of a fine-grained token's rights only where they are missing.
        None => {
            found.ok(TOKEN, format!("GitHub takes it{until}; that it has the rights {RIGHTS} shows at the first push"))
        }
        Some(scopes) => {
            let has = |wanted: &[&str]| scopes.iter().find(|scope| wanted.contains(&scope.as_str()));
            if has(&ENOUGH).is_none() {
                let told = format!("GitHub takes it, but its scopes ({}) let it write no status", scopes.join(", "));
                found.problem(TOKEN, told, &format!("Make a fine-grained one with the rights {RIGHTS}."));
            } else if let Some(scope) = has(&TOO_MUCH) {
                let told = format!("GitHub takes it, and it may do more than is needed ({scope})");
                found.warning(TOKEN, told, &format!("Make a fine-grained one with the rights {RIGHTS}."));
            } else {
                found.ok(TOKEN, format!("GitHub takes it, with the scopes {}{until}", scopes.join(", ")));
            }
        }
    }
    if let Some(expires) = token.expires.filter(|at| *at - Utc::now() < SOON) {
        let told = format!("ends at {}", expires.format("%Y-%m-%d %H:%M UTC"));
        found.warning(TOKEN, told, "Make a new one in time.");
    }
    if let Some(apart) = token.date.map(|date| (date - Utc::now()).abs()).filter(|apart| *apart > MOST_APART) {
        let told = format!("this machine's clock and GitHub's are {} s apart", apart.num_seconds());
        found.warning("clock", told, "Let this machine follow a time server, with chrony or systemd-timesyncd.");
    }
}
