//! `make bench`: how close the service is to the physical limits of its work, as ratios of interleaved runs.
//!
//! Arguments select parts: `plan`, the plan of a `.travis.yml`; `lora`, the work on training configs and weights;
//! `service`, the database's part of the work; `pages`, the check of rights; `fetch`, the data of train jobs; and, with containers, `push`, `hundred`, `checkout`, `logs` and
//! `recovery`.
//!
//! Each figure is the median of its runs. Both sides of a ratio run in turn while this process runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot work shall say so at once")]
#![allow(missing_docs, reason = "a program")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod checkout;
mod claims;
mod deliveries;
mod fetch;
mod jobs;
mod lint;
mod logs;
mod memory;
mod pages;
mod planning;
mod push;
mod recovery;
mod smoke;
mod weights;
mod yard;

use yard::Yard;

#[tokio::main]
async fn main() {
    if fetch::as_a_child().await {
        return;
    }
    println!("{:<66} {:>10} {:>12} {:>8}  aim", "what", "ours", "the limit", "ratio");
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| parts.is_empty() || parts.iter().any(|part| part == name);
    if wants("plan") {
        planning::real_and_hostile();
        planning::in_a_child().await;
    }
    if wants("lora") {
        lint::as_a_process();
        lint::of_many_files();
        weights::inspected();
    }
    if ["lora", "service", "push", "hundred", "logs", "recovery"].into_iter().any(wants) {
        let mut yard = Yard::start(2).await;
        if wants("service") {
            memory::idle(&yard).await;
            deliveries::acknowledged(&yard).await;
            claims::claimed(&yard).await;
        }
        if wants("lora") {
            smoke::of_the_example(&yard).await;
        }
        if wants("push") {
            push::of_echo(&yard).await;
            push::after_smoke_jobs(&yard).await;
        }
        if wants("hundred") {
            jobs::at_once(&yard).await;
        }
        if wants("logs") {
            logs::stored(&yard).await;
        }
        if wants("recovery") {
            recovery::of_a_job(&mut yard).await;
        }
        yard.stop();
    }
    if wants("pages") {
        pages::checked().await;
    }
    if wants("fetch") {
        fetch::of_a_large_model().await;
    }
    if wants("checkout") {
        checkout::of_many_files().await;
    }
    if wants("push") {
        let yard = Yard::start(0).await;
        push::of_echo(&yard).await;
        yard.stop();
    }
}

/// Prints a line of the result.
fn report(what: &str, ours: &str, limit: &str, ratio: Option<f64>, aim: &str) {
    let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    println!("{what:<66} {ours:>10} {limit:>12} {ratio:>8}  {aim}");
}

/// Returns the time that a job has printed after `name`. The command that did it also contains `name`.
fn stamp(log: &[u8], name: &str) -> f64 {
    let log = String::from_utf8_lossy(log);
    let words = log.split(name).skip(1).filter_map(|rest| rest.split_whitespace().next());
    words.filter_map(|word| word.parse().ok()).next().unwrap_or_else(|| panic!("no {name} in {log}"))
}

/// Returns the median of the values, and their spread from the first to the ninth decile.
fn median(values: &mut [f64]) -> (f64, String) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
    (at(0.5), format!("{:.3}–{:.3}", at(0.1), at(0.9)))
}

/// Results of two sides that ran in turn: the medians of each, that of their ratios run by run, and the spread of our
/// side.
struct Sides {
    ours: f64,
    limit: f64,
    ratio: f64,
    spread: String,
}

impl Sides {
    fn of(mut ours: Vec<f64>, mut limit: Vec<f64>) -> Self {
        let mut ratios: Vec<f64> = ours.iter().zip(&limit).map(|(ours, limit)| ours / limit).collect();
        let (limit, _) = median(&mut limit);
        let (ratio, _) = median(&mut ratios);
        let (ours, spread) = median(&mut ours);
        Self { ours, limit, ratio, spread }
    }
}
