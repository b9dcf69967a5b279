//! The problems that the plan and the lint found in a commit.

use sqlx::PgConnection;

use crate::domain::{BuildId, Problem, Severity, pg_text};

/// Stores the problems of a build, in their order, with the lines that they are in as far as these are known.
pub(super) async fn insert(
    tx: &mut PgConnection,
    build: BuildId,
    problems: &[Problem],
    lines: &[Option<String>],
) -> sqlx::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let text = |text: &Option<String>| text.as_deref().map(pg_text);
    let number = |number: Option<u32>| number.map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    sqlx::query(
        "insert into problem (build_id, position, severity, rule, message, file, line, col, key, source)
         select $1, place - 1, severity, rule, message, file, line, col, key, source
         from unnest($2::severity[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::text[], $9::text[])
             with ordinality as new (severity, rule, message, file, line, col, key, source, place)",
    )
    .bind(build)
    .bind(problems.iter().map(|problem| problem.severity).collect::<Vec<_>>())
    .bind(problems.iter().map(|problem| problem.rule.as_str()).collect::<Vec<_>>())
    .bind(problems.iter().map(|problem| pg_text(&problem.message)).collect::<Vec<_>>())
    .bind(problems.iter().map(|problem| text(&problem.file)).collect::<Vec<_>>())
    .bind(problems.iter().map(|problem| number(problem.line)).collect::<Vec<_>>())
    .bind(problems.iter().map(|problem| number(problem.column)).collect::<Vec<_>>())
    .bind(problems.iter().map(|problem| text(&problem.key)).collect::<Vec<_>>())
    .bind((0..problems.len()).map(|place| lines.get(place).and_then(text)).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Lists the lines that the problems of a build are in, in the same order as [`of`].
pub async fn lines(db: &mut PgConnection, build: BuildId) -> sqlx::Result<Vec<Option<String>>> {
    sqlx::query_scalar("select source from problem where build_id = $1 order by position")
        .bind(build)
        .fetch_all(db)
        .await
}

/// Lists the problems of a build, in the order in which they were found.
pub async fn of(db: &mut PgConnection, build: BuildId) -> sqlx::Result<Vec<Problem>> {
    type Row = (Severity, String, String, Option<String>, Option<i32>, Option<i32>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "select severity, rule, message, file, line, col, key from problem where build_id = $1 order by position",
    )
    .bind(build)
    .fetch_all(db)
    .await?;
    let unsigned = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    Ok(rows
        .into_iter()
        .map(|(severity, rule, message, file, line, column, key)| Problem {
            severity,
            rule,
            message,
            file,
            line: unsigned(line),
            column: unsigned(column),
            key,
            fix: None,
        })
        .collect())
}
