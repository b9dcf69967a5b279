//! Ruby's regular expressions.

use fancy_regex::{Regex, RegexBuilder};

use super::Error;

/// How often a match may go back before it counts as taking too long. Conditions come from strangers.
const BACKTRACKS: usize = 50_000;
/// The most memory a compiled expression may take, in bytes.
const SIZE: usize = 1 << 20;

/// An expression with Ruby's meaning: `^` and `$` match at every line, and `(?m)` lets the dot match newlines.
///
/// # Errors
/// When it is not an expression.
pub(super) fn compile(pattern: &str) -> Result<Regex, Error> {
    let invalid = |_| Error::Regex(pattern.to_owned());
    RegexBuilder::new(&format!("(?m){}", translated(pattern)))
        .backtrack_limit(BACKTRACKS)
        .delegate_size_limit(SIZE)
        .delegate_dfa_size_limit(SIZE)
        .build()
        .map_err(invalid)
}

/// Ruby's inline option `m` is `s` here; what follows an escape stays as it is.
fn translated(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        translated.push(c);
        match c {
            '\\' => translated.extend(chars.next()),
            '(' if chars.peek() == Some(&'?') => {
                translated.extend(chars.next());
                while let Some(option) = chars.next_if(|c| "mix-".contains(*c)) {
                    translated.push(if option == 'm' { 's' } else { option });
                }
            }
            _ => {}
        }
    }
    translated
}
