//! Changes of builds as the streams of events need them. One stream at a time reads the rows for all streams of the
//! process, when a bell rings or a second later. So many streams cost as much as one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::domain::{BuildId, JobId, JobState, RepoId, Verdict};
use crate::store::api::build_changes::{self, Change, Place};
use crate::web::State;
use crate::web::api::described::BuildAnswer;
use crate::web::rows::{self, Build};

/// Interval of the checks for changes by other processes whose rings were lost.
const POLL: Duration = Duration::from_secs(1);
/// Time in which changes are collected before they are read.
const PAUSE: Duration = Duration::from_millis(100);
/// Number of changes that are read at a time.
const BATCH: i64 = 100;
/// Number of events that are kept for streams that are slower than others.
const KEPT: usize = 512;

/// A build whose state has changed, or that of some of its jobs or their publications.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct BuildEvent {
    build: BuildAnswer,
    /// Jobs whose states have changed, or the states of their publications.
    jobs: Vec<ChangedJob>,
}

/// A job whose state has changed, or that of its publications.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(in crate::web) struct ChangedJob {
    id: JobId,
    number: i32,
    name: Option<String>,
    state: JobState,
    verdict: Option<Verdict>,
    #[serde(skip)]
    build_id: BuildId,
}

/// An event, and the repository whose readers may see it.
#[derive(Debug)]
pub(super) struct Happened {
    pub(super) place: Place,
    pub(super) repo: RepoId,
    pub(super) is_private: bool,
    /// A [`BuildEvent`] as JSON.
    pub(super) data: String,
}

/// The changes that the streams of a process have read last.
#[derive(Debug, Clone, Default)]
pub struct Feed(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Held by the stream that reads for all.
    turn: Mutex<()>,
    kept: StdMutex<Kept>,
    streams: Arc<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Place from which on the events are here.
    from: Place,
    events: VecDeque<Arc<Happened>>,
    /// Place up to which the rows were read.
    to: Place,
}

/// Proof that a stream is open.
#[derive(Debug)]
pub(super) struct Open(#[expect(dead_code, reason = "it counts")] Arc<()>);

impl Feed {
    /// Opens a stream after a place, or at the end of the changes. Returns the place.
    pub(super) async fn open(&self, db: &PgPool, after: Option<Place>) -> sqlx::Result<(Place, Open)> {
        let end = build_changes::end(db).await?;
        let mut kept = self.kept();
        // Nobody has read for a while.
        if Arc::strong_count(&self.0.streams) == 1 {
            *kept = Kept { from: end, events: VecDeque::new(), to: end };
        }
        let open = Open(Arc::clone(&self.0.streams));
        // A place that is not reached yet comes from another database.
        Ok((after.filter(|after| *after < end).unwrap_or(end), open))
    }

    /// Waits for events after a place. Returns them with the place up to which there are no others.
    pub(super) async fn next(&self, state: &State, place: Place) -> anyhow::Result<(Vec<Arc<Happened>>, Place)> {
        loop {
            let kept = self.kept().after(place);
            match kept {
                None => return read(state, place).await,
                Some((events, to)) if to > place => return Ok((events, to)),
                Some(_) => {}
            }
            let _turn = self.0.turn.lock().await;
            let to = self.kept().to;
            // Another stream has read meanwhile.
            if to > place {
                continue;
            }
            state.bells.wait_for_change(POLL).await;
            tokio::time::sleep(PAUSE).await;
            let (events, to) = read(state, to).await?;
            self.kept().push(events, to);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returns the events after a place; `None` if they are not kept any more.
    fn after(&self, place: Place) -> Option<(Vec<Arc<Happened>>, Place)> {
        let events = self.events.iter().filter(|event| event.place > place).cloned();
        (place >= self.from).then(|| (events.collect(), self.to))
    }

    fn push(&mut self, events: Vec<Arc<Happened>>, to: Place) {
        self.events.extend(events);
        self.to = to;
        while self.events.len() > KEPT {
            self.from = self.events.pop_front().map_or(self.from, |event| event.place);
        }
    }
}

/// Reads the changes after a place. Those of one build become one event.
async fn read(state: &State, place: Place) -> anyhow::Result<(Vec<Arc<Happened>>, Place)> {
    let changes = build_changes::after(&state.db, place, BATCH).await?;
    let Some(last) = changes.last() else { return Ok((Vec::new(), place)) };
    let mut builds = builds(&state.db, &changes).await?;
    let mut jobs = jobs(&state.db, &changes).await?;
    let last_of_build: BTreeMap<Place, BuildId> = changes
        .iter()
        .map(|change| (change.build_id, change.place))
        .collect::<HashMap<_, _>>()
        .into_iter()
        .map(|(build, place)| (place, build))
        .collect();
    let mut events = Vec::new();
    for (place, id) in last_of_build {
        // A build may be deleted by now.
        let Some((repo, is_private, build)) = builds.remove(&id) else { continue };
        let event = BuildEvent { build: BuildAnswer::new(state, build), jobs: jobs.remove(&id).unwrap_or_default() };
        events.push(Arc::new(Happened { place, repo, is_private, data: serde_json::to_string(&event)? }));
    }
    Ok((events, last.place))
}

async fn builds(db: &PgPool, changes: &[Change]) -> sqlx::Result<HashMap<BuildId, (RepoId, bool, Build)>> {
    let ids: Vec<BuildId> = changes.iter().map(|change| change.build_id).collect();
    let found = rows::with_repos(db, &ids).await?;
    Ok(found.into_iter().map(|(repo, is_private, build)| (build.id, (repo, is_private, build))).collect())
}

async fn jobs(db: &PgPool, changes: &[Change]) -> sqlx::Result<HashMap<BuildId, Vec<ChangedJob>>> {
    let ids: Vec<JobId> = changes.iter().filter_map(|change| change.job_id).collect();
    let found: Vec<ChangedJob> = sqlx::query_as(
        "select id, number, name, state, verdict, build_id from job where id = any($1) order by build_id, number",
    )
    .bind(&ids)
    .fetch_all(db)
    .await?;
    let mut by_build: HashMap<BuildId, Vec<ChangedJob>> = HashMap::new();
    for job in found {
        by_build.entry(job.build_id).or_default().push(job);
    }
    Ok(by_build)
}
