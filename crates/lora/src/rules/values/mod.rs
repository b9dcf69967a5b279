//! Rules on values that a trainer cannot use, as its own loader reads them.

mod mends;
pub(super) mod switches;
mod told;

use super::{Config, Map, finding};
use crate::dialect::Conversion;
use crate::domain::{Rule, Severity};
use crate::keys::{Kind, Spec, spec, table};
use crate::tree::{Entry, Node, Value};
use crate::{Dialect, Finding};

/// The strings that options and pydantic take for true or false.
const BOOLEANS: [&str; 12] = ["true", "false", "yes", "no", "on", "off", "0", "1", "t", "f", "y", "n"];
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
    if let Some((severity, message)) = told::empty(dialect, entry, spec) {
        return say(Rule::WrongType, severity, message);
    }
    if !entry.node.is_given() || is_filled_in_later(&entry.node) || spec.kinds == [Kind::Any] {
        return None;
    }
    if !spec.kinds.iter().any(|kind| fits(*kind, &entry.node, conversion, spec)) {
        let (severity, message) = told::wrong_type(dialect, entry, spec);
        let mend = mends::of_type(&entry.node, conversion, spec);
        return say(Rule::WrongType, severity, message).map(|found| Finding { mend, ..found });
    }
    if let Some(word) = refused_word(conversion, &entry.node, spec) {
        let fate = if dialect.refuses() { "stops at" } else { "does not know" };
        let message = format!("{trainer} {fate} this word for {key}: {}", told::choices(&word, spec));
        let mend = mends::of_word(&entry.node, spec);
        return say(Rule::Enum, Severity::Error, message).map(|found| Finding { mend, ..found });
    }
    if let Some((severity, message)) = told::taken_for_true(dialect, entry, spec) {
        let mend = mends::of_boolean(&entry.node);
        return say(Rule::WrongType, severity, message).map(|found| Finding { mend, ..found });
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
        (Conversion::Casts, Kind::Int) => text.parse::<i64>().is_ok(),
        // pydantic takes "8.0", but not "1e3".
        (_, Kind::Int) => text
            .split_once('.')
            .map_or(text, |(whole, rest)| if rest.bytes().all(|b| b == b'0') { whole } else { text })
            .parse::<i64>()
            .is_ok(),
        (Conversion::Options | Conversion::Switches, Kind::Float | Kind::Decimal)
            if text.eq_ignore_ascii_case("false") =>
        {
            true
        }
        (_, Kind::Float | Kind::Decimal) => text.parse::<f64>().is_ok(),
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
    let is_misspelled = || !is_known() && told::resembled(&word, spec).is_some();
    // A template of the trainer lists its words: `random|center`.
    if word.contains('|') && word.split('|').all(|part| spec.accepts(part.trim())) {
        return None;
    }
    let is_wrong = if is_open { is_misspelled() } else { !spec.accepts(&word) };
    (!as_other && !is_left_out && is_wrong).then_some(word)
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
