//! The outbox: it makes GitHub, or the server that has the repository, show the wished statuses, and never an older one.

mod check_summary;
mod paces;
pub mod pacing;

pub use self::pacing::LONGEST_PAUSE;

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::Utc;
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tracing::{info, warn};
use url::Url;

use self::paces::{Paces, github_token};
use self::pacing::{Answer, Consequence, Request, Window};
use crate::domain::RepoName;
use crate::github::{self, Access, CheckRun, Client, CommitStatus, Holder, SendError, Sent, Target};
use crate::store::wishes::{self, Failure, Wish};
use crate::store::{alerts, checks, problems};

/// Difference to GitHub's clock from which its tokens and its log times stop making sense.
const CLOCK_SKEW_SECONDS: i64 = 60;
/// Least window whose end is worth an alert. Others end before a person has read it.
const LONG_WINDOW: Duration = Duration::from_secs(600);

/// Component of alerts on GitHub as a whole.
const GITHUB: &str = "github";
/// Component of alerts on statuses that wait because others were set before.
const PACE: &str = "pace of statuses";

/// Sender of wishes. Several steps may run at once: each of them holds another wish.
#[derive(Debug, Clone)]
pub struct Outbox {
    db: PgPool,
    github: Client,
    public_url: Url,
    windows: Vec<Window>,
    // GitHub's limits apply to every request of ours, so all steps share the paces. They are read from Postgres first.
    paces: Arc<OnceCell<Mutex<Paces>>>,
    /// Changes of the App's installations that the paces know.
    known_changes: Arc<AtomicUsize>,
}

impl Outbox {
    /// Returns an outbox whose statuses link to pages under `public_url`, and that keeps within these windows.
    pub fn new(db: PgPool, github: Client, public_url: Url, windows: Vec<Window>) -> Self {
        Self { db, github, public_url, windows, paces: Arc::default(), known_changes: Arc::default() }
    }

