//! The options of the trainers' programs, parsed from `arguments/*.arguments` or made from the keys of a config.
//!
//! A line `scripts: NAME NAME …` names the scripts, without `.py`, that have the options below it; `*` stands for all of
//! the file. A line `KIND [=WORD|WORD]: OPTION OPTION …` lists options, as Python's `argparse` has them. The kinds are
//! `flag`, `switch` (with `--no-…`), `int`, `float` and `text`, with `?`, `*`, `+` or a number for how many values there
//! are, and `&` where each use adds a value. `OPTION>KEY` is stored under another name. `required: OPTION …` lists those
//! without which the script stops. Indented lines continue the one before.

use std::collections::{BTreeMap, HashMap};

use crate::keys::{Kind, Section, Spec, logical_lines};

/// The options of a program by their names, without leading dashes. A name of one letter keeps its dash.
pub(super) type Options = BTreeMap<String, Choice>;

/// An option.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// The key that holds the value.
    pub(super) key: String,
    pub(super) kind: Scalar,
    pub(super) count: Count,
    /// The accepted words; empty when all are accepted.
    pub(super) words: Vec<String>,
    pub(super) is_required: bool,
    /// True when each use adds a value to those before.
    pub(super) adds: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Int,
    Float,
    Text,
}

/// The number of values that follow an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// None: the option alone says true or false.
    Flag(bool),
    One,
    AtMostOne,
    Any,
    Some,
    Exactly(usize),
    /// Any number, which the table does not say. One value alone is no list.
    Free,
}

/// Parses the options of each script of a table.
pub(super) fn parse(text: &str) -> Option<HashMap<String, Options>> {
    let mut scripts: HashMap<String, Options> = HashMap::new();
    let lines = logical_lines(text);
    for name in lines.iter().filter_map(|line| line.strip_prefix("scripts: ")).flat_map(|names| names.split(' ')) {
        if name != "*" {
            scripts.entry(name.to_owned()).or_default();
        }
    }
    let mut current: Vec<String> = Vec::new();
    for line in &lines {
        let (head, names) = line.split_once(": ")?;
        if head == "scripts" {
            current = match names {
                "*" => scripts.keys().cloned().collect(),
                names => names.split(' ').map(str::to_owned).collect(),
            };
            continue;
        }
        for script in &current {
            let options = scripts.get_mut(script)?;
            names.split(' ').try_for_each(|name| add(options, head, name))?;
        }
    }
    Some(scripts)
}

fn add(options: &mut Options, head: &str, name: &str) -> Option<()> {
    if head == "required" {
        let choice = options.entry(name.to_owned()).or_insert_with(|| Choice::new(name, Scalar::Text, Count::One));
        choice.is_required = true;
        return Some(());
    }
    let (kind, words) = head.split_once(" =").unwrap_or((head, ""));
    let (kind, adds) = kind.strip_suffix('&').map_or((kind, false), |kind| (kind, true));
    let letters = kind.trim_end_matches(|c: char| !c.is_ascii_lowercase());
    let count = match (&kind[letters.len()..], letters) {
        (_, "flag" | "switch") => Count::Flag(true),
        ("", _) => Count::One,
        ("?", _) => Count::AtMostOne,
        ("*", _) => Count::Any,
        ("+", _) => Count::Some,
        (number, _) => Count::Exactly(number.parse().ok()?),
    };
    let scalar = match letters {
        "int" => Scalar::Int,
        "float" => Scalar::Float,
        "text" | "flag" | "switch" => Scalar::Text,
        _ => return None,
    };
    let (option, key) = name.split_once('>').unwrap_or((name, name));
    let words = words.split('|').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let is_required = options.get(option).is_some_and(|choice| choice.is_required);
    let choice = Choice { words, is_required, adds, ..Choice::new(key, scalar, count) };
    if letters == "switch" {
        options.insert(format!("no-{option}"), Choice { count: Count::Flag(false), ..choice.clone() });
    }
    options.insert(option.to_owned(), choice);
    Some(())
}

