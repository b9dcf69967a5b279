//! The key `import`: one document from a `.travis.yml` and the files that it imports.
//!
//! [`merged`] reads no files itself. It goes as far as the given files lead, and returns the files that it still wants.
//! The caller fetches these and calls it again, until no file is wanted. This ends, since at most [`MAX_IMPORTS`] files
//! are ever wanted. Files are merged in the order in which they are named, each after the file that imports it, so that
//! what comes first wins.

mod merge;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::condition::{self, Data};
use super::document::{Fault, document};
use super::normal::{Code, Import, Level, Message, take_imports};
use crate::domain::{RepoName, RequestConfig, Revision, Rule, Severity};
use crate::yaml::{self, Document, Mark};
use merge::{Mode, merge};
pub use source::Source;

/// Maximum number of imported files, as on Travis.
pub const MAX_IMPORTS: usize = 25;

/// Maximum number of entries that are checked in all files together: a condition may take time.
const MAX_ENTRIES: usize = 50;

/// The files that were looked up, with their results.
pub type Imports = HashMap<Source, Found>;

/// The result for an imported file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The file's bytes.
    File(Vec<u8>),
    /// The file could not be fetched, for this reason.
    Failed(String),
    /// The file was not looked up: it is not on this machine.
    NotHere,
}

/// The build that imports.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    pub repo: &'a RepoName,
    /// Path of the file where the imports begin.
    pub config: &'a str,
    /// Data that conditions may ask for.
    pub data: &'a Json,
}

/// A document, and the parts that it was merged from.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The document, without the key `import`.
    pub document: Document,
    /// Files in the order of the numbers in marks.
    pub sources: Vec<Source>,
    /// Messages of the normal form about the imports.
    pub messages: Vec<Message>,
    /// Faults of imported files.
    pub faults: Vec<Fault>,
    /// Conditions of the imports, with their places.
    pub conditions: Vec<(String, Mark)>,
    /// Files that must be looked up before the document is complete.
    pub wanted: Vec<Source>,
}

/// Merges the imports of a document into it, as far as the files are available.
pub fn merged(root: Document, imports: &Imports, build: Build<'_>) -> Merged {
    let mut walk = Walk::new(imports, build);
    let config = walk.begin(build.config.to_owned()).1;
    walk.take(root, &config, Mode::DeepMergeAppend);
    walk.end()
}

/// Merges the configurations of a request, and then the file where the imports usually begin, unless the last
/// configuration replaces it. Each is followed by its imports.
pub fn merged_request(
    requested: &[RequestConfig],
    config: Option<&[u8]>,
    imports: &Imports,
    build: Build<'_>,
) -> Merged {
    let mut walk = Walk::new(imports, build);
    // The mode of a configuration is that of the one which comes next.
    let mut mode = Mode::DeepMergeAppend;
    for (place, one) in (1..).zip(requested) {
        let (number, source) = walk.begin(request_path(place, requested.len()));
        let mut own = None;
        match document(number, one.text.as_bytes()) {
            Ok(mut read) => {
                own = read.root.as_mut().and_then(|root| root.take("merge_mode"));
                walk.take(read, &source, mode);
            }
            Err(fault) => walk.out.faults.push(fault),
        }
        let own = own.as_ref().and_then(|entry| entry.value.text());
        mode = Mode::named(one.mode.as_deref().or(own));
        if mode == Mode::Replace {
            return walk.end();
        }
    }
    if let Some(bytes) = config {
        let (number, source) = walk.begin(build.config.to_owned());
        match document(number, bytes) {
            Ok(read) => walk.take(read, &source, mode),
            Err(fault) => walk.out.faults.push(fault),
        }
    }
    walk.end()
}

/// Returns the name of a configuration of a request, which no file has.
fn request_path(place: usize, count: usize) -> String {
    if count == 1 { "api:config".to_owned() } else { format!("api:config.{place}") }
}

/// State of the walk through the files, depth first.
struct Walk<'a> {
    imports: &'a Imports,
    build: Build<'a>,
    out: Merged,
    /// Number of entries of the key `import` that were checked, and of the files that were imported.
    entries: usize,
    files: usize,
    /// Number of bytes that were imported.
    bytes: usize,
    /// Weight of all documents together.
    weight: usize,
    /// True when a bound was reached.
    is_full: bool,
}

impl<'a> Walk<'a> {
    fn new(imports: &'a Imports, build: Build<'a>) -> Self {
        let out = Merged {
            document: Document::default(),
            sources: Vec::new(),
            messages: Vec::new(),
            faults: Vec::new(),
            conditions: Vec::new(),
            wanted: Vec::new(),
        };
        Self { imports, build, out, entries: 0, files: 0, bytes: 0, weight: 0, is_full: false }
    }

