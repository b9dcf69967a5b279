//! Logins with a provider of OpenID Connect: the authorization code flow, with a state, a nonce and PKCE.

mod admission;
mod config;
mod http;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType,
    CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenClaims, IdTokenFields, IssuerUrl,
    Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardErrorResponse,
    StandardTokenResponse, TokenResponse as _, UserInfoClaims,
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tokio::sync::Mutex;
use url::Url;

use self::admission::{Claims, Role};
pub use self::config::OidcConfig;
use self::http::Http;

/// Time for which the provider's document and keys are good.
const CURRENT_FOR: Duration = Duration::from_secs(5 * 60);
/// Age from which they are fetched again for a token that they do not fit: the provider may have new keys.
const MAY_RENEW_AFTER: Duration = Duration::from_secs(10);
/// Time for which a failure counts as the answer to others.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// Difference of the clocks that is allowed.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Algorithms of signatures. A secret that both sides know signs nothing, and neither does `none`.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Claims that the standard does not name, such as groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OtherClaims(Map<String, Json>);

impl AdditionalClaims for OtherClaims {}

type Fields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
type Client = openidconnect::Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A login has no result.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider does not answer, or not as the standard says.
    #[error("{0}")]
    Away(String),
    /// The provider's answer does not prove who the person is.
    #[error("{0}")]
    Unproven(String),
    /// The person is known, and may not log in.
    #[error("{name} is in none of the groups and domains that may log in")]
    NotAdmitted { name: String },
}

/// A person who may log in, as the provider names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcPerson {
    /// Name that the provider gives to the person alone, and for ever.
    pub subject: String,
    /// Name for people to read. Others may have it, too.
    pub name: String,
    pub is_operator: bool,
}

/// Parts of a login that only its browser and this service know.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'a> {
    pub state: &'a str,
    pub nonce: &'a str,
    /// Verifier of PKCE.
    pub verifier: &'a str,
}

/// A provider of OpenID Connect.
#[derive(Debug, Clone)]
pub struct Provider {
    config: Arc<OidcConfig>,
    /// Locked during a request, so that many logins at once cause one.
    known: Arc<Mutex<Known>>,
}

/// The provider's description of itself.
#[derive(Debug, Default)]
struct Known {
    /// The document and the keys, and the time at which they were fetched.
    metadata: Option<(Instant, CoreProviderMetadata)>,
    /// The last failure. Others do not wait for the same one.
    failure: Option<(Instant, String)>,
}

impl Provider {
    /// Returns a provider, which is asked at the first login.
    pub fn new(config: OidcConfig) -> Self {
        Self { config: Arc::new(config), known: Arc::default() }
    }

    pub fn config(&self) -> &OidcConfig {
        &self.config
    }

    /// Asks the provider for its document and its keys.
    ///
    /// # Errors
    /// Fails when the provider does not answer, or not as the standard says.
    pub async fn examine(&self) -> Result<(), OidcError> {
        self.metadata(CURRENT_FOR).await.map(drop)
    }

    /// Returns the provider's page on which a person logs in.
    ///
    /// # Errors
    /// Fails when the provider does not answer.
    pub async fn authorize_url(&self, redirect: &str, proof: Proof<'_>) -> Result<Url, OidcError> {
        let client = self.client(redirect, CURRENT_FOR).await?;
        let (state, nonce) = (CsrfToken::new(proof.state.to_owned()), Nonce::new(proof.nonce.to_owned()));
        let verifier = PkceCodeVerifier::new(proof.verifier.to_owned());
        let scopes = self.config.scopes.iter().map(|scope| Scope::new(scope.clone()));
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let request = client.authorize_url(flow, move || state.clone(), move || nonce.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        Ok(request.add_scopes(scopes).set_pkce_challenge(challenge).url().0)
    }

    /// Returns the person whose browser has brought this code. The person's tokens are used for this question alone.
    ///
    /// # Errors
    /// Fails when the provider does not answer, does not prove who the person is, or names somebody who may not log in.
    pub async fn person_of_code(&self, code: &str, redirect: &str, proof: Proof<'_>) -> Result<OidcPerson, OidcError> {
        let client = self.client(redirect, CURRENT_FOR).await?;
        let http = Http::new().map_err(OidcError::Away)?;
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| OidcError::Away("the provider has no address for tokens".to_owned()))?
            .set_pkce_verifier(PkceCodeVerifier::new(proof.verifier.to_owned()));
        let tokens: Tokens =
            request.request_async(&http).await.map_err(|error| OidcError::Unproven(refusal(&error)))?;
        let nonce = Nonce::new(proof.nonce.to_owned());
        let (claims, client) = match verified(&client, &tokens, &nonce) {
            // The keys may have changed since they were fetched.
            Err(ClaimsVerificationError::SignatureVerification(_)) => {
                let client = self.client(redirect, MAY_RENEW_AFTER).await?;
                let again = verified(&client, &tokens, &nonce);
                (again.map_err(|error| OidcError::Unproven(reasons(&error)))?, client)
            }
            first => (first.map_err(|error| OidcError::Unproven(reasons(&error)))?, client),
        };
        let subject = claims.subject().to_string();
        let mut known = Claims(map_of(&claims)?);
        if !known.are_complete(&self.config) && client.user_info_url().is_some() {
            let request = client.user_info(tokens.access_token().clone(), Some(claims.subject().clone()));
            let request = request.map_err(|error| OidcError::Away(reasons(&error)))?;
            let more: UserInfoClaims<OtherClaims, CoreGenderClaim> =
                request.request_async(&http).await.map_err(|error| OidcError::Unproven(reasons(&error)))?;
            for (name, value) in map_of(&more)? {
                known.0.entry(name).or_insert(value);
            }
        }
        let name = known.name(&self.config, &subject);
        match known.role(&self.config) {
            Some(role) => Ok(OidcPerson { subject, name, is_operator: role == Role::Operator }),
            None => Err(OidcError::NotAdmitted { name }),
        }
    }

