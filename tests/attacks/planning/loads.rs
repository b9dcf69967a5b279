//! Commits that take all the time of their planner, while the service works on.

use std::time::Duration;

use trainyard::domain::BuildId;
use trainyard::intake::HOLD;
use trainyard::store::queue;
use trainyard::worker::LEASE;

use crate::support::app::App;
use crate::support::docker;
use crate::support::hostile;
use crate::support::payload::{self, Delivery};

#[tokio::test]
async fn no_beat_is_missed_while_a_bomb_is_planned() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: echo begun; sleep 1000\n");
    repo.commit("Go on");
    Delivery::new("job", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let running = "select count(*) from job where state = 'running' and log_length > 0";
    wait_for(&app, running, 1).await;

    let stranger = app.github.repo("mallory/styles");
    hostile::write_planning_bomb(|path, text| stranger.write(path, text));
    let sha = stranger.commit("Boom");
    Delivery::new("bomb", "push", &payload::push(&app.github, &stranger, "main")).post(&app.base).await;
    let mut leases = Vec::new();
    let mut hold = f64::INFINITY;
    loop {
        let (left, held, is_done): (f64, f64, bool) = sqlx::query_as(
            "select extract(epoch from lease_until - now())::float8,
                 extract(epoch from delivery.not_before - now())::float8, done_at is not null
             from job, delivery where job.id = 1 and delivery.id = 'bomb'",
        )
        .fetch_one(&app.db)
        .await
        .unwrap();
        assert!(left > 0.0, "the lease of the running job has run out");
        leases.push(left);
        if is_done {
            break;
        }
        // Until it is taken, it is due.
        hold = if held > 0.0 { hold.min(held) } else { hold };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It is renewed each quarter of its length, so two beats that are missed in a row leave a quarter.
    let worst = leases.iter().copied().fold(f64::INFINITY, f64::min);
    println!("at least {worst:.1} s of the lease were left");
    assert!(worst > LEASE.as_secs_f64() / 4.0, "beats were missed: only {worst:.1} s of the lease were left");
    // The delivery is held for longer than the bomb takes, and the hold is renewed.
    assert!(hold > HOLD.as_secs_f64() - 17.0, "the hold was not renewed: {hold:.1} s of it were left");
    let status = app.github.wait_for_end(&sha, "trainyard/push").await;
    assert_eq!(status.state, "error");
    let message: String =
        sqlx::query_scalar("select message from problem where severity = 'error'").fetch_one(&app.db).await.unwrap();
    assert!(message.contains("longer than 20s"), "{message}");
    let mut connection = app.db.acquire().await.unwrap();
    queue::cancel(&mut connection, BuildId(1), None, "the test ends").await.unwrap();
    drop(connection);
    wait_for(&app, "select count(*) from job where verdict = 'canceled'", 1).await;
    let db = app.db.clone();
    app.stop().await;
    docker::assert_no_containers(&db).await;
}

/// Waits until a query returns this number.
async fn wait_for(app: &App, query: &'static str, wanted: i64) {
    for _ in 0..600 {
        if sqlx::query_scalar::<_, i64>(query).fetch_one(&app.db).await.unwrap() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{query} does not become {wanted}");
}
