//! The end of a job's log as lines.

use std::collections::VecDeque;

use crate::log_view::{Checkpoint, Op, Renderer, line_plain};

/// Number of lines that are kept.
const MAX_LINES: usize = 2000;

/// The last lines of a log.
pub(super) struct LogEnd {
    renderer: Renderer,
    lines: VecDeque<String>,
    /// True until the first line end, when the log does not begin at a line's start.
    cut: bool,
}

impl LogEnd {
    /// Returns an empty log. `cut` means that what is fed first may be the rest of a line.
    pub(super) fn new(cut: bool) -> Self {
        Self { renderer: Renderer::new(Checkpoint::begin(1), line_plain), lines: VecDeque::new(), cut }
    }

    pub(super) fn feed(&mut self, text: &str) {
        let mut text = text;
        if self.cut {
            let Some((_, rest)) = text.split_once('\n') else { return };
            (self.cut, text) = (false, rest);
        }
        for op in self.renderer.feed(text.as_bytes()) {
            if let Op::Line { text, .. } | Op::Open { text, .. } = op {
                if self.lines.len() == MAX_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(text);
            }
        }
    }

    /// Returns the last `count` lines above the last `below` ones, with the unfinished line at the end.
    pub(super) fn lines(&self, count: usize, below: usize) -> Vec<String> {
        let unfinished = self.renderer.unfinished();
        let all = self.lines.len() + usize::from(unfinished.is_some());
        let end = all.saturating_sub(below);
        let all = self.lines.iter().map(String::as_str).chain(unfinished.as_deref());
        all.skip(end.saturating_sub(count)).take(end.min(count)).map(str::to_owned).collect()
    }

    /// Returns the number of lines.
    pub(super) fn len(&self) -> usize {
        self.lines.len() + usize::from(self.renderer.unfinished().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_harmless_and_bounded() {
        let mut log = LogEnd::new(true);
        log.feed("rest of a line");
        assert_eq!(log.len(), 0);
        log.feed(" ends\nfirst \x1b[31mred\x1b[0m\x1b]0;title\x07\nbar 1\rbar 2");
        assert_eq!(log.lines(9, 0), ["first red", "bar 2"]);
        assert_eq!(log.lines(1, 1), ["first red"]);
        for n in 0..MAX_LINES * 2 {
            log.feed(&format!("\n{n}"));
        }
        assert_eq!((log.len(), log.lines(2, 0)), (MAX_LINES + 1, vec!["3998".to_owned(), "3999".to_owned()]));
    }
}
