//! The viewer of a request: who sends it, by a cookie or a token.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};
use sqlx::PgPool;

use super::config::AuthConfig;
use super::cookies::Cookies;
use super::rate::Caller;
use super::{network, secret};
use crate::domain::{PersonId, RepoId, Right};
use crate::store::people::persons::Person;
use crate::store::people::{api_tokens, sessions};
use crate::web::error::Error;

/// The sender of a request.
#[derive(Debug, Clone)]
pub(in crate::web) enum Viewer {
    /// A request without a cookie and without a token.
    Anonymous,
    /// A person in a browser.
    Person(InBrowser),
    /// A program with a token that a person has made.
    Program(Program),
    /// A program with a token of `[auth]`, and its name.
    Operator(String),
}

/// A person in a browser.
#[derive(Debug, Clone)]
pub(in crate::web) struct InBrowser {
    pub(in crate::web) session: i64,
    pub(in crate::web) person: Person,
    pub(in crate::web) is_operator: bool,
    /// Text that forms and scripts of the session's pages send back.
    pub(in crate::web) csrf: String,
    /// New value of the cookie, if it has changed.
    pub(super) new_cookie: Option<String>,
}

/// A program with a token that a person has made.
#[derive(Debug, Clone)]
pub(in crate::web) struct Program {
    token: i64,
    name: String,
    person: Person,
    is_operator: bool,
    scope: Right,
    repos: Option<Vec<i64>>,
}

impl Viewer {
    /// Returns the sender of a request. A cookie that is not good, or not any more, counts as none.
    pub(super) async fn of(
        db: &PgPool,
        config: &AuthConfig,
        cookies: &Cookies,
        headers: &HeaderMap,
        may_change_cookie: bool,
    ) -> Result<Self, Error> {
        if let Some((token, is_certain)) = token_in(headers) {
            return match Self::of_token(db, config, token).await? {
                Some(viewer) => Ok(viewer),
                // Clients of Travis send a token of Travis.
                None if !is_certain => Ok(Self::Anonymous),
                None => Err(Error::WrongToken),
            };
        }
        let Some(value) = cookies.session(headers) else { return Ok(Self::Anonymous) };
        let digest = secret::digest(value);
        let Some(session) = sessions::find(db, &digest).await? else { return Ok(Self::Anonymous) };
        if !config.knows(&session.person) {
            return Ok(Self::Anonymous);
        }
        let mut new_cookie = None;
        if session.is_due && may_change_cookie {
            let value = secret::new()?;
            if sessions::change(db, session.id, &digest, &secret::digest(&value)).await? {
                new_cookie = Some(value);
            }
        } else if session.is_unseen {
            sessions::touch(db, session.id).await?;
        }
        let is_operator = is_operator(config, &session.person);
        let (session, person, csrf) = (session.id, session.person, session.csrf);
        Ok(Self::Person(InBrowser { session, person, is_operator, csrf, new_cookie }))
    }

    async fn of_token(db: &PgPool, config: &AuthConfig, token: &str) -> Result<Option<Self>, Error> {
        if let Some(name) = config.owner(token) {
            return Ok(Some(Self::Operator(name.to_owned())));
        }
        let found = api_tokens::find(db, &secret::digest(token)).await?;
        let Some(found) = found.filter(|found| config.knows(&found.person)) else { return Ok(None) };
        if found.is_unused {
            api_tokens::touch(db, found.id).await?;
        }
        let is_operator = is_operator(config, &found.person);
        let api_tokens::ApiToken { id: token, name, person, scope, repos, .. } = found;
        Ok(Some(Self::Program(Program { token, name, person, is_operator, scope, repos })))
    }

    /// Returns the login of the person who sends the request, or whose program does.
    pub(in crate::web) fn login(&self) -> Option<&str> {
        match self {
            Self::Anonymous | Self::Operator(_) => None,
            Self::Person(InBrowser { person, .. }) | Self::Program(Program { person, .. }) => Some(&person.name),
        }
    }

