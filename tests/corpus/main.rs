//! Travis's own behaviour, as corpora in `shared/travis/corpus` hold it, against ours.
//!
//! The corpora are not part of this repository: they are read from `$TRAINYARD_SHARED` or `../shared`, and where they
//! are absent every test says so and passes. `cargo test --test corpus -- --nocapture` prints one row per corpus;
//! with `CORPUS_DIFF=name` also what differs.

mod conditions;
mod env_vars;
mod lora;
mod matrix;
mod phases;
mod support;
mod valid;
