//! The login with GitHub: the web flow of a GitHub App, with a state and PKCE.

use http::{Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::github::{Client, SendError};

/// Maximum size of GitHub's answers, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Credentials with which an App logs people in.
#[derive(Debug, Clone)]
pub struct OAuthClient {
    pub id: String,
    pub secret: SecretString,
}

/// A person at GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GitHubUser {
    /// GitHub's number of the person, which stays the same.
    pub id: i64,
    /// Present login. Another person may get it later.
    pub login: String,
}

/// GitHub's answer to a code.
#[derive(Deserialize)]
struct Exchanged {
    access_token: Option<SecretString>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Client {
    /// Returns GitHub's page on which a person agrees to the login.
    pub fn authorize_url(&self, client: &OAuthClient, redirect_uri: &str, state: &str, challenge: &str) -> Url {
        let mut url = self.page_url("/login/oauth/authorize");
        url.query_pairs_mut()
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", state)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256");
        url
    }

    /// Returns the person whose browser has brought this code. The person's token is used for this question only, and
    /// kept nowhere.
    ///
    /// # Errors
    /// Fails when GitHub does not know the code, or did not answer.
    pub async fn user_of_code(
        &self,
        client: &OAuthClient,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<GitHubUser, SendError> {
        let token = self.exchange(client, code, redirect_uri, verifier).await?;
        let answer = self.follow::<()>(Method::GET, "/user", None, Some(&token)).await?;
        self.read(self.accepted(answer).await?, MAX_ANSWER).await
    }

    async fn exchange(
        &self,
        client: &OAuthClient,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<SecretString, SendError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &client.id)
            .append_pair("client_secret", client.secret.expose_secret())
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier)
            .finish();
        let broken =
            |error: reqwest::Error| SendError::Broken(format!("logging in at GitHub: {}", error.without_url()));
        let http = reqwest::Client::builder()
            // The secret goes nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.timeout)
            .build()
            .map_err(broken)?;
        let mut answer = http
            .post(self.page_url("/login/oauth/access_token"))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(broken)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER {
                return Err(SendError::Broken("GitHub's answer to a login is too large".to_owned()));
            }
        }
        let read: Option<Exchanged> = serde_json::from_slice(&body).ok();
        match read {
            Some(Exchanged { access_token: Some(token), .. }) if status.is_success() => Ok(token),
            Some(Exchanged { error: Some(error), error_description, .. }) => {
                let said: String =
                    error_description.unwrap_or(error).chars().filter(|c| !c.is_control()).take(200).collect();
                Err(SendError::Refused { by: "GitHub", status: status.as_u16(), said })
            }
            _ => Err(SendError::Broken(format!("GitHub answered {status} to a login"))),
        }
    }

    /// Returns the address of a page of this GitHub, which is not below the address of the API.
    fn page_url(&self, path: &str) -> Url {
        let address = format!("{}{path}", self.clone_origin.ascii_serialization());
        Url::parse(&address).unwrap_or_else(|_| unreachable!("an origin and a constant path"))
    }
}
