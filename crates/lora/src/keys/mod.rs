//! The keys that trainers know, parsed from `keys/*/*.keys`.
//!
//! A line has the form `KIND[|KIND] [RANGE] [usual RANGE] [=WORD|WORD] [caseless] [filled]: KEY KEY …` and continues in
//! indented lines. A range is `LOW..HIGH`; either end may be absent, and `<` after the low end excludes it. A `*` in a
//! word stands for any text; `caseless` words may be written in capitals. A key that is `filled` must not be null or
//! empty. `[a.b]` starts the keys of the maps at `a.b`; lists on the way add nothing to the path, and a last part `*`
//! stands for any key. The key `*` stands for all others.
//!
//! `since VERSION` and `until VERSION` before the colon name the first release that has the keys, and the first that has
//! them no more; `now KEY` is their new name. `since transformers 5.0` counts the releases of another package.

mod release;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Dialect;
pub(super) use release::{Pin, Release};

/// The keys of one trainer, by the path of the map that contains them.
#[derive(Debug, Default)]
pub(super) struct Table {
    sections: HashMap<String, Section>,
}

/// The keys of one map.
pub(super) type Section = HashMap<String, Spec>;

/// Constraints on the value of a key.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) kinds: Vec<Kind>,
    /// The range outside of which training cannot work.
    pub(super) range: Option<Range>,
    /// The range outside of which training rarely works.
    pub(super) usual: Option<Range>,
    /// The accepted words; empty when every text is accepted.
    pub(super) words: Vec<String>,
    /// True when the trainer takes the words in capitals, too.
    pub(super) caseless: bool,
    /// True when the value must not be null or empty.
    pub(super) filled: bool,
    /// The first release that knows the key.
    pub(super) since: Option<Release>,
    /// The first release that does not know the key any more.
    pub(super) until: Option<Release>,
    /// The key that took its place.
    pub(super) now: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    /// A number that must be written with a dot.
    Decimal,
    Text,
    /// A text that no trainer makes from a number.
    Path,
    List,
    /// A list of maps.
    Maps,
    Map,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: Option<f64>,
    /// True when the low end itself is excluded.
    pub(super) above: bool,
    pub(super) high: Option<f64>,
}

static TABLES: LazyLock<HashMap<Dialect, Table>> = LazyLock::new(|| {
    let parsed = |dialect: Dialect| (dialect, parse(source(dialect)).expect("a table that the tests have read"));
    Dialect::ALL.into_iter().map(parsed).collect()
});

fn source(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::LoraScripts => include_str!("images/lora-scripts.keys"),
        Dialect::SdScripts | Dialect::AkegarasuPreset => include_str!("images/sd-scripts.keys"),
        Dialect::SdScriptsDataset => include_str!("images/sd-scripts-dataset.keys"),
        Dialect::Musubi => include_str!("images/musubi.keys"),
        Dialect::MusubiDataset => include_str!("images/musubi-dataset.keys"),
        Dialect::KohyaGui => include_str!("images/kohya-gui.keys"),
        Dialect::Axolotl => include_str!("texts/axolotl.keys"),
        Dialect::Trl => include_str!("texts/trl.keys"),
        Dialect::Diffusers => include_str!("images/diffusers.keys"),
        Dialect::Unsloth => include_str!("texts/unsloth.keys"),
        Dialect::MsSwift => include_str!("texts/ms-swift.keys"),
        Dialect::LlamaFactory => include_str!("texts/llama-factory.keys"),
        Dialect::AiToolkit => include_str!("images/ai-toolkit.keys"),
        Dialect::SimpleTuner => include_str!("images/simpletuner.keys"),
        Dialect::SimpleTunerDataset => include_str!("images/simpletuner-dataset.keys"),
        Dialect::OneTrainer | Dialect::OneTrainerDataset => include_str!("images/onetrainer.keys"),
        Dialect::Peft => include_str!("texts/peft.keys"),
    }
}

/// Returns the key table of a dialect.
pub(super) fn table(dialect: Dialect) -> &'static Table {
    &TABLES[&dialect]
}

impl Table {
    /// Returns the keys of the maps at this path; `None` when the table does not know such maps.
    pub(super) fn section(&self, path: &str) -> Option<&Section> {
        let any_key = || self.sections.get(&format!("{}.*", path.rsplit_once('.')?.0));
        self.sections.get(path).or_else(any_key)
    }

    /// Returns all maps by their paths.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.sections.iter().map(|(path, section)| (path.as_str(), section))
    }

    /// Returns the shortest path of a map that knows this key.
    pub(super) fn home_of(&self, key: &str) -> Option<&str> {
        let homes = self.sections.iter().filter(|(_, section)| section.contains_key(key));
        homes.map(|(path, _)| path.as_str()).min_by_key(|path| (path.len(), *path))
    }
}

fn parse(text: &str) -> Option<Table> {
    let mut table = Table::default();
    let mut section = String::new();
    for line in logical_lines(text) {
        if let Some(path) = line.strip_prefix('[') {
            path.strip_suffix(']')?.clone_into(&mut section);
            continue;
        }
        let (head, names) = line.split_once(": ")?;
        let spec = Spec::parse(head)?;
        let keys = table.sections.entry(section.clone()).or_default();
        for name in names.split_whitespace() {
            if keys.insert(name.to_owned(), spec.clone()).is_some() {
                return None;
            }
        }
    }
    Some(table)
}

