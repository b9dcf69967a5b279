//! People at GitHub: who logs in, and their rights in repositories.

mod oauth;
mod permission;

pub use self::oauth::{GitHubUser, OAuthClient};
