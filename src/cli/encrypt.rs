//! `trainyard encrypt`: encrypts with the repository's public key, which it fetches from the server.

use std::io::{IsTerminal as _, Read as _};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::json;

use super::remote::ServerArgs;
use crate::domain::RepoName;
use crate::repo_keys::PublicKey;

#[derive(Debug, clap::Args)]
#[command(after_help = "Put the line under `env: global:` as an item, for a NAME=value, or in place of a value.\n\n\
    Other users of the machine can see command lines; with -, the value is read from standard input.")]
pub(super) struct Arguments {
    /// Text to encrypt: NAME=value for a variable, or only a value. - reads it from standard input.
    value: String,
    /// The repository that may decrypt it.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: RepoName,
    #[command(flatten)]
    server: ServerArgs,
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

async fn key_of(Arguments { server, repo, .. }: &Arguments) -> anyhow::Result<String> {
    let client = server.client()?;
    // To generate a key pair takes the server a few seconds at most.
    let answer = client.get(&["repos", repo.owner(), repo.name(), "key"], &[]).await;
    let answer =
        answer.with_context(|| format!("asking for the key of {repo}, which the server has after the first push"))?;
    let key: Key = serde_json::from_value(answer).context("the server does not answer like a Trainyard server")?;
    Ok(key.key)
}