impl Choice {
    fn new(key: &str, kind: Scalar, count: Count) -> Self {
        Self { key: key.to_owned(), kind, count, words: Vec::new(), is_required: false, adds: false }
    }

    /// Returns an option that takes one text.
    pub(super) fn text(key: &str) -> Self {
        Self::new(key, Scalar::Text, Count::One)
    }

    /// Returns true if the option says true or false by itself.
    pub(super) fn is_flag(&self) -> bool {
        matches!(self.count, Count::Flag(_))
    }
}

/// Returns the options that transformers' parser makes of the keys: each also with dashes, and a flag may have a value.
pub(super) fn of_dataclasses(section: &Section) -> Options {
    let mut options = Options::new();
    for (key, spec) in section.iter().filter(|(key, _)| *key != "*") {
        let choice = of_spec(key, spec, Count::AtMostOne);
        options.insert(key.clone(), choice.clone());
        options.insert(key.replace('_', "-"), choice.clone());
        if choice.count == Count::AtMostOne {
            let off = Choice { count: Count::Flag(false), ..choice };
            options.insert(format!("no_{key}"), off.clone());
            options.insert(format!("no-{}", key.replace('_', "-")), off);
        }
    }
    options
}

/// Works like [`of_dataclasses`], for keys of which some are lists or flags of the launcher, and have no kind in the table.
pub(super) fn of_loose_dataclasses(section: &Section) -> Options {
    let mut options = of_dataclasses(section);
    let has_no_kind = |key: &str| section.get(key).is_some_and(|spec| spec.kinds == [Kind::Any]);
    options.values_mut().filter(|choice| has_no_kind(&choice.key)).for_each(|choice| choice.count = Count::Free);
    options
}

/// Returns the options that axolotl makes of the keys: with dashes only, and a flag with its opposite.
pub(super) fn of_click(section: &Section) -> Options {
    let mut options = Options::new();
    for (key, spec) in section.iter().filter(|(key, _)| *key != "*") {
        let mut choice = of_spec(key, spec, Count::Flag(true));
        // click keeps what is given as a text; the config's model converts it later.
        choice.kind = Scalar::Text;
        let name = key.replace('_', "-");
        if choice.is_flag() {
            options.insert(format!("no-{name}"), Choice { count: Count::Flag(false), ..choice.clone() });
        } else {
            choice.count = Count::One;
        }
        options.insert(name, choice);
    }
    options
}

fn of_spec(key: &str, spec: &Spec, of_flags: Count) -> Choice {
    let has = |kind| spec.kinds.contains(&kind);
    let count = match spec.kinds[..] {
        [Kind::Bool] => of_flags,
        [Kind::List | Kind::Maps] => Count::Some,
        _ if has(Kind::List) => Count::Any,
        _ => Count::One,
    };
    let kind = match spec.kinds[..] {
        [Kind::Int] => Scalar::Int,
        [Kind::Float | Kind::Decimal] => Scalar::Float,
        _ => Scalar::Text,
    };
    Choice::new(key, kind, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_which_script_has_which_option() {
        let text = "scripts: *\nint: a\nflag: f\nscripts: x\ntext =u|v: w\nswitch: s\nfloat*: many>much\n\
                    scripts: y\nrequired: a\nint2: pair\n";
        let scripts = parse(text).expect("a table");
        let (x, y) = (&scripts["x"], &scripts["y"]);
        assert_eq!((x["a"].kind, x["a"].is_required, y["a"].is_required), (Scalar::Int, false, true));
        assert_eq!((x["w"].words.as_slice(), y.contains_key("w")), (&["u".to_owned(), "v".to_owned()][..], false));
        assert_eq!((x["s"].count, x["no-s"].count), (Count::Flag(true), Count::Flag(false)));
        assert_eq!((x["many"].key.as_str(), x["many"].count), ("much", Count::Any));
        assert_eq!(y["pair"].count, Count::Exactly(2));
        assert_eq!(parse("scripts: x\nnumber: a\n"), None);
    }
}
