//! Rules on values that a trainer cannot use, as its own loader reads them.

mod mends;
pub(super) mod switches;

use super::{Config, Map, finding};
use crate::dialect::Conversion;
use crate::domain::{Rule, Severity};
use crate::keys::{Kind, Spec, spec, table};
use crate::tree::{Entry, Node, Value};
use crate::{Dialect, Finding};

/// The strings that options and pydantic take for true or false.
const BOOLEANS: [&str; 12] = ["true", "false", "yes", "no", "on", "off", "0", "1", "t", "f", "y", "n"];
/// The maximum number of accepted words in a message.
const MOST_WORDS: usize = 12;

/// Finds values of the wrong type, words that are not allowed, and numbers out of range.
pub(super) fn wrong_values(config: &Config<'_>) -> Vec<Finding> {
    let of_map = |map: &Map<'_>| -> Vec<Finding> {
        let Some(section) = table(config.dialect).section(&map.path) else { return Vec::new() };
        let known = map.entries.iter().filter_map(|entry| Some((*entry, spec(section, entry.name())?)));
        known.filter_map(|(entry, spec)| wrong_value(config.dialect, map, entry, spec)).collect()
    };
    config.maps.iter().flat_map(of_map).collect()
}

fn wrong_value(dialect: Dialect, map: &Map<'_>, entry: &Entry, spec: &Spec) -> Option<Finding> {
    let key = entry.name();
    let say = |rule, severity, message| Some(finding(rule, severity, message, entry.node.at, map.path_of(key)));
    let conversion = dialect.conversion();
    let trainer = dialect.trainer();
    if let Some((severity, message)) = empty(dialect, entry, spec) {
        return say(Rule::WrongType, severity, message);
    }
    if !entry.node.is_given() || is_filled_in_later(&entry.node) || spec.kinds == [Kind::Any] {
        return None;
    }
    if !spec.kinds.iter().any(|kind| fits(*kind, &entry.node, conversion, spec)) {
        let (severity, message) = wrong_type(dialect, entry, spec);
        let mend = mends::of_type(&entry.node, conversion, spec);
        return say(Rule::WrongType, severity, message).map(|found| Finding { mend, ..found });
    }
    if let Some(word) = refused_word(conversion, &entry.node, spec) {
        let fate = if dialect.refuses() { "stops at" } else { "does not know" };
        let message = format!("{trainer} {fate} this word for {key}: {}", choices(&word, spec));
        let mend = mends::of_word(&entry.node, spec);
        return say(Rule::Enum, Severity::Error, message).map(|found| Finding { mend, ..found });
    }
    if let Some((severity, message)) = switches::told(dialect, map, entry, spec) {
        return say(Rule::WrongType, severity, message);
    }
    let numbers: Vec<f64> = std::iter::once(&entry.node).chain(entry.node.items()).filter_map(number).collect();
    let outside = |range: crate::keys::Range| numbers.iter().copied().find(|number| !range.holds(*number));
    if let Some((range, number)) = spec.range.and_then(|range| Some((range, outside(range)?))) {
        let message = format!("{trainer} cannot train with {key} {number}: write {}", range.in_words());
        return say(Rule::OutOfRange, Severity::Error, message);
    }
    let (range, number) = spec.usual.and_then(|range| Some((range, outside(range)?)))?;
    let message = format!("{trainer} rarely trains well with {key} {number}: {} is usual", range.in_words());
    say(Rule::OutOfRange, Severity::Warning, message)
}

/// Tells of an empty value where the trainer needs one, or where an empty string cannot be one.
fn empty(dialect: Dialect, entry: &Entry, spec: &Spec) -> Option<(Severity, String)> {
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
    let is_text = node.text().is_some() && !takes_text;
    let is_cast = matches!(conversion, Conversion::Options | Conversion::Switches | Conversion::Casts);
    let message = format!("{trainer} gets an empty text for {key}: write {wanted}, or remove the key");
    (is_text && !is_cast).then_some((Severity::Warning, message))
}

/// Returns true if the value contains a placeholder that is filled in before the trainer sees it.
fn is_filled_in_later(node: &Node) -> bool {
    node.text().is_some_and(|text| ["${", "{{", "<"].iter().any(|mark| text.contains(mark)))
}

