//! The outbox: it makes GitHub show the wished statuses, and never an older one.

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

/// Longest pause between two tries of a wish after errors of GitHub.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause after a refusal, which only a person can resolve.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// Difference to GitHub's clock from which its tokens and its log times stop making sense.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// Sender of wishes. Several steps may run at once: each of them holds another wish.
#[derive(Debug, Clone)]
pub struct Outbox {
    db: PgPool,
    github: Client,
    public_url: Url,
    // GitHub's limits apply to every request of ours, so all steps wait after one such answer.
    quiet_until: Arc<Mutex<Option<Instant>>>,
}

impl Outbox {
    /// Returns an outbox whose statuses link to pages under `public_url`.
    pub fn new(db: PgPool, github: Client, public_url: Url) -> Self {
        Self { db, github, public_url, quiet_until: Arc::default() }
    }

    /// Sends the most overdue wish once. Returns false if none is due. GitHub's refusal is not an error of this step:
    /// it is recorded with the wish.
    pub async fn step(&self) -> anyhow::Result<bool> {
        if self.is_quiet() {
            return Ok(false);
        }
        let mut hold = self.db.begin().await.context("opening a transaction for wishes")?;
        let Some(wish) = wishes::take(&mut hold).await.context("reading the wishes")? else {
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
        // The lock on the wish is held until here, so that no other step takes it.
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
        warn!("GitHub does not show {subject} yet; next try in {pause:?}: {said}");
        alerts::set(&self.db, "github", Some(&format!("{subject}: {said}{advice}"))).await?;
        wishes::failed(&self.db, wish, &said, pause).await?;
        Ok(())
    }

    async fn compare_clocks(&self, sent: Sent) -> anyhow::Result<()> {
        let Some(date) = sent.date else { return Ok(()) };
        let skew = (Utc::now() - date).num_seconds();
        let message = (skew.abs() > CLOCK_SKEW_SECONDS).then(|| {
            let which = if skew > 0 { "ahead of" } else { "behind" };
            format!("this machine's clock is {} s {which} GitHub's: synchronize it, e.g. with chrony", skew.abs())
        });
        if alerts::set(&self.db, "clock", message.as_deref()).await? {
            warn!("{}", message.as_deref().unwrap_or("the clock is right again"));
        }
        Ok(())
    }
}
