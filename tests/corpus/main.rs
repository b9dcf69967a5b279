//! Travis's own behaviour, as recorded in the corpora in `shared/travis/corpus`, compared with ours.
//!
//! The corpora are not part of this repository: they are read from `$TRAINYARD_SHARED` or `../shared`. An absent corpus
//! has a row that says so. `cargo test --test corpus -- --nocapture` prints a table of all corpora, and below it each
//! case that differs, with its reason from `differences.rs`. A difference without a reason fails, and so does a reason
//! whose case does not differ.

mod conditions;
mod differences;
mod env_vars;
mod imports;
mod lora;
mod matrix;
mod notify;
mod phases;
mod real;
mod support;
mod traps;
mod valid;
mod webhook;

use support::Score;

#[test]
fn corpora() {
    let corpora: [fn() -> Vec<Score>; 10] = [
        webhook::scores,
        conditions::scores,
        env_vars::scores,
        valid::scores,
        matrix::scores,
        real::scores,
        phases::scores,
        imports::scores,
        notify::scores,
        lora::scores,
    ];
    let scores: Vec<Score> = std::thread::scope(|scope| {
        let running: Vec<_> = corpora.into_iter().map(|scores| scope.spawn(scores)).collect();
        running.into_iter().flat_map(|corpus| corpus.join().expect("a corpus that was compared")).collect()
    });
    support::close(&scores);
}
