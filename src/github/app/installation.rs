//! Installations of the GitHub App, and their tokens. Each token is for one repository, and for the rights that one kind
//! of request needs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::key::AppKey;
use crate::github::access::{Access, Grant, Target};
use crate::github::repository::KnownRepository;
use crate::github::request::{Answer, date_of};
use crate::github::{Client, SendError};

/// Time for which GitHub's answer counts that the App is installed on a repository. Without the App there, GitHub gives
/// no token, and is asked again.
const INSTALLED_FOR: Duration = Duration::from_secs(3600);
/// Time for which GitHub's answer counts that the App is not installed on a repository.
const ABSENT_FOR: Duration = Duration::from_secs(60);
/// Number of repositories from which outdated answers and tokens are removed.
const MANY: usize = 1000;
/// Difference of two clocks that may make GitHub refuse an assertion.
const CLOCK_SKEW_SECONDS: i64 = 30;
/// Maximum size of an answer about an installation, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// A token of an installation.
#[derive(Debug, Clone)]
pub(in crate::github) struct Minted {
    pub(in crate::github) token: SecretString,
    pub(in crate::github) installation: i64,
    renew_at: Instant,
}

/// GitHub's answer about the installation on a repository.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// `None` where the App is not installed.
    installation: Option<i64>,
    until: Instant,
}

/// Name of a repository in lower case, its number, and the access.
type TokenKey = (String, Option<i64>, Access);
type Slot = Arc<tokio::sync::Mutex<Option<Minted>>>;

/// The App, and what is known about its installations.
#[derive(Debug, Default)]
pub(in crate::github) struct Installations {
    /// The App's keys, the newest first.
    keys: RwLock<Vec<Arc<AppKey>>>,
    known: Mutex<HashMap<String, Known>>,
    tokens: Mutex<HashMap<TokenKey, Slot>>,
    /// Seconds by which GitHub's clock is ahead of ours.
    ahead: AtomicI64,
    changes: AtomicUsize,
}

impl Installations {
    pub(in crate::github) fn new(keys: Vec<AppKey>) -> Self {
        Self { keys: RwLock::new(keys.into_iter().map(Arc::new).collect()), ..Self::default() }
    }

    pub(in crate::github) fn has_app(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn keys(&self) -> Vec<Arc<AppKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the place of a token. Its lock is held while a token is asked for, so that others wait for that one.
    fn slot(&self, target: Target<'_>, access: Access) -> Slot {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MANY {
            let is_used = |slot: &Slot| slot.try_lock().map_or(true, |slot| slot.as_ref().is_some_and(Minted::is_good));
            tokens.retain(|_, slot| is_used(slot));
        }
        Arc::clone(tokens.entry((key_of(target), target.number, access)).or_default())
    }

    fn known(&self, target: Target<'_>) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key_of(target)).copied().filter(|known| Instant::now() < known.until)
    }

    fn learn(&self, target: Target<'_>, installation: Option<i64>) {
        let until = Instant::now() + if installation.is_some() { INSTALLED_FOR } else { ABSENT_FOR };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY {
            known.retain(|_, known| Instant::now() < known.until);
        }
        known.insert(key_of(target), Known { installation, until });
    }

    fn forget(&self, target: Target<'_>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(target));
    }

    /// Takes over GitHub's clock. Returns true if it differs from what was known.
    fn set_clock(&self, answer: &Answer) -> bool {
        let Some(date) = date_of(answer) else { return false };
        let ahead = (date - Utc::now()).num_seconds();
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        (ahead - before).abs() > CLOCK_SKEW_SECONDS
    }

    /// Returns the time by GitHub's clock.
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.ahead.load(Ordering::Relaxed))
    }
}

fn key_of(target: Target<'_>) -> String {
    target.repo.to_string().to_ascii_lowercase()
}

impl Minted {
    fn is_good(&self) -> bool {
        Instant::now() < self.renew_at
    }
}

/// An installation, as GitHub describes it.
#[derive(Debug, Deserialize)]
struct Installation {
    id: i64,
    suspended_at: Option<DateTime<Utc>>,
}

/// GitHub's answer with a new token.
#[derive(Deserialize)]
struct NewToken {
    token: SecretString,
    expires_at: DateTime<Utc>,
    /// The repositories that it is for.
    repositories: Option<Vec<KnownRepository>>,
}

impl NewToken {
    /// Returns true if the token is for no other repository. The name of one that was transferred leads to the
    /// installation of its new owner, who may have another repository of that name.
    fn is_only_for(&self, target: Target<'_>) -> bool {
        let name = target.repo.to_string();
        let is_target = |repo: &KnownRepository| match target.number {
            Some(number) => repo.id == number,
            None => repo.full_name.eq_ignore_ascii_case(&name),
        };
        self.repositories.as_ref().is_none_or(|repositories| repositories.iter().all(is_target))
    }
}

impl Client {
    /// Uses another App, or other keys of it, the newest first. Without any key there is no App.
    pub fn set_app(&self, keys: Vec<AppKey>) {
        let keys = keys.into_iter().map(Arc::new).collect();
        *self.installations.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.forget_installations();
    }