    /// Returns a client with what the provider has said within this time.
    async fn client(&self, redirect: &str, current_for: Duration) -> Result<Client, OidcError> {
        let metadata = self.metadata(current_for).await?;
        let secret = self.config.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let redirect = RedirectUrl::new(redirect.to_owned()).map_err(|error| OidcError::Away(error.to_string()))?;
        let id = ClientId::new(self.config.client_id.clone());
        let methods = metadata.token_endpoint_auth_methods_supported();
        // Without a word of the provider, the header is the way of the standard.
        let takes_header = methods.is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let way = if takes_header { AuthType::BasicAuth } else { AuthType::RequestBody };
        let client = Client::from_provider_metadata(metadata, id, secret.map(ClientSecret::new));
        Ok(client.set_redirect_uri(redirect).set_auth_type(way))
    }

    async fn metadata(&self, current_for: Duration) -> Result<CoreProviderMetadata, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((_, metadata)) = known.metadata.as_ref().filter(|(at, _)| at.elapsed() < current_for) {
            return Ok(metadata.clone());
        }
        if let Some((_, why)) = known.failure.as_ref().filter(|(at, _)| at.elapsed() < RETRY_AFTER) {
            return Err(OidcError::Away(why.clone()));
        }
        match self.discover().await {
            Ok(metadata) => {
                *known = Known { metadata: Some((Instant::now(), metadata.clone())), failure: None };
                Ok(metadata)
            }
            Err(why) => {
                known.failure = Some((Instant::now(), why.clone()));
                Err(OidcError::Away(why))
            }
        }
    }

    async fn discover(&self) -> Result<CoreProviderMetadata, String> {
        let http = Http::new()?;
        let issuer = IssuerUrl::new(self.config.issuer.clone()).map_err(|error| error.to_string())?;
        CoreProviderMetadata::discover_async(issuer, &http).await.map_err(|error| reasons(&error))
    }
}

/// Checks the signature, issuer, audience, end and nonce of the token that names the person.
fn verified(
    client: &Client,
    tokens: &Tokens,
    nonce: &Nonce,
) -> Result<IdTokenClaims<OtherClaims, CoreGenderClaim>, ClaimsVerificationError> {
    let token = tokens.id_token().ok_or_else(|| ClaimsVerificationError::Other("there is no ID token".to_owned()))?;
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(|| Utc::now() - SKEW)
        .set_issue_time_verifier_fn(|at| if at <= Utc::now() + SKEW { Ok(()) } else { Err("is later".to_owned()) });
    token.claims(&verifier, nonce).cloned()
}

fn map_of(claims: &impl Serialize) -> Result<Map<String, Json>, OidcError> {
    match serde_json::to_value(claims) {
        Ok(Json::Object(map)) => Ok(map),
        _ => Err(OidcError::Unproven("the claims are not a map".to_owned())),
    }
}

/// Returns the provider's words of refusal, without anything that was sent.
fn refusal<E: std::error::Error + 'static>(
    error: &openidconnect::RequestTokenError<E, StandardErrorResponse<CoreErrorResponseType>>,
) -> String {
    match error {
        openidconnect::RequestTokenError::ServerResponse(answer) => {
            let words = answer.error_description().map_or("", String::as_str);
            let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("the provider answered {}: {words}", answer.error().as_ref())
        }
        openidconnect::RequestTokenError::Parse(..) => "the provider's answer is not one with tokens".to_owned(),
        other => reasons(other),
    }
}

/// Returns an error with its causes, in one line.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words.chars().filter(|c| !c.is_control()).take(300).collect()
}
