//! Mends of problems, as edits of a file's text.

use serde::{Deserialize, Serialize};

/// An edit that mends a problem: the bytes from `start` to `end` of the file become `replacement`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fix {
    pub start: usize,
    pub end: usize,
    pub replacement: String,
}

impl Fix {
    /// Applies fixes to a text. Of two that overlap, the later one is left out. All other bytes stay as they are.
    pub fn apply<'f>(fixes: impl IntoIterator<Item = &'f Self>, text: &str) -> String {
        let mut fixes: Vec<&Self> = fixes.into_iter().collect();
        fixes.sort();
        let mut mended = String::with_capacity(text.len());
        let mut done = 0;
        for fix in fixes.into_iter() {
            let Some(before) = text.get(done..fix.start).filter(|_| text.is_char_boundary(fix.end)) else { continue };
            mended.push_str(before);
            mended.push_str(&fix.replacement);
            done = fix.end.max(fix.start);
        }
        mended.push_str(&text[done..]);
        mended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixes_are_applied_once_and_do_not_overlap() {
        let fix = |start, end, replacement: &str| Fix { start, end, replacement: replacement.to_owned() };
        let fixes = [fix(6, 7, "C"), fix(0, 2, "é"), fix(1, 3, "no"), fix(6, 7, "C"), fix(9, 40, "out")];
        assert_eq!(Fix::apply(&fixes, "ab: c\nd\n"), "é: c\nC\n");
    }
}
