//! Reader for TOML, based on the `toml` crate's parser, which reports positions and continues after an error.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Fault, Places, Source};
use crate::domain::Rule;
use crate::tree::{Entry, Node, Value};

pub(super) fn read(text: &str) -> Source {
    let places = Places::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let fault = |error: &toml::de::Error| {
        let at = error.span().map(|span| places.mark(span.start));
        if error.message() == "duplicate key" {
            let key = error.span().and_then(|span| text.get(span)).unwrap_or("a key").trim();
            let message = format!("{key} is given twice, at which the reader of TOML stops: remove one");
            return Fault::fatal(Rule::DuplicateKey, message, at);
        }
        Fault::fatal(Rule::BadToml, format!("this is not TOML, so the trainer cannot read it: {}", error.message()), at)
    };
    let root = Node { value: map(table.get_ref(), &places), at: places.mark(0) };
    let mut faults: Vec<Fault> = errors.iter().map(fault).collect();
    faults.sort_by_key(|fault| fault.at);
    // One open bracket makes nonsense of every line after it.
    let mut seen = false;
    faults.retain(|fault| fault.rule != Rule::BadToml || !std::mem::replace(&mut seen, true));
    Source { root: Some(root), faults }
}

fn map(table: &DeTable<'_>, places: &Places<'_>) -> Value {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        at: places.mark(key.span().start),
        node: node(value, places),
    };
    let mut entries: Vec<Entry> = table.iter().map(entry).collect();
    // The crate sorts tables by key; rules about the later of two keys require the order of the text.
    entries.sort_by_key(|entry| entry.at);
    Value::Map(entries)
}

fn node(spanned: &Spanned<DeValue<'_>>, places: &Places<'_>) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text { text: text.to_string(), plain: false },
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Integer(integer) => {
            let value = i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX) as f64;
            Value::Number { value, whole: true }
        }
        DeValue::Float(float) => Value::Number { value: float.as_str().parse().unwrap_or(f64::NAN), whole: false },
        DeValue::Datetime(time) => Value::Text { text: time.to_string(), plain: false },
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, places)).collect()),
        DeValue::Table(table) => map(table, places),
    };
    Node { value, at: places.mark(spanned.span().start) }
}
