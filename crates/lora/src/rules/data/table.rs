//! Tables of captions: `metadata.csv`, `metadata.jsonl` and `metadata.parquet`. As in the library `datasets`, the names in a table are
//! relative to the table's own folder.

use std::collections::BTreeSet;

use super::columns::{self, Fault};
use super::folder::Folder;
use super::parquet::Footer;
use super::rows::{MOST_ROWS, TEXT_COLUMNS, column, csv_rows};
use super::{IMAGE_FOLDER, listed, path_of};
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::repository::normal;
use crate::rules::{Config, Map, finding};
use crate::tree::Entry;

/// The names of a table's columns for files.
const FILE_COLUMNS: [&str; 6] = ["file_name", "filename", "file", "image", "image_path", "path"];

/// Checks the folder of a flat config, and its table.
pub(super) fn with_folder(config: &Config<'_>, map: &Map<'_>) -> Vec<Finding> {
    let Some(entry) = map.get("train_data_dir") else { return Vec::new() };
    let folder = Folder::named(config, entry, map.path_of("train_data_dir"), &IMAGE_FOLDER);
    let Some(folder) = folder else { return Vec::new() };
    if folder.images.is_empty() {
        return folder.without_images().into_iter().collect();
    }
    let mut findings = folder.broken_images();
    let table = map.get("metadata_path").and_then(|entry| Table::named(config, entry));
    findings.extend(table.into_iter().flat_map(|table| table.check(config, &folder)));
    findings
}

struct Table<'a> {
    path: String,
    text: &'a [u8],
    entry: &'a Entry,
}

/// The rows of a table: the name of the file, and whether there is a caption.
struct Rows {
    names: Vec<String>,
    /// The lines that lack the column for captions that the others have, with that column.
    bare: Option<(Vec<usize>, String)>,
}

impl<'a> Table<'a> {
    fn named(config: &Config<'a>, entry: &'a Entry) -> Option<Self> {
        let path = path_of(entry)?;
        let is_table = [".csv", ".jsonl", ".parquet"].iter().any(|end| path.ends_with(end));
        let text = config.repository.text(&path).filter(|_| is_table)?;
        Some(Self { path, text, entry })
    }

    fn tell(&self, rule: Rule, severity: Severity, message: String) -> Finding {
        finding(rule, severity, message, self.entry.node.at, "metadata_path".to_owned())
    }

    fn check(&self, config: &Config<'_>, folder: &Folder<'_>) -> Vec<Finding> {
        if let Some(read) = columns::footer(config.repository, &self.path) {
            return self.parquet(read, folder).into_iter().collect();
        }
        let rows = if self.path.ends_with(".csv") { self.csv() } else { self.json_lines() };
        match rows {
            Ok(rows) => self.names(config, folder, &rows),
            Err(finding) => vec![finding],
        }
    }

    /// Checks what the end of a Parquet file tells: its columns, and the number of its rows.
    fn parquet(&self, read: Result<Footer, Fault>, folder: &Folder<'_>) -> Option<Finding> {
        let path = &self.path;
        let footer = match read {
            Ok(footer) => footer,
            Err(Fault { rule, severity, what }) => return Some(self.tell(rule, severity, format!("{path} {what}"))),
        };
        let has = |names: &[&str]| footer.columns.iter().any(|column| names.contains(&column.to_lowercase().as_str()));
        if !has(&FILE_COLUMNS) || !has(&TEXT_COLUMNS) {
            let columns: Vec<&str> = footer.columns.iter().map(String::as_str).collect();
            let message = format!(
                "{path} has no column for files and one for captions; its columns are {}: name two of them file_name and \
                 prompt, for example",
                listed(&columns)
            );
            return Some(self.tell(Rule::DataColumns, Severity::Warning, message));
        }
        let (rows, images) = (footer.rows, folder.images.len());
        if rows == 0 {
            let message = format!("{path} is empty: add a row for each image");
            return Some(self.tell(Rule::DataColumns, Severity::Error, message));
        }
        let bare = u64::try_from(images).ok()?.checked_sub(rows).filter(|bare| *bare > 0)?;
        let message = format!(
            "{path} has {rows} rows for {images} images in {}: at least {bare} images have none, so add one for each",
            folder.path
        );
        Some(self.tell(Rule::DataCaptions, Severity::Warning, message))
    }

