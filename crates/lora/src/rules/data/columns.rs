//! The columns of Parquet files that configs of axolotl and SimpleTuner name. As in axolotl at 067b021c8
//! (`prompt_tokenizers.py`, `prompt_strategies`, `utils/data/shared.py`) and SimpleTuner at bc8e6ab77
//! (`helpers/data_backend/factory.py`).

use super::parquet::Footer;
use super::{find, listed};
use crate::domain::{Rule, Severity};
use crate::repository::normal;
use crate::rules::{Config, Map, finding};
use crate::tree::{Entry, Node};
use crate::{Finding, Repository};

/// The first bytes of a Git LFS pointer file.
pub(super) const LFS: &[u8] = b"version https://git-lfs";

/// A fault of a file that is to be a table.
pub(super) struct Fault {
    pub(super) rule: Rule,
    pub(super) severity: Severity,
    /// The end of a sentence that begins with the file's name.
    pub(super) what: &'static str,
}

/// Reads the columns of a Parquet file of the repository. Returns `None` for other files, and when it was not read.
pub(super) fn footer(repository: &Repository<'_>, path: &str) -> Option<Result<Footer, Fault>> {
    let bytes = repository.text(path).filter(|_| path.ends_with(".parquet"))?;
    let fault = |rule, severity, what| Err(Fault { rule, severity, what });
    Some(match Footer::of(bytes) {
        Some(footer) => Ok(footer),
        None if bytes.starts_with(LFS) => fault(
            Rule::DataLfs,
            Severity::Warning,
            "is a Git LFS pointer, not the table itself: run `git lfs pull` in the job first",
        ),
        None => fault(Rule::DataColumns, Severity::Error, "is not a whole Parquet file: write it again"),
    })
}

/// Says which columns a table lacks, and which it has; `None` when it lacks none.
pub(super) fn lacking<'a>(footer: &Footer, wanted: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let has = |column: &str| footer.columns.iter().any(|known| known == column);
    let lacking: Vec<&str> = wanted.into_iter().filter(|column| !has(column)).collect();
    let known: Vec<&str> = footer.columns.iter().map(String::as_str).collect();
    let (noun, known) = (if lacking.len() == 1 { "column" } else { "columns" }, listed(&known));
    (!lacking.is_empty()).then(|| format!("the {noun} {}; its columns are {known}", lacking.join(", ")))
}

/// Checks the tables of axolotl's data sets.
pub(super) fn of_axolotl(config: &Config<'_>) -> Vec<Finding> {
    let sets = config.maps_at("datasets");
    let places =
        sets.flat_map(|set| ["path", "data_files"].into_iter().filter_map(move |key| Some((set, set.get(key)?))));
    places
        .flat_map(|(set, entry)| {
            let files = std::iter::once(&entry.node).chain(entry.node.items()).filter_map(Node::text);
            files.filter_map(move |path| table(config, set, entry, path, &wanted_by_axolotl(set), "axolotl"))
        })
        .collect()
}

/// Returns the columns without which axolotl stops at a data set; none for rows that are formed otherwise.
fn wanted_by_axolotl<'a>(set: &Map<'a>) -> Vec<&'a str> {
    if set.gives("input_format") || set.gives("input_transform") {
        return Vec::new();
    }
    match set.text("type") {
        Some("alpaca") => vec!["instruction", "output"],
        Some("completion") => vec![set.text("field").unwrap_or("text")],
        Some("chat_template") => vec![set.text("field_messages").unwrap_or("messages")],
        _ => Vec::new(),
    }
}

/// Checks the table that a data set of SimpleTuner's data loader takes its captions from.
pub(super) fn of_simpletuner(config: &Config<'_>, map: &Map<'_>) -> Option<Finding> {
    let is_read = ["metadata_backend", "caption_strategy"].iter().any(|key| map.text(key) == Some("parquet"));
    let node = &map.get("parquet").filter(|_| is_read)?.node;
    let entry = find(node, "path")?;
    let columns = ["filename_column", "caption_column", "fallback_caption_column", "width_column", "height_column"];
    let wanted: Vec<&str> = columns.iter().filter_map(|key| find(node, key)?.node.text()).collect();
    table(config, map, entry, entry.node.text()?, &wanted, "SimpleTuner")
}

fn table(
    config: &Config<'_>,
    map: &Map<'_>,
    entry: &Entry,
    path: &str,
    wanted: &[&str],
    trainer: &str,
) -> Option<Finding> {
    let path = normal(path)?;
    let tell = |rule, severity, message| finding(rule, severity, message, entry.node.at, map.path_of(entry.name()));
    match footer(config.repository, &path)? {
        Err(Fault { rule, severity, what }) => Some(tell(rule, severity, format!("{path} {what}"))),
        Ok(footer) => lacking(&footer, wanted.iter().copied()).map(|lacking| {
            let message = format!("{path} lacks {lacking}: {trainer} stops, so correct the names here or in the table");
            tell(Rule::DataColumns, Severity::Error, message)
        }),
    }
}