    /// Returns the name of the sender, for rows and logs; `None` if nothing is known.
    pub(in crate::web) fn name(&self) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Person(InBrowser { person, .. }) => Some(person.name.clone()),
            Self::Program(Program { person, name, .. }) => Some(format!("{} ({name})", person.name)),
            Self::Operator(name) => Some(name.clone()),
        }
    }

    /// Returns the sender as its requests are counted.
    pub(super) fn caller(&self, from: Option<IpAddr>) -> Caller {
        match self {
            Self::Anonymous => unknown(from),
            Self::Person(InBrowser { person, .. }) => Caller::Person(person.id),
            Self::Program(Program { token, .. }) => Caller::Token(*token),
            Self::Operator(name) => Caller::Operator(name.clone()),
        }
    }

    /// Returns the person who sends the request, or whose token does.
    pub(in crate::web) fn as_person(&self) -> Option<&Person> {
        match self {
            Self::Person(InBrowser { person, .. }) | Self::Program(Program { person, .. }) => Some(person),
            Self::Anonymous | Self::Operator(_) => None,
        }
    }

    /// Returns the name of the person, or of an operator's token in the configuration.
    pub(in crate::web) fn person_name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Person(InBrowser { person, .. }) | Self::Program(Program { person, .. }) => Some(&person.name),
            Self::Operator(name) => Some(name),
        }
    }

    /// Returns the id of the token that a person has made.
    pub(in crate::web) fn token(&self) -> Option<i64> {
        match self {
            Self::Program(Program { token, .. }) => Some(*token),
            _ => None,
        }
    }

    /// Returns the highest right that the request may use.
    pub(in crate::web) fn scope(&self) -> Right {
        match self {
            Self::Anonymous => Right::Read,
            Self::Program(Program { scope, .. }) => *scope,
            Self::Person(_) | Self::Operator(_) => Right::Admin,
        }
    }

    /// Returns true for a person in a browser, and for a program with a token for everything of its person.
    pub(super) fn is_whole_person(&self) -> bool {
        match self {
            Self::Person(_) => true,
            Self::Program(Program { scope, repos, .. }) => *scope == Right::Admin && repos.is_none(),
            Self::Anonymous | Self::Operator(_) => false,
        }
    }

    /// Returns the person whose rights the request has.
    pub(in crate::web) fn person(&self) -> Option<PersonId> {
        match self {
            Self::Person(InBrowser { person, .. }) | Self::Program(Program { person, .. }) => Some(person.id),
            Self::Anonymous | Self::Operator(_) => None,
        }
    }

    /// Returns true if the request may do everything.
    pub(in crate::web) fn is_operator(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Person(InBrowser { is_operator, .. }) => *is_operator,
            Self::Program(Program { is_operator, scope, repos, .. }) => {
                *is_operator && *scope == Right::Admin && repos.is_none()
            }
            Self::Operator(_) => true,
        }
    }

    /// Returns true if the person of the request has every right in all repositories.
    pub(super) fn has_all_rights(&self) -> bool {
        match self {
            Self::Anonymous => false,
            Self::Person(InBrowser { is_operator, .. }) | Self::Program(Program { is_operator, .. }) => *is_operator,
            Self::Operator(_) => true,
        }
    }

    /// Returns the repositories that a token is for; `None` for all of the sender's.
    pub(super) fn repos(&self) -> Option<Vec<RepoId>> {
        match self {
            Self::Program(Program { repos, .. }) => {
                repos.as_ref().map(|repos| repos.iter().map(|repo| RepoId(*repo)).collect())
            }
            _ => None,
        }
    }

    /// Bounds a right of the sender's person in a repository by what the token is for.
    pub(super) fn bounded(&self, repo: i64, right: Option<Right>) -> Option<Right> {
        match self {
            Self::Program(Program { scope, repos, .. }) => {
                let is_for = repos.as_ref().is_none_or(|repos| repos.contains(&repo));
                right.filter(|_| is_for).map(|right| right.min(*scope))
            }
            _ => right,
        }
    }

    /// Returns true if the session or the token is still good.
    pub(super) async fn is_good(&self, db: &PgPool) -> sqlx::Result<bool> {
        match self {
            Self::Anonymous | Self::Operator(_) => Ok(true),
            Self::Person(InBrowser { session, .. }) => sessions::is_good(db, *session).await,
            Self::Program(Program { token, .. }) => api_tokens::is_good(db, *token).await,
        }
    }
}

/// Returns somebody unknown as their requests are counted.
pub(super) fn unknown(from: Option<IpAddr>) -> Caller {
    from.map_or(Caller::Others, |address| Caller::Network(network(address)))
}

pub(super) fn is_operator(config: &AuthConfig, person: &Person) -> bool {
    person.is_operator || person.github_id.is_some_and(|id| config.is_admin(id, &person.name))
}

/// Returns the token in `Authorization: Bearer TOKEN`, or in Travis's `Authorization: token TOKEN`, and true if it must
/// be ours.
pub(super) fn token_in(headers: &HeaderMap) -> Option<(&str, bool)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    (is_bearer || scheme.eq_ignore_ascii_case("token")).then_some((token.trim(), is_bearer))
}
