//! A load of pushes, so that there are always jobs for a fault to hit.

use std::collections::BTreeMap;

use crate::stranger::Stranger;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::support::trouble::random::Random;
use crate::yard::Yard;

/// Number of unfinished builds at any time.
const BUILDS: usize = 4;
/// Number of lines of a counting job.
pub const LINES: u32 = 30;

/// Repository of all pushes except those of strangers.
pub const REPO: &str = "acme/styles";

pub struct Load {
    repo: Repo,
    /// Repositories of the strangers who have pushed.
    strangers: BTreeMap<Stranger, Repo>,
    /// Accepted pushes.
    pub pushed: Vec<Pushed>,
}

/// A push that the service has accepted.
pub struct Pushed {
    pub sha: String,
    pub delivery: Delivery,
    pub end: End,
}

/// The state in which a build must end, unless a fault makes it an errored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Passed,
    Failed,
    Errored,
    /// Any of them: it depends on what the faults hit.
    Any,
}

impl Load {
    pub fn new(yard: &Yard) -> Self {
        Self { repo: yard.github.repo(REPO), strangers: BTreeMap::new(), pushed: Vec::new() }
    }

    /// Pushes until there are enough unfinished builds.
    pub async fn top_up(&mut self, yard: &mut Yard, random: &mut Random) {
        while unfinished(yard).await < BUILDS {
            let end = if random.below(4) > 0 { End::Passed } else { End::Failed };
            let counting = format!("for i in $(seq 1 {LINES}); do echo \"line $i.\"; sleep 0.0$((RANDOM % 10)); done");
            let last = if end == End::Passed { "true" } else { "test -f nothing" };
            let jobs = 1 + random.below(2);
            let env: Vec<String> = (0..jobs).map(|job| format!("JOB={job}")).collect();
            let size = if random.below(4) == 0 { "vm: {size: gpu-medium}\n" } else { "" };
            let script = format!("script:\n  - {counting:?}\n  - {last}\n");
            let travis = format!("language: shell\n{size}env: [{}]\n{script}", env.join(", "));
            self.repo.write(".travis.yml", &travis);
            let sha = self.repo.commit(&format!("Push {}", self.pushed.len()));
            let repo = self.repo.clone();
            self.push(yard, &repo, sha, end).await;
        }
    }

    /// Pushes another commit of a stranger.
    pub async fn push_of(&mut self, stranger: Stranger, yard: &mut Yard) {
        let repo = self.strangers.entry(stranger).or_insert_with(|| {
            let repo = yard.github.repo(stranger.repo());
            stranger.stage(&repo);
            repo
        });
        let repo = repo.clone();
        repo.git(&["commit", "--quiet", "--allow-empty", "-m", &format!("Push {}", self.pushed.len())]);
        repo.git(&["push", "--quiet", "origin", "HEAD"]);
        let sha = repo.head();
        self.push(yard, &repo, sha, stranger.end()).await;
    }

    /// Sends the push of a commit.
    async fn push(&mut self, yard: &mut Yard, repo: &Repo, sha: String, end: End) {
        let number = self.pushed.len();
        // Each push has its own branch: a newer push of the same branch would cancel the older one.
        let payload = payload::push(&yard.github, repo, &format!("branch-{number}"));
        let delivery = Delivery::new(&format!("push-{number}"), "push", &payload);
        self.deliver(yard, &delivery).await;
        self.pushed.push(Pushed { sha, delivery, end });
    }

    /// Sends a delivery until it is accepted, as a person would who sees it fail on GitHub.
    async fn deliver(&self, yard: &mut Yard, delivery: &Delivery) {
        for _ in 0..300 {
            if yard.base().is_none() {
                yard.start_service();
            }
            let base = yard.base().unwrap_or_default().to_owned();
            if matches!(delivery.try_post(&base).await, Ok(202)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("a delivery is not accepted: {}", yard.last_words());
    }

    pub fn in_words(&self) -> String {
        format!("{} pushes", self.pushed.len())
    }
}

/// Counts the builds that have not ended, by their rows: statuses may be late.
async fn unfinished(yard: &Yard) -> usize {
    let query = "select (select count(*) from build where finished_at is null)
        + (select count(*) from delivery where done_at is null)";
    let count: sqlx::Result<i64> = sqlx::query_scalar(query).fetch_one(&yard.db().await).await;
    // Postgres may go away again before it answers.
    count.map_or(BUILDS, |count| usize::try_from(count).unwrap_or(BUILDS))
}
