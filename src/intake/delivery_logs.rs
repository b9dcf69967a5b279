//! GitHub's logs of deliveries. GitHub sends nothing again by itself: so deliveries that have failed, and are not stored
//! here, are asked for once more, as after an outage.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use super::heads::CHECK_INTERVAL;
use super::pulls::Said;
use crate::domain::{DeliveryId, RepoName};
use crate::github::{Client, DeliveryLog, GITHUB, LoggedDelivery, SendError};
use crate::store::missed::{heads, redeliveries};

/// Time for which GitHub keeps deliveries.
const KEPT: TimeDelta = TimeDelta::days(3);
/// Time by which the log of a delivery may be late.
const LATE: TimeDelta = TimeDelta::minutes(10);
/// Number of pages of a log that are read at once, of a hundred deliveries each.
const MAX_PAGES: usize = 100;
/// Number of deliveries of a log that are asked for at once. The next reading continues.
const MAX_ASKED: usize = 200;
/// Pause after each delivery that is asked for. A request that changes something has a price in GitHub's rate limits.
const PACE: Duration = Duration::from_secs(1);
/// Pause after each repository, as there may be hundreds.
const BETWEEN: Duration = Duration::from_millis(500);
/// Pause after a failure of GitHub, and before a reading continues.
const SOON: Duration = Duration::from_secs(60);

/// Time after which GitHub is asked again for the webhooks of an organization that it does not show. Few tokens may see
/// them, and a missing right is no fault.
const HIDDEN_FOR: Duration = Duration::from_secs(24 * 3600);

/// Owners whose webhooks GitHub does not show, with the times at which it was asked.
#[derive(Debug, Clone, Default)]
pub struct HiddenHooks(Arc<Mutex<HashMap<String, Instant>>>);

impl HiddenHooks {
    fn has(&self, owner: &str) -> bool {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(owner).copied();
        asked.is_some_and(|at| at.elapsed() < HIDDEN_FOR)
    }

    fn add(&self, owner: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(owner, Instant::now());
    }
}

/// Reads GitHub's logs of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryLogs {
    pub db: PgPool,
    pub github: Client,
    /// Address under which GitHub reaches this service.
    pub public_url: Url,
    /// Rights that are missing, as far as the log has said so.
    pub said: Said,
    pub hidden: HiddenHooks,
}

/// Failure of a reading.
enum Failed {
    /// GitHub does not answer for this time at least.
    Unanswered(Duration, SendError),
    Broken(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

/// Result of a reading: the number of deliveries that were asked for, and whether there are more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reading {
    asked: usize,
    has_more: bool,
}

impl DeliveryLogs {
    /// Reads the log of the App, and those of the repositories that it is not installed on and of their owners, as far as
    /// the rights allow.
    /// Returns the number of deliveries that were asked for, and the time of the next reading.
    ///
    /// # Errors
    /// Fails when Postgres does not answer.
    pub async fn read_all(&self) -> anyhow::Result<(usize, Duration)> {
        redeliveries::forget_old(&self.db).await?;
        let mut total = Reading::default();
        let read = self.read_each(&mut total).await;
        if total.asked > 0 {
            info!("GitHub was asked to send {} deliveries again that never came", total.asked);
        }
        match read {
            Ok(()) => Ok((total.asked, if total.has_more { SOON } else { CHECK_INTERVAL })),
            Err(Failed::Unanswered(wait, error)) => {
                info!("GitHub's logs of deliveries are read later: {error}");
                Ok((total.asked, wait.max(SOON)))
            }
            Err(Failed::Broken(error)) => Err(error),
        }
    }

