//! The knowledge of who may see and change what. The table of routes says what each route needs, and the gate in front of
//! every handler checks it. A handler gets a repository from the gate alone.

mod address;
mod admitted;
mod config;
mod cookies;
mod gate;
mod lookup;
mod need;
mod origin;
pub(super) mod secret;
mod viewer;

use std::net::IpAddr;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tracing::warn;
use url::Url;

pub(super) use self::address::{Peer, address};
pub(super) use self::admitted::{Admitted, OfBuild, OfJob, Repo, View};
pub use self::config::{AuthConfig, SHORTEST};
pub(super) use self::cookies::Cookies;
pub(super) use self::gate::{Rule, check};
use self::lookup::Found;
pub use self::need::{Need, Of};
pub(super) use self::viewer::{InBrowser, Viewer};
use super::error::Error;
use crate::domain::{PersonId, RepoId, Right};
use crate::github::{Client, OAuthClient};
use crate::rights::Rights;
use crate::store::people::persons::{Person, StoredLogins};
use crate::store::people::{audit, permissions, persons};

/// Time for which old answers count without a question, after one that GitHub did not answer.
const AWAY_FOR: Duration = Duration::from_secs(15);
/// Time for which it counts as known whether people can log in.
const CURRENT_FOR: Duration = Duration::from_secs(2);

/// The knowledge of who may see and change what.
#[derive(Debug, Clone)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: AuthConfig,
    db: PgPool,
    github: Client,
    rights: Rights,
    /// True if nobody but this machine reaches the service, or what runs in front of it on this machine.
    is_loopback: bool,
    cookies: Cookies,
    /// The ways to log in, and the time at which they were read.
    logins: Mutex<Option<(Instant, StoredLogins)>>,
    /// The time at which GitHub last did not tell a right.
    away: StdMutex<Option<Instant>>,
}

/// Parts of which the knowledge is made.
#[derive(Debug)]
pub struct AccessParts<'a> {
    pub config: AuthConfig,
    /// Connections of the pages.
    pub db: PgPool,
    pub github: Client,
    /// True if the service listens at the loopback alone.
    pub is_loopback: bool,
    pub public_url: &'a Url,
}

/// Repositories that a viewer may read in lists: public ones, and these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// True for all repositories.
    pub(super) everything: bool,
    /// Private repositories.
    pub(super) repos: Vec<RepoId>,
}

impl Access {
    /// Puts the knowledge together.
    pub fn new(parts: AccessParts<'_>) -> Self {
        let AccessParts { config, db, github, is_loopback, public_url } = parts;
        let cookies = Cookies::new(public_url.scheme() == "https");
        let rights = Rights::new(db.clone(), github.clone());
        let (logins, away) = (Mutex::default(), StdMutex::default());
        Self(Arc::new(Inner { config, db, github, rights, is_loopback, cookies, logins, away }))
    }

    /// Returns true if people can log in.
    pub(super) async fn has_login(&self) -> Result<bool, Error> {
        // A stored App counts from its row on, although the client of GitHub takes it over some seconds later.
        Ok(self.0.github.oauth().is_some() || self.stored_logins().await?.any())
    }

    /// Forgets the answer about the ways to log in, since this process has added one.
    pub(super) async fn logins_changed(&self) {
        *self.0.logins.lock().await = None;
    }

    /// Returns true if there are local users.
    pub(super) async fn has_local_users(&self) -> Result<bool, Error> {
        Ok(self.stored_logins().await?.local)
    }

    /// Returns the ways to log in that rows tell. The answer is a few seconds old at most.
    async fn stored_logins(&self) -> Result<StoredLogins, Error> {
        // Held during the query, so that many requests cause one.
        let mut last = self.0.logins.lock().await;
        if let Some((_, answer)) = last.filter(|(at, _)| at.elapsed() < CURRENT_FOR) {
            return Ok(answer);
        }
        let answer = persons::logins(&self.0.db).await?;
        *last = Some((Instant::now(), answer));
        Ok(answer)
    }

    /// Returns true if everyone may read everything: because the operator says so, or because there is no login, and
    /// nobody but this machine reaches the service.
    async fn is_open(&self) -> Result<bool, Error> {
        Ok(self.0.config.open || (self.0.is_loopback && !self.has_login().await?))
    }

