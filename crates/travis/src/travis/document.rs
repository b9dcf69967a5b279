//! Reader that turns the bytes of a file into its document.

use super::normal::NotAMap;
use crate::domain::{Rule, Severity};
use crate::yaml::{self, Data, Document, Mark};

/// A fault of a file that is found before its content is interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub severity: Severity,
    /// Name of the rule, in kebab-case.
    pub rule: Rule,
    /// Sentence that states what is wrong and what to do.
    pub message: String,
    pub at: Mark,
}

impl Fault {
    /// Creates a fault that stops the build.
    pub fn error(rule: Rule, message: impl Into<String>, at: Mark) -> Self {
        Self { severity: Severity::Error, rule, message: message.into(), at }
    }
}

/// Reads the document in the bytes of a file; its marks name `file`. The document is a map or empty. Travis first
/// removes the white space at the end of the file, which a block scalar there would keep.
///
/// # Errors
/// Fails when the file is too large, or not a map in YAML.
pub fn document(file: u16, bytes: &[u8]) -> Result<Document, Fault> {
    let whole = Mark { file, ..Mark::default() };
    if bytes.len() > yaml::MAX_BYTES {
        let message = format!("the file is larger than {} bytes: make it smaller", yaml::MAX_BYTES);
        return Err(Fault::error(Rule::ConfigTooLarge, message, whole));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Fault::error(Rule::BadYaml, "the file is not UTF-8 text: save it in that encoding", whole))?;
    let document = yaml::read_as(file, text.trim_end()).map_err(|error| {
        Fault::error(Rule::BadYaml, format!("this is not YAML: {error}"), error.at.unwrap_or(whole))
    })?;
    match &document.root {
        Some(root) if !root.is_null() && !matches!(root.data, Data::Map(_)) => {
            Err(Fault::error(Rule::NotAMap, NotAMap.to_string(), root.at))
        }
        _ => Ok(document),
    }
}
