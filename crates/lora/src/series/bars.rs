//! Parsers for progress bars: those of tqdm (`steps:  33%|███▎      | 1/3 [00:21<00:43, 21.74s/it, avr_loss=1.18]`),
//! also without a total (`12it [00:03, 3.4it/s]`), of rich and Lightning (`Epoch 0/4 ━━━━━ 3/30 0:00:01 loss: 0.5`), of
//! Keras (`3/30 ━━━━━ 2s 5ms/step - loss: 0.5`), and others with a count beside them (`|████    | 3/30 loss: 0.5`).

use std::sync::LazyLock;

use regex::Regex;

/// A progress bar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bar<'a> {
    pub style: Style,
    /// The text before the bar, without the colon.
    pub label: &'a str,
    pub done: u64,
    /// `None` if the bar does not know its end.
    pub total: Option<u64>,
    /// The text after the speed, such as `lr=0.0001, step_loss=1.18`.
    pub rest: &'a str,
    /// The text after the bar, since programs print in between.
    pub behind: &'a str,
}

/// The program that drew a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Tqdm,
    Rich,
    Keras,
    Other,
}

static ENDLESS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(.*?)(?:^|[\s:])(\d+) ?[A-Za-z_]+ \[(?:\d+:)?\d+:\d\d,([^\]]*)\]"));
static RICH: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(.*?)\s*[━╸╺╾╼]{3,}\s.*?(\d+)/(\d+)\s(.*)$"));
/// The filled cells of a bar, and what may follow them.
const CELLS: &str = r"[|\[][█▉▊▋▌▍▎▏▇■#=>░▒▓][█▉▊▋▌▍▎▏▇■#=>░▒▓\-. ]*[|\]]";
static COUNT_BEHIND: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"^(.*?){CELLS}\D{{0,12}}(?:\d+(?:\.\d+)?%\s*)?[\[(]?(\d+)/(\d+)\b(.*)$")));
static COUNT_BEFORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"^(.*?)\b(\d+)\s?(?:/|of)\s?(\d+)\)?\s*{CELLS}(.*)$")));
static KERAS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(\d+)/(\d+|Unknown) (?:\[[=>.]+\]|[━╸╺╾╼]+)(.*)$"));

impl<'a> Bar<'a> {
    /// Parses the first bar in a line.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        if line.contains("%|") {
            return Self::of_tqdm(line);
        }
        let rich = || if line.contains('━') { Self::of_rich(line) } else { None };
        let other = || if line.contains(['|', ']']) { Self::with_count_beside(line) } else { None };
        Self::of_keras(line).or_else(rich).or_else(|| Self::without_end(line)).or_else(other)
    }

    fn of_tqdm(line: &'a str) -> Option<Self> {
        let (label, bar) = line.split_once("%|")?;
        let label = trimmed(label.trim_end_matches(|c: char| c.is_ascii_digit()));
        let (_, counts) = bar.split_once('|')?;
        let (counts, facts) = counts.split_once('[')?;
        let (done, total) = counts.trim().split_once('/')?;
        let (facts, behind) = facts.split_once(']').unwrap_or((facts, ""));
        // The times and the speed come first: `00:21<00:43, 21.74s/it`.
        let rest = facts.splitn(3, ',').nth(2).unwrap_or_default().trim();
        let total = Some(count(total)?);
        Some(Self { style: Style::Tqdm, label, done: count(done)?, total, rest, behind })
    }

    fn without_end(line: &'a str) -> Option<Self> {
        let found = ENDLESS.captures(line)?;
        let [label, done, facts] = [1, 2, 3].map(|group| found.get(group).map_or("", |text| text.as_str()));
        let behind = &line[found.get(0)?.end()..];
        let rest = facts.split_once(',').map_or("", |(_, rest)| rest).trim();
        Some(Self { style: Style::Tqdm, label: trimmed(label), done: done.parse().ok()?, total: None, rest, behind })
    }

    fn of_rich(line: &'a str) -> Option<Self> {
        let found = RICH.captures(line)?;
        let [label, done, total, rest] = [1, 2, 3, 4].map(|group| found.get(group).map_or("", |text| text.as_str()));
        let (done, total) = (done.parse().ok()?, total.parse().ok()?);
        let bar = Self { style: Style::Rich, label: trimmed(label), done, total: Some(total), rest, behind: "" };
        (done <= total).then_some(bar)
    }

    fn with_count_beside(line: &'a str) -> Option<Self> {
        let found = COUNT_BEFORE.captures(line).or_else(|| COUNT_BEHIND.captures(line))?;
        let [label, done, total, rest] = [1, 2, 3, 4].map(|group| found.get(group).map_or("", |text| text.as_str()));
        let (done, total) = (done.parse().ok()?, total.parse().ok()?);
        let bar = Self { style: Style::Other, label: trimmed(label), done, total: Some(total), rest, behind: "" };
        (done <= total).then_some(bar)
    }

    fn of_keras(line: &'a str) -> Option<Self> {
        let found = KERAS.captures(line)?;
        let [done, total, rest] = [1, 2, 3].map(|group| found.get(group).map_or("", |text| text.as_str()));
        let (done, total) = (done.parse().ok()?, total.parse().ok());
        Some(Self { style: Style::Keras, label: "", done, total, rest, behind: "" })
    }
}

fn trimmed(label: &str) -> &str {
    label.trim().trim_end_matches(':').trim_end()
}

/// Parses a count of tqdm, which may have a unit: `3`, `1.20k`.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        _ => return text.parse().ok(),
    };
    let number: f64 = number.parse().ok()?;
    as_count((number * factor).round())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only what a count can be")]
pub(super) fn as_count(number: f64) -> Option<u64> {
    (0.0..9e15).contains(&number).then_some(number as u64)
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
