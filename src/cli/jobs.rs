//! A job of a plan in few words: only what it does not share with the other jobs.

use serde_json::Value as Json;

use crate::plan::PlannedJob;

/// Keys that have their own column, that describe the planning and not the job, or that have no effect.
const NOT_SHOWN: [&str; 7] = ["stage", "name", "allow_failure", "language", "env", "sudo", "group"];

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

/// Returns the columns in which the jobs differ: at least what they run, and all variables of a single job.
pub(super) fn columns(jobs: &[PlannedJob]) -> Vec<Column> {
    let each = |head: &str, cell: &dyn Fn(&PlannedJob) -> String| Column::new(head, jobs.iter().map(cell));
    let mut columns = vec![each("name", &|job| job.name.clone().unwrap_or_default())];
    columns.retain(Column::differs);
    let runs = each("runs", &runs);
    let (facts, rest) = keys(jobs);
    let of_key = |key: &str| each(key, &|job| job.config.get(key).map(short).unwrap_or_default());
    let env = env(jobs);
    let facts: Vec<Column> = facts.into_iter().map(of_key).filter(Column::differs).collect();
    if runs.differs() || (columns.is_empty() && facts.is_empty() && !env.differs()) {
        columns.push(runs);
    }
    columns.extend(facts);
    if env.cells.iter().any(|cell| !cell.is_empty()) {
        columns.push(env);
    }
    for column in rest.into_iter().map(of_key).filter(Column::differs) {
        if tells_apart(&columns, jobs) {
            break;
        }
        columns.push(column);
    }
    columns
}

/// Returns the keys of the jobs: first those with a plain value, then those with commands or maps, which are long and
/// say little. Among the latter, `script` comes first, because it distinguishes jobs best.
fn keys(jobs: &[PlannedJob]) -> (Vec<&str>, Vec<&str>) {
    let configs = || jobs.iter().filter_map(|job| job.config.as_object());
    let mut keys: Vec<&str> = configs().flat_map(|config| config.keys()).map(String::as_str).collect();
    keys.sort_unstable_by_key(|key| (*key != "script", *key));
    keys.dedup();
    let is_version = |key: &str| jobs.iter().any(|job| text(job, "language").as_deref() == Some(key));
    let is_plain =
        |key: &&str| configs().all(|config| !matches!(config.get(*key), Some(Json::Array(_) | Json::Object(_))));
    keys.into_iter().filter(|key| !NOT_SHOWN.contains(key) && !is_version(key)).partition(is_plain)
}

/// Describes a job on one line.
pub(super) fn label(columns: &[Column], index: usize) -> String {
    let cells = columns.iter().map(|column| column.cells[index].as_str()).filter(|cell| !cell.is_empty());
    cells.collect::<Vec<_>>().join(" · ")
}

/// Returns true if no two jobs of one stage look the same.
fn tells_apart(columns: &[Column], jobs: &[PlannedJob]) -> bool {
    let mut rows: Vec<_> = jobs.iter().enumerate().map(|(i, job)| (&job.stage, label(columns, i))).collect();
    rows.sort_unstable();
    rows.windows(2).all(|pair| pair[0] != pair[1])
}

fn text(job: &PlannedJob, key: &str) -> Option<String> {
    job.config.get(key).and_then(Json::as_str).map(str::to_owned)
}

/// Returns the language and its version.
pub(super) fn runs(job: &PlannedJob) -> String {
    let language = text(job, "language").unwrap_or_else(|| "?".to_owned());
    match text(job, &language) {
        Some(version) => format!("{language} {version}"),
        None => language,
    }
}

/// Returns the column of variables that not every job has, or of all variables of a single job.
fn env(jobs: &[PlannedJob]) -> Column {
    let all: Vec<Vec<String>> = jobs.iter().map(variables).collect();
    let shared = |pair: &String| jobs.len() > 1 && all.iter().all(|pairs| pairs.contains(pair));
    let cells =
        all.iter().map(|pairs| pairs.iter().filter(|pair| !shared(pair)).cloned().collect::<Vec<_>>().join(" "));
    Column::new("with", cells)
}

/// Returns the job's variables in the form in which they are written.
fn variables(job: &PlannedJob) -> Vec<String> {
    let env = job.config.get("env").and_then(Json::as_array);
    let pairs = env.into_iter().flatten().filter_map(Json::as_object).flatten();
    let shown = pairs.map(|(name, value)| match value.as_str() {
        Some(_) if name == "secure" => "[secure]".to_owned(),
        Some(value) => format!("{name}={value}"),
        None => format!("{name}=[secure]"),
    });
    shown.collect()
}

/// Formats a value as it would be written, on one line.
fn short(value: &Json) -> String {
    match value {
        Json::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Json::Array(items) => items.iter().map(short).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::JobKind;

    fn jobs(configs: &[Json]) -> Vec<PlannedJob> {
        let job = |(index, config): (usize, &Json)| PlannedJob {
            number: (index + 1).to_string(),
            kind: JobKind::Script,
            stage: None,
            name: config.get("name").and_then(Json::as_str).map(str::to_owned),
            allow_failure: false,
            config: config.clone(),
        };
        configs.iter().enumerate().map(job).collect()
    }

    fn render(configs: &[Json]) -> Vec<(String, Vec<String>)> {
        columns(&jobs(configs)).into_iter().map(|column| (column.head, column.cells)).collect()
    }

    fn column(head: &str, cells: &[&str]) -> (String, Vec<String>) {
        (head.to_owned(), cells.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_what_differs_is_shown() {
        let job = |version: &str, rank: &str| {
            json!({"language": "python", "python": version, "os": "linux", "script": ["pytest"],
                "env": [{"COMMON": "1"}, {"RANK": rank}]})
        };
        assert_eq!(render(&[job("3.11", "8"), job("3.11", "16")]), [column("WITH", &["RANK=8", "RANK=16"])]);
        assert_eq!(render(&[job("3.9", "8"), job("3.11", "8")]), [column("RUNS", &["python 3.9", "python 3.11"])]);
    }

    #[test]
    fn a_single_job_says_what_it_runs() {
        let job = json!({"language": "shell", "script": ["make"], "env": [{"A": "1"}]});
        assert_eq!(render(&[job]), [column("RUNS", &["shell"]), column("WITH", &["A=1"])]);
    }

    #[test]
    fn commands_tell_jobs_apart_when_nothing_else_does() {
        let job = |script: &str| json!({"language": "shell", "addons": {"apt": script}, "script": [script, "b"]});
        let wanted = [column("RUNS", &["shell", "shell"]), column("SCRIPT", &["x; b", "y; b"])];
        assert_eq!(render(&[job("x"), job("y")]), wanted);
    }
}
