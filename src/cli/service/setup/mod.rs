//! `trainyard setup`: a link for the first operator, the registration of a GitHub App, and the change of its key.

mod link;
mod registration;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};

use self::registration::{Bound, Form, Page, secret};
use crate::app;
use crate::cli::table::{Colour, Table, wants_colours};
use crate::cli::{FINE, PROBLEMS, print};
use crate::config::Config;
use crate::github::{AppKey, Client, InstallationFacts, manifest};
use crate::registration::{Stored, Tried, install_url, try_permissions};

/// Interval at which GitHub is asked whether the App is installed.
const INSTALLED_INTERVAL: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Register a GitHub App for this service, from a page on this machine. The service has to run.
    Github(GitHubArguments),
    /// Print a link with which the first operator is made, while nobody can log in. The service has to run.
    Link(link::Arguments),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "To change the App's key: make a new one on the App's page at GitHub, store it with --key, delete the \
    old one at GitHub, and end it here with --end-previous. Until then both are good."
)]
struct GitHubArguments {
    /// The organization that will own the App. Without it: the person who is logged in at GitHub.
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// The port of the page, for example of a tunnel by ssh. Without it: any that is free.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Store a further private key of the App, from a PEM file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["organization", "port"])]
    key: Option<PathBuf>,
    /// End the key before the last one.
    #[arg(long, conflicts_with_all = ["organization", "port", "key"])]
    end_previous: bool,
    /// Remove the App with its keys. At GitHub it stays.
    #[arg(long, conflicts_with_all = ["organization", "port", "key", "end_previous"])]
    remove: bool,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let arguments = match &arguments.what {
        What::Github(arguments) => arguments,
        What::Link(arguments) => return link::run(arguments).await,
    };
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let stored = app::stored(&config).await?;
    if let Some(file) = &arguments.key {
        return add_key(&stored, file).await;
    }
    if arguments.end_previous || arguments.remove {
        let changed = match arguments.remove {
            true => stored.app.remove().await,
            false => stored.app.end_previous().await,
        };
        let changed = changed.context("changing the GitHub App")?;
        print(if changed { "done\n" } else { "there is none\n" })?;
        return Ok(if changed { FINE } else { PROBLEMS });
    }
    register(&config, &stored, arguments).await
}

/// Stores a further key, once GitHub accepts it.
async fn add_key(stored: &Stored, file: &Path) -> anyhow::Result<u8> {
    let pem = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let pem = SecretString::from(pem);
    let app = stored.app.read().await?.context("no App was registered with trainyard setup github")?;
    let key =
        AppKey::from_pem(app.id.cast_unsigned(), pem.expose_secret()).with_context(|| file.display().to_string())?;
    stored.client.set_app(vec![key]);
    stored.client.app().await.context("GitHub does not accept the key")?;
    ensure!(
        stored.app.add_key(app.id, &pem).await?,
        "two keys are good already: delete the older one at GitHub, and run this command with --end-previous"
    );
    print("done\n")?;
    Ok(FINE)
}

async fn register(config: &Config, stored: &Stored, arguments: &GitHubArguments) -> anyhow::Result<u8> {
    ensure!(config.github.app_id.is_none(), "the configuration has an App already: github.app_id");
    ensure!(
        stored.app.changed_at().await?.is_none(),
        "an App was registered already: run this command with --remove first, or with --key to change its key"
    );
    let releases = config.publish.has_releases();
    let bound = Bound::new(arguments.port).await?;
    let state = secret()?;
    let form = Form {
        manifest: manifest(&config.server.public_url, &bound.redirect_url(), releases).to_string(),
        action: stored.client.registration_url(arguments.organization.as_deref(), &state),
    };
    let mut page = bound.serve(state, form)?;
    print(&format!(
        "Open this page in a browser on this machine, or through a tunnel by ssh -L:\n\n  {}\n\n",
        page.url
    ))?;
    let app = loop {
        let returned = page.returned().await?;
        match stored.register(&returned.code, None).await {
            Ok(app) => {
                let text = format!("{} is registered. The command goes on once it is installed.", app.name);
                returned.answer(Page { text, link: Some(install_url(&app.html_url)?) });
                break app;
            }
            Err(error) => {
                let text = format!("This did not work: {error:#}");
                returned.answer(Page { text: text.clone(), link: None });
                print(&format!("{text}\n"))?;
            }
        }
    };
    print(&format!(
        "{} is registered, number {}. Its key and its webhook's secret are stored.\nInstall it for the owner of the \
         repositories:\n\n  {}\n\n",
        app.name,
        app.id,
        install_url(&app.html_url)?
    ))?;
    show_permissions(&stored.client, releases).await
}

/// Waits until the App is installed, then tries each permission and shows the results.
async fn show_permissions(client: &Client, releases: bool) -> anyhow::Result<u8> {
    let installation = loop {
        match client.app_installations().await?.into_iter().next() {
            Some(installation) => break installation,
            None => tokio::time::sleep(INSTALLED_INTERVAL).await,
        }
    };
    let (table, all) = permissions(client, &installation, releases).await?;
    print(&table)?;
    Ok(if all { FINE } else { PROBLEMS })
}

/// Returns a table of the permissions, and true if all are given.
async fn permissions(
    client: &Client,
    installation: &InstallationFacts,
    releases: bool,
) -> anyhow::Result<(String, bool)> {
    let tried = try_permissions(client, installation, releases).await?;
    let all = tried.iter().all(|it| it.is_given);
    let mut table = Table::new(["", "PERMISSION", "LEVEL", "HOW IT IS"]);
    for Tried { name, level, is_given, words } in tried {
        let (sign, colour) = if is_given { ("✔ ok", Colour::Green) } else { ("✘ problem", Colour::Red) };
        table.push_painted(vec![
            (sign.to_owned(), Some(colour)),
            (name.to_owned(), None),
            (level.to_owned(), None),
            (words, None),
        ]);
    }
    Ok((table.render(wants_colours(&std::io::stdout()), None), all))
}
