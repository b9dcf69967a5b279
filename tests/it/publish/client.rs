//! The Hub's official client for Python, from PyPI, on what we have published.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::world::{TARGET, World, usual};
use crate::support::hub::TOKEN;

/// Runs `tests/python/hub.py`, which `make setup-test` prepares.
pub(super) async fn read(endpoint: &str, repository: &str, revision: &str, copy: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut client = tokio::process::Command::new(python.join("venv/bin/python"));
    client.arg(python.join("hub.py")).args([endpoint, TOKEN, repository, revision]).arg(folder.path()).arg(copy);
    let output = client.output().await.expect("tests/python/venv is missing: run `make setup-test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[tokio::test]
async fn the_official_client_finds_our_files_and_makes_the_same_tree() {
    let world = World::start().await;
    world.finish().await;
    world.assert_published_once();
    let found = read(&world.hub.endpoint(), TARGET, "build-12", "acme/copy").await;
    let hashes: BTreeMap<String, String> = serde_json::from_value(found["hashes"].clone()).unwrap();
    for (name, bytes) in usual().iter().filter(|(name, _)| ["ink.safetensors", "provenance.json"].contains(name)) {
        assert_eq!(hashes[*name], hex::encode(Sha256::digest(bytes)), "{name}");
    }
    assert_eq!(hashes.len(), 4, "{hashes:?}");
    let (ours, copy) = (world.hub.repository(TARGET).unwrap(), world.hub.repository("acme/copy").unwrap());
    assert_eq!(ours.files(), copy.files(), "the trees are equal");
    let told: BTreeMap<String, String> = serde_json::from_value(found["copy"].clone()).unwrap();
    assert_eq!(ours.files(), told);
    let card = &found["card"];
    assert_eq!(
        (&card["base_model"], &card["license"]),
        (&json!("runwayml/stable-diffusion-v1-5"), &json!("apache-2.0"))
    );
    assert_eq!((&card["library_name"], &card["tags"]), (&json!("diffusers"), &json!(["lora", "style"])));
    assert_eq!(world.hub.wrong(), Vec::<String>::new());
}
