//! The inputs of a machine without a service.

use std::path::Path;
use std::sync::Arc;

use bytesize::ByteSize;
use reqwest::dns::Resolve;
use sha2::{Digest as _, Sha256};
use trainyard::domain::RepoName;
use trainyard::inputs::{Fetched, InputError, Inputs, InputsConfig, Wanted};
use trainyard::lora::input::{InputKind, Source};
use trainyard::outgoing::SystemNames;
use trainyard::storage::Room;

/// The part of a file that one connection fetches.
pub(super) const PART: usize = 32 << 20;

/// Makes the inputs of a machine, with this section of the configuration.
pub(super) fn inputs(folder: &Path, section: &str) -> Inputs {
    inputs_with_room(folder, section, 0)
}

pub(super) fn inputs_with_room(folder: &Path, section: &str, least_free: u64) -> Inputs {
    make(folder, section, least_free, Arc::new(SystemNames))
}

/// Makes the inputs of a machine with another name server.
pub(super) fn inputs_with_names(folder: &Path, section: &str, names: Arc<dyn Resolve>) -> Inputs {
    make(folder, section, 0, names)
}

fn make(folder: &Path, section: &str, least_free: u64, names: Arc<dyn Resolve>) -> Inputs {
    let config: InputsConfig = toml::from_str(section).unwrap();
    config.check().unwrap();
    let room = Room::new(folder.to_owned(), ByteSize::b(least_free));
    Inputs::new(folder.join("inputs"), config, room, names).unwrap()
}

/// Returns the section `[inputs]` of a configuration, without its name.
pub(super) fn config(text: &str) -> String {
    let text: toml::Table = toml::from_str(text).unwrap();
    toml::to_string(&text["inputs"]).unwrap()
}

/// Fetches an input for a repository.
pub(super) async fn fetch(
    inputs: &Inputs,
    repo: &str,
    from: &str,
    revision: Option<&str>,
) -> Result<Fetched, InputError> {
    let (repo, from): (RepoName, Source) = (repo.parse().unwrap(), from.parse().unwrap());
    let kind = if from.to_string().contains("/datasets/") { InputKind::Dataset } else { InputKind::Model };
    let wanted = Wanted { repo: &repo, kind, from: &from, revision };
    let decided = inputs.resolve(wanted).await?;
    inputs.fetch(Wanted { revision: decided.as_deref(), ..wanted }).await
}

/// Returns bytes that no compression makes smaller, and in which no part is like another.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Opens the loopback, where the stand-ins are.
pub(super) const LOOPBACK: &str = "allow = ['127.0.0.1']";
