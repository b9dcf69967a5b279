//! Kills of the real program in the middle of a publication.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard::store::publications::PublicationState;

use super::world::{World, publish, section, usual};
use crate::support::app::{configuration, merged};
use crate::support::s3::BUCKET;
use crate::support::service::Service;
use crate::support::trouble::Cut;
use crate::support::trouble::random::Random;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");
/// Number of kills in a usual run of the tests. `make faults` asks for more by `TRAINYARD_TEST_KILLS`.
const KILLS: usize = 6;
/// Maximum number of requests of one job to all places, after which a life is killed at the latest.
const MOST_REQUESTS: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_kills_in_the_middle_give_one_commit() {
    let world = World::start().await;
    let text = configuration(world.folder.path(), Some(&world.url), &world.github);
    let config = world.folder.path().join("config.toml");
    std::fs::write(&config, merged(&text, &world.hub.section())).unwrap();
    // Each life comes a little further: uploads that are whole are not sent again.
    // The last but one dies when its commit has been made.
    let cuts = [(0, false), (1, true), (4, true), (6, false), (6, true), (7, true), (9, true), (7, true), (2, false)];
    let mut died_at = Vec::new();
    for (request, after) in cuts {
        world.trouble.will_hang(Some(Cut { request, after }));
        let service = Service::start(PROGRAM.as_ref(), &config);
        let hangs = async {
            while world.trouble.asked().len() <= request {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), hangs).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        service.kill();
        died_at.extend(world.trouble.asked().get(request).cloned());
        world.wait().await;
    }
    assert_eq!(died_at[7..], ["POST commit", "POST tag"], "{died_at:?}");
    world.trouble.will_hang(None);
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

/// Kills at random requests, before or after they take effect, while three places are published to at once. `SEED` repeats
/// the choices of a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_give_one_commit_one_release_and_one_folder_for_each_job() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("TRAINYARD_TEST_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let seed = number("SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("{kills} kills, SEED={seed}");
    let mut random = Random::new(seed);
    let world = World::with(&usual(), everywhere(3)).await;
    let text = configuration(world.folder.path(), Some(&world.url), &world.github);
    let config = world.folder.path().join("config.toml");
    std::fs::write(&config, merged(&text, &section(&world.hub, &world.s3))).unwrap();
    let (mut jobs, mut died_at) = (vec![3], BTreeMap::<String, usize>::new());
    for kill in 0..kills {
        if world.has_ended().await {
            let job = jobs.last().unwrap() + 1;
            world.pass(job, &usual(), everywhere(job)).await;
            jobs.push(job);
        }
        // Most lives are short. Otherwise every job would be published within one.
        let request = usize::try_from(random.below(MOST_REQUESTS).min(random.below(MOST_REQUESTS))).unwrap();
        world.trouble.will_hang(Some(Cut { request, after: random.below(2) == 0 }));
        let service = Service::start(PROGRAM.as_ref(), &config);
        let begin = Instant::now();
        while world.trouble.asked().len() <= request && !world.has_ended().await {
            assert!(begin.elapsed() < Duration::from_secs(60), "kill {kill}, SEED={seed}: {}", service.said());
            // On a busy machine a request may last longer than its limit. The pause before the next try grows with the age.
            world.skip_pauses().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.below(80))).await;
        service.kill();
        let last = world.trouble.asked().get(request).cloned();
        *died_at.entry(last.unwrap_or_else(|| "nothing was left to do".to_owned())).or_default() += 1;
        world.wait().await;
    }
    world.trouble.will_hang(None);
    let service = Service::start(PROGRAM.as_ref(), &config);
    let begin = Instant::now();
    while !world.has_ended().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "SEED={seed}: {}", service.said());
        world.skip_pauses().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(service.interrupt(), Some(0));
    println!("{} jobs, killed at {died_at:#?}", jobs.len());
    let states: Vec<(String, i64)> =
        sqlx::query_as("select state::text, count(*) from publication group by 1").fetch_all(&world.db).await.unwrap();
    assert_eq!(states, [("published".to_owned(), 3 * jobs.len() as i64)], "SEED={seed}");
    for job in &jobs {
        world.assert_published_everywhere(*job);
    }
    let (releases, commits) = (world.github.releases.all(), world.hub.repository("acme/ink").unwrap().commits.len());
    assert_eq!((releases.len(), commits), (jobs.len(), jobs.len() + 1), "SEED={seed}");
    assert_eq!(world.hub.wrong(), Vec::<String>::new());
    assert_eq!(world.github.releases.wrong(), Vec::<String>::new());
    assert_eq!((world.s3.replaced(), world.s3.refused()), (Vec::new(), Vec::new()));
}

/// Returns an order to publish at all places, each in its own part for a job.
fn everywhere(job: i32) -> Value {
    let mut order = publish();
    order["release"] = json!(true);
    order["s3"] = json!(format!("s3://{BUCKET}/models/{job}/{{build}}"));
    order["tag"] = json!(format!("job-{job}-of-{{build}}"));
    order
}
