//! The variables that a script sets, and the arguments that words become with them.

use std::collections::HashMap;

use super::Argument;
use super::parts::Part;
use super::script::Script;
use super::words::Word;

/// Maximum length of a variable's text in bytes; that of a longer one counts as unknown.
const MAX_TEXT: usize = 16 * 1024;
/// Maximum cost of all expansions of a file, in bytes. It bounds the doubling of `A=$A$A`.
const MAX_COST: usize = 4 << 20;
/// The cost of an argument beside its text.
const COST_OF_ARGUMENT: usize = 32;
/// Maximum number of words in an array and in a command.
pub(super) const MAX_ARGUMENTS: usize = 4_000;

/// A variable's value.
#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Array(Vec<Argument>),
    Unknown,
}

/// The state of a shell at one point of a file: its variables, and whether it has left its first folder.
#[derive(Debug, Default)]
pub(in crate::commands) struct Variables {
    values: HashMap<String, Value>,
    /// The names that were set within each open `if`, loop or function. What they hold after it is unknown.
    blocks: Vec<Vec<String>>,
    cost: usize,
    pub(super) is_elsewhere: bool,
}

impl Variables {
    pub(super) fn open_block(&mut self) {
        self.blocks.push(Vec::new());
    }

    pub(super) fn close_block(&mut self) {
        for name in self.blocks.pop().unwrap_or_default() {
            self.put(&name, Value::Unknown);
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.put(name, Value::Unknown);
    }

    fn put(&mut self, name: &str, value: Value) {
        if let Some(block) = self.blocks.last_mut() {
            block.push(name.to_owned());
        }
        self.values.insert(name.to_owned(), value);
    }

    /// Sets a variable if the word is an assignment. Returns false for other words.
    pub(super) fn assign(&mut self, word: &Word, script: &Script) -> bool {
        let Some((name, adds)) = assigned(word) else { return false };
        let name = name.to_owned();
        let value = match &word.array {
            Some(elements) => Value::Array(elements.iter().flat_map(|word| self.expand(word, script)).collect()),
            None => self.text_after_equals(word),
        };
        let value = if adds { self.joined(&name, value) } else { value };
        let value = match value {
            Value::Array(elements) if elements.len() > MAX_ARGUMENTS => Value::Unknown,
            Value::Text(text) if text.len() > MAX_TEXT => Value::Unknown,
            value => value,
        };
        self.put(&name, value);
        true
    }

    fn joined(&mut self, name: &str, more: Value) -> Value {
        match (self.values.remove(name), more) {
            (Some(Value::Text(old)), Value::Text(more)) => Value::Text(old + &more),
            (Some(Value::Array(mut old)), Value::Array(more)) => {
                old.extend(more);
                Value::Array(old)
            }
            _ => Value::Unknown,
        }
    }

    fn text_after_equals(&mut self, word: &Word) -> Value {
        let mut text = String::new();
        let found = self.each_part(word, &mut |part, _| {
            text.push_str(part?);
            Some(())
        });
        let text = found.and_then(|()| text.split_once('=').map(|(_, value)| value.to_owned()));
        text.map_or(Value::Unknown, Value::Text)
    }

    /// Calls `see` with the text of each part of a word, if it is known, and whether it may become several words; until
    /// `see` returns `None`.
    fn each_part(&mut self, word: &Word, see: &mut impl FnMut(Option<&str>, bool) -> Option<()>) -> Option<()> {
        for part in &word.parts {
            match part {
                Part::Text { text, quoted } => see(Some(text), !quoted)?,
                Part::Variable { name, default, quoted } => {
                    let text = match self.values.get(name) {
                        Some(Value::Text(text)) if text.is_empty() => default.as_ref().or(Some(text)),
                        Some(Value::Text(text)) => Some(text),
                        Some(_) => None,
                        None => default.as_ref(),
                    };
                    self.cost += text.map_or(0, |text| text.len());
                    let text = text.filter(|_| self.cost < MAX_COST);
                    see(text.map(String::as_str), !quoted)?;
                }
                Part::Array(_) | Part::Unknown { .. } => see(None, true)?,
            }
        }
        Some(())
    }

    /// Returns the arguments that a word becomes.
    pub(super) fn expand(&mut self, word: &Word, script: &Script) -> Vec<Argument> {
        let at = script.mark(word.offset);
        self.cost += COST_OF_ARGUMENT;
        let parts = match &word.parts[..] {
            [Part::Text { text, .. }, parts @ ..] if text.is_empty() => parts,
            parts => parts,
        };
        if let [Part::Array(name)] = parts {
            return match self.values.get(name) {
                Some(Value::Array(elements)) if self.cost < MAX_COST => {
                    let elements = elements.clone();
                    self.cost += elements.iter().map(Argument::cost).sum::<usize>();
                    elements
                }
                _ => vec![Argument::unknown(true, at)],
            };
        }
        let mut words = vec![Argument::of("", at)];
        let is_quoted = word.parts.iter().any(|part| matches!(part, Part::Text { quoted: true, .. }));
        let many = word.parts.iter().any(|part| matches!(part, Part::Unknown { many: true } | Part::Array(_)));
        let mut is_split = false;
        let _: Option<()> = self.each_part(word, &mut |part, loose| {
            let last = words.last_mut()?;
            let Some(part) = part else {
                last.is_whole = false;
                last.end.clear();
                last.may_be_many |= loose && (many || !is_quoted);
                return Some(());
            };
            if !last.is_whole {
                last.end.push_str(part);
                return Some(());
            }
            if !loose {
                last.text.push_str(part);
                return Some(());
            }
            is_split = true;
            for (index, piece) in part.split([' ', '\t', '\n']).enumerate() {
                if index > 0 {
                    words.push(Argument::of("", at));
                }
                words.last_mut()?.text.push_str(piece);
            }
            Some(())
        });
        // Words that were only blanks between others, or variables that hold nothing, are no arguments.
        if is_split || !is_quoted {
            words.retain(|word| !word.text.is_empty() || !word.is_whole);
        }
        words
    }
}

/// Returns the name that a word assigns to, and whether it adds to its value.
pub(super) fn assigned(word: &Word) -> Option<(&str, bool)> {
    let Part::Text { text, quoted: false } = word.parts.first()? else { return None };
    let (name, _) = text.split_once('=')?;
    let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && name.starts_with(|c: char| !c.is_ascii_digit())).then_some((name, adds))
}