    /// Forgets the App's installations and tokens, as they have changed at GitHub. GitHub is asked again.
    pub fn forget_installations(&self) {
        self.installations.changes.fetch_add(1, Ordering::Relaxed);
        self.installations.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.installations.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the number of times that the App's installations have changed since the start.
    pub fn installation_changes(&self) -> usize {
        self.installations.changes.load(Ordering::Relaxed)
    }

    /// Returns a token of the App for a repository; `None` where the App is not installed.
    pub(in crate::github) async fn installation_token(
        &self,
        target: Target<'_>,
        access: Access,
    ) -> Result<Option<Minted>, SendError> {
        let slot = self.installations.slot(target, access);
        let mut slot = slot.lock().await;
        if let Some(minted) = slot.as_ref().filter(|minted| minted.is_good()) {
            return Ok(Some(minted.clone()));
        }
        *slot = None;
        let Some(installation) = self.installation(target).await? else { return Ok(None) };
        let mut minted = self.mint(installation, target, access).await;
        if let Err(SendError::Refused { status: 404, .. }) = minted {
            // The installation has ended since. There may be another one.
            self.installations.forget(target);
            let Some(installation) = self.installation(target).await? else { return Ok(None) };
            minted = self.mint(installation, target, access).await;
        }
        let minted = minted?;
        *slot = Some(minted.clone());
        Ok(Some(minted))
    }

    /// Drops a token that GitHub does not accept any more, with the installation that gave it.
    pub(in crate::github) async fn drop_token(&self, target: Target<'_>, access: Access, refused: &Grant) {
        let slot = self.installations.slot(target, access);
        let mut slot = slot.lock().await;
        let exposed = |token: &SecretString| token.expose_secret().to_owned();
        if slot.as_ref().map(|minted| exposed(&minted.token)) == refused.token.as_ref().map(exposed) {
            *slot = None;
            self.installations.forget(target);
        }
    }

    /// Finds the App's installation for a repository; `None` where it is not installed.
    pub(in crate::github) async fn installation(&self, target: Target<'_>) -> Result<Option<i64>, SendError> {
        if let Some(known) = self.installations.known(target) {
            return Ok(known.installation);
        }
        let repo = target.repo;
        let found = match self.ask_as_app::<()>(Method::GET, &format!("/repos/{repo}/installation"), None).await {
            Ok(answer) => self.read::<Installation>(answer, MAX_ANSWER).await?,
            Err(SendError::Refused { status: 404, said, .. }) if said.eq_ignore_ascii_case("not found") => {
                self.installations.learn(target, None);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if let Some(since) = found.suspended_at {
            let since = since.format("%Y-%m-%d %H:%M UTC");
            return Err(SendError::NoAccess(format!("the GitHub App is suspended for {repo} since {since}")));
        }
        self.installations.learn(target, Some(found.id));
        Ok(Some(found.id))
    }

    /// Asks for a new token of an installation, for one repository and one kind of access.
    async fn mint(&self, installation: i64, target: Target<'_>, access: Access) -> Result<Minted, SendError> {
        let (permission, level) = access.permission();
        let mut body = json!({"permissions": {permission: level}});
        match target.number {
            Some(number) => body["repository_ids"] = json!([number]),
            None => body["repositories"] = json!([target.repo.name()]),
        }
        let path = format!("/app/installations/{installation}/access_tokens");
        let answer = self.ask_as_app(Method::POST, &path, Some(&body)).await.map_err(|error| match error {
            SendError::Refused { status: 403, said, .. } => {
                SendError::NoAccess(format!("the GitHub App gets no token for {}: {said}", target.repo))
            }
            SendError::Refused { status: 422, said, .. } => SendError::NoAccess(format!(
                "the GitHub App is not given {permission}: {level} of {}, or not that repository: {said}",
                target.repo
            )),
            other => other,
        })?;
        let date = date_of(&answer);
        let new: NewToken = self.read(answer, MAX_ANSWER).await?;
        if !new.is_only_for(target) {
            let said =
                format!("GitHub has another repository in place of {}: it was renamed or transferred", target.repo);
            return Err(SendError::NoAccess(said));
        }
        // By GitHub's own clock, as ours may be wrong. The token is not used in its last sixth: a fetch may take long.
        let lasts = (new.expires_at - date.unwrap_or_else(Utc::now)).to_std().unwrap_or_default();
        Ok(Minted { token: new.token, installation, renew_at: Instant::now() + lasts * 5 / 6 })
    }

    /// Asks GitHub as the App itself, with its newest key that GitHub accepts.
    pub(in crate::github) async fn ask_as_app<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<Answer, SendError> {
        let mut refused = None;
        for key in self.installations.keys() {
            let assertion = key.assertion(self.installations.now());
            let mut answer = self.follow(method.clone(), path, body, Some(&assertion)).await?;
            if self.installations.set_clock(&answer) && answer.status() == StatusCode::UNAUTHORIZED {
                let assertion = key.assertion(self.installations.now());
                answer = self.follow(method.clone(), path, body, Some(&assertion)).await?;
            }
            if answer.status() != StatusCode::UNAUTHORIZED {
                return self.accepted(answer).await;
            }
            refused = Some(answer);
        }
        let refused = refused.ok_or_else(|| SendError::NoAccess("there is no GitHub App".to_owned()))?;
        self.accepted(refused).await.map_err(|error| match error {
            SendError::Refused { by, status, said } => {
                SendError::Refused { by, status, said: format!("the GitHub App's key is not accepted: {said}") }
            }
            other => other,
        })
    }
}
