//! Makes GitHub show what is wished, and nothing older.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::Utc;
use sqlx::PgPool;
use tracing::{info, warn};
use url::Url;

use crate::domain::RepoName;
use crate::github::{Client, CommitStatus, SendError, Sent};
use crate::store::alerts;
use crate::store::wishes::{self, Wish};

/// The longest pause between two tries of one wish that a broken GitHub can cause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause after a refusal, which only a person can end.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// A difference to GitHub's clock beyond which its tokens and its log times stop making sense.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// Sends wishes. Several steps may run at once: each holds another wish.
#[derive(Debug, Clone)]
pub struct Outbox {
    db: PgPool,
    github: Client,
    public_url: Url,
    // GitHub's limits concern every request of ours, so one answer makes all of them wait.
    quiet_until: Arc<Mutex<Option<Instant>>>,
}

impl Outbox {
    /// An outbox whose statuses lead to pages under `public_url`.
    pub fn new(db: PgPool, github: Client, public_url: Url) -> Self {
        Self { db, github, public_url, quiet_until: Arc::default() }
    }

    /// Sends the most overdue wish, once; false when none is due.
    ///
    /// # Errors
    /// When Postgres cannot be asked. What GitHub says is no error of this step: it is recorded with the wish.
    pub async fn step(&self) -> anyhow::Result<bool> {
        if self.is_quiet() {
            return Ok(false);
        }
        let mut hold = self.db.begin().await.context("looking for wishes")?;
        let Some(wish) = wishes::take(&mut hold).await.context("looking for wishes")? else {
            return Ok(false);
        };
        let answer = self.post(&wish).await?;
        match answer {
            Ok(sent) => {
                info!("GitHub shows {} of {}/{} as {:?}", wish.context, wish.owner, wish.name, wish.state);
                wishes::sent(&self.db, &wish).await?;
                alerts::set(&self.db, "github", None).await?;
                self.compare_clocks(sent).await?;
            }
            Err(error) => self.record(&wish, error).await?,
        }
        // Only now may another step take the same wish.
        hold.commit().await?;
        Ok(true)
    }

    fn is_quiet(&self) -> bool {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    async fn post(&self, wish: &Wish) -> anyhow::Result<Result<Sent, SendError>> {
        let repo: RepoName = format!("{}/{}", wish.owner, wish.name).parse()?;
        let target_url = self.public_url.join(&wish.target_path)?;
        let status = CommitStatus {
            repo: &repo,
            sha: &wish.sha,
            state: wish.state,
            context: &wish.context,
            description: &wish.description,
            target_url,
        };
        Ok(self.github.post_status(&status).await)
    }

    async fn record(&self, wish: &Wish, error: SendError) -> anyhow::Result<()> {
        let said = error.to_string();
        let pause = match &error {
            SendError::RateLimited { wait, .. } => {
                *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + *wait);
                *wait
            }
            SendError::Broken(_) => {
                (Duration::from_secs(1) * 2_u32.pow(wish.tries.clamp(0, 6).unsigned_abs())).min(LONGEST_PAUSE)
            }
            SendError::Refused { .. } => REFUSED_PAUSE,
        };
        let advice = match &error {
            SendError::Refused { status: 401 | 403 | 404, .. } => {
                "; check that github.token is valid and may write commit statuses of this repository"
            }
            _ => "",
        };
        let subject = format!("{} of {}/{}", wish.context, wish.owner, wish.name);
        warn!("GitHub does not show {subject} yet, the next try is in {pause:?}: {said}");
        alerts::set(&self.db, "github", Some(&format!("{subject}: {said}{advice}"))).await?;
        wishes::failed(&self.db, wish, &said, pause).await?;
        Ok(())
    }

    async fn compare_clocks(&self, sent: Sent) -> anyhow::Result<()> {
        let Some(date) = sent.date else { return Ok(()) };
        let skew = (Utc::now() - date).num_seconds();
        let message = (skew.abs() > CLOCK_SKEW_SECONDS).then(|| {
            let which = if skew > 0 { "ahead of" } else { "behind" };
            format!("this machine's clock is {} s {which} GitHub's: set it, for example with chrony", skew.abs())
        });
        if alerts::set(&self.db, "clock", message.as_deref()).await? {
            warn!("{}", message.as_deref().unwrap_or("the clock is right again"));
        }
        Ok(())
    }
}
