//! Folders in buckets: each file is written once, and the list of hashes comes last.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use trainyard::store::publications::{Place, PublicationState};

use super::world::{World, usual};
use crate::support::s3::BUCKET;
use crate::support::s3::real::RealS3;
use crate::support::trouble::{Cut, Fault};

const FOLDER: &str = "models/ink/12";

fn order() -> Value {
    let folder = format!("s3://{BUCKET}/models/ink/{{build}}");
    json!({"s3": folder, "private": true, "tags": [], "tag": "build-{build}"})
}

/// Returns the usual files, with weights that are larger than a part.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = usual();
    files[0].1 = (0..9_000_000_u32).map(|n| (n % 253) as u8).collect();
    files
}

async fn world() -> World {
    World::with(&files(), order()).await
}

/// Panics unless the folder is whole, and nothing in it was written twice.
fn assert_whole(world: &World) {
    let names = [".trainyard", "README.md", "SHA256SUMS", "ink.safetensors", "provenance.json", "small.safetensors"];
    let keys: Vec<String> = names.iter().map(|name| format!("{FOLDER}/{name}")).collect();
    assert_eq!(world.s3.keys(), keys);
    for (name, bytes) in files() {
        let object = world.s3.object(&format!("{FOLDER}/{name}"));
        assert!(object.is_none_or(|object| object.bytes == bytes), "{name}");
    }
    let sums = world.s3.object(&format!("{FOLDER}/SHA256SUMS")).unwrap();
    let sums = String::from_utf8(sums.bytes.to_vec()).unwrap();
    let hash = hex::encode(Sha256::digest(&files()[0].1));
    assert!(sums.contains(&format!("{hash}  ink.safetensors\n")) && sums.lines().count() == 4, "{sums}");
    assert_eq!(world.s3.replaced(), Vec::<String>::new());
    assert_eq!(world.s3.refused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_gets_the_files_and_their_hashes() {
    let world = world().await;
    let (tries, publication) = world.finish().await;
    assert_eq!((tries, publication.state), (1, PublicationState::Published), "{publication:?}");
    assert_eq!((publication.place, publication.url), (Place::S3, Some(format!("s3://{BUCKET}/{FOLDER}"))));
    assert_whole(&world);
    let asked = world.trouble.asked();
    assert_eq!(asked.first().unwrap(), "PUT .trainyard");
    assert_eq!(asked.last().unwrap(), "PUT SHA256SUMS");
    assert_eq!(world.s3.open_uploads(), 0);
}

#[tokio::test]
async fn a_real_s3_server_gets_the_same_folder_and_keeps_what_it_has() {
    let Some(server) = RealS3::start().await else { return };
    for is_there in [false, true] {
        let mut world = world().await;
        world.publisher.permissions.s3[0].endpoint = server.endpoint.clone();
        if is_there {
            server.put(&format!("{FOLDER}/ink.safetensors"), b"another version");
        }
        let (_, publication) = world.finish().await;
        if is_there {
            let why = publication.error.unwrap_or_default();
            assert!(why.contains("models/ink/12/ink.safetensors is there already, with other bytes"), "{why}");
            assert_eq!(server.object(&format!("{FOLDER}/ink.safetensors")).unwrap(), b"another version");
            continue;
        }
        assert_eq!(publication.state, PublicationState::Published, "{publication:?}");
        for (name, bytes) in &files()[..2] {
            assert!(&server.object(&format!("{FOLDER}/{name}")).unwrap() == bytes, "{name}");
        }
        let sums = String::from_utf8(server.object(&format!("{FOLDER}/SHA256SUMS")).unwrap()).unwrap();
        assert!(sums.contains(&hex::encode(Sha256::digest(&files()[0].1))) && sums.lines().count() == 4, "{sums}");
    }
}

/// A process that dies at any request, before or after it takes effect: the next one finishes its work.
#[tokio::test]
async fn a_death_at_any_request_gives_one_folder() {
    let whole = world().await;
    whole.finish().await;
    let requests = whole.trouble.asked().len();
    assert!(requests >= 12, "{:?}", whole.trouble.asked());
    for request in 0..requests {
        for after in [false, true] {
            let world = world().await;
            world.trouble.will_hang(Some(Cut { request, after }));
            tokio::select! {
                stepped = world.publisher.step() => panic!("request {request} did not hang: {stepped:?}"),
                () = world.hangs(request) => {}
            }
            world.trouble.will_hang(None);
            world.wait().await;
            let (tries, publication) = world.finish().await;
            assert_eq!((tries, publication.state), (1, PublicationState::Published), "request {request} {after}");
            assert_whole(&world);
        }
    }
}

#[tokio::test]
async fn what_is_there_is_never_written_over() {
    for (key, told) in [
        ("ink.safetensors", "models/ink/12/ink.safetensors is there already, with other bytes"),
        ("SHA256SUMS", "models/ink/12/SHA256SUMS is there already"),
        (".trainyard", "models/ink/12/.trainyard is there already"),
    ] {
        let world = world().await;
        world.s3.put(&format!("{FOLDER}/{key}"), "another version");
        let (_, publication) = world.finish().await;
        assert_eq!(publication.state, PublicationState::Failed, "{key}");
        let why = publication.error.unwrap();
        assert!(why.contains(told), "{key}: {why}");
        assert_eq!(&world.s3.object(&format!("{FOLDER}/{key}")).unwrap().bytes[..], b"another version");
        assert_eq!(world.s3.replaced(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_key_that_may_not_write_ends_the_publication() {
    let world = world().await;
    world.s3.is_away(true);
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Failed, "{publication:?}");
    assert!(publication.error.unwrap().contains("the bucket does not let this key in"));
    world.s3.is_away(false);
    assert_eq!(super::again::retry(&world).await, 1);
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    assert_whole(&world);
}

#[tokio::test]
async fn a_lost_answer_to_any_write_is_found_out() {
    for kind in ["PUT .trainyard", "PUT small.safetensors", "POST ink.safetensors", "PUT SHA256SUMS"] {
        let world = world().await;
        world.trouble.will_fail(kind, &[Fault::LoseAnswer]);
        let (_, publication) = world.finish().await;
        assert_eq!(publication.state, PublicationState::Published, "{kind}: {publication:?}");
        assert_whole(&world);
    }
}

#[tokio::test]
async fn a_folder_that_is_closed_meanwhile_gets_nothing() {
    let mut world = world().await;
    world.publisher.permissions.s3[0].to = vec![format!("s3://{BUCKET}/other/**")];
    let (_, publication) = world.finish().await;
    let why = publication.error.unwrap();
    assert!(why.contains("may not publish to s3://trainyard/models/ink/12 any more"), "{why}");
    assert!(world.s3.keys().is_empty());
}
