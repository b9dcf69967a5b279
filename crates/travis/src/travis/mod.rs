//! The language of `.travis.yml`, as Travis CI reads it: text in; jobs, scripts and problems out.
//!
//! A file passes through `import` (one document from it and the files that it imports), then `normal` (aliases, casts,
//! repairs and defaults, driven by the table in `schema.json`), then `matrix` (the jobs), then `script` (the bash
//! script of one job). `shared/travis/semantics.md` names the source of every rule. No module in here knows of builds,
//! of repositories' settings in the database, or of Docker.

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
pub mod extensions;
pub mod schema;
pub mod script;
pub mod secrets;
pub mod shell;
pub mod traps;
pub mod unsupported;
