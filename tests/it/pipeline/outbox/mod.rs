//! The outbox in a simulation: its pace in a model world on many random schedules, and the rows of the model beside those
//! of a real Postgres.

mod builds;
mod chance;
mod checks;
mod long;
mod replay;
mod rows;
mod world;

use self::world::World;

/// Number of schedules. `SEED` runs a single one.
const SCHEDULES: u64 = 100_000;
const STEPS: usize = 40;
/// Number of schedules that are compared with Postgres.
const REPLAYED: u64 = 60;

fn run(seed: u64, records: bool) -> World {
    let mut world = World::new(seed, records);
    for _ in 0..STEPS {
        world.step();
    }
    world
}

/// Calls `check` for each seed, and names the seed of a failure.
fn with_seeds(count: u64, check: impl Fn(u64)) {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..count, |seed| seed..seed + 1) {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed)));
        if let Err(panic) = checked {
            eprintln!("SEED={seed} repeats this failure");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn github_shows_our_state_after_any_schedule() {
    with_seeds(SCHEDULES, |seed| {
        let mut world = run(seed, false);
        world.settle();
        world.check_windows();
    });
}

#[tokio::test]
async fn the_rows_in_postgres_are_those_of_the_model() {
    let database = replay::Database::new().await;
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in only.map_or(0..REPLAYED, |seed| seed..seed + 1) {
        let world = run(seed, true);
        if let Err(difference) = database.replay(&world).await {
            panic!("SEED={seed}, {:?}: {difference}", world.kinds());
        }
    }
}
