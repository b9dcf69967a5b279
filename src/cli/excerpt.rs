//! A line of a text with a caret below the place in question.

/// Number of characters of a long line that are shown before and after the place.
const AROUND: usize = 50;

/// Returns the text with a caret under the byte `at`. Of a long text, only the surroundings of that byte are shown.
pub(super) fn pointed_at(line: &str, at: usize) -> String {
    let visible = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<Vec<_>>();
    let (before, after) = (visible(&line[..at]), visible(&line[at..]));
    let cut_before = before.len().saturating_sub(AROUND);
    let cut_after = after.len().min(AROUND);
    let start: String =
        if cut_before > 0 { "…" } else { "" }.chars().chain(before[cut_before..].iter().copied()).collect();
    let end: String = after[..cut_after].iter().collect();
    let more = if cut_after < after.len() { "…" } else { "" };
    format!("    {start}{end}{more}\n    {}^", " ".repeat(start.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(pointed_at("é = (", 4), "    é = (\n       ^");
        let long = format!("{}!{}", "a".repeat(200), "b".repeat(200));
        let shown = pointed_at(&long, 200);
        let (line, caret) = shown.split_once('\n').expect("two lines");
        assert!(line.starts_with("    …a") && line.ends_with("b…") && line.chars().count() < 110, "{shown}");
        assert_eq!(line.chars().nth(caret.chars().count() - 1), Some('!'));
    }
}
