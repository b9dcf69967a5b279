//! Refusals of the Hub, each with its consequence.

use serde_json::json;
use trainyard::store::publications::{Publication, PublicationState};

use super::world::{TARGET, World, publish, usual};
use crate::support::hub::TOKEN;
use crate::support::trouble::Fault;

async fn failed(world: &World) -> String {
    let (tries, publication) = world.finish().await;
    assert_eq!((tries, publication.state), (1, PublicationState::Failed), "{publication:?}");
    publication.error.unwrap()
}

/// Tries once. Returns the publication, and the seconds until the next try.
async fn tried(world: &World) -> (Publication, i64) {
    assert!(world.publisher.step().await.unwrap());
    let pause = sqlx::query_scalar("select extract(epoch from not_before - now())::bigint from publication")
        .fetch_one(&world.db)
        .await
        .unwrap();
    (world.publication().await.unwrap(), pause)
}

#[tokio::test]
async fn what_no_try_can_help_ends_the_publication_with_the_reason() {
    let mut world = World::start().await;
    world.publisher.permissions.huggingface[0].token = Some("hf_anothertokenthatiswrong".to_owned().into());
    let why = failed(&world).await;
    assert!(
        why.contains("401 Invalid credentials") && why.contains("[secure]") && !why.contains("hf_another"),
        "{why}"
    );
    for (kind, status, headers, told) in [
        ("POST commit", 403, &[][..], "does not let this token in: 403 on demand"),
        (
            "GET state",
            403,
            &[("x-error-code", "GatedRepo")],
            "the repository is gated, and the owner of this token has no access: 403",
        ),
        ("POST preupload", 404, &[], "no such repository for this token: 404"),
        ("PUT object", 413, &[], "finds a file too large: 413"),
        ("POST commit", 400, &[], "refuses: 400 on demand"),
        ("GET tree", 307, &[], "refuses: 307: the repository has moved"),
    ] {
        let world = World::start().await;
        world.hub.make(TARGET, true);
        // The state is read twice before a repository counts as missing.
        world.trouble.will_fail(kind, &[Fault::Refuse(status, headers), Fault::Refuse(status, headers)]);
        let why = failed(&world).await;
        assert!(why.contains(told), "{kind} {status}: {why}");
        assert_eq!(world.hub.repository(TARGET).unwrap().commits.len(), 1);
    }
}

#[tokio::test]
async fn a_limit_is_waited_for_as_long_as_the_hub_says() {
    for (headers, wait) in
        [(&[("retry-after", "2580")][..], 2580), (&[("ratelimit", "\"api\";r=0;t=55")], 55), (&[], 300)]
    {
        let world = World::start().await;
        world.trouble.will_fail("POST commit", &[Fault::Refuse(429, headers)]);
        let (publication, pause) = tried(&world).await;
        assert_eq!(publication.state, PublicationState::Waiting);
        assert!((wait - 5..=wait).contains(&pause), "{pause}");
        assert!(!world.publisher.step().await.unwrap(), "it waits");
        world.wait().await;
        assert_eq!(world.finish().await.1.state, PublicationState::Published);
        world.assert_published_once();
    }
}

#[tokio::test]
async fn a_repository_with_too_many_commits_is_tried_later() {
    let world = World::start().await;
    world.hub.make(TARGET, true);
    for number in 0..128 {
        world.hub.commit(TARGET, "notes.txt", &number.to_string());
    }
    let (publication, pause) = tried(&world).await;
    assert_eq!(publication.state, PublicationState::Waiting, "{publication:?}");
    assert!((2500..=2580).contains(&pause), "{pause}");
}

#[tokio::test]
async fn a_hub_that_is_away_is_tried_again_for_a_day() {
    let world = World::start().await;
    world.trouble.will_fail("GET state", &[Fault::Refuse(503, &[]), Fault::Refuse(502, &[])]);
    world.trouble.will_fail("POST preupload", &[Fault::Refuse(500, &[])]);
    world.trouble.will_fail("POST commit", &[Fault::Refuse(412, &[])]);
    let (tries, publication) = world.finish().await;
    assert_eq!((tries, publication.state), (5, PublicationState::Published), "{publication:?}");
    world.assert_published_once();
    let world = World::start().await;
    world.trouble.will_fail("GET state", &[Fault::Refuse(503, &[])]);
    sqlx::query("update publication set created_at = now() - interval '25 hours'").execute(&world.db).await.unwrap();
    assert!(failed(&world).await.contains("the Hub does not answer: 503"));
}

