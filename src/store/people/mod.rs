//! People: who they are, their rights, their sessions and tokens, and what they have changed.

pub mod api_tokens;
pub mod audit;
pub mod permissions;
pub mod persons;
pub mod sessions;
pub mod setup_link;