/// Returns true if the trainer can use the value as one of this kind.
fn fits(kind: Kind, node: &Node, conversion: Conversion, spec: &Spec) -> bool {
    use Conversion::{Casts, Defaults, Exponents, Model, Nothing, Options, Switches};
    match (kind, &node.value) {
        // An option without a value.
        (Kind::Text | Kind::Path, Value::Text { text, .. }) if conversion == Switches => !is_true(text),
        (Kind::Any, _)
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Float, Value::Number { .. })
        | (Kind::Int, Value::Number { whole: true, .. })
        | (Kind::Decimal, Value::Number { whole: false, .. })
        | (Kind::Text | Kind::Path, Value::Text { .. })
        | (Kind::List, Value::List(_))
        | (Kind::Map, Value::Map(_)) => true,
        (Kind::Maps, Value::List(items)) => items.iter().all(|item| matches!(item.value, Value::Map(_))),
        (Kind::Int, Value::Number { value, .. }) => {
            matches!(conversion, Model | Casts | Defaults) && value.fract() == 0.0 && value.abs() < 1e18
        }
        (Kind::Bool, Value::Number { value, .. }) => {
            conversion == Casts || !matches!(conversion, Nothing) && (*value == 0.0 || *value == 1.0)
        }
        (Kind::Int | Kind::Float, Value::Bool(_)) => matches!(conversion, Model | Casts),
        (Kind::Text, Value::Number { .. } | Value::Bool(_)) => match conversion {
            Nothing | Model => false,
            Exponents | Defaults => spec.words.is_empty(),
            Options | Switches | Casts => node.value != Value::Bool(true) || conversion == Casts,
        },
        // SimpleTuner makes no option of a map, and of a list one for each item.
        (_, Value::Map(_)) if matches!(conversion, Options | Switches) => true,
        (_, Value::List(items)) if conversion == Switches => {
            kind == Kind::Text || items.iter().all(|item| fits(kind, item, conversion, spec))
        }
        (_, Value::List(items)) if conversion == Options => {
            kind == Kind::Text || kind != Kind::Bool && items.iter().all(|item| fits(kind, item, conversion, spec))
        }
        (Kind::Int | Kind::Float, Value::Text { text, plain: true }) if conversion == Exponents => {
            text.parse::<f64>().is_ok()
        }
        (_, Value::Text { text, .. }) => reads(kind, text, conversion),
        _ => false,
    }
}

/// Returns true if a trainer that converts strings takes this one for a value of this kind.
fn reads(kind: Kind, text: &str, conversion: Conversion) -> bool {
    let text = text.trim();
    match (conversion, kind) {
        (Conversion::Nothing | Conversion::Exponents, _) | (_, Kind::List | Kind::Maps | Kind::Map) => false,
        // OneTrainer keeps any value.
        (Conversion::Casts, Kind::Bool) => true,
        (Conversion::Switches, Kind::Bool) if ["t", "f"].contains(&text.to_lowercase().as_str()) => false,
        (_, Kind::Bool) => BOOLEANS.contains(&text.to_lowercase().as_str()),
        (Conversion::Options | Conversion::Switches, Kind::Int) => {
            text.parse::<i64>().is_ok() || text.eq_ignore_ascii_case("false")
        }
        // pydantic takes "8.0", but not "1e3".
        (_, Kind::Int) => text
            .split_once('.')
            .map_or(text, |(whole, rest)| if rest.bytes().all(|b| b == b'0') { whole } else { text })
            .parse::<i64>()
            .is_ok(),
        (_, Kind::Float | Kind::Decimal) => text.parse::<f64>().is_ok() || text.eq_ignore_ascii_case("false"),
        (_, Kind::Any | Kind::Text | Kind::Path) => true,
    }
}

/// Returns the word that the trainer does not accept.
fn refused_word(conversion: Conversion, node: &Node, spec: &Spec) -> Option<String> {
    if spec.words.is_empty() {
        return None;
    }
    use Conversion::{Options, Switches};
    let as_other = spec.kinds.iter().any(|kind| *kind != Kind::Text && fits(*kind, node, conversion, spec));
    let word = match &node.value {
        Value::Text { text, .. } => text.clone(),
        Value::Number { value, .. } if matches!(conversion, Options | Switches) => value.to_string(),
        Value::Bool(false) if conversion == Switches => "false".to_owned(),
        Value::List(items) if conversion == Switches => {
            return items.iter().find_map(|item| refused_word(conversion, item, spec));
        }
        Value::List(items) if conversion == Options => items.last()?.text()?.to_owned(),
        _ => return None,
    };
    // An option with the text "false" is left out.
    let is_left_out =
        matches!(conversion, Options | Switches) && word.eq_ignore_ascii_case("false") && node.text().is_some();
    // Where any other word may be meant, only a misspelling of a known one is wrong.
    let is_open = spec.words.iter().any(|word| word == "*");
    let is_known = || spec.words.iter().any(|known| known.eq_ignore_ascii_case(&word));
    let is_misspelled = || !is_known() && resembled(&word, spec).is_some();
    // A template of the trainer lists its words: `random|center`.
    if word.contains('|') && word.split('|').all(|part| spec.accepts(part.trim())) {
        return None;
    }
    let is_wrong = if is_open { is_misspelled() } else { !spec.accepts(&word) };
    (!as_other && !is_left_out && is_wrong).then_some(word)
}

/// Says which words are accepted: all of a short list, or those that resemble the written one.
fn choices(written: &str, spec: &Spec) -> String {
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
fn resembled<'s>(written: &str, spec: &'s Spec) -> Option<&'s str> {
    let words = spec.words.iter().filter(|word| word.len() > 3 && word.len().abs_diff(written.len()) <= 2);
    let nearest = words.map(|word| (strsim::osa_distance(written, word), word.as_str())).min();
    nearest.filter(|(distance, _)| *distance <= 2).map(|(_, word)| word)
}

/// Returns true for a text of which SimpleTuner makes an option without a value.
fn is_true(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("true")
}

fn number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Number { value, .. } => Some(*value),
        Value::Text { text, .. } => text.trim().parse().ok(),
        _ => None,
    }
}

fn in_words(spec: &Spec) -> String {
    spec.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ")
}

/// Returns the severity and the message. The message repeats the value only where it cannot be a secret.
fn wrong_type(dialect: Dialect, entry: &Entry, spec: &Spec) -> (Severity, String) {
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
