//! The outbox: it makes GitHub, or the server that has the repository, show the wished statuses, check runs and comments,
//! and never an older one.

mod chart_links;
mod markdown;
mod paces;
pub mod pacing;
mod posts;
mod summary;

pub use self::chart_links::{ChartForm, ChartLinks};
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
use self::posts::Posted;
use crate::domain::RepoName;
use crate::github::{self, Access, Client, Holder, SendError, Sent, Target};
use crate::store::wishes::{self, Failure, Kind, Wish};
use crate::store::{alerts, builds};
use crate::telemetry::traces;

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
    charts: ChartLinks,
    windows: Vec<Window>,
    // GitHub's limits apply to every request of ours, so all steps share the paces. They are read from Postgres first.
    paces: Arc<OnceCell<Mutex<Paces>>>,
    /// Changes of the App's installations that the paces know.
    known_changes: Arc<AtomicUsize>,
}

impl Outbox {
    /// Returns an outbox whose statuses link to pages under `public_url`, and that keeps within these windows.
    pub fn new(db: PgPool, github: Client, public_url: Url, charts: ChartLinks, windows: Vec<Window>) -> Self {
        Self { db, github, public_url, charts, windows, paces: Arc::default(), known_changes: Arc::default() }
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
        let content = self.content(&wish).await?;
        // Only GitHub has check runs, and a person's token may not write them. The status says the same.
        let is_idle = match holder {
            Ok(Holder::Person) => wish.kind == Kind::CheckRun,
            Ok(Holder::Forge(_)) => wish.kind != Kind::Status,
            _ => false,
        };
        if is_idle || content.is_shown(&wish) {
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
                let span = self.span_of(&wish).await;
                let result = self.post(&wish, &content).await?;
                end_span(span, &result);
                (Some(holder), result)
            }
            Err(error) => (None, Err(error)),
        };
        let answer = result.as_ref().map_or_else(|error| answer_of(error, wish.kind), |_| Answer::Accepted);
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

    /// Begins the span of a request, in the trace of the delivery that has asked for the build.
    async fn span_of(&self, wish: &Wish) -> traces::Span {
        let delivery = match traces::are_on() {
            true => builds::delivery_of(&self.db, wish.build_id).await.ok().flatten(),
            false => None,
        };
        let trace = delivery.map_or_else(traces::Parent::none, |delivery| traces::Parent::delivery(&delivery));
        let mut span = trace.begin("outbox");
        span.set("trainyard.build", wish.build_id.0);
        span
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
        let access = match wish.kind {
            Kind::Status => Access::Statuses,
            Kind::CheckRun => Access::Checks,
            Kind::Comment | Kind::Reply | Kind::Reaction => Access::PullRequests,
        };
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

fn end_span<T>(mut span: traces::Span, result: &Result<T, SendError>) {
    if result.is_err() {
        span.fail();
    }
}

/// Returns the part of an error that matters for the pace.
fn answer_of(error: &SendError, kind: Kind) -> Answer {
    match error {
        SendError::Refused { status: 401, .. } => Answer::TokenRefused,
        // The statuses of the repository are not refused with its check runs and comments.
        SendError::NoAccess(_) | SendError::Refused { status: 403 | 404, .. } if kind == Kind::CheckRun => Answer::Full,
        // As of a conversation that was locked, or a comment that was deleted.
        SendError::NoAccess(_) | SendError::Refused { .. }
            if matches!(kind, Kind::Comment | Kind::Reply | Kind::Reaction) =>
        {
            Answer::Full
        }
        SendError::RateLimited { wait, .. } => Answer::RateLimited(*wait),
        SendError::Broken(_) => Answer::Broken,
        SendError::Full { .. } => Answer::Full,
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
            "; check that github.token, or the GitHub App, is valid and may write this of the repository"
        }
        _ => "",
    }
}
