//! The pace of the outbox: which wishes may be sent now, and the consequences of GitHub's answers. A pure model: the time
//! comes in, and the caller keeps the rows.
//!
//! - [`Window`]s bound the requests within a time. Repeated tries may use one third of them, repeated tries and news of
//!   builds together two thirds, and all wishes together the whole. So what GitHub refuses does not use up what others
//!   need, and the end of a build has a third that nothing else takes.
//! - A breaker for each repository trips when GitHub refuses its statuses. From then on, one wish of the repository is
//!   tried now and then, until one is accepted. Another breaker does the same for all of GitHub.
//! - The pause of a wish doubles with each refusal, and after some days the wish is given up.

mod windows;

pub use self::windows::Window;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use self::windows::Recent;
use crate::domain::RepoId;
use crate::store::wishes::{Choice, Patience, Requests, Retry, Urgency};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Longest pause of a wish.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// Longest pause of a wish that GitHub does not refuse, but cannot take: it may work again at any time.
const LONGEST_BROKEN: Duration = Duration::from_secs(300);
/// Limit after which a refused wish is given up. With pauses that double, eight tries take two hours.
pub const PATIENCE: Patience = Patience { time: Duration::from_secs(3 * 24 * 3600), tries: 8 };
/// Time without any other answer after which a broken GitHub counts as an outage.
const OUTAGE: Duration = HOUR;
/// Number of requests after which a repeated try goes before all other wishes. Without this, a load that leaves no room
/// would hold it back for ever.
const RETRY_TURN: u32 = 10;
/// Time for which a tried repository is closed to other wishes, if no answer is recorded at all.
const PROBE: Duration = Duration::from_secs(120);
/// Number of wishes of a repository that GitHub refuses one after the other, each for a reason of its own, before the
/// repository itself counts as refused.
const STRIKES: u32 = 3;

/// Returns a pause that doubles with each failure: `first` after the first one, and none without a failure.
fn doubling(first: Duration, longest: Duration, failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(before) => first.saturating_mul(2_u32.saturating_pow(before.min(30))).min(longest),
    }
}

/// The answer of GitHub to a status, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// GitHub shows the status.
    Accepted,
    /// A rate limit: every other request would get the same answer.
    RateLimited(Duration),
    /// No answer, or one of a broken server.
    Broken,
    /// GitHub does not accept the token.
    TokenRefused,
    /// GitHub accepts no status of the repository.
    RepositoryRefused,
    /// GitHub does not accept this one status.
    WishRefused,
    /// GitHub accepts no version of this wish: the commit has as many statuses of this context as GitHub keeps, or the App
    /// may not write check runs.
    Full,
}

/// The consequence of an answer for the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// The wish is sent.
    Sent {
        /// True when other wishes of the repository wait for no reason any more.
        due_again: bool,
    },
    /// The wish is due as before, because the answer says nothing about it. All wishes wait for this time.
    Quiet(Duration),
    /// The wish failed.
    Failed(Retry),
}

/// A breaker trips with each failure, and blocks for a pause. After the pause it lets one request through, and blocks
/// again until the answer is there.
#[derive(Debug, Clone, Copy)]
struct Breaker {
    failures: u32,
    tripped: Instant,
    blocked_until: Instant,
    /// True when GitHub refused the repository itself, so that all of its wishes wait for the same reason.
    of_repository: bool,
}

impl Breaker {
    fn new(now: Instant) -> Self {
        Self { failures: 0, tripped: now, blocked_until: now, of_repository: false }
    }

    fn blocks(&self, now: Instant) -> bool {
        now < self.blocked_until
    }

    /// Lets a request through.
    fn pass(&mut self, now: Instant) {
        if self.failures > 0 {
            self.blocked_until = now + PROBE;
        }
    }

    /// Counts a failure of a request that began at `begun`. Requests that were on their way when the breaker tripped fail
    /// for the same reason, so they count as one. Returns the rest of the pause.
    fn fail(&mut self, begun: Instant, now: Instant, pause: impl FnOnce(u32) -> Duration) -> Duration {
        let is_same = self.failures > 0 && begun < self.tripped;
        if !is_same {
            self.failures += 1;
            self.tripped = now;
            self.blocked_until = now + pause(self.failures);
        }
        self.blocked_until.saturating_duration_since(now)
    }

    /// Returns true if a request that began at `begun` and succeeded shows that the reason for the failures is gone.
    fn is_mended_by(&self, begun: Instant) -> bool {
        begun >= self.tripped
    }
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub repo: RepoId,
    /// Number of failures of the wish before.
    pub tries: u32,
    pub begun: Instant,
}

/// The state of the pace.
#[derive(Debug)]
pub struct Pacing {
    recent: Recent,
    /// Number of requests since the last repeated try.
    since_retry: u32,
    github: Breaker,
    repos: HashMap<RepoId, Breaker>,
    /// Repository of the last request, if that one broke.
    broken: Option<RepoId>,
    /// Time of the last answer of a GitHub that was not broken.
    answered: Option<Instant>,
}

impl Pacing {
    /// Returns the pace at `now`, after these requests of an earlier process.
    pub fn new(windows: Vec<Window>, earlier: &Requests, now: Instant) -> Self {
        let at = |age: &Duration| now.checked_sub(*age);
        let recent = Recent::new(windows, earlier.ages.iter().filter_map(at));
        let mut github = Breaker::new(now);
        if earlier.quiet > Duration::ZERO {
            github.fail(now, now, |_| earlier.quiet.min(HOUR));
        }
        Self { recent, since_retry: 0, github, repos: HashMap::new(), broken: None, answered: None }
    }

