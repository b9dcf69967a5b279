//! Travis's own behaviour, as corpora in `shared/travis/corpus` hold it, against ours.
//!
//! The corpora are not part of this repository: they are read from `$TRAINYARD_SHARED` or `../shared`, and a corpus
//! that is absent has a row that says so. `cargo test --test corpus -- --nocapture` prints one table of all of them,
//! and below it each case that differs, with the reason that `differences.rs` has for it. A difference without a
//! reason fails, and so does a reason whose case is equal.

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

use support::Score;

#[test]
fn corpora() {
    let corpora: [fn() -> Vec<Score>; 9] = [
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
