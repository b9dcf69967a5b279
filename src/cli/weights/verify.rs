//! `trainyard verify`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::table::{Colour, inert, paint, wants_colours};
use crate::provenance::{ENVELOPE, Statement, VerifyingKey, verified};

/// Size of the read buffer, in bytes.
const BUFFER: usize = 256 << 10;
/// Maximum size of a statement or a key, in bytes.
const MAX_TEXT: u64 = 16 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The file that a train job has saved.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The public key of the server, which it has at /provenance.pem.
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The signed statement. Without this, it is the `provenance.intoto.jsonl` beside FILE, or in a folder above.
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let Arguments { file, key, provenance, json } = arguments;
    let key = VerifyingKey::from_pem(&text(key)?).with_context(|| key.display().to_string())?;
    let sha256 = sha256(file)?;
    let envelope = match provenance {
        Some(path) => path.clone(),
        None => beside(file).with_context(|| {
            format!("there is no {ENVELOPE} beside {} or above: name it with --provenance", file.display())
        })?,
    };
    let found = verified(&text(&envelope)?, &key);
    let name = found.as_ref().ok().and_then(|statement| statement.name_of(&sha256));
    if *json {
        let error = match (&found, name) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), None) => Some("the statement is not about this file".to_owned()),
            (Ok(_), Some(_)) => None,
        };
        let predicate = found.as_ref().ok().filter(|_| name.is_some()).map(|statement| &statement.predicate);
        let facts = json!({"verified": error.is_none(), "sha256": sha256, "name": name, "error": error,
            "predicate": predicate});
        crate::cli::print(&format!("{facts:#}\n"))?;
        return Ok(if error.is_none() { crate::cli::FINE } else { crate::cli::PROBLEMS });
    }
    let colours = wants_colours(&std::io::stdout());
    match (&found, name) {
        (Ok(statement), Some(name)) => {
            crate::cli::print(&format!(
                "{}\n{}",
                paint("verified", Colour::Green, colours),
                told(statement, name, &key)
            ))?;
            Ok(crate::cli::FINE)
        }
        (Ok(_), None) => {
            let shown = file.display();
            crate::cli::print(&format!(
                "{}: the statement is signed, but not about {shown} (SHA-256 {sha256})\n",
                paint("not verified", Colour::Red, colours)
            ))?;
            Ok(crate::cli::PROBLEMS)
        }
        (Err(error), _) => {
            let shown = envelope.display();
            crate::cli::print(&format!("{}: {shown}: {error}\n", paint("not verified", Colour::Red, colours)))?;
            Ok(crate::cli::PROBLEMS)
        }
    }
}

/// Describes where a file comes from.
fn told(statement: &Statement, name: &str, key: &VerifyingKey) -> String {
    let at = |pointer: &str| match statement.predicate.pointer(pointer) {
        Some(Value::String(text)) => inert(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => inert(&other.to_string()),
    };
    let rows = [
        ("file", inert(name)),
        ("repository", at("/buildDefinition/externalParameters/repository")),
        ("ref", at("/buildDefinition/externalParameters/ref")),
        ("commit", at("/buildDefinition/resolvedDependencies/0/digest/gitCommit")),
        ("config", at("/buildDefinition/externalParameters/config")),
        ("command", at("/buildDefinition/externalParameters/command")),
        ("image", at("/buildDefinition/resolvedDependencies/2/digest/sha256")),
        ("job", at("/runDetails/metadata/invocationId")),
        ("finished", at("/runDetails/metadata/finishedOn")),
        ("key", key.id()),
    ];
    rows.iter().map(|(name, value)| format!("  {name:<11} {value}\n")).collect()
}

/// Returns the statement in the folder of a file, or in one above it: names in a statement may have folders.
fn beside(file: &Path) -> Option<PathBuf> {
    let folders = file.ancestors().skip(1).map(|folder| folder.join(ENVELOPE));
    folders.take(8).find(|path| path.is_file())
}

fn text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    file.take(MAX_TEXT).read_to_string(&mut text).with_context(|| format!("reading {}", path.display()))?;
    Ok(text)
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("reading {}", path.display()))?;
        if read == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}
