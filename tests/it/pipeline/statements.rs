//! Every SQL statement of the service, prepared by a real Postgres on the migrated schema. Most statements also run in
//! other tests; this one also reads those that run only after rare faults, and names the file of a broken one.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::database;

/// Statements of the private cluster, which are put together from names.
const COMPOSED: [&str; 1] = ["src/store/postgres/cluster.rs"];

/// A statement and the file it stands in.
pub(super) struct Statement {
    pub(super) file: String,
    pub(super) sql: String,
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Reads a Rust string literal at the start of `text`; returns its value and what follows it.
fn literal(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.strip_prefix('"')?.char_indices();
    let inner = &text[1..];
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => match rest.next()?.1 {
                'n' => value.push('\n'),
                '\n' => {
                    let skipped = rest.as_str().len() - rest.as_str().trim_start().len();
                    for _ in 0..rest.as_str()[..skipped].chars().count() {
                        rest.next();
                    }
                }
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

/// The literals of a macro or constant of this name, as far as one of `texts` defines it.
fn defined(name: &str, texts: &[(String, String)]) -> Option<String> {
    let heads = [format!("macro_rules! {name} "), format!("const {name}: &str ="), format!("const {name}: &str =\n")];
    texts.iter().find_map(|(_, text)| {
        let at = heads.iter().find_map(|head| text.find(head.as_str()).map(|at| at + head.len()))?;
        literal(&text[at + text[at..].find('"')?..]).map(|(value, _)| value)
    })
}

/// The SQL that the first argument of a call makes: a literal, a constant, `concat!` of both, or a macro that wraps a
/// literal. Returns `None` when the argument is put together at run time.
fn sql_of(argument: &str, texts: &[(String, String)]) -> Option<String> {
    let argument = argument.trim_start();
    if argument.starts_with('"') {
        return literal(argument).map(|(sql, _)| sql);
    }
    let word: String = argument.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let after = argument[word.len()..].trim_start();
    let Some(mut parts) = after.strip_prefix("!(") else { return defined(&word, texts) };
    // `select_builds!("where …")` puts its argument behind its own text.
    let mut sql = if word == "concat" { String::new() } else { defined(&word, texts)? };
    loop {
        parts = parts.trim_start().trim_start_matches(',').trim_start();
        if parts.starts_with(')') {
            return Some(sql);
        }
        if parts.starts_with('"') {
            let (value, rest) = literal(parts)?;
            sql.push_str(&value);
            parts = rest;
            continue;
        }
        let word: String = parts.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        sql.push_str(&defined(&word, texts)?);
        parts = parts[word.len()..].trim_start_matches("!()");
    }
}

pub(super) fn statements() -> Vec<Statement> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let texts: Vec<(String, String)> = files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap();
            // Statements of unit tests are not the service's.
            let production = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
            (file.strip_prefix(root).unwrap().display().to_string(), production)
        })
        .collect();
    let mut found = Vec::new();
    for (file, text) in &texts {
        if COMPOSED.contains(&file.as_str()) {
            continue;
        }
        for (at, call) in text.match_indices("sqlx::query") {
            let rest = text[at + call.len()..].trim_start_matches("_as").trim_start_matches("_scalar");
            let argument = &rest[rest.find('(').unwrap() + 1..];
            let sql = sql_of(argument, texts.as_slice());
            let line = text[..at].lines().count();
            let file = format!("{file}:{line}");
            let sql = sql.unwrap_or_else(|| panic!("{file}: this test cannot read the statement of this call"));
            found.push(Statement { file, sql });
        }
    }
    found
}

/// Gives types to parameters that the service binds as intervals. Without a type, Postgres takes them for times.
pub(super) fn with_intervals(sql: &str) -> String {
    let mut sql = sql.to_owned();
    for number in 1..30 {
        for sign in ['+', '-'] {
            let place = format!("now() {sign} ${number}");
            for end in [' ', ')', '\n', ','] {
                sql = sql.replace(&format!("{place}{end}"), &format!("{place}::interval{end}"));
            }
            if sql.ends_with(&place) {
                sql.push_str("::interval");
            }
        }
    }
    sql
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let url = database::url().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    trainyard::store::MIGRATOR.run(&mut connection).await.unwrap();
    let statements = statements();
    assert!(statements.len() > 90, "only {} statements were found: does the test still read them?", statements.len());
    let mut refused = Vec::new();
    for (number, Statement { file, sql }) in statements.iter().enumerate() {
        let kind = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
        if !["select", "insert", "update", "delete", "with"].contains(&kind.as_str()) {
            continue;
        }
        let prepare = format!("prepare statement_{number} as {}", with_intervals(sql));
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await {
            refused.push(format!("{file}: {error}\n{sql}"));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n\n"));
}

#[tokio::test]
async fn a_statement_that_names_no_column_is_refused() {
    let mut connection = PgConnection::connect(&database::url().await).await.unwrap();
    trainyard::store::MIGRATOR.run(&mut connection).await.unwrap();
    let prepare = async |sql: &'static str| sqlx::raw_sql(sql).execute(&mut connection).await.is_ok();
    let mut prepare = prepare;
    assert!(prepare("prepare fine as select runner from job").await);
    assert!(!prepare("prepare gone as select worker from job").await);
}
