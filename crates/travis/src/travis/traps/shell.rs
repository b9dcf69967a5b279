//! The use of variables by a command, as far as it can be seen without bash.

/// The variables of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables<'a> {
    /// Variables whose value the command requires: `$NAME` or `${NAME}`, outside of single quotes and comments.
    pub(super) used: Vec<&'a str>,
    /// Variables that the command gives a value, or tests for a value.
    pub(super) known: Vec<&'a str>,
    /// True when the command may set any other variable: it reads a file of commands into the shell, or text that it
    /// makes.
    pub(super) opaque: bool,
}

/// Returns the variables of a command.
pub(super) fn variables(command: &str) -> Variables<'_> {
    let mut variables = Variables { known: known(command), ..Variables::default() };
    let words = || command.split(|c: char| c.is_whitespace() || ";&|(){}`\"'".contains(c));
    variables.opaque = words().any(|word| matches!(word, "source" | "." | "eval" | "set"));
    // Only a whole parser could find out whether a heredoc expands its content.
    if !command.contains("<<") {
        expansions(command, &mut variables);
    }
    variables
}

pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the name at the start of a text.
fn name(text: &str) -> &str {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

fn expansions<'a>(command: &'a str, variables: &mut Variables<'a>) {
    let mut double = false;
    let mut before = ' ';
    let mut chars = command.char_indices();
    while let Some((at, c)) = chars.next() {
        let rest = &command[at + c.len_utf8()..];
        // Number of bytes of the rest that are already handled.
        let mut skipped = 0;
        match c {
            '\\' => skipped = rest.chars().next().map_or(0, char::len_utf8),
            '"' => double = !double,
            '\'' if !double => skipped = rest.find('\'').map_or(rest.len(), |end| end + 1),
            '#' if !double && before.is_whitespace() => skipped = rest.find('\n').unwrap_or(rest.len()),
            '$' if rest.starts_with('$') => skipped = 1,
            '$' => {
                let braced = rest.strip_prefix('{');
                let name = name(braced.unwrap_or(rest));
                skipped = name.len() + usize::from(braced.is_some());
                // With an operator, the author has considered that the variable may not be set.
                let plain = braced.is_none_or(|rest| rest[name.len()..].starts_with('}'));
                let asked = is_test(&command[..at]);
                if !name.is_empty() {
                    let list = if plain && !asked { &mut variables.used } else { &mut variables.known };
                    list.push(name);
                }
            }
            _ => {}
        }
        before = c;
        let end = at + c.len_utf8() + skipped;
        while chars.offset() < end && chars.next().is_some() {}
    }
}

/// Returns true if a text ends with `-z` or `-n` and what may stand between that and a variable.
fn is_test(text: &str) -> bool {
    let text = text.trim_end_matches('"').trim_end();
    text.ends_with("-z") || text.ends_with("-n")
}

/// Returns the names before `=`, and those after the words that declare or read them.
fn known(command: &str) -> Vec<&str> {
    const DECLARE: [&str; 12] = [
        "export",
        "declare",
        "local",
        "typeset",
        "readonly",
        "read",
        "for",
        "select",
        "mapfile",
        "readarray",
        "getopts",
        "-v",
    ];
    let mut known = Vec::new();
    for (at, _) in command.match_indices('=') {
        let left = command[..at].trim_end_matches('+');
        let start = left.rfind(|c| !is_word(c)).map_or(0, |i| i + left[i..].chars().next().map_or(1, char::len_utf8));
        known.push(&left[start..]);
    }
    let mut declares = false;
    for word in command.split(|c: char| c.is_whitespace() || ";&|(){}\"'".contains(c)) {
        if DECLARE.contains(&word) {
            declares = true;
        } else if declares && !word.starts_with('-') {
            let name = name(word);
            known.extend((!name.is_empty()).then_some(name));
            declares = !name.is_empty() && name.len() == word.len();
        }
    }
    known
}

/// Returns the words of the simple commands in a text, split at blanks, without regard to quotes.
pub(super) fn simple_commands(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.split(['\n', ';', '|', '&', '(', ')', '`']).map(|part| part.split_whitespace().collect())
}
