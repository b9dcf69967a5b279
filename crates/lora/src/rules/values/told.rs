//! Words about a wrong value.

use super::{is_true, mends};
use crate::Dialect;
use crate::dialect::Conversion;
use crate::domain::Severity;
use crate::keys::{Kind, Spec};
use crate::tree::{Entry, Value};

/// The maximum number of accepted words in a message.
const MOST_WORDS: usize = 12;

/// Tells of an empty value where the trainer needs one, or where an empty string cannot be one.
pub(super) fn empty(dialect: Dialect, entry: &Entry, spec: &Spec) -> Option<(Severity, String)> {
    let (node, key, trainer) = (&entry.node, entry.name(), dialect.trainer());
    let is_empty = !node.is_given() || matches!(&node.value, Value::List(items) if items.is_empty());
    if !is_empty || matches!(spec.kinds[..], [Kind::Any]) {
        return None;
    }
    let wanted = in_words(spec);
    let conversion = dialect.conversion();
    let is_passed = conversion != Conversion::Switches || node.text().is_some();
    if spec.filled && is_passed && conversion != Conversion::Options {
        return Some((Severity::Error, format!("{trainer} stops, because {key} is empty: write {wanted}")));
    }
    let takes_text = spec.kinds.iter().any(|kind| matches!(kind, Kind::Text | Kind::Path | Kind::Any));
    let is_word = !spec.words.is_empty() && !spec.accepts("");
    let is_text = node.text().is_some();
    let message = match conversion {
        Conversion::Options | Conversion::Switches => return None,
        Conversion::Casts if is_text && spec.kinds != [Kind::Bool] && (is_word || !takes_text) => {
            format!("{trainer} keeps its default for {key}, and not an empty text: write {wanted}, or remove the key")
        }
        Conversion::Casts => return None,
        _ if is_text && !takes_text => {
            format!("{trainer} gets an empty text for {key}: write {wanted}, or remove the key")
        }
        _ => return None,
    };
    Some((Severity::Warning, message))
}

/// Tells of a text in place of a truth value, which OneTrainer keeps: any text but an empty one is true.
pub(super) fn taken_for_true(dialect: Dialect, entry: &Entry, spec: &Spec) -> Option<(Severity, String)> {
    let text = entry.node.text().filter(|_| spec.kinds == [Kind::Bool])?.trim().to_lowercase();
    if !matches!(dialect, Dialect::OneTrainer | Dialect::OneTrainerDataset)
        || ["true", "yes", "on", "1"].contains(&&*text)
    {
        return None;
    }
    let is_no = ["false", "no", "off", "0", "none", "null"].contains(&&*text);
    let severity = if is_no { Severity::Error } else { Severity::Warning };
    let key = entry.name();
    Some((
        severity,
        format!("OneTrainer takes any text for true, also this one for {key}: write true or false without quotes"),
    ))
}

/// Says which words are accepted: all of a short list, or those that resemble the written one.
pub(super) fn choices(written: &str, spec: &Spec) -> String {
    let words: Vec<&str> = spec.words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    match resembled(written, spec) {
        Some(near) if words.contains(&"*") || words.len() > MOST_WORDS => format!("did you mean {near}?"),
        _ if words.len() > MOST_WORDS => {
            format!("write one of its {} words, such as {}", words.len(), words[..MOST_WORDS].join(", "))
        }
        _ => format!("write one of {}", words.join(", ")),
    }
}

/// Returns the accepted word that is at most two letters away.
pub(super) fn resembled<'s>(written: &str, spec: &'s Spec) -> Option<&'s str> {
    let words = spec.words.iter().filter(|word| word.len() > 3 && word.len().abs_diff(written.len()) <= 2);
    let nearest = words.map(|word| (strsim::osa_distance(written, word), word.as_str())).min();
    nearest.filter(|(distance, _)| *distance <= 2).map(|(_, word)| word)
}

pub(super) fn in_words(spec: &Spec) -> String {
    spec.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ")
}

/// Returns the severity and the message. The message repeats the value only where it cannot be a secret.
pub(super) fn wrong_type(dialect: Dialect, entry: &Entry, spec: &Spec) -> (Severity, String) {
    let (key, trainer, conversion) = (entry.name(), dialect.trainer(), dialect.conversion());
    let takes_numbers = spec.kinds.iter().any(|kind| matches!(kind, Kind::Int | Kind::Float));
    let fate = if dialect.refuses() { "stops at" } else { "cannot use" };
    match &entry.node.value {
        Value::Text { text, plain: true }
            if takes_numbers && text.parse::<f64>().is_ok() && conversion != Conversion::Model =>
        {
            let better = mends::dotted(text);
            // Only a warning, as for the words below: many trainers of this dialect convert the value themselves.
            let message =
                format!("{trainer} gets {text} as a text, as PyYAML reads such a number: write {key}: {better}");
            (Severity::Warning, message)
        }
        Value::Text { text, .. } if takes_numbers && text.trim().parse::<f64>().is_ok() => {
            (Severity::Error, format!("{trainer} {fate} a number in quotes for {key}: remove the quotes"))
        }
        Value::Text { text, .. } if conversion == Conversion::Exponents && spec.kinds == [Kind::Bool] => {
            let is_no = ["false", "no", "off", "0"].contains(&text.to_lowercase().as_str());
            let severity = if is_no { Severity::Error } else { Severity::Warning };
            let message =
                format!("{trainer} takes any text for true, also in {key}: write true or false without quotes");
            (severity, message)
        }
        Value::Number { whole: false, .. } if conversion == Conversion::Casts && spec.kinds.contains(&Kind::Int) => (
            Severity::Warning,
            format!("{trainer} takes only the whole part of the number for {key}: write an integer"),
        ),
        Value::Bool(is)
            if conversion != Conversion::Switches
                && spec.words.iter().any(|word| ["no", "yes", "on", "off"].contains(&word.as_str())) =>
        {
            let message = format!("{trainer} gets {is} for {key}, as PyYAML reads this word: write it in quotes");
            (Severity::Warning, message)
        }
        value => {
            let found = match value {
                Value::Text { text, .. } if conversion == Conversion::Switches && is_true(text) => "true",
                Value::Bool(_) => "true or false",
                Value::Number { whole: true, .. } => "an integer",
                Value::Number { .. } => "a number",
                Value::Text { .. } => "a string",
                Value::List(_) if spec.kinds.contains(&Kind::Maps) => "a list of other things",
                Value::List(_) => "a list",
                Value::Map(_) => "a map",
                Value::Null => "nothing",
            };
            (Severity::Error, format!("{trainer} {fate} {found} for {key}: write {}", in_words(spec)))
        }
    }
}
