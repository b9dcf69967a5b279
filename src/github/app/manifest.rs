//! The registration of a GitHub App from a manifest: GitHub makes the App that a form describes, and gives its key for a
//! code.

use std::collections::BTreeMap;

use http::Method;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::InstallationFacts;
use crate::github::access::Access;
use crate::github::{Client, KnownRepository, SendError};

/// Returns the permissions of the App that a manifest asks for, by GitHub's names. Releases have the right to write
/// contents, which nothing else needs.
fn permissions(releases: bool) -> [(&'static str, &'static str); 6] {
    let contents = if releases { Access::Releases } else { Access::Contents };
    [
        Access::Metadata.permission(),
        contents.permission(),
        Access::Statuses.permission(),
        Access::Checks.permission(),
        Access::PullRequests.permission(),
        // GitHub sends the comments on pull requests as those on issues.
        ("issues", "read"),
    ]
}

/// Events that GitHub sends to the App, besides those about its installations.
const EVENTS: [&str; 6] = ["push", "pull_request", "issue_comment", "check_run", "check_suite", "repository"];
/// Path to which GitHub sends a browser after the person has agreed to a login.
pub const CALLBACK: &str = "/login/github/callback";
/// Maximum length of an App's name at GitHub.
const MAX_NAME: usize = 34;
/// Maximum size of GitHub's answers, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// An App that GitHub has made, with its credentials.
#[derive(Debug, Clone, Deserialize)]
pub struct NewApp {
    /// GitHub's number of the App.
    pub id: u64,
    pub name: String,
    /// Page of the App at GitHub.
    pub html_url: Url,
    /// Private key, as a PEM text.
    pub pem: SecretString,
    pub webhook_secret: Option<SecretString>,
    /// Credentials with which the App logs people in.
    pub client_id: Option<String>,
    pub client_secret: Option<SecretString>,
}

/// Returns the manifest of an App for the service at `public_url`, which may write `releases`. After its registration GitHub
/// sends the browser to `redirect_url`.
pub fn manifest(public_url: &Url, redirect_url: &str, releases: bool) -> Value {
    let host = public_url.host_str().unwrap_or("localhost");
    let name: String = format!("Trainyard {host}").chars().take(MAX_NAME).collect();
    let webhook = format!("{}/webhooks/github", public_url.as_str().trim_end_matches('/'));
    json!({
        "name": name.trim_end_matches(['.', '-', ' ']),
        "url": public_url.as_str(),
        "description": "Builds commits, and shows the results.",
        "public": false,
        "hook_attributes": {"url": webhook, "active": true},
        "redirect_url": redirect_url,
        "callback_urls": [format!("{}{CALLBACK}", public_url.as_str().trim_end_matches('/'))],
        "default_permissions": BTreeMap::from(permissions(releases)),
        "default_events": EVENTS,
    })
}

impl Client {
    /// Returns the page at GitHub to which a form posts a manifest: of the person, or of an organization.
    pub fn registration_url(&self, organization: Option<&str>, state: &str) -> Url {
        let origin = self.clone_origin.ascii_serialization();
        let mut url = Url::parse(&origin).unwrap_or_else(|_| unreachable!("the origin of an address"));
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear();
            if let Some(organization) = organization {
                path.extend(["organizations", organization]);
            }
            path.extend(["settings", "apps", "new"]);
        }
        url.query_pairs_mut().append_pair("state", state);
        url
    }

    /// Exchanges the code that GitHub has sent for the credentials of the new App.
    ///
    /// # Errors
    /// Fails when GitHub does not know the code, or not any more: it is good once, for an hour.
    pub async fn convert_manifest(&self, code: &str) -> Result<NewApp, SendError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if code.is_empty() || code.len() > 200 || !code.chars().all(is_plain) {
            return Err(SendError::NoAccess("this is not a code of GitHub".to_owned()));
        }
        let path = format!("/app-manifests/{code}/conversions");
        let answer = self.follow::<()>(Method::POST, &path, None, None).await?;
        self.read(self.accepted(answer).await?, MAX_ANSWER).await
    }

    /// Tries each permission of the [`manifest`] at an installation: whether GitHub gives a token with it for one of the
    /// repositories. Returns GitHub's reasons; `None` for a permission that is given.
    ///
    /// # Errors
    /// Fails when GitHub did not answer, and when the installation has no repository.
    pub async fn try_permissions(
        &self,
        installation: &InstallationFacts,
        releases: bool,
    ) -> Result<Vec<((&'static str, &'static str), Option<String>)>, SendError> {
        #[derive(Deserialize)]
        struct Repositories {
            repositories: Vec<KnownRepository>,
        }
        let path = format!("/app/installations/{}/access_tokens", installation.id);
        let (name, level) = Access::Metadata.permission();
        let token = self.ask_as_app(Method::POST, &path, Some(&json!({"permissions": {name: level}}))).await?;
        let token: Token = self.read(token, MAX_ANSWER).await?;
        let list = "/installation/repositories?per_page=1";
        let listed = self.accepted(self.follow::<()>(Method::GET, list, None, Some(&token.token)).await?).await?;
        let listed: Repositories = self.read(listed, MAX_ANSWER).await?;
        let Some(repo) = listed.repositories.first() else {
            let owner = &installation.account.login;
            return Err(SendError::NoAccess(format!("{owner} has given the App no repository")));
        };
        let mut tried = Vec::new();
        for (name, level) in permissions(releases) {
            let body = json!({"permissions": {name: level}, "repository_ids": [repo.id]});
            let reason = match self.ask_as_app(Method::POST, &path, Some(&body)).await {
                Ok(_) => None,
                Err(SendError::Refused { said, .. }) => Some(said),
                Err(error) => return Err(error),
            };
            tried.push(((name, level), reason));
        }
        Ok(tried)
    }
}

/// GitHub's answer with a token.
#[derive(Deserialize)]
struct Token {
    token: SecretString,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::GitHubConfig;

    #[tokio::test]
    async fn the_form_goes_to_the_person_or_the_organization() {
        let url = |api_url: &str, organization| {
            let config = GitHubConfig { api_url: api_url.parse().unwrap(), ..GitHubConfig::default() };
            Client::new(&config).unwrap().registration_url(organization, "a b").to_string()
        };
        let github = "https://api.github.com";
        assert_eq!(url(github, None), "https://github.com/settings/apps/new?state=a+b");
        assert_eq!(url(github, Some("acme")), "https://github.com/organizations/acme/settings/apps/new?state=a+b");
        let enterprise = url("https://github.example.org/api/v3", Some("a/../b"));
        assert_eq!(enterprise, "https://github.example.org/organizations/a%2F..%2Fb/settings/apps/new?state=a+b");
    }

    #[test]
    fn a_manifest_has_the_addresses_of_the_service_and_a_name_that_github_takes() {
        let of = |public_url: &str| manifest(&public_url.parse().unwrap(), "http://127.0.0.1:1/created", false);
        let made = of("https://ci.example.org/");
        assert_eq!(made["hook_attributes"]["url"], "https://ci.example.org/webhooks/github");
        assert_eq!(made["name"], "Trainyard ci.example.org");
        assert_eq!(made["default_permissions"]["statuses"], "write");
        assert_eq!(made["default_permissions"]["contents"], "read");
        let long = of("https://trainyard.continuous-integration.example.org/");
        assert!(long["name"].as_str().unwrap().len() <= MAX_NAME);
    }
}