#[tokio::test]
async fn private_weights_do_not_go_to_a_public_repository() {
    let world = World::start().await;
    world.hub.make(TARGET, false);
    let why = failed(&world).await;
    assert!(why.contains("acme/ink is public: write `private: false`"), "{why}");
    assert_eq!(world.hub.repository(TARGET).unwrap().commits.len(), 1);
}

#[tokio::test]
async fn a_public_repository_tells_nothing_of_a_private_source() {
    let mut order = publish();
    order["private"] = json!(false);
    let world = World::with(&usual(), order).await;
    sqlx::query("update repo set private = true").execute(&world.db).await.unwrap();
    assert_eq!(world.finish().await.1.state, PublicationState::Published);
    let repository = world.hub.repository(TARGET).unwrap();
    assert!(!repository.private);
    let last = repository.last();
    let names: Vec<&str> = last.tree.keys().map(String::as_str).collect();
    assert_eq!(names, [".gitattributes", "README.md", "ink.safetensors", "small.safetensors"]);
    let card = String::from_utf8(last.tree["README.md"].bytes.to_vec()).unwrap();
    for text in [&card, &last.title, &last.message] {
        assert!(!text.contains("styles") && !text.contains("example.org") && !text.contains("configs/"), "{text}");
    }
}

#[tokio::test]
async fn weights_that_are_not_there_are_not_published() {
    let world = World::with(&[("notes.txt", b"x".to_vec()), ("a/b.safetensors", b"x".to_vec())], publish()).await;
    assert!(failed(&world).await.contains("no file .safetensors at the top"));
    let world = World::start().await;
    sqlx::query("update artifact set key = null, removed = 'it was kept for 30 days' where path = 'ink.safetensors'")
        .execute(&world.db)
        .await
        .unwrap();
    let why = failed(&world).await;
    assert!(why.contains("ink.safetensors is no longer stored: it was kept for 30 days"), "{why}");
}

#[tokio::test]
async fn a_place_that_is_closed_meanwhile_gets_nothing() {
    for (key, patterns) in [("repos", "mallory/*"), ("to", "acme/other")] {
        let mut world = World::start().await;
        let permission = &mut world.publisher.permissions.huggingface[0];
        match key {
            "repos" => permission.repos = vec![patterns.to_owned()],
            _ => permission.to = vec![patterns.to_owned()],
        }
        let why = failed(&world).await;
        assert!(why.contains("acme/styles may not publish to acme/ink any more"), "{why}");
        assert!(world.trouble.asked().is_empty());
    }
}

#[tokio::test]
async fn a_publication_of_a_pull_request_has_no_row_whatever_the_plan_says() {
    for change in ["pull_request = 7, head_branch = 'ink'", "from_fork = true", "kind = 'pull_request'"] {
        let world = World::start().await;
        sqlx::query("delete from publication").execute(&world.db).await.unwrap();
        for table in ["artifact", "report", "series"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&world.db).await.unwrap();
        }
        sqlx::query(sqlx::AssertSqlSafe(format!("update build set {change}"))).execute(&world.db).await.unwrap();
        sqlx::query(
            "update job set state = 'running', verdict = null, finished_at = null, lease_until = now() + interval '1 hour'",
        )
        .execute(&world.db)
        .await
        .unwrap();
        let claimed = trainyard::domain::AttemptId { job: super::world::JOB, number: 1 };
        let end = trainyard::store::queue::Finish {
            verdict: trainyard::domain::Verdict::Passed,
            exit_status: Some(0),
            reason: None,
            tail: b"",
            offset: 0,
            reports: Default::default(),
        };
        assert!(trainyard::store::queue::finish(&world.db, claimed, &end).await.unwrap());
        assert!(world.publication().await.is_none(), "{change}");
    }
}

#[tokio::test]
async fn the_token_is_in_no_row() {
    let world = World::start().await;
    world.trouble.will_fail("GET tree", &[Fault::Refuse(503, &[])]);
    world.finish().await;
    let row: String =
        sqlx::query_scalar("select publication::text from publication").fetch_one(&world.db).await.unwrap();
    assert!(!row.contains(TOKEN), "{row}");
}