    /// Returns true while all wishes wait for GitHub itself, and not for a window.
    pub fn is_blocked(&self, now: Instant) -> bool {
        self.github.blocks(now)
    }

    /// Lets the repositories be tried again that GitHub has refused: the reason may have gone.
    pub fn forget_refusals(&mut self) {
        self.repos.retain(|_, breaker| !breaker.of_repository);
    }

    /// Returns the wishes that may be sent now, or `None` when all have to wait.
    pub fn choice(&self, now: Instant) -> Option<Choice> {
        if self.github.blocks(now) {
            return None;
        }
        let urgencies = [Urgency::Retry, Urgency::Progress, Urgency::Result];
        let least = urgencies.into_iter().find(|urgency| self.recent.has_room(*urgency, now))?;
        let retries_first = self.since_retry >= RETRY_TURN;
        let blocked = self.repos.iter().filter(|(_, breaker)| breaker.blocks(now));
        let without = blocked.map(|(repo, _)| *repo).collect();
        Some(Choice { least: Some(least), shares: Vec::new(), retries_first, without })
    }

    /// Returns the longest window that has room for no request at all.
    pub fn exhausted(&self, now: Instant) -> Option<Window> {
        self.recent.exhausted(now)
    }

    /// Counts a request for a wish of this repository. Returns false, and counts nothing, when it has to wait, because
    /// other requests were sent since the wish was chosen.
    pub fn begin(&mut self, repo: RepoId, urgency: Urgency, now: Instant) -> bool {
        let is_blocked = self.github.blocks(now) || self.repos.get(&repo).is_some_and(|breaker| breaker.blocks(now));
        if is_blocked || !self.recent.has_room(urgency, now) {
            return false;
        }
        self.github.pass(now);
        if let Some(breaker) = self.repos.get_mut(&repo) {
            breaker.pass(now);
        }
        self.recent.add(urgency, now);
        self.since_retry = if urgency == Urgency::Retry { 0 } else { self.since_retry.saturating_add(1) };
        true
    }

    /// Draws the consequence of an answer.
    pub fn record(&mut self, request: Request, answer: Answer, now: Instant) -> Consequence {
        let Request { repo, tries, begun } = request;
        let failures = tries.saturating_add(1);
        let refused = |of_repository| {
            let pause = doubling(MINUTE, LONGEST_PAUSE, failures);
            Consequence::Failed(Retry { pause, of_repository, limit: Some(PATIENCE) })
        };
        if matches!(answer, Answer::Accepted | Answer::RepositoryRefused | Answer::WishRefused | Answer::Full) {
            self.broken = None;
            if self.github.is_mended_by(begun) {
                self.github = Breaker::new(now);
            }
        }
        if answer != Answer::Broken {
            self.answered = Some(now);
        }
        match answer {
            Answer::Accepted => {
                let is_mended = self.repos.get(&repo).is_some_and(|breaker| breaker.is_mended_by(begun));
                let mended = if is_mended { self.repos.remove(&repo) } else { None };
                // Wishes that GitHub refused for a reason of their own keep their pauses.
                Consequence::Sent { due_again: mended.is_some_and(|breaker| breaker.of_repository) }
            }
            Answer::RateLimited(wait) => {
                let wait = wait.min(HOUR);
                // The first pause is GitHub's own. Later ones grow, because the one before was too short.
                self.github.fail(begun, now, |failures| wait.max(doubling(MINUTE, HOUR, failures - 1)));
                self.github.blocked_until = self.github.blocked_until.max(now + wait);
                Consequence::Quiet(self.github.blocked_until.saturating_duration_since(now))
            }
            Answer::TokenRefused => {
                Consequence::Quiet(self.github.fail(begun, now, |failures| doubling(MINUTE, HOUR, failures)))
            }
            Answer::Broken => {
                self.record_broken(repo, begun, now);
                let pause = doubling(SECOND, LONGEST_BROKEN, failures);
                // Nothing is given up in an outage. A wish is to blame itself only if GitHub answers others.
                let is_outage = self.answered.is_none_or(|at| now.saturating_duration_since(at) > OUTAGE);
                let limit = (!is_outage).then_some(PATIENCE);
                Consequence::Failed(Retry { pause, of_repository: false, limit })
            }
            Answer::RepositoryRefused => {
                let breaker = self.repo(repo, now);
                breaker.fail(begun, now, |failures| doubling(MINUTE, HOUR, failures));
                breaker.of_repository = true;
                refused(true)
            }
            Answer::WishRefused => {
                let pause = |failures: u32| doubling(MINUTE, HOUR, (failures + 1).saturating_sub(STRIKES));
                self.repo(repo, now).fail(begun, now, pause);
                refused(false)
            }
            Answer::Full => {
                let limit = Some(Patience { time: Duration::ZERO, tries: 0 });
                Consequence::Failed(Retry { pause: Duration::ZERO, of_repository: false, limit })
            }
        }
    }

    fn record_broken(&mut self, repo: RepoId, begun: Instant, now: Instant) {
        self.repo(repo, now).fail(begun, now, |failures| doubling(SECOND, MINUTE, failures));
        // One repository may be broken at GitHub; two in a row mean that GitHub is.
        if self.github.failures > 0 || self.broken.is_some_and(|before| before != repo) {
            self.github.fail(begun, now, |failures| doubling(SECOND, MINUTE, failures));
        }
        self.broken = Some(repo);
    }

    fn repo(&mut self, repo: RepoId, now: Instant) -> &mut Breaker {
        self.repos.entry(repo).or_insert_with(|| Breaker::new(now))
    }
}
