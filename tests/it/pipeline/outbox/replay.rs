//! The operations of a schedule on a real Postgres, whose results must be those of the model.

use std::collections::HashMap;

use sqlx::{PgPool, Postgres, Transaction};
use trainyard::domain::{BuildId, CommitState, Sha, Status};
use trainyard::outbox::pacing::LONGEST_PAUSE;
use trainyard::store::delays::{self, LongestWaits};
use trainyard::store::wishes::{self, Failure, NewWish, Wish};

use super::rows::{Op, Row, duration, id};
use super::world::World;
use crate::support::database;

pub struct Database(PgPool);

/// A row, as far as it decides what is sent.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
struct Seen {
    wanted_seq: i64,
    sent_seq: i64,
    tried_seq: i64,
    given_up_seq: i64,
    tries: i32,
}

impl Database {
    pub async fn new() -> Self {
        let db = database::pool().await;
        sqlx::raw_sql(
            "insert into repo (github_id, owner, name, private, default_branch, clone_url)
                 select number, 'acme', 'styles' || number, false, 'main', 'http://localhost/' from generate_series(1, 5) number;
             insert into build (repo_id, number, kind, sha, built_sha) values (1, 1, 'push', repeat('0', 40), repeat('0', 40));",
        )
        .execute(&db)
        .await
        .unwrap();
        Self(db)
    }

    /// Repeats the operations of a schedule. Returns the first difference.
    pub async fn replay(&self, world: &World) -> Result<(), String> {
        sqlx::raw_sql("truncate wish restart identity").execute(&self.0).await.unwrap();
        let mut held: HashMap<usize, (Transaction<'static, Postgres>, Wish)> = HashMap::new();
        for (at, op) in world.ops.iter().enumerate() {
            self.apply(op, world, &mut held).await.map_err(|difference| format!("step {at}, {op:?}: {difference}"))?;
        }
        free(&mut held).await;
        let query = "select wanted_seq, sent_seq, tried_seq, given_up_seq, tries from wish order by id";
        let seen: Vec<Seen> = sqlx::query_as(query).fetch_all(&self.0).await.unwrap();
        let of_model = |row: &Row| Seen {
            wanted_seq: row.wanted,
            sent_seq: row.sent,
            tried_seq: row.tried,
            given_up_seq: row.given_up,
            tries: row.tries,
        };
        let model: Vec<Seen> = world.rows.0.iter().map(of_model).collect();
        if seen == model { Ok(()) } else { Err(format!("the rows are {seen:#?}, and the model has {model:#?}")) }
    }

    async fn apply(
        &self,
        op: &Op,
        world: &World,
        held: &mut HashMap<usize, (Transaction<'static, Postgres>, Wish)>,
    ) -> Result<(), String> {
        let db = &self.0;
        match op {
            Op::Want { row, ends } => self.want(world.rows.0[*row].repo, *row, *ends).await,
            Op::Take { choice, taken, is_sent_on } => {
                let mut hold = db.begin().await.unwrap();
                let wish = wishes::take(&mut hold, choice).await.unwrap();
                let seen = wish.as_ref().map(|wish| (row_of(wish), wish.wanted_seq, wish.tries, wish.urgency));
                match wish.filter(|_| *is_sent_on) {
                    Some(wish) => drop(held.insert(row_of(&wish), (hold, wish))),
                    None => hold.rollback().await.unwrap(),
                }
                if seen != *taken {
                    return Err(format!("Postgres gives {seen:?}"));
                }
            }
            Op::Sent { row, seq } => {
                let wish = &held[row].1;
                assert_eq!(wish.wanted_seq, *seq);
                wishes::sent(db, wish).await.unwrap();
            }
            Op::Failed { row, seq, how, given_up } => {
                let wish = &held[row].1;
                assert_eq!(wish.wanted_seq, *seq);
                let seen = wishes::failed(db, wish, &Failure { error: "refused", how: *how }).await.unwrap();
                if seen != *given_up {
                    return Err(format!("Postgres gives {seen} wishes up"));
                }
            }
            Op::DueAgain { repo } => wishes::due_again(db, id(*repo)).await.unwrap(),
            Op::AllDue => wishes::all_due(db).await.unwrap(),
            Op::Shorten => {
                let other = std::time::Duration::from_secs(600);
                let longest = LongestWaits { wish: LONGEST_PAUSE, delivery: other, job: other, notification: other };
                delays::shorten(db, &longest).await.unwrap();
            }
            Op::Crash => free(held).await,
            Op::Free { row } => held.remove(row).unwrap().0.commit().await.unwrap(),
            // The clock moves ahead by moving all times back.
            Op::Pass(time) => {
                let (ahead, back) = (duration(*time), duration(-*time));
                let query = "update wish set not_before = not_before - $1::interval + $2::interval,
                    failing_since = failing_since - $1::interval + $2::interval";
                sqlx::query(query).bind(ahead).bind(back).execute(db).await.unwrap();
            }
        }
        Ok(())
    }

    async fn want(&self, repo: usize, row: usize, ends: bool) {
        let sha: Sha = format!("{row:040x}").parse().unwrap();
        let state = if ends { CommitState::Success } else { CommitState::Pending };
        // Each version has other words, or it would be the same wish.
        let query = "select coalesce(max(wanted_seq), 0) from wish where sha = $1";
        let before: i64 = sqlx::query_scalar(query).bind(&sha).fetch_one(&self.0).await.unwrap();
        let status = Status::new(state, &format!("version {}", before + 1));
        let wish = NewWish {
            repo: id(repo),
            sha: &sha,
            build: BuildId(1),
            context: "trainyard/push",
            status: &status,
            target_path: "/acme/styles/builds/1",
        };
        wishes::want(&mut self.0.acquire().await.unwrap(), &wish).await.unwrap();
    }
}

async fn free(held: &mut HashMap<usize, (Transaction<'static, Postgres>, Wish)>) {
    for (_, (hold, _)) in held.drain() {
        hold.rollback().await.unwrap();
    }
}

/// Returns the number of the model's row.
fn row_of(wish: &Wish) -> usize {
    usize::from_str_radix(wish.sha.as_str(), 16).unwrap()
}
