//! Values that SimpleTuner does not hand to its options as they are: it leaves some out, and splits lists.

use crate::conditions::conditions;
use crate::domain::Severity;
use crate::keys::{Kind, Spec, spec, table};
use crate::rules::{Config, Map};
use crate::tree::{Entry, Node, Value};
use crate::{Dialect, dialect::Conversion};

/// Returns true if the trainer makes no option of the entry, so that the default stays.
pub(in crate::rules) fn is_left_out(config: &Config<'_>, map: &Map<'_>, entry: &Entry) -> bool {
    config.dialect == Dialect::SimpleTuner && map.path.is_empty() && {
        let spec = table(config.dialect).section("").and_then(|section| spec(section, entry.name()));
        leaves_out(&entry.node, spec)
    }
}

fn leaves_out(node: &Node, spec: Option<&Spec>) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text { text, .. } => {
            let text = text.trim();
            text.is_empty() && !spec.is_some_and(|spec| spec.filled) || text.eq_ignore_ascii_case("false")
        }
        Value::Map(_) => !spec.is_some_and(|spec| spec.kinds.contains(&Kind::Map)),
        _ => false,
    }
}

/// Tells of a value that the trainer does not take as it is written, although it goes on.
pub(super) fn told(dialect: Dialect, map: &Map<'_>, entry: &Entry, spec: &Spec) -> Option<(Severity, String)> {
    if dialect.conversion() != Conversion::Switches || spec.kinds == [Kind::Any] {
        return None;
    }
    let (key, trainer) = (entry.name(), dialect.trainer());
    let default = conditions(dialect).absent(&map.path, key).map(|node| &node.value);
    let message = match &entry.node.value {
        Value::Map(_) if leaves_out(&entry.node, Some(spec)) => {
            format!("{trainer} ignores a map for {key}: write {}", super::told::in_words(spec))
        }
        Value::Text { .. } if leaves_out(&entry.node, Some(spec)) && default == Some(&Value::Bool(true)) => {
            format!("{trainer} ignores this text for {key}, which stays true: write false without quotes")
        }
        Value::List(items) if items.len() > 1 && !spec.kinds.contains(&Kind::List) => {
            format!("{trainer} takes only the last of these values for {key}: write one value")
        }
        _ => return None,
    };
    Some((Severity::Warning, message))
}