    async fn read_each(&self, total: &mut Reading) -> Result<(), Failed> {
        if self.github.has_app()
            && let Some(url) = self.allowed("the GitHub App", self.github.app_hook_url().await)?
        {
            if self.is_ours(&url) {
                self.read(DeliveryLog::App, total).await?;
            } else if self.said.is_new(format!("hook {url}")) {
                info!("the log of the GitHub App is not read: its webhook leads to {url}, not to server.public_url");
            }
        }
        if !self.github.has_token() {
            return Ok(());
        }
        let mut owners = BTreeSet::new();
        for name in heads::active(&self.db).await? {
            let repo: RepoName = name.parse().context("a stored repository's name")?;
            // Other servers have no such logs, and one that is away must not end the reading.
            if self.github.forge_of(&repo) != GITHUB {
                continue;
            }
            if self.github.has_app() && self.github.has_installation(&repo).await.is_ok_and(|installed| installed) {
                continue;
            }
            if owners.insert(repo.owner().to_lowercase()) {
                self.read_organization(&repo, total).await?;
            }
            let hooks = self.allowed(&format!("webhooks of {repo}"), self.github.hooks(&repo).await)?;
            for hook in hooks.unwrap_or_default().into_iter().filter(|hook| self.is_ours(&hook.config.url)) {
                self.read(DeliveryLog::Hook(repo.clone(), hook.id), total).await?;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        Ok(())
    }

    /// Reads the logs of the webhooks of a repository's owner. A person has none.
    async fn read_organization(&self, repo: &RepoName, total: &mut Reading) -> Result<(), Failed> {
        let owner = repo.owner().to_lowercase();
        if self.hidden.has(&owner) {
            return Ok(());
        }
        let hooks = self.github.organization_hooks(repo).await;
        match self.allowed(&format!("webhooks of {owner}"), hooks)? {
            Some(Some(hooks)) => {
                for hook in hooks.into_iter().filter(|hook| self.is_ours(&hook.config.url)) {
                    self.read(DeliveryLog::Organization(owner.clone(), hook.id), total).await?;
                }
            }
            Some(None) => self.hidden.add(owner),
            None => {}
        }
        Ok(())
    }

    /// Returns GitHub's answer about a log; `None` where the rights are missing, which the log says once.
    fn allowed<T>(&self, whose: &str, answer: Result<T, SendError>) -> Result<Option<T>, Failed> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error @ SendError::RateLimited { wait, .. }) => Err(Failed::Unanswered(wait, error)),
            Err(error @ SendError::Broken(_)) => Err(Failed::Unanswered(SOON, error)),
            Err(error) => {
                if self.said.is_new(format!("log of {whose}")) {
                    warn!("failed deliveries of {whose} are not asked for again, as the log cannot be read: {error}");
                }
                Ok(None)
            }
        }
    }

    fn is_ours(&self, url: &str) -> bool {
        let ours = format!("{}/webhooks/github", self.public_url.as_str().trim_end_matches('/'));
        url.strip_prefix(&ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Asks for the failed deliveries of a log that are not stored here, the oldest first.
    async fn read(&self, log: DeliveryLog, total: &mut Reading) -> Result<(), Failed> {
        let name = log.to_string();
        let begin = Utc::now();
        let oldest = begin - KEPT;
        let since = redeliveries::read_to(&self.db, &name).await?.map_or(oldest, |to| (to - LATE).max(oldest));
        let Some(failed) = self.failed_since(&log, since).await? else { return Ok(()) };
        let ids: Vec<String> = failed.iter().map(|delivery| delivery.guid.clone()).collect();
        let mut missing = redeliveries::missing(&self.db, &ids).await?;
        for delivery in failed.iter().rev() {
            // A delivery may have failed several times.
            if !missing.remove(&delivery.guid) || delivery.guid.parse::<DeliveryId>().is_err() {
                continue;
            }
            if total.asked >= MAX_ASKED {
                total.has_more = true;
                return Ok(());
            }
            let answer = self.github.redeliver(&log, delivery.id).await;
            if self.allowed(&format!("{name}, number {}", delivery.id), answer)?.is_some() {
                info!(delivery = %delivery.guid, "GitHub is asked to send the delivery {} again", delivery.guid);
                total.asked += 1;
            }
            redeliveries::record(&self.db, &delivery.guid).await?;
            tokio::time::sleep(PACE).await;
        }
        Ok(redeliveries::record_read(&self.db, &name, begin).await?)
    }

    /// Lists the tries since a time that have failed, newest first; `None` where the rights are missing.
    async fn failed_since(
        &self,
        log: &DeliveryLog,
        since: DateTime<Utc>,
    ) -> Result<Option<Vec<LoggedDelivery>>, Failed> {
        let (mut failed, mut next): (Vec<LoggedDelivery>, Option<String>) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let page = self.github.logged_deliveries(log, next.as_deref()).await;
            let Some((tries, following)) = self.allowed(&log.to_string(), page)? else { return Ok(None) };
            let is_old = tries.iter().any(|delivery| delivery.delivered_at < since);
            let is_missing = |delivery: &LoggedDelivery| delivery.has_failed() && delivery.delivered_at >= since;
            failed.extend(tries.into_iter().filter(is_missing));
            next = following;
            if is_old || next.is_none() {
                return Ok(Some(failed));
            }
        }
        info!("the log of {log} is longer than {MAX_PAGES} pages: older failures in it are not seen");
        Ok(Some(failed))
    }
}
