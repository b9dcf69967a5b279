//! `make faults`: kills parts of the service at random moments while many jobs run, and checks after each fault that
//! nothing was lost.
//!
//! `SEED` repeats a run's choices (not its timing), `FAULTS` sets their number, and `AWAY` the seconds for which Postgres
//! is away now and then. Everything is on this machine, in separate folders and containers, and ends by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what cannot work shall say so at once")]
#![allow(missing_docs, reason = "a program")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod fault;
mod flood;
mod invariants;
mod load;
mod stranger;
mod yard;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fault::Fault;
use invariants::Memory;
use load::Load;
use support::trouble::random::Random;
use yard::Yard;

/// Default number of faults.
const FAULTS: u32 = 200;
/// Time limit for the end of all builds after the last fault has healed.
const HEALED: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or_else(|| std::process::id().into());
    let count = number("FAULTS").map_or(FAULTS, |count| u32::try_from(count).unwrap_or(FAULTS));
    println!("{count} faults, SEED={seed}");
    let begin = Instant::now();
    let mut random = Random::new(seed);
    let mut yard = Yard::start().await;
    let (mut load, mut memory) = (Load::new(&yard), Memory::default());
    let mut injected: BTreeMap<&str, u32> = BTreeMap::new();
    for number in 1..=count {
        load.top_up(&mut yard, &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
        let fault = Fault::any(&mut random);
        *injected.entry(fault.name()).or_default() += 1;
        fault.inject(&mut yard, &mut load, &mut random).await;
        if let Err(broken) = memory.check(&yard).await {
            return failed(&yard, number, fault, seed, &broken);
        }
        if number % 10 == 0 {
            println!("{number:>5} faults after {:>4} s, {}", begin.elapsed().as_secs(), load.in_words());
        }
    }
    yard.heal();
    let ended = memory.check_end(&mut yard, &load, HEALED).await;
    println!("\n{:<44} times", "fault");
    injected.iter().for_each(|(name, times)| println!("{name:<44} {times:>5}"));
    match ended {
        Ok(facts) => {
            println!("\nno invariant was broken: {facts}, {} s", begin.elapsed().as_secs());
            yard.stop();
            ExitCode::SUCCESS
        }
        Err(broken) => failed(&yard, count, Fault::Nothing, seed, &broken),
    }
}

fn failed(yard: &Yard, number: u32, fault: Fault, seed: u64, broken: &str) -> ExitCode {
    println!("\nBROKEN after fault {number} ({}), SEED={seed}:\n{broken}", fault.name());
    println!("the service's last words:\n{}", yard.last_words());
    ExitCode::FAILURE
}
