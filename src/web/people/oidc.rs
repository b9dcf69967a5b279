//! The login with a provider of OpenID Connect: to the provider and back.

use axum::extract::{self, Query};
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use tracing::warn;

use super::login::Wanted;
use super::logins::{self, Begun, Way};
use crate::oidc::{OidcError, Proof};
use crate::store::people::persons;
use crate::web::State;
use crate::web::access::address;
use crate::web::error::Error;

/// Path to which the provider sends a browser back.
const CALLBACK: &str = "/login/oidc/callback";

/// Query parameters with which the provider sends a browser back.
#[derive(Debug, Deserialize)]
pub(in crate::web) struct Returned {
    code: Option<String>,
    state: Option<String>,
    /// Address of the provider, of those that name it (RFC 9207).
    iss: Option<String>,
    error: Option<String>,
}

impl Begun {
    fn proof(&self) -> Proof<'_> {
        Proof { state: &self.state, nonce: &self.nonce, verifier: &self.verifier }
    }
}

/// `GET /login/oidc`: begins a login, and sends the browser to the provider.
pub(in crate::web) async fn begin(
    extract::State(state): extract::State<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Error> {
    let provider = state.access.oidc().ok_or(Error::NotFound("login"))?;
    let begun = state.logins.begin(&wanted.return_to)?;
    let url = provider.authorize_url(&state.public(CALLBACK), begun.proof()).await.map_err(|error| {
        warn!("{} does not answer: {error}", provider.config().issuer);
        Error::NoProvider(provider.config().name.clone())
    })?;
    logins::send(&state, Way::Oidc, &begun, &url)
}

/// `GET /login/oidc/callback`: the browser comes back from the provider.
pub(in crate::web) async fn callback(
    extract::State(state): extract::State<State>,
    Query(returned): Query<Returned>,
    request: Parts,
) -> Response {
    logins::answer(&state, finish(&state, returned, &request).await)
}

async fn finish(state: &State, returned: Returned, request: &Parts) -> Result<Response, Error> {
    let provider = state.access.oidc().ok_or(Error::NotFound("login"))?;
    let config = provider.config();
    let begun = logins::begun(state, Way::Oidc, &request.headers, returned.state.as_deref())?;
    if let Some(error) = returned.error {
        return Err(logins::refused(&config.name, &error));
    }
    if returned.iss.is_some_and(|issuer| issuer != config.issuer) {
        return Err(Error::Forbidden("The answer comes from another provider. Begin the login again.".to_owned()));
    }
    let code = returned.code.ok_or_else(|| Error::BadRequest(format!("{} has sent no code.", config.name)))?;
    let from = address(&request.extensions, &request.headers);
    state.tries.begin("", from)?;
    let person = match provider.person_of_code(&code, &state.public(CALLBACK), begun.proof()).await {
        Ok(person) => person,
        Err(error) => {
            warn!("a login with {} failed: {error}", config.issuer);
            return Err(match error {
                OidcError::Away(_) => Error::NoProvider(config.name.clone()),
                OidcError::Unproven(_) => Error::Forbidden(format!(
                    "{} does not confirm the login. The server's log has the reason. Try it again.",
                    config.name
                )),
                OidcError::NotAdmitted { name } => {
                    state.access.record(&name, "refused login", "in no group or domain that may log in", from).await;
                    Error::Forbidden(format!(
                        "{name} may not log in here. The operator says in auth.oidc which groups and domains may."
                    ))
                }
            });
        }
    };
    let new = persons::OfProvider {
        issuer: &config.issuer,
        subject: &person.subject,
        name: &person.name,
        is_operator: person.is_operator,
    };
    let stored = persons::of_provider(&state.db, &new).await?;
    state.tries.succeed("", from);
    let who = (stored.id, person.name.as_str());
    super::begin_session(state, &request.extensions, &request.headers, who, &begun.return_to).await
}
