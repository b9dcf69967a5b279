//! Builds that a newer one supersedes.

use crate::support::app::App;
use crate::support::payload::{self, Delivery};

const ONE_SLOT: &str = "[[runner]]\nname = \"local\"\nslots = 1\n";
const WAIT: std::time::Duration = std::time::Duration::from_secs(60);
/// Runs for half a minute, and no test waits for its end.
const SLOW: &str = "language: shell\nscript:\n  - echo begun\n  - for i in $(seq 1 300); do sleep 0.1; done\n";

/// Pushes three times while the first job is running. Returns the three commits.
async fn three_pushes(app: &App) -> [String; 3] {
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", SLOW);
    let first = repo.commit("First");
    Delivery::new("first", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for(WAIT, |posted| posted.sha == first && posted.description.contains("running")).await;
    repo.write(".travis.yml", "language: shell\nscript: echo quick\n");
    let second = repo.commit("Second");
    Delivery::new("second", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for(WAIT, |posted| posted.sha == second).await;
    let third = repo.commit("Third");
    Delivery::new("third", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    [first, second, third]
}

#[tokio::test]
async fn a_newer_build_cancels_the_queued_ones_of_its_branch() {
    let app = App::start(ONE_SLOT).await;
    let [first, second, third] = three_pushes(&app).await;
    let end = app.github.wait_for_end(&second, "trainyard/push").await;
    assert_eq!(end.state, "error");
    assert!(end.description.contains("build #3 of branch main is newer"), "{}", end.description);
    let states = app.github.states(&first, "trainyard/push");
    assert!(states.iter().all(|state| state == "pending"), "a running build goes on: {states:?}");
    // The rest of it is of no interest here.
    let mut connection = app.db.acquire().await.unwrap();
    trainyard::store::queue::cancel_build(&mut connection, trainyard::domain::BuildId(1), "the test").await.unwrap();
    assert_eq!(app.github.wait_for_end(&third, "trainyard/push").await.state, "success");
    app.stop().await;
}

#[tokio::test]
async fn a_newer_build_cancels_a_running_one_by_setting() {
    let app = App::start(&format!("{ONE_SLOT}[travis]\ncancel_running = true\n")).await;
    let [first, second, third] = three_pushes(&app).await;
    let end = app.github.wait_for_end(&first, "trainyard/push").await;
    assert!(end.state == "error" && end.description.contains("build #2 of branch main is newer"), "{end:?}");
    assert_eq!(app.github.wait_for_end(&third, "trainyard/push").await.state, "success");
    let end = app.github.wait_for_end(&second, "trainyard/push").await;
    assert!(matches!(end.state.as_str(), "error" | "success"), "it may have run before the third came: {end:?}");
    app.stop().await;
}

#[tokio::test]
async fn a_late_build_of_an_older_push_cancels_no_newer_one() {
    let app = App::start(ONE_SLOT).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", SLOW);
    let slow = repo.commit("Takes the slot");
    Delivery::new("slow", "push", &payload::push(&app.github, &repo, "slow")).post(&app.base).await;
    app.github.wait_for(WAIT, |posted| posted.sha == slow && posted.description.contains("running")).await;
    repo.write(".travis.yml", "language: shell\nscript: echo quick\n");
    let older = repo.commit("Older");
    let older_push = payload::push(&app.github, &repo, "main");
    // Each try of the older push fails until the newer one is built.
    sqlx::raw_sql(
        "create function wait_for_newer() returns trigger language plpgsql as $$ begin
             if new.delivery_id = 'older' and not exists (select from build where delivery_id = 'newer') then
                 raise 'the newer one comes first';
             end if;
             return new;
         end $$;
         create trigger wait_for_newer before insert on build for each row execute function wait_for_newer()",
    )
    .execute(&app.db)
    .await
    .unwrap();
    Delivery::new("older", "push", &older_push).post(&app.base).await;
    let newer = repo.commit("Newer");
    Delivery::new("newer", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for(WAIT, |posted| posted.sha == older).await;
    let mut connection = app.db.acquire().await.unwrap();
    trainyard::store::queue::cancel_build(&mut connection, trainyard::domain::BuildId(1), "the test").await.unwrap();
    let numbers: Vec<String> =
        sqlx::query_scalar("select delivery_id from build order by number").fetch_all(&app.db).await.unwrap();
    assert_eq!(numbers, ["slow", "newer", "older"]);
    for sha in [&newer, &older] {
        assert_eq!(app.github.wait_for_end(sha, "trainyard/push").await.state, "success");
    }
    app.stop().await;
}