/// Joins each line with the indented lines that continue it. A word list may be broken behind a bar.
pub(super) fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match lines.last_mut().filter(|_| line.starts_with(' ')) {
            Some(last) => {
                if !last.ends_with('|') {
                    last.push(' ');
                }
                last.push_str(line.trim_start());
            }
            None => lines.push(line.to_owned()),
        }
    }
    lines
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let mut tokens = text.split(' ');
        let kinds = tokens.next()?.split('|').map(Kind::parse).collect::<Option<_>>()?;
        let (range, usual, since, until, now) = (None, None, None, None, None);
        let mut spec =
            Self { kinds, range, usual, words: Vec::new(), caseless: false, filled: false, since, until, now };
        while let Some(token) = tokens.next() {
            match token.strip_prefix('=') {
                Some(words) => spec.words = words.split('|').map(str::to_owned).collect(),
                None if token == "usual" => spec.usual = Some(Range::parse(tokens.next()?)?),
                None if token == "filled" => spec.filled = true,
                None if token == "caseless" => spec.caseless = true,
                None if token == "since" => spec.since = Some(Release::parse(&mut tokens)?),
                None if token == "until" => spec.until = Some(Release::parse(&mut tokens)?),
                None if token == "now" => spec.now = Some(tokens.next()?.to_owned()),
                None => spec.range = Some(Range::parse(token)?),
            }
        }
        Some(spec)
    }

    /// Returns true if the text is one of the accepted words.
    pub(super) fn accepts(&self, text: &str) -> bool {
        let lower = self.caseless.then(|| text.trim().to_lowercase());
        self.words.iter().any(|word| matches(word, lower.as_deref().unwrap_or(text)))
    }
}

/// Returns true if the text is this word, in which each `*` stands for any text.
pub(super) fn matches(word: &str, text: &str) -> bool {
    match word.split_once('*') {
        Some((start, end)) => text.strip_prefix(start).is_some_and(|rest| ends_like(rest, end)),
        None => word == text,
    }
}

/// Returns what the table says of a key.
pub(super) fn spec<'t>(section: &'t Section, key: &str) -> Option<&'t Spec> {
    section.get(key).or_else(|| section.get("*"))
}

/// Returns true if the text ends with this pattern, in which each further `*` stands for any text.
fn ends_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        Some((part, rest)) => text.find(part).is_some_and(|at| ends_like(&text[at + part.len()..], rest)),
        None => text.ends_with(pattern),
    }
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "decimal" => Self::Decimal,
            "text" => Self::Text,
            "path" => Self::Path,
            "list" => Self::List,
            "maps" => Self::Maps,
            "map" => Self::Map,
            "any" => Self::Any,
            _ => return None,
        })
    }

    /// Returns the kind's name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Float => "a number",
            Self::Decimal => "a number with a dot",
            Self::Text | Self::Path => "a string",
            Self::List => "a list",
            Self::Maps => "a list of maps",
            Self::Map => "a map",
            Self::Any => "anything",
        }
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (low, high) = text.split_once("..")?;
        let end = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        Some(Self { low: end(low.trim_end_matches('<'))?, above: low.ends_with('<'), high: end(high)? })
    }

    /// Returns true if the number is in the range. NaN never is.
    pub(super) fn holds(self, number: f64) -> bool {
        let low = self.low.is_none_or(|low| if self.above { number > low } else { number >= low });
        low && self.high.is_none_or(|high| number <= high) && !number.is_nan()
    }

    /// Describes the range for messages, as in "give it …".
    pub(super) fn in_words(self) -> String {
        let least = if self.above { "more than" } else { "at least" };
        match (self.low, self.high) {
            (Some(low), Some(high)) => format!("{least} {low} and at most {high}"),
            (Some(low), None) => format!("{least} {low}"),
            (None, Some(high)) => format!("at most {high}"),
            (None, None) => "a number".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_read() {
        for dialect in Dialect::ALL {
            assert!(parse(source(dialect)).is_some(), "{dialect:?}");
        }
    }

    #[test]
    fn a_line_says_all_of_its_keys() {
        let table = parse("int|text 1..8 usual 0<..4 =a|\n  b|c*: x\n  y\n[p.*]\nany filled: z\n").expect("a table");
        let y = &table.section("").expect("a section")["y"];
        assert_eq!(y.kinds, [Kind::Int, Kind::Text]);
        assert!(["a", "b", "c", "cd"].iter().all(|word| y.accepts(word)) && !y.accepts("d"));
        assert!(table.section("p.q").expect("a section")["z"].filled && !y.filled && table.section("p").is_none());
        assert!(y.range.expect("a range").holds(1.0) && !y.usual.expect("a range").holds(0.0));
        assert_eq!(table.home_of("z"), Some("p.*"));
        let dated = parse("int since 0.2 until other 1 now z: x\n").expect("a table");
        let x = &dated.section("").expect("a section")["x"];
        assert_eq!(x.until.as_ref().and_then(|release| release.package.as_deref()), Some("other"));
        assert!(x.since.as_ref().is_some_and(|release| release.package.is_none()) && x.now.as_deref() == Some("z"));
        assert!(parse("int: x\ntext: x\n").is_none() && parse("number: x\n").is_none());
    }
}
