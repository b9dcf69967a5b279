//! The problems that the plan and the lint found in a commit.

use sqlx::PgConnection;

use crate::domain::{BuildId, Problem, Severity, pg_text};

/// Stores the problems of a build, in their order.
pub(super) async fn insert(tx: &mut PgConnection, build: BuildId, problems: &[Problem]) -> sqlx::Result<()> {
    for (position, problem) in (0_i32..).zip(problems) {
        sqlx::query(
            "insert into problem (build_id, position, severity, rule, message, file, line, col, key)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(build)
        .bind(position)
        .bind(problem.severity)
        .bind(&problem.rule)
        .bind(pg_text(&problem.message))
        .bind(problem.file.as_deref().map(pg_text))
        .bind(problem.line.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
        .bind(problem.column.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
        .bind(problem.key.as_deref().map(pg_text))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
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
        })
        .collect())
}
