//! The imports of a file. They are taken out of the document before files are merged, since each file has its own
//! sources.

use serde_json::Value as Json;

use super::change::{Changer, keys};
use super::message::Message;
use super::repair::{nearest, underscored};
use super::value::{Kind, Pair, Value};
use super::{Options, schema};
use crate::yaml::{Data, Document, Mark};

/// An entry of the key `import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The file, as written.
    pub source: String,
    /// The merge mode, as written.
    pub mode: Option<String>,
    /// The condition under which the file is imported.
    pub condition: Option<String>,
    /// Place where the entry is written.
    pub at: Mark,
}

/// Takes the key `import` out of a document, with the normal form's messages about it.
pub fn take_imports(document: &mut Document) -> (Vec<Import>, Vec<Message>) {
    let table = &schema::table().root;
    let Some(Value { data: Kind::Map(pairs), .. }) = document.root.as_ref().map(Value::of) else {
        return (Vec::new(), Vec::new());
    };
    let mut changer = Changer::new(Options { defaults: false, ..Options::PRODUCTION });
    // Checking all keys twice would take too long.
    let near = |pair: &Pair| nearest(&underscored(&pair.key), ["import"]).is_some();
    let pairs = keys::mend_keys(&mut changer, table, pairs.into_iter().filter(near).collect());
    let Some(pair) = pairs.into_iter().find(|pair| pair.key == "import") else {
        return (Vec::new(), Vec::new());
    };
    let at = pair.at;
    if let Some(Data::Map(entries)) = document.root.as_mut().map(|root| &mut root.data) {
        entries.retain(|entry| entry.at != at);
    }
    // Messages about the names of other keys are created when all keys are brought into the normal form.
    changer.messages.retain(|message| message.at == at);
    let imports = changer.pair(table, pair).map(|pair| pair.value.items().iter().map(import).collect());
    (imports.unwrap_or_default(), changer.messages)
}

fn import(value: &Value) -> Import {
    let text = |key: &str| value.get(key).and_then(Value::text);
    let written = || match value.json() {
        Json::String(text) => text,
        other => other.to_string(),
    };
    Import { source: text("source").unwrap_or_else(written), mode: text("mode"), condition: text("if"), at: value.at }
}
