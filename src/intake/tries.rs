//! The tries of a delivery: which one is next, and what becomes of one that has failed.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tracing::{info, warn};

use super::{Asked, Intake};
use crate::github::GITHUB;
use crate::github::event::{self, Event};
use crate::store::deliveries::{self, Delivery, Source};
use crate::store::repos;
use crate::store::wishes;
use crate::telemetry::traces;

/// Time for which a try has its delivery to itself. A try that lives renews it, so a delivery whose process has crashed,
/// or was not told of it, waits no longer than this.
pub const HOLD: Duration = Duration::from_secs(160);
/// Time between two renewals of the hold. It never comes near [`deliveries::LONGEST_DELAY`], which tells a delivery that
/// is being worked on from one that waits.
const RENEWAL: Duration = Duration::from_secs(10);
/// Time limit for one try. It is longer than git's own limit for a fetch.
const TRY_LIMIT: Duration = Duration::from_secs(680);
/// Longest wait for a GitHub that does not answer, before it is asked again.
pub const LONGEST_WAIT: Duration = Duration::from_secs(700);
/// Number of tries before a repository that cannot be fetched results in an errored build with that message. With the
/// delays between them, the tries take about a minute: long enough for short failures of GitHub and for its merge
/// commits, and short enough for an author.
pub(super) const FETCH_TRIES: i32 = 6;
/// Number of tries, of any outcome, after which a delivery is given up. A try counts when it begins, so a delivery that
/// crashes the process cannot do so without end.
pub(super) const MAX_TRIES: i32 = 8;
/// Number of tries after which a delivery ends without a build, if not even an errored one can be inserted.
pub(super) const LAST_TRY: i32 = 2 * MAX_TRIES;

/// Reason why a delivery has not resulted in a build.
pub(super) enum NotYet {
    /// A retry may succeed.
    Later(anyhow::Error),
    /// GitHub does not answer for this time at least. That is not the delivery's fault, so the try does not count.
    Unanswered(Duration, String),
    /// No retry can succeed.
    Never(String),
    /// All tries failed, and no build can show that.
    GivenUp(String),
    /// The delivery is not what it claims to be.
    Refused(String),
}

impl From<anyhow::Error> for NotYet {
    fn from(error: anyhow::Error) -> Self {
        Self::Later(error)
    }
}

impl Intake {
    /// Handles the oldest open delivery. Returns false if there is none, or no room for what it would fetch: then it
    /// waits. The janitor reports the lack of room.
    ///
    /// # Errors
    /// Fails when Postgres is not reachable. The delivery then stays open.
    pub async fn step(&self) -> anyhow::Result<bool> {
        if self.mirrors.wanting_room()?.is_some() {
            return Ok(false);
        }
        let Some(delivery) = deliveries::take(&self.db, HOLD).await.context("reading the deliveries")? else {
            return Ok(false);
        };
        let mut span = span_of(&delivery);
        let tried = tokio::select! {
            tried = tokio::time::timeout(TRY_LIMIT, self.try_once(&delivery, span.as_parent())) => tried,
            never = self.hold(&delivery) => match never {},
        };
        let built = tried.unwrap_or_else(|_| Err(NotYet::Later(anyhow!("the try took longer than {TRY_LIMIT:?}"))));
        if built.is_err() {
            span.fail();
        }
        drop(span);
        self.record(&delivery, built).await?;
        Ok(true)
    }

