//! `trainyard webhook-secret`: secrets of webhooks that are stored in the database.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::app;
use crate::config::Config;
use crate::github::Scope;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "To change a secret: make a new one, set it at the webhook on GitHub, and then end the previous \
    one. Until then both are good."
)]
pub(in crate::cli) struct Arguments {
    /// Owner or repository whose deliveries the secret signs. Without it: all that have no secret of their own.
    #[arg(value_name = "OWNER or OWNER/NAME")]
    scope: Option<Scope>,
    /// End the secret before the last one.
    #[arg(long)]
    end_previous: bool,
    /// Remove both secrets.
    #[arg(long, conflicts_with = "end_previous")]
    remove: bool,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let secrets = app::stored(&config).await?.secrets;
    let scope = arguments.scope.clone().unwrap_or(Scope::All);
    if arguments.end_previous || arguments.remove {
        let changed = match arguments.remove {
            true => secrets.remove(scope.key()).await,
            false => secrets.end_previous(scope.key()).await,
        };
        let changed = changed.context("changing the secrets of webhooks")?;
        crate::cli::print(if changed { "done\n" } else { "there is no such secret\n" })?;
        return Ok(if changed { crate::cli::FINE } else { crate::cli::PROBLEMS });
    }
    let secret = hex::encode(crate::repo_keys::new_seal()?.as_slice());
    ensure!(
        secrets.change(scope.key(), &secret).await?,
        "two secrets are good already. Make sure that the webhook on GitHub has the newer one, run this command with \
         --end-previous, and then again. If the newer one is lost, use --remove instead, and set the next one at once: \
         deliveries in between are refused, and GitHub can send them again"
    );
    let address = address(config.server.public_url.as_str(), &scope);
    crate::cli::print(&format!("address: {address}\nsecret:  {secret}\n"))?;
    Ok(crate::cli::FINE)
}

/// Returns the address of the webhook whose deliveries a secret of this scope signs.
fn address(public_url: &str, scope: &Scope) -> String {
    let base = format!("{}/webhooks/github", public_url.trim_end_matches('/'));
    if *scope == Scope::All { base } else { format!("{base}/{}", scope.key()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_an_address() {
        let of = |scope: Scope| address("https://ci.example/", &scope);
        assert_eq!(of(Scope::All), "https://ci.example/webhooks/github");
        assert_eq!(of("acme/Styles".parse().unwrap()), "https://ci.example/webhooks/github/acme/styles");
    }
}
