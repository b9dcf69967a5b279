//! Releases at GitHub: exactly one comes out, with whole files, whatever happens on the way.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use trainyard::github::Client;
use trainyard::store::publications::{Place, PublicationState};

use super::world::{World, usual};
use crate::github::openapi;
use crate::support::github::releases::Release;
use crate::support::trouble::{Cut, Fault};

fn order() -> Value {
    json!({"release": true, "private": true, "tags": [], "tag": "build-{build}"})
}

async fn world() -> World {
    World::with(&usual(), order()).await
}

/// Returns the only release. Panics unless it is visible, whole, and was made as GitHub wants it.
fn only(world: &World) -> Release {
    let all = world.github.releases.all();
    let [release] = &all[..] else { panic!("{all:?}") };
    assert!(!release.draft && release.assets.iter().all(|asset| asset.is_whole), "{release:?}");
    let mut names: Vec<&str> = release.assets.iter().map(|asset| asset.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["SHA256SUMS", "ink.safetensors", "provenance.json", "small.safetensors"]);
    for (name, bytes) in usual() {
        let asset = release.assets.iter().find(|asset| asset.name == name);
        assert!(asset.is_none_or(|asset| asset.bytes == bytes), "{name}");
    }
    assert_eq!(world.github.releases.wrong(), Vec::<String>::new());
    release.clone()
}

#[tokio::test]
async fn a_release_is_a_draft_until_its_files_are_there() {
    let world = world().await;
    let (tries, publication) = world.finish().await;
    assert_eq!((tries, publication.state), (1, PublicationState::Published), "{publication:?}");
    let release = only(&world);
    assert_eq!((release.tag.as_str(), release.target), ("build-12", "0".repeat(40)));
    assert_eq!(release.name, "build-12: weights of build 12, job 3");
    assert!(release.notes.contains("| 0.9000 | 0.1000 | 0.1000 | 40 |"), "{}", release.notes);
    assert!(release.notes.contains("<!-- Trainyard-Publication: "), "{}", release.notes);
    assert_eq!(publication.url.as_deref(), Some("https://github.example/acme/styles/releases/tag/build-12"));
    assert_eq!((publication.place, publication.commit_id), (Place::Release, None));
    let sums = release.assets.iter().find(|asset| asset.name == "SHA256SUMS").unwrap();
    let sums = String::from_utf8(sums.bytes.to_vec()).unwrap();
    for (name, bytes) in usual().iter().filter(|(name, _)| ["ink.safetensors", "provenance.json"].contains(name)) {
        assert!(sums.contains(&format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)))), "{sums}");
    }
    assert_eq!(sums.lines().count(), 3, "{sums}");
    let api = openapi::description();
    let requests = world.github.releases.requests();
    assert_eq!(requests.len(), 7, "{requests:?}");
    for (method, path, body) in &requests {
        assert_eq!(openapi::faults(&api, method, path, body), Vec::<String>::new(), "{method} {path}");
    }
    assert!(!world.publisher.step().await.unwrap(), "nothing is due any more");
}

#[tokio::test]
async fn the_release_of_a_tag_is_the_tags_own() {
    let world = world().await;
    sqlx::query("update build set tag = 'v1.2/rc', branch = null").execute(&world.db).await.unwrap();
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    assert_eq!(only(&world).tag, "v1.2/rc");
}

