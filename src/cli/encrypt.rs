//! `trainyard encrypt`: encrypts with the repository's public key, which it fetches from the server.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::domain::RepoName;
use crate::repo_keys::PublicKey;

/// Time limit for the server's answer. To generate a key pair takes it a few seconds at most.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
#[command(after_help = "Put the line under `env: global:` as an item, for a NAME=value, or in place of a value.\n\n\
    Other users of the machine can see command lines; with -, the value is read from standard input.")]
pub(super) struct Arguments {
    /// Text to encrypt: NAME=value for a variable, or only a value. - reads it from standard input.
    value: String,
    /// The repository that may decrypt it.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: RepoName,
    /// The address of the Trainyard server.
    #[arg(long, value_name = "URL", env = "TRAINYARD_SERVER_URL", default_value = "http://127.0.0.1:8700")]
    server: Url,
    /// A token of /settings/tokens at the server, for a private repository.
    #[arg(long, value_name = "TOKEN", env = "TRAINYARD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Answer of the server.
#[derive(Deserialize)]
struct Key {
    key: String,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let value = match arguments.value.as_str() {
        "-" => from_stdin()?,
        value => value.to_owned(),
    };
    let key = key_of(&arguments).await?;
    let secure = PublicKey::from_pem(&key)?.encrypt(&value)?;
    if arguments.json {
        println!("{}", json!({ "secure": secure }));
    } else {
        println!("secure: \"{secure}\"");
    }
    Ok(super::FINE)
}

/// Reads a value from standard input, and asks for it at a terminal.
pub(super) fn from_stdin() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprintln!("Type the value, then Enter and Ctrl-D:");
    }
    let mut value = String::new();
    std::io::stdin().read_to_string(&mut value).context("reading the value from standard input")?;
    // `echo` and the Enter key end the value with a line break that does not belong to it.
    Ok(value.strip_suffix('\n').unwrap_or(&value).to_owned())
}

async fn key_of(Arguments { server, repo, token, .. }: &Arguments) -> anyhow::Result<String> {
    let base = server.as_str().trim_end_matches('/');
    let url = format!("{base}/api/v1/repos/{repo}/key");
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().context("making an HTTP client")?;
    let mut request = client.get(&url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.with_context(|| {
        format!("the server at {base} does not answer; set another with --server or TRAINYARD_SERVER_URL")
    })?;
    match answer.status().as_u16() {
        200 => {}
        404 => bail!("the server at {base} does not know {repo}: it does after the first push that it receives"),
        status => bail!("the server at {base} answered {status} to the request for the key of {repo}"),
    }
    let key: Key = answer.json().await.with_context(|| format!("{url} does not answer like a Trainyard server"))?;
    Ok(key.key)
}
