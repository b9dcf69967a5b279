//! What a job of a plan is, in few words: what it does not share with the others.

use serde_json::Value as Json;

use crate::plan::PlannedJob;

/// Keys that have a column of their own, or that say how a job is planned and not what it is.
const NOT_SHOWN: [&str; 5] = ["stage", "name", "allow_failure", "language", "env"];
/// Keys with commands: long, and shown only where nothing else tells jobs apart.
const COMMANDS: [&str; 9] = [
    "before_install",
    "install",
    "before_script",
    "script",
    "before_cache",
    "after_success",
    "after_failure",
    "before_deploy",
    "after_script",
];

/// A column of a table of jobs: its head, and a cell for each job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) head: String,
    pub(super) cells: Vec<String>,
}

impl Column {
    fn new(head: &str, cells: impl Iterator<Item = String>) -> Self {
        Self { head: head.to_uppercase(), cells: cells.collect() }
    }

    fn differs(&self) -> bool {
        self.cells.iter().any(|cell| *cell != self.cells[0])
    }
}

/// The columns in which jobs differ; what runs, at least, and all variables when there is nothing to compare with.
pub(super) fn columns(jobs: &[PlannedJob]) -> Vec<Column> {
    let each = |head: &str, cell: &dyn Fn(&PlannedJob) -> String| Column::new(head, jobs.iter().map(cell));
    let mut columns = vec![each("name", &|job| job.name.clone().unwrap_or_default())];
    columns.retain(Column::differs);
    let runs = each("runs", &runs);
    let mut keys: Vec<&String> = jobs.iter().filter_map(|job| job.config.as_object()).flat_map(|c| c.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let is_version = |key: &str| jobs.iter().any(|job| text(job, "language").as_deref() == Some(key));
    let (commands, facts): (Vec<&str>, Vec<&str>) = keys
        .into_iter()
        .map(String::as_str)
        .filter(|key| !NOT_SHOWN.contains(key) && !is_version(key))
        .partition(|key| COMMANDS.contains(key));
    let of_key = |key: &str| each(key, &|job| job.config.get(key).map(short).unwrap_or_default());
    let env = env(jobs);
    let others: Vec<Column> = facts.into_iter().map(of_key).filter(Column::differs).collect();
    if runs.differs() || (columns.is_empty() && others.is_empty() && !env.differs()) || jobs.len() == 1 {
        columns.push(runs);
    }
    columns.extend(others);
    if env.cells.iter().any(|cell| !cell.is_empty()) {
        columns.push(env);
    }
    if !tells_apart(&columns, jobs) {
        columns.extend(commands.into_iter().map(of_key).filter(Column::differs));
    }
    columns
}

/// What a job is, on one line.
pub(super) fn label(columns: &[Column], index: usize) -> String {
    let cells = columns.iter().map(|column| column.cells[index].as_str()).filter(|cell| !cell.is_empty());
    cells.collect::<Vec<_>>().join(" · ")
}

/// Whether no two jobs of one stage look the same.
fn tells_apart(columns: &[Column], jobs: &[PlannedJob]) -> bool {
    let mut rows: Vec<_> = jobs.iter().enumerate().map(|(i, job)| (&job.stage, label(columns, i))).collect();
    rows.sort_unstable();
    rows.windows(2).all(|pair| pair[0] != pair[1])
}

fn text(job: &PlannedJob, key: &str) -> Option<String> {
    job.config.get(key).and_then(Json::as_str).map(str::to_owned)
}

/// The language and its version.
fn runs(job: &PlannedJob) -> String {
    let language = text(job, "language").unwrap_or_else(|| "?".to_owned());
    match text(job, &language) {
        Some(version) => format!("{language} {version}"),
        None => language,
    }
}

/// The variables that not every job has, or all of a single job.
fn env(jobs: &[PlannedJob]) -> Column {
    let all: Vec<Vec<String>> = jobs.iter().map(variables).collect();
    let shared = |pair: &String| jobs.len() > 1 && all.iter().all(|pairs| pairs.contains(pair));
    let cells =
        all.iter().map(|pairs| pairs.iter().filter(|pair| !shared(pair)).cloned().collect::<Vec<_>>().join(" "));
    Column::new("with", cells)
}

/// The job's variables, as they are written.
fn variables(job: &PlannedJob) -> Vec<String> {
    let env = job.config.get("env").and_then(Json::as_array);
    let pairs = env.into_iter().flatten().filter_map(Json::as_object).flatten();
    let shown = pairs.map(|(name, value)| match value.as_str() {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}=[secure]"),
    });
    shown.collect()
}

/// A value as it would be written, on one line.
fn short(value: &Json) -> String {
    match value {
        Json::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Json::Array(items) => items.iter().map(short).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}