    /// Adds a file that nothing imports. Returns its number.
    fn begin(&mut self, path: String) -> (u16, Source) {
        let source = Source { repo: self.build.repo.clone(), revision: Revision::Built, path };
        self.out.sources.push(source.clone());
        (self.last_number(), source)
    }

    /// Returns the number of the file that was added last, which the bounds keep small.
    fn last_number(&self) -> u16 {
        u16::try_from(self.out.sources.len() - 1).unwrap_or(u16::MAX)
    }

    fn end(mut self) -> Merged {
        if self.is_full {
            // Nothing is built from this, so nothing more needs to be fetched for it.
            self.out.wanted.clear();
        }
        self.out
    }

    /// Merges a file, and then its imports.
    fn take(&mut self, mut taken: Document, source: &Source, mode: Mode) {
        let (imports, messages) = take_imports(&mut taken);
        self.out.messages.extend(messages);
        self.weight += taken.root.as_ref().map_or(0, yaml::Node::weight);
        let whole = &mut self.out.document;
        whole.duplicates.append(&mut taken.duplicates);
        whole.unresolved.append(&mut taken.unresolved);
        whole.root = match (whole.root.take(), taken.root) {
            (Some(own), Some(imported)) => Some(merge(mode, own, imported)),
            (own, imported) => own.or(imported),
        };
        for import in imports {
            self.import(&import, source);
        }
    }

    fn import(&mut self, import: &Import, from: &Source) {
        if self.is_full {
            return;
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            self.is_full = true;
            let message = format!("`import` has more than {MAX_ENTRIES} entries in all files together: write fewer");
            return self.out.faults.push(Fault::error(Rule::TooManyImports, message, import.at));
        }
        let commit_message = self.build.data["commit_message"].as_str().unwrap_or_default();
        let Some(source) = Source::parse(&import.source.replace("%{commit_message}", commit_message), from) else {
            return self.report(Level::Error, Code::InvalidRef, json!({"ref": import.source}), import.at);
        };
        self.out.conditions.extend(import.condition.clone().map(|text| (text, import.at)));
        if let Some(text) = &import.condition
            && !self.holds(text)
        {
            let args = json!({"source": source.to_string(), "condition": text});
            return self.report(Level::Info, Code::SkipImport, args, import.at);
        }
        // A file that is already merged imports itself, or several files import it.
        if self.out.sources.contains(&source) {
            return;
        }
        if self.files >= MAX_IMPORTS {
            self.is_full = true;
            return self.report(Level::Error, Code::TooManyImports, json!({"max": MAX_IMPORTS}), import.at);
        }
        self.files += 1;
        self.out.sources.push(source.clone());
        match self.imports.get(&source) {
            None => self.out.wanted.push(source),
            Some(Found::File(bytes)) => self.read(bytes, import, &source),
            Some(Found::Failed(reason)) => {
                let message = format!("{source} cannot be imported: {reason}");
                self.out.faults.push(Fault::error(Rule::FailedImport, message, import.at));
            }
            Some(Found::NotHere) => {
                let message =
                    format!("{source} is not on this machine and was left out: the service fetches it when it builds");
                let fault = Fault { severity: Severity::Warning, rule: Rule::RemoteImport, message, at: import.at };
                self.out.faults.push(fault);
            }
        }
    }

    fn read(&mut self, bytes: &[u8], import: &Import, source: &Source) {
        let number = self.last_number();
        self.bytes += bytes.len();
        let read = match document(number, bytes) {
            Ok(read) => read,
            Err(fault) => return self.out.faults.push(fault),
        };
        let weight = self.weight + read.root.as_ref().map_or(0, yaml::Node::weight);
        if self.bytes > yaml::MAX_BYTES || weight > yaml::MAX_NODES {
            self.is_full = true;
            let message = format!("with {source} the imports are too large to be merged: import less");
            return self.out.faults.push(Fault::error(Rule::ImportsTooLarge, message, import.at));
        }
        self.take(read, source, Mode::named(import.mode.as_deref()));
    }

    /// Returns true if a condition holds. A condition that cannot be parsed, which the normal form reports, does not
    /// hold.
    fn holds(&self, text: &str) -> bool {
        let data = self.build.data;
        let holds =
            condition::parse(text).and_then(|condition| condition.holds(Data { variables: data, env: &data["env"] }));
        holds.unwrap_or(false)
    }

    fn report(&mut self, level: Level, code: Code, args: Json, at: Mark) {
        let args = args.as_object().cloned().unwrap_or_default();
        self.out.messages.push(Message { level, key: "import".to_owned(), code, args, at, sure: false });
    }
}