/// A process that dies at any request, before or after it takes effect: the next one finishes its work.
#[tokio::test]
async fn a_death_at_any_request_gives_one_release() {
    for request in 0..7 {
        for after in [false, true] {
            let world = world().await;
            world.trouble.will_hang(Some(Cut { request, after }));
            // The step is dropped where it hangs, as a process is that is killed.
            tokio::select! {
                stepped = world.publisher.step() => panic!("request {request} did not hang: {stepped:?}"),
                () = world.hangs(request) => {}
            }
            world.trouble.will_hang(None);
            world.wait().await;
            let (tries, publication) = world.finish().await;
            assert_eq!((tries, publication.state), (1, PublicationState::Published), "request {request} {after}");
            only(&world);
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_any_request_gives_one_release() {
    for kind in ["GET release", "POST release", "POST asset", "PATCH release"] {
        let world = world().await;
        world.trouble.will_fail(kind, &[Fault::LoseAnswer, Fault::LoseAnswer]);
        let (tries, publication) = world.finish().await;
        assert_eq!(publication.state, PublicationState::Published, "{kind}: {publication:?}");
        assert!((2..=3).contains(&tries), "{kind}: {tries}");
        only(&world);
    }
}

#[tokio::test]
async fn what_earlier_tries_have_left_is_mended() {
    let world = world().await;
    world.github.releases.be_old();
    world.trouble.will_fail("POST asset", &[Fault::Refuse(502, &[])]);
    assert!(world.publisher.step().await.unwrap());
    world.github.releases.leave_broken_upload("ink.safetensors");
    world.github.releases.leave_broken_upload("of-another-attempt.bin");
    world.github.releases.double_drafts();
    assert_eq!(world.github.releases.all().len(), 2);
    world.wait().await;
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    only(&world);
}

#[tokio::test]
async fn a_release_of_others_stays_as_it_is() {
    let world = world().await;
    world.github.releases.make("acme/styles", "build-12");
    let (tries, publication) = world.finish().await;
    assert_eq!((tries, publication.state), (1, PublicationState::Failed));
    let why = publication.error.unwrap();
    assert!(why.contains("there is another release of build-12 already"), "{why}");
    let all = world.github.releases.all();
    assert!(all.len() == 1 && all[0].notes == "By hand" && all[0].assets.is_empty(), "{all:?}");
}

#[tokio::test]
async fn a_tag_that_somebody_takes_meanwhile_fails_the_publication() {
    let world = world().await;
    world.trouble.will_hang(Some(Cut { request: 6, after: false }));
    tokio::select! {
        stepped = world.publisher.step() => panic!("it did not hang: {stepped:?}"),
        () = world.hangs(6) => {}
    }
    world.trouble.will_hang(None);
    world.github.releases.make("acme/styles", "build-12");
    world.wait().await;
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Failed, "{publication:?}");
    assert_eq!(world.github.releases.all().iter().filter(|release| !release.draft).count(), 1);
}

#[tokio::test]
async fn a_limit_of_github_is_waited_for() {
    let world = world().await;
    world.trouble.will_fail("POST release", &[Fault::Refuse(403, &[("retry-after", "600")])]);
    assert!(world.publisher.step().await.unwrap());
    let publication = world.publication().await.unwrap();
    assert_eq!(publication.state, PublicationState::Waiting, "{publication:?}");
    let pause: i64 = sqlx::query_scalar("select extract(epoch from not_before - now())::bigint from publication")
        .fetch_one(&world.db)
        .await
        .unwrap();
    assert!((590..=600).contains(&pause), "{pause}");
}

#[tokio::test]
async fn the_app_needs_the_right_to_write_contents() {
    let mut world = world().await;
    world.github.repo("acme/styles");
    world.github.app.install(&["acme/styles"]);
    let settings = format!("{}api_url = {:?}\ntimeout = '2s'\n", world.github.app_settings(), world.github.api_url());
    let settings: toml::Table = toml::from_str(&settings).unwrap();
    world.publisher.github = Client::new(&settings["github"].clone().try_into().unwrap()).unwrap();
    sqlx::query("update repo set github_id = $1")
        .bind(i64::from(crate::support::github::number("acme/styles")))
        .execute(&world.db)
        .await
        .unwrap();
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Failed);
    let why = publication.error.unwrap();
    assert!(why.contains("the GitHub App is not given contents: write of acme/styles"), "{why}");
    world.github.app.permit(&[("metadata", "read"), ("contents", "write")]);
    assert_eq!(super::again::retry(&world).await, 1);
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    only(&world);
    assert_eq!(world.github.app.misused(), Vec::<String>::new());
}

#[tokio::test]
async fn a_repository_that_is_taken_off_the_list_publishes_nothing() {
    let mut world = world().await;
    world.publisher.permissions.releases = vec!["other/*".to_owned()];
    let (_, publication) = world.finish().await;
    let why = publication.error.unwrap();
    assert!(why.contains("may not publish releases any more"), "{why}");
    assert!(world.github.releases.requests().is_empty());
}

#[tokio::test]
async fn two_processes_at_once_make_one_release() {
    let world = world().await;
    // The first one is held up before its release is shown, until the second one is done.
    let first = world.publisher.clone();
    let mut tasks = tokio::task::JoinSet::new();
    world.trouble.will_hang(Some(Cut { request: 6, after: false }));
    tasks.spawn(async move { first.step().await });
    world.hangs(6).await;
    world.trouble.will_hang(None);
    world.wait().await;
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Published);
    only(&world);
    tokio::time::timeout(Duration::from_millis(1), tasks.join_next()).await.unwrap_err();
}
