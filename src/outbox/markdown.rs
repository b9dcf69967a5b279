//! Texts of repositories and people in Markdown. They are hostile: shown as written, they are neither markup nor a mention.

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

#[cfg(test)]
mod tests {
    use super::*;

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