    /// Sends the most urgent due wish once. Returns false if none is due. GitHub's refusal is not an error of this step:
    /// it is recorded with the wish.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let changes = self.github.installation_changes();
        if self.known_changes.swap(changes, Ordering::Relaxed) != changes {
            self.paces().await?.forget_refusals();
        }
        let has_several_tokens = self.github.has_app() || self.github.has_forges();
        let choice = self.paces().await?.choice(has_several_tokens, Instant::now());
        let Some(choice) = choice else {
            self.report_pace().await?;
            return Ok(false);
        };
        let mut hold = self.db.begin().await.context("opening a transaction for wishes")?;
        let Some(wish) = wishes::take(&mut hold, &choice).await.context("reading the wishes")? else {
            return Ok(false);
        };
        let holder = self.holder(&wish).await;
        if wish.is_check && matches!(holder, Ok(Holder::Person | Holder::Forge(_))) {
            // A person's token may not write check runs, and only GitHub has them. The status says the same.
            wishes::sent(&self.db, &wish).await?;
            hold.commit().await?;
            return Ok(true);
        }
        let begun = Instant::now();
        let (holder, result) = match holder {
            Ok(holder) => {
                if !self.begin(&wish, holder, begun).await? {
                    // Its token has no room, or another step began since the choice. The next step chooses again.
                    return Ok(true);
                }
                (Some(holder), self.post(&wish).await?)
            }
            Err(error) => (None, Err(error)),
        };
        let answer = result.as_ref().map_or_else(|error| answer_of(error, wish.is_check), |_| Answer::Accepted);
        let request = Request { repo: wish.repo_id, tries: wish.tries.unsigned_abs(), begun };
        let consequence = match holder {
            Some(holder) => self.paces().await?.record(holder, request, answer, Instant::now()),
            None => self.paces().await?.record_without_token(request, answer, Instant::now()),
        };
        match (result, consequence) {
            // The wish stays due: the next step sends the next annotations.
            (Ok(Posted { is_complete: false, .. }), Consequence::Sent { .. }) => {}
            (Ok(posted), Consequence::Sent { due_again }) => self.record_sent(&wish, posted.sent, due_again).await?,
            (Err(error), Consequence::Quiet(pause)) => self.record_quiet(&wish, holder, &error, pause).await?,
            (Err(error), Consequence::Failed(how)) => {
                let words = error.to_string();
                self.record_failed(&wish, &error, &Failure { error: &words, how }).await?;
            }
            (Ok(_), _) | (Err(_), Consequence::Sent { .. }) => unreachable!("the answer is made of the result"),
        }
        // The lock on the wish is held until here, so that no other step takes it.
        hold.commit().await?;
        Ok(true)
    }

    /// Counts a request for a wish. Returns false when it has to wait.
    async fn begin(&self, wish: &Wish, holder: Holder, now: Instant) -> anyhow::Result<bool> {
        let (may_begin, counts) = {
            let mut paces = self.paces().await?;
            (paces.begin(wish.repo_id, holder, wish.urgency, now), paces.counts())
        };
        if let (true, true, Some(token)) = (may_begin, counts, github_token(holder)) {
            wishes::request(&self.db, token).await.context("counting a request")?;
        }
        Ok(may_begin)
    }

    /// Returns the owner of the rate limit that a wish counts towards.
    async fn holder(&self, wish: &Wish) -> Result<Holder, SendError> {
        let repo = repo_of(wish)?;
        let access = if wish.is_check { Access::Checks } else { Access::Statuses };
        self.github.holder(Target { repo: &repo, number: Some(wish.github_id) }, access).await
    }

    /// Locks the paces. An earlier process's requests still count.
    async fn paces(&self) -> anyhow::Result<MutexGuard<'_, Paces>> {
        let load = async || {
            let earlier = wishes::requests(&self.db).await.context("reading the requests of the last hour")?;
            anyhow::Ok(Mutex::new(Paces::new(self.windows.clone(), &earlier, Instant::now())))
        };
        Ok(self.paces.get_or_try_init(load).await?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Stores an alert when statuses are late because there were too many.
    async fn report_pace(&self) -> anyhow::Result<()> {
        let exhausted = self.paces().await?.exhausted(Instant::now());
        if let Some(window) = exhausted.filter(|window| window.within >= LONG_WINDOW)
            && wishes::any_owed(&self.db).await?
        {
            let within = humantime::format_duration(window.within);
            let message = format!(
                "{} statuses were set within {within}, which is the limit: others are late; GitHub allows few more \
                 (github.statuses_per_hour)",
                window.most
            );
            alerts::set(&self.db, PACE, Some(&message)).await?;
        }
        Ok(())
    }

    async fn post(&self, wish: &Wish) -> anyhow::Result<Result<Posted, SendError>> {
        if wish.is_check {
            return self.post_check(wish).await;
        }
        let sent = self.post_status(wish).await;
        Ok(sent.map(|sent| Posted { sent, is_complete: true }))
    }

    /// Sends a check run, with at most as many annotations as GitHub takes at once.
    async fn post_check(&self, wish: &Wish) -> anyhow::Result<Result<Posted, SendError>> {
        let (problems, build) = {
            let mut connection = self.db.acquire().await?;
            (problems::of(&mut connection, wish.build_id).await?, checks::of(&mut connection, wish.build_id).await?)
        };
        let (annotations, summary) = (check_summary::annotations(&problems), check_summary::summary(&build, &problems));
        let put = async {
            let repo = repo_of(wish)?;
            let run = CheckRun {
                target: Target { repo: &repo, number: Some(wish.github_id) },
                sha: &wish.sha,
                name: &wish.context,
                external_id: &format!("build {}", wish.build_id.0),
                state: wish.state,
                title: &wish.description,
                summary: &summary,
                details_url: self.public_url.join(&wish.target_path).map_err(|why| unsendable(&why))?,
                annotations: &annotations,
            };
            self.github.put_check_run(&run, wish.check_run).await
        };
        let shown = match put.await {
            Ok(shown) => shown,
            Err(error) => return Ok(Err(error)),
        };
        if wish.check_run != Some(shown.id) {
            wishes::set_check_run(&self.db, wish, shown.id).await?;
        }
        Ok(Ok(Posted { sent: shown.sent, is_complete: shown.is_complete }))
    }

    async fn post_status(&self, wish: &Wish) -> Result<Sent, SendError> {
        let repo = repo_of(wish)?;
        let target_url = self.public_url.join(&wish.target_path).map_err(|why| unsendable(&why))?;
        let status = CommitStatus {
            repo: &repo,
            number: wish.github_id,
            sha: &wish.sha,
            state: wish.state,
            context: &wish.context,
            description: &wish.description,
            target_url,
        };
        self.github.post_status(&status).await
    }

    async fn record_sent(&self, wish: &Wish, sent: Sent, due_again: bool) -> anyhow::Result<()> {
        let server = self.server_of(wish);
        info!("{server} shows {} as {:?}", subject(wish), wish.state);
        wishes::sent(&self.db, wish).await?;
        if due_again {
            wishes::due_again(&self.db, wish.repo_id).await?;
        }
        alerts::set(&self.db, &self.component(wish), None).await?;
        alerts::set(&self.db, PACE, None).await?;
        // What was given up is still another state than ours.
        let given_up = wishes::given_up(&self.db, wish.repo_id).await?;
        let message = given_up.map(|given_up| {
            let count = given_up.count;
            let what = if count == 1 { "a status is".to_owned() } else { format!("{count} statuses are") };
            format!("{what} given up: {}", given_up.error)
        });
        alerts::set(&self.db, &alerts::github_of(&wish.owner, &wish.name), message.as_deref()).await?;
        self.compare_clocks(server, sent).await
    }

    /// Returns the name of the server that has the repository of a wish, for messages.
    fn server_of(&self, wish: &Wish) -> &'static str {
        repo_of(wish).map_or("GitHub", |repo| self.github.server_of(&repo))
    }

    /// Returns the component of alerts on this server as a whole.
    fn component(&self, wish: &Wish) -> String {
        match repo_of(wish).as_ref().map(|repo| self.github.forge_of(repo)) {
            Ok(forge) if forge != github::GITHUB => format!("forge {forge}"),
            _ => GITHUB.to_owned(),
        }
    }

    /// Records an error that says nothing about the wish.
    async fn record_quiet(
        &self,
        wish: &Wish,
        holder: Option<Holder>,
        error: &SendError,
        pause: Duration,
    ) -> anyhow::Result<()> {
        let message = format!("{}: {error}{}", subject(wish), advice(error));
        warn!("no status is sent for {pause:?}: {message}");
        // A restart may mend the token, but not the limit.
        if let (SendError::RateLimited { .. }, Some(token)) = (error, holder.map_or(Some(None), github_token)) {
            wishes::quiet(&self.db, token, pause).await?;
        }
        alerts::set(&self.db, &self.component(wish), Some(&message)).await?;
        Ok(())
    }

    async fn record_failed(&self, wish: &Wish, error: &SendError, failure: &Failure<'_>) -> anyhow::Result<()> {
        let given_up = wishes::failed(&self.db, wish, failure).await?;
        let end = match given_up {
            0 => String::new(),
            1 => "; the status is given up".to_owned(),
            more => format!("; {more} statuses of the repository are given up"),
        };
        let message = format!("{}: {error}{}{end}", subject(wish), advice(error));
        warn!("a status is not sent yet, its pause is {:?}: {message}", failure.how.pause);
        let component = match error {
            SendError::Broken(_) => self.component(wish),
            _ => {
                alerts::set(&self.db, &self.component(wish), None).await?;
                alerts::github_of(&wish.owner, &wish.name)
            }
        };
        alerts::set(&self.db, &component, Some(&message)).await?;
        Ok(())
    }

    async fn compare_clocks(&self, server: &str, sent: Sent) -> anyhow::Result<()> {
        let Some(date) = sent.date else { return Ok(()) };
        let skew = (Utc::now() - date).num_seconds();
        let message = (skew.abs() > CLOCK_SKEW_SECONDS).then(|| {
            let which = if skew > 0 { "ahead of" } else { "behind" };
            format!(
                "this machine's clock is {} s {which} that of {server}: synchronize it, e.g. with chrony",
                skew.abs()
            )
        });
        if alerts::set(&self.db, "clock", message.as_deref()).await? {
            warn!("{}", message.as_deref().unwrap_or("the clock is right again"));
        }
        Ok(())
    }
}