    /// Holds a delivery for as long as this is polled.
    async fn hold(&self, delivery: &Delivery) -> Infallible {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = deliveries::hold(&self.db, delivery, HOLD).await {
                warn!(delivery = %delivery.id, "cannot hold the delivery {}: {error}", delivery.id);
            }
        }
    }

    async fn try_once(&self, delivery: &Delivery, span: traces::Parent) -> Result<(), NotYet> {
        let asked = match delivery.source {
            Source::GitHub | Source::Gitea => match event::parse(&delivery.event, &delivery.body) {
                Ok(Event::Build(repository, trigger)) => {
                    let is_on_github = self.github.forge_of(&repository.name) == GITHUB;
                    if is_on_github != (delivery.source == Source::GitHub) {
                        let why = format!("{} is on another server (see [[forge]])", repository.name);
                        return Err(NotYet::Refused(why));
                    }
                    Asked::of(*repository, *trigger)
                }
                Ok(Event::Installations(words) | Event::Repository(_, words)) if delivery.source == Source::Gitea => {
                    return Err(NotYet::Never(words));
                }
                Ok(Event::Ask(repository, _))
                    if delivery.source == Source::Gitea || self.github.forge_of(&repository.name) != GITHUB =>
                {
                    return Err(NotYet::Never("commands and buttons are for repositories on GitHub".to_owned()));
                }
                Ok(Event::Ask(repository, ask)) => return self.obey(delivery, &repository, *ask).await,
                Ok(Event::Installations(words)) => return self.installations_changed(&words).await,
                Ok(Event::Repository(number, words)) => return self.repository_changed(number, &words).await,
                Ok(Event::Ignored(reason)) => return Err(NotYet::Never(reason)),
                Err(error) => return Err(NotYet::Never(format!("{error:#}"))),
            },
            Source::Travis => self.passed_on_travis(delivery).await?,
            Source::Request => self.requested(delivery).await.map_err(|error| match error {
                // Without a commit there is no build that could show this.
                NotYet::Later(error) if delivery.tries > MAX_TRIES => NotYet::GivenUp(format!("{error:#}")),
                error => error,
            })?,
        };
        if delivery.tries > MAX_TRIES {
            return self.give_up(delivery, &asked).await;
        }
        self.build(delivery, asked, span).await
    }

    async fn installations_changed(&self, words: &str) -> Result<(), NotYet> {
        self.github.forget_installations();
        // Statuses may have been refused for want of the App.
        wishes::all_due(&self.db).await.context("making the statuses due")?;
        self.bells.outbox.ring();
        Err(NotYet::Never(format!("{words}: GitHub is asked again where the App is installed")))
    }

    /// Lets the next check ask GitHub for the repository. The words of the delivery alone prove nothing.
    async fn repository_changed(&self, number: i64, words: &str) -> Result<(), NotYet> {
        let is_known = repos::check_soon(&self.db, number).await.context("making the check of the repository due")?;
        let told =
            if is_known { "the repository is checked within a minute" } else { "the repository is not known here" };
        Err(NotYet::Never(format!("{words}: {told}")))
    }

    /// Records what a try has come to.
    async fn record(&self, delivery: &Delivery, tried: Result<(), NotYet>) -> anyhow::Result<()> {
        match tried {
            Ok(()) => {
                self.bells.worker.ring();
                self.bells.outbox.ring();
            }
            Err(NotYet::Never(reason)) => {
                info!(delivery = %delivery.id, "delivery {} results in no build: {reason}", delivery.id);
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &reason, None).await?;
            }
            Err(NotYet::GivenUp(reason)) => {
                let outcome = format!("no build: {reason}");
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &outcome, Some(&reason)).await?;
            }
            Err(NotYet::Refused(reason)) => {
                warn!(delivery = %delivery.id, "delivery {} is refused: {reason}", delivery.id);
                deliveries::done(&mut *self.db.acquire().await?, &delivery.id, &format!("refused: {reason}"), None)
                    .await?;
            }
            Err(NotYet::Later(error)) => {
                warn!(delivery = %delivery.id, "delivery {} will be tried again: {error:#}", delivery.id);
                let (delay, failure) = (retry_delay(delivery.tries), format!("{error:#}"));
                deliveries::later(&self.db, &delivery.id, delay, &failure).await?;
            }
            Err(NotYet::Unanswered(wait, why)) => {
                warn!(delivery = %delivery.id, "delivery {} waits for GitHub: {why}", delivery.id);
                let delay = wait.clamp(deliveries::LONGEST_DELAY, LONGEST_WAIT);
                deliveries::wait(&self.db, &delivery.id, delay, &why).await?;
            }
        }
        Ok(())
    }
}

/// Begins the span of a try. What Trainyard asks for itself has come by no webhook, so its trace begins here.
fn span_of(delivery: &Delivery) -> traces::Span {
    let trace = traces::Parent::delivery(delivery.id.as_str());
    let mut span = match delivery.source {
        Source::Request if delivery.tries == 1 => trace.begin_first("intake"),
        _ => trace.begin("intake"),
    };
    span.set("trainyard.delivery", delivery.id.as_str().to_owned());
    span.set("trainyard.try", i64::from(delivery.tries));
    span
}

fn retry_delay(tries: i32) -> Duration {
    Duration::from_secs(1 << tries.clamp(0, 7)).min(deliveries::LONGEST_DELAY)
}
