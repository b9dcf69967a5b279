//! Parser for progress bars as tqdm draws them: `steps:  33%|███▎      | 1/3 [00:21<00:43, 21.74s/it, avr_loss=1.18]`.

use std::sync::LazyLock;

use regex::Regex;

/// A progress bar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar<'a> {
    /// The text before the bar, without the colon.
    pub label: &'a str,
    pub done: u64,
    pub total: u64,
    /// The text after the speed, such as `lr=0.0001, step_loss=1.18`.
    pub rest: &'a str,
}

impl<'a> Bar<'a> {
    /// Parses the bar in a line. Other text may follow it, since programs print in between.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        let (label, bar) = line.split_once("%|")?;
        let label = label.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end().trim_end_matches(':').trim();
        let (_, counts) = bar.split_once('|')?;
        let (counts, facts) = counts.split_once('[')?;
        let (done, total) = counts.trim().split_once('/')?;
        let facts = facts.split(']').next()?;
        // The times and the speed come first: `00:21<00:43, 21.74s/it`.
        let rest = facts.splitn(3, ',').nth(2).unwrap_or_default().trim();
        Some(Self { label, done: done.parse().ok()?, total: total.parse().ok()?, rest })
    }
}

/// Compiles one of our own patterns, which are known to be valid.
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("our own pattern")
}

/// Returns the number after `name` in some facts: `name=0.5`, `name: 0.5`, `'name': '0.5'`, `name=tensor(0.5)`.
pub(super) fn fact(facts: &str, name: &str) -> Option<f64> {
    facts.match_indices(name).find_map(|(at, _)| {
        let own_word = !facts[..at].ends_with(|c: char| c.is_alphanumeric() || "_/.-".contains(c));
        let behind = facts[at + name.len()..].trim_start_matches(['\'', '"']).trim_start();
        let number = behind.strip_prefix(['=', ':'])?;
        own_word.then(|| number_at(number)).flatten()
    })
}

/// Reads the number at the start of a text, in Python's notation.
pub(super) fn number_at(text: &str) -> Option<f64> {
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"^\s*(?:tensor\()?['\x22]?([+-]?(?:nan\b|inf\b|infinity\b|\d+\.?\d*(?:e[+-]?\d+)?|\.\d+))")
    });
    // Python writes NaN and infinities in lower case, JSON as `NaN` and `Infinity`.
    let begin: String = text.chars().take(64).collect::<String>().to_ascii_lowercase();
    NUMBER.captures(&begin)?[1].parse().ok()
}
