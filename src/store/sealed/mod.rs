//! Rows under the server's seal: key pairs, credentials and variables. A copy of the database reveals none of them.

pub mod github_app;
pub mod own_keys;
pub mod repo_keys;
pub mod variables;
pub mod webhook_secrets;
