//! The language of `.travis.yml`, as Travis CI reads it: text in; jobs, scripts and problems out.
//!
//! The way of a file is `import` (one document out of it and the files it asks for), then `normal` (aliases, casts,
//! repairs and defaults, driven by the table in `schema.json`), then `matrix` (the jobs), then `script` (one job's
//! bash). `shared/travis/semantics.md` names the source of every rule.
//! Nothing in here knows of builds, repositories' settings in the database, or Docker.

pub mod artifacts;
pub mod branches;
pub mod cache;
pub mod condition;
pub mod document;
pub mod env;
pub mod import;
pub mod matrix;
pub mod normal;
pub mod notifications;
pub mod own_keys;
pub mod schema;
pub mod script;
pub mod secrets;
pub mod traps;
pub mod without_effect;