    /// Returns true if a request may see the alerts, without a question to Postgres.
    pub(super) fn shows_alerts(&self, has_login: bool, headers: &HeaderMap) -> bool {
        let has_login = has_login || self.0.github.oauth().is_some();
        let is_open = self.0.config.open || (self.0.is_loopback && !has_login);
        is_open || viewer::token_in(headers).is_some_and(|(token, _)| self.0.config.owner(token).is_some())
    }

    /// Adds an entry to the record of changes. The change itself is done, so a failure is logged.
    pub(super) async fn record(&self, who: &str, what: &str, target: &str, from: Option<IpAddr>) {
        let address = from.map(|address| address.to_string()).unwrap_or_default();
        let entry = audit::New { who, what, target, address: &address };
        if let Err(error) = audit::add(&self.0.db, entry).await {
            warn!("not in the record of changes: {who}, {what}, {target}, {address}: {error}");
        }
    }

    /// Returns the credentials of the login with GitHub, if there is one.
    pub(super) fn github_login(&self) -> Option<OAuthClient> {
        self.0.github.oauth()
    }

    pub(super) fn github(&self) -> &Client {
        &self.0.github
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.0.rights
    }

    /// Returns true if a person is an operator.
    pub(super) fn is_operator(&self, person: &Person) -> bool {
        viewer::is_operator(&self.0.config, person)
    }

    pub(super) fn cookies(&self) -> Cookies {
        self.0.cookies
    }

    /// Returns the private repositories that a viewer may read.
    async fn sight(&self, viewer: &Viewer, is_open: bool) -> Result<Sight, Error> {
        if is_open || viewer.is_operator() {
            return Ok(Sight { everything: true, repos: Vec::new() });
        }
        let repos = match viewer.person() {
            Some(_) if viewer.has_all_rights() => viewer.repos().unwrap_or_default(),
            Some(person) => permissions::readable(&self.0.db, person).await?,
            None => Vec::new(),
        };
        let everything = viewer.has_all_rights() && viewer.repos().is_none();
        let repos = repos.into_iter().filter(|repo| viewer.bounded(repo.0, Some(Right::Read)).is_some()).collect();
        Ok(Sight { everything, repos })
    }

    /// Returns the right of a viewer in a repository, as far as `wanted` needs it to be certain.
    async fn right(
        &self,
        viewer: &Viewer,
        is_open: bool,
        found: &Found,
        wanted: Right,
    ) -> Result<Option<Right>, Error> {
        let everyones = (is_open || !found.private).then_some(Right::Read);
        let own = match viewer.person() {
            _ if viewer.has_all_rights() => Some(Right::Admin),
            Some(person) if everyones.is_none_or(|right| right < wanted) => {
                self.mirrored(person, found, wanted).await?
            }
            // Enough without it. What is stored decides which buttons there are.
            Some(_) => found.access,
            None => None,
        };
        Ok(viewer.bounded(found.id.0, own).max(everyones))
    }

    /// Returns the right that GitHub or an operator has given a person.
    ///
    /// GitHub is asked here only if it has said yes before, or if everyone may know of the repository. So a stranger's
    /// request takes no longer for a private repository than for none. Other rights are asked for by the step of
    /// [`Rights`].
    async fn mirrored(&self, person: PersonId, found: &Found, wanted: Right) -> Result<Option<Right>, Error> {
        let age = found.age.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
        let is_current = found.is_known && age.is_none_or(|age| age < permissions::FRESH);
        let may_ask = found.access.is_some() || (!found.private && wanted > Right::Read);
        if is_current || !may_ask {
            return Ok(found.access.filter(|_| is_current));
        }
        // An old answer counts for a while.
        let old = found.access.filter(|_| age.is_some_and(|age| age < permissions::KEPT));
        if old.is_some() && self.was_away() {
            return Ok(old);
        }
        match self.0.rights.refresh(person, found.id).await {
            Ok(right) => {
                self.set_away(None);
                Ok(right)
            }
            Err(error) => {
                warn!("the right of a person in {}/{} is not known: {error:#}", found.owner, found.name);
                self.set_away(Some(Instant::now()));
                old.map(Some).ok_or(Error::RightUnknown)
            }
        }
    }

    /// Returns true if GitHub did not answer a moment ago. To ask again for each page would keep its reader waiting.
    fn was_away(&self) -> bool {
        let away = self.0.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.is_some_and(|at| at.elapsed() < AWAY_FOR)
    }

    fn set_away(&self, since: Option<Instant>) {
        *self.0.away.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}
