//! Open pull requests as a check has seen them last. Of one that has changed since, a webhook must have come.

use sqlx::{PgConnection, PgPool};

use super::{FOUND, MAX_FOUND};
use crate::domain::{FoundPull, RepoId, Trigger};
use crate::store::requests;

/// A pull request in the columns of the rows.
struct Row<'a> {
    number: i32,
    sha: &'a str,
    base: &'a str,
    trigger: &'a Trigger,
}

fn row(trigger: &Trigger) -> Option<Row<'_>> {
    let number = i32::try_from(trigger.pull_request.as_ref()?.number).ok()?;
    Some(Row { number, sha: trigger.sha.as_str(), base: trigger.branch.as_deref()?, trigger })
}

/// Returns GitHub's mark of the list at the last check, if nothing of that list is left to be built.
pub async fn etag(db: &PgPool, repo: RepoId) -> sqlx::Result<Option<String>> {
    let etag: Option<Option<String>> =
        sqlx::query_scalar("select pulls_etag from repo where id = $1").bind(repo).fetch_optional(db).await?;
    Ok(etag.flatten())
}

/// Compares the open pull requests of a repository with those of the last check, and requests builds of those that have
/// another commit or base branch, and whose latest build has not. The first check of a repository only records them.
/// Returns the number of requests.
pub async fn compare(
    tx: &mut PgConnection,
    repo: RepoId,
    pulls: &[Trigger],
    etag: Option<&str>,
) -> sqlx::Result<usize> {
    let rows: Vec<Row<'_>> = pulls.iter().filter_map(row).collect();
    let numbers: Vec<i32> = rows.iter().map(|row| row.number).collect();
    let shas: Vec<&str> = rows.iter().map(|row| row.sha).collect();
    let bases: Vec<&str> = rows.iter().map(|row| row.base).collect();
    // Two checks at once would find the same.
    let is_first: Option<bool> =
        sqlx::query_scalar("select pulls_checked_at is null from repo where id = $1 for update")
            .bind(repo)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(is_first) = is_first else { return Ok(0) };
    let changed: Vec<i32> = sqlx::query_scalar(
        "select now_at.number from unnest($2::int[], $3::text[], $4::text[]) as now_at (number, sha, base)
             left join open_pull known on known.repo_id = $1 and known.number = now_at.number
             left join lateral (
                 select sha, branch from build
                 where build.repo_id = $1 and pull_request = now_at.number and scope = 'commit'
                 order by build.number desc limit 1
             ) built on true
         where (known.sha, known.base) is distinct from (now_at.sha, now_at.base)
             and (built.sha, built.branch) is distinct from (now_at.sha, now_at.base)
         order by now_at.number",
    )
    .bind(repo)
    .bind(&numbers)
    .bind(&shas)
    .bind(&bases)
    .fetch_all(&mut *tx)
    .await?;
    let mut requested = 0;
    let mut left: Vec<i32> = Vec::new();
    for row in rows.iter().filter(|row| !is_first && changed.contains(&row.number)) {
        let trigger = Trigger { sender: Some(FOUND.to_owned()), ..row.trigger.clone() };
        let found = FoundPull { repo, trigger };
        let is_requested = requested < MAX_FOUND && requests::insert_pull(&mut *tx, &found).await?.is_some();
        if is_requested { requested += 1 } else { left.push(row.number) }
    }
    sqlx::query("delete from open_pull where repo_id = $1 and number <> all($2)")
        .bind(repo)
        .bind(&numbers)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into open_pull (repo_id, number, sha, base)
         select $1, number, sha, base from unnest($2::int[], $3::text[], $4::text[]) as now_at (number, sha, base)
         where number <> all($5)
         on conflict (repo_id, number) do update set sha = excluded.sha, base = excluded.base",
    )
    .bind(repo)
    .bind(&numbers)
    .bind(&shas)
    .bind(&bases)
    .bind(&left)
    .execute(&mut *tx)
    .await?;
    // Without the mark, the next check reads the list again, and finds those that were too many.
    sqlx::query("update repo set pulls_checked_at = now(), pulls_etag = $2 where id = $1")
        .bind(repo)
        .bind(etag.filter(|_| left.is_empty()))
        .execute(tx)
        .await?;
    Ok(requested)
}