/// A wish that GitHub has accepted.
struct Posted {
    sent: Sent,
    /// False when more requests have to follow for the same version of the wish.
    is_complete: bool,
}

/// Returns the part of an error that matters for the pace.
fn answer_of(error: &SendError, is_check: bool) -> Answer {
    match error {
        // The statuses of the repository are not refused with its check runs.
        SendError::NoAccess(_) | SendError::Refused { status: 403 | 404, .. } if is_check => Answer::Full,
        SendError::RateLimited { wait, .. } => Answer::RateLimited(*wait),
        SendError::Broken(_) => Answer::Broken,
        SendError::Full { .. } => Answer::Full,
        SendError::Refused { status: 401, .. } => Answer::TokenRefused,
        // Not found, gone, blocked for legal reasons, or read only since it was archived: GitHub checks these before it
        // looks at the status.
        SendError::NoAccess(_) | SendError::Refused { status: 403 | 404 | 410 | 451, .. } => Answer::RepositoryRefused,
        SendError::Refused { .. } | SendError::Unsendable(_) => Answer::WishRefused,
    }
}

fn unsendable(why: &dyn Display) -> SendError {
    SendError::Unsendable(why.to_string())
}

/// Returns the present name of a wish's repository.
fn repo_of(wish: &Wish) -> Result<RepoName, SendError> {
    format!("{}/{}", wish.owner, wish.name).parse().map_err(|why| unsendable(&why))
}

fn subject(wish: &Wish) -> String {
    format!("{} of {}/{}", wish.context, wish.owner, wish.name)
}

fn advice(error: &SendError) -> &'static str {
    match error {
        SendError::Refused { status: 401 | 403 | 404, .. } => {
            "; check that github.token, or the GitHub App, is valid and may write commit statuses of this repository"
        }
        _ => "",
    }
}
