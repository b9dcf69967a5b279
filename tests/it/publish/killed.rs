//! Kills of the real program in the middle of a publication.

use std::time::Duration;

use trainyard::store::publications::PublicationState;

use super::world::World;
use crate::support::app::{configuration, merged};
use crate::support::github::GitHub;
use crate::support::hub::Cut;
use crate::support::service::Service;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_kills_in_the_middle_give_one_commit() {
    let world = World::start().await;
    let github = GitHub::start(world.folder.path().join("github")).await;
    let text = configuration(world.folder.path(), Some(&world.url), &github);
    let config = world.folder.path().join("config.toml");
    std::fs::write(&config, merged(&text, &world.hub.section())).unwrap();
    // Each life comes a little further: uploads that are whole are not sent again.
    // The last but one dies when its commit has been made.
    let cuts = [(0, false), (1, true), (4, true), (6, false), (6, true), (7, true), (9, true), (7, true), (2, false)];
    let mut died_at = Vec::new();
    for (request, after) in cuts {
        world.hub.will_hang(Some(Cut { request, after }));
        let service = Service::start(PROGRAM.as_ref(), &config);
        let hangs = async {
            while world.hub.asked().len() <= request {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), hangs).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        service.kill();
        died_at.extend(world.hub.asked().get(request).cloned());
        world.wait().await;
    }
    assert_eq!(died_at[7..], ["POST commit", "POST tag"], "{died_at:?}");
    world.hub.will_hang(None);
    let service = Service::start(PROGRAM.as_ref(), &config);
    let ends = async {
        while !world.has_ended().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ends).await.unwrap();
    assert_eq!(world.publication().await.unwrap().state, PublicationState::Published);
    world.assert_published_once();
    assert_eq!(service.interrupt(), Some(0));
}