    fn csv(&self) -> Result<Rows, Finding> {
        let mut rows = csv_rows(self.text);
        let path = &self.path;
        let Some(head) = rows.next() else {
            let message = format!("{path} is empty: add a line for each image");
            return Err(self.tell(Rule::DataColumns, Severity::Error, message));
        };
        let (Some(file), Some(_)) = (column(&head, &FILE_COLUMNS), column(&head, &TEXT_COLUMNS)) else {
            let first: String = head.join(",").chars().take(60).collect();
            let message = format!(
                "{path} does not name a column for files and one for captions in its first line, which is `{first}`: \
                 begin it with `file_name,prompt`, for example"
            );
            return Err(self.tell(Rule::DataColumns, Severity::Warning, message));
        };
        let names = rows.filter_map(|row| row.get(file).cloned()).filter(|name| !name.is_empty()).collect();
        Ok(Rows { names, bare: None })
    }

    fn json_lines(&self) -> Result<Rows, Finding> {
        let text = String::from_utf8_lossy(self.text);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).take(MOST_ROWS);
        let (mut names, mut without, mut column) = (Vec::new(), Vec::new(), None);
        for (index, line) in lines {
            let row: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(line).ok();
            let Some(row) = row else {
                let message = format!("line {} of {} is not a JSON object: correct it", index + 1, self.path);
                return Err(self.tell(Rule::DataColumns, Severity::Error, message));
            };
            let find = |keys: &[&str]| keys.iter().find(|key| row.contains_key(**key)).map(|key| (*key).to_owned());
            let file = find(&FILE_COLUMNS).and_then(|key| row[&key].as_str());
            let Some(file) = file else {
                let message = format!("line {} of {} names no file: write file_name", index + 1, self.path);
                return Err(self.tell(Rule::DataColumns, Severity::Warning, message));
            };
            names.push(file.to_owned());
            let caption = find(&TEXT_COLUMNS);
            let wanted = column.get_or_insert_with(|| caption.clone());
            if caption.is_none() || caption != *wanted {
                without.push(index + 1);
            }
        }
        let wanted = column.flatten().unwrap_or_else(|| "text".to_owned());
        Ok(Rows { names, bare: (!without.is_empty()).then_some((without, wanted)) })
    }

    /// Finds names without an image, images without a name, and lines without a caption.
    fn names(&self, config: &Config<'_>, folder: &Folder<'_>, rows: &Rows) -> Vec<Finding> {
        let path = &self.path;
        let own = path.rsplit_once('/').map_or("", |(own, _)| own);
        // A table outside of the data may name files from the data's folder or from the root.
        let is_inside = own == folder.path || own.starts_with(&format!("{}/", folder.path));
        let is_there = |name: &&String| {
            let at = |base: &str| normal(&format!("{base}/{name}")).is_some_and(|path| config.repository.has(&path));
            at(own) || !is_inside && (at(&folder.path) || config.repository.has(name))
        };
        let missing: Vec<&str> = rows.names.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
        let mut findings = Vec::new();
        if !missing.is_empty() {
            let place = if is_inside && !own.is_empty() { own } else { &folder.path };
            let message = format!(
                "{path} names {} images that are not in {place}: {}; add them, or remove their lines",
                missing.len(),
                listed(&missing)
            );
            findings.push(self.tell(Rule::DataCaptions, Severity::Warning, message));
        }
        let told: BTreeSet<&str> = rows.names.iter().map(|name| name.rsplit('/').next().unwrap_or(name)).collect();
        let names = folder.images.iter().map(|path| path.rsplit('/').next().unwrap_or_default());
        let bare: Vec<&str> = names.filter(|name| !told.contains(name)).collect();
        if !bare.is_empty() {
            let message = format!(
                "{} of {} images in {} have no line in {path}: {}; add one for each",
                bare.len(),
                folder.images.len(),
                folder.path,
                listed(&bare)
            );
            findings.push(self.tell(Rule::DataCaptions, Severity::Warning, message));
        }
        if let Some((lines, column)) = &rows.bare {
            let lines: Vec<String> = lines.iter().map(|line| format!("line {line}")).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let message = format!("{path} has no {column} in {}: write the captions there", listed(&lines));
            findings.push(self.tell(Rule::DataColumns, Severity::Warning, message));
        }
        findings
    }
}
