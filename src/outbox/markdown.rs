//! Texts of repositories and people in Markdown. They are hostile, so they are shown as written: they are neither markup
//! nor a mention.

/// Maximum length of a text in a cell of a table, in characters.
const MAX_CELL: usize = 500;

/// Returns a text for one line or one cell of a table: it is shown as written, and is neither markup nor a mention.
pub(super) fn plain(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = String::new();
    for c in cut(&one_line, MAX_CELL).chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '.' | ',' | '/' | '-' => plain.push(c),
            c if !c.is_ascii() => plain.push(c),
            c => plain.push_str(&format!("&#{};", u32::from(c))),
        }
    }
    // A comment that begins with a slash is a command of somebody.
    if let Some(rest) = plain.strip_prefix('/') {
        plain = format!("&#47;{rest}");
    }
    // An address of the Web would become a link.
    plain.replace("www.", "www&#46;")
}

/// Returns the beginning of a text that is too long.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Returns a line of a file as a block of code, in which nothing is markup. No run of backticks in it is as long as those
/// around it.
pub(super) fn code_block(line: &str) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let longest = line.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}\n{line}\n{fence}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_ours_is_no_command() {
        assert_eq!(plain("/retry stands alone"), "&#47;retry stands alone");
        assert_eq!(plain(" /retry and /approve"), "&#47;retry and /approve");
    }

    #[test]
    fn a_block_of_code_is_not_left() {
        assert_eq!(code_block("a: 1"), "```\na: 1\n```\n");
        assert_eq!(code_block("```\n# head"), "````\n``` # head\n````\n");
    }

    #[test]
    fn a_repositorys_text_is_neither_markup_nor_a_mention() {
        let hostile =
            "@acme/all <img src=x> [click](https://evil.example) | `x`\n# head ![](http://a) www.evil.example";
        let shown = plain(hostile);
        for markup in ["@", "<", "[", "](", "|", "`", "\n", "# ", "!", "://", "www.", "_", "*"] {
            assert!(!shown.replace("&#", "").contains(markup), "{markup} in {shown}");
        }
    }
}
