//! One commit comes out, whatever happens on the way.

use std::time::Duration;

use trainyard::store::publications::PublicationState;

use super::world::{TARGET, World};
use crate::support::trouble::{Cut, Fault};

#[tokio::test]
async fn a_publication_is_one_commit_with_a_tag() {
    let world = World::start().await;
    let (tries, publication) = world.finish().await;
    assert_eq!((tries, publication.state), (1, PublicationState::Published), "{publication:?}");
    world.assert_published_once();
    let repository = world.hub.repository(TARGET).unwrap();
    assert!(repository.private);
    assert_eq!(publication.commit_id.as_ref(), Some(&repository.last().id));
    let url = format!("{}/{TARGET}/tree/build-12", world.hub.endpoint());
    assert_eq!(publication.url.as_ref(), Some(&url));
    let message = &repository.last().message;
    assert!(message.contains("Job: https://ci.example.org/acme/styles/builds/12/jobs/3"), "{message}");
    let weights = &repository.last().tree["ink.safetensors"];
    assert!(weights.is_lfs && weights.bytes.len() == 2_500_000);
    let card = String::from_utf8(repository.last().tree["README.md"].bytes.to_vec()).unwrap();
    assert!(card.contains("license: \"apache-2.0\"") && card.contains("| 0.9000 | 0.1000 | 0.1000 | 40 |"), "{card}");
    assert!(card.contains("gate-loss") && card.contains("weight_name=\"ink.safetensors\""), "{card}");
    assert!(!world.publisher.step().await.unwrap(), "nothing is due any more");
}

/// A process that dies at any request, before or after it takes effect: the next one finishes its work.
#[tokio::test]
async fn a_death_at_any_request_gives_one_commit() {
    let whole = World::start().await;
    whole.finish().await;
    let requests = whole.trouble.asked().len();
    assert!(requests >= 12, "{:?}", whole.trouble.asked());
    for request in 0..requests {
        for after in [false, true] {
            let world = World::start().await;
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
            world.assert_published_once();
        }
    }
}

#[tokio::test]
async fn a_lost_answer_to_any_request_gives_one_commit() {
    for kind in [
        "POST create",
        "GET state",
        "GET tree",
        "GET commits",
        "POST preupload",
        "POST batch",
        "PUT part",
        "PUT object",
        "POST complete",
        "POST verify",
        "POST commit",
        "POST tag",
    ] {
        let world = World::start().await;
        world.trouble.will_fail(kind, &[Fault::LoseAnswer, Fault::LoseAnswer]);
        let (tries, publication) = world.finish().await;
        assert_eq!(publication.state, PublicationState::Published, "{kind}: {publication:?}");
        // A commit and a tag that are there are not made again.
        let wanted = if matches!(kind, "POST commit" | "GET commits") { 1..=3 } else { 2..=3 };
        assert!(wanted.contains(&tries), "{kind}: {tries}");
        world.assert_published_once();
    }
}

#[tokio::test]
async fn a_commit_of_others_between_two_tries_does_not_hide_ours() {
    let world = World::start().await;
    world.trouble.will_fail("POST commit", &[Fault::LoseAnswer]);
    assert!(world.publisher.step().await.unwrap());
    assert_eq!(world.publication().await.unwrap().state, PublicationState::Waiting);
    world.hub.commit(TARGET, "README.md", "A better text");
    world.wait().await;
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Published, "{publication:?}");
    world.assert_published_once();
    let repository = world.hub.repository(TARGET).unwrap();
    assert_eq!(&repository.last().tree["README.md"].bytes[..], b"A better text", "it is not undone");
}

#[tokio::test]
async fn two_processes_at_once_make_one_commit() {
    let world = World::start().await;
    // The first one is held up behind its upload until the second one is done.
    let first = world.publisher.clone();
    let mut tasks = tokio::task::JoinSet::new();
    world.trouble.will_fail("POST commit", &[Fault::Refuse(412, &[])]);
    tasks.spawn(async move { first.step().await });
    let begins = async {
        while !world.trouble.asked().iter().any(|kind| kind == "POST batch") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), begins).await.unwrap();
    world.wait().await;
    let (_, publication) = world.finish().await;
    assert_eq!(publication.state, PublicationState::Published);
    tasks.join_all().await.into_iter().for_each(|stepped| assert!(stepped.unwrap()));
    world.assert_published_once();
    assert_eq!(world.publication().await.unwrap().state, PublicationState::Published);
}

#[tokio::test]
async fn a_job_that_passes_again_is_not_published_again() {
    let world = World::start().await;
    world.finish().await;
    sqlx::query(
        "update job set state = 'running', verdict = null, finished_at = null, attempt = 2, lease_until = now()",
    )
    .execute(&world.db)
    .await
    .unwrap();
    sqlx::query("delete from series").execute(&world.db).await.unwrap();
    sqlx::query("delete from report").execute(&world.db).await.unwrap();
    let attempt = trainyard::domain::AttemptId { job: super::world::JOB, number: 2 };
    let end = trainyard::store::queue::Finish {
        verdict: trainyard::domain::Verdict::Passed,
        exit_status: Some(0),
        reason: None,
        tail: b"",
        offset: 0,
        reports: Default::default(),
    };
    assert!(trainyard::store::queue::finish(&world.db, attempt, &end).await.unwrap());
    assert!(!world.publisher.step().await.unwrap());
    world.assert_published_once();
}
