//! The code blocks of a Markdown page.

use crate::commands::shell::{Script, Syntax, UNKNOWN};

/// Maximum length of a line in which placeholders are looked for, in bytes.
const MAX_LINE: usize = 2_000;

/// Returns the fenced blocks that are for a shell.
pub(super) fn scripts(text: &str) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((_, line)) = lines.next() {
        let Some((fence, language)) = opened(line) else { continue };
        let indent = blank(line);
        let closes = |line: &str| line.trim().len() >= 3 && line.trim().trim_end_matches(fence).is_empty();
        let block: Vec<(u32, &str)> = lines.by_ref().take_while(|(_, line)| !closes(line)).collect();
        if let Some(syntax) = syntax(language) {
            scripts.push(script(&block, syntax, indent));
        }
    }
    scripts
}

/// Returns the number of blanks before a line's text.
fn blank(line: &str) -> usize {
    line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// Returns the character of the fence and the language of the block that a line opens.
fn opened(line: &str) -> Option<(char, &str)> {
    let line = line.trim_start();
    let fence = ['`', '~'].into_iter().find(|fence| line.starts_with(&fence.to_string().repeat(3)))?;
    let language = line.trim_start_matches(fence).trim();
    // A line of text may begin with code in three backticks.
    (!language.contains('`')).then_some((fence, language))
}

fn syntax(language: &str) -> Option<Syntax> {
    let name = language.trim_start_matches('{').trim_start_matches('.').split([' ', ',', '}', ':']).next()?;
    match name.to_lowercase().as_str() {
        "" | "bash" | "sh" | "shell" | "zsh" | "console" | "terminal" | "shellscript" | "shell-session"
        | "sh-session" => Some(Syntax::Posix),
        "bat" | "batch" | "cmd" | "batchfile" => Some(Syntax::Batch),
        "powershell" | "ps1" | "pwsh" | "ps" => Some(Syntax::PowerShell),
        _ => None,
    }
}

/// Returns the script of a block. With prompts, only what follows them is typed.
fn script(block: &[(u32, &str)], syntax: Syntax, indent: usize) -> Script {
    let mut script = Script::new(syntax);
    let has_prompts = block.iter().any(|(_, line)| line.trim_start().starts_with("$ "));
    let is_options = |line: &str| line.trim_start().trim_start_matches("> ").trim_start().starts_with("--");
    // Pages break a command before its options, with or without a sign at the end, and have comments between them.
    let mut is_before_options = vec![false; block.len()];
    let mut next_is_options = false;
    for (index, (_, line)) in block.iter().enumerate().rev() {
        is_before_options[index] = next_is_options;
        if !line.trim_start().starts_with('#') {
            next_is_options = is_options(line);
        }
    }
    let mut is_continued = false;
    for ((number, line), is_joined) in block.iter().zip(is_before_options) {
        let mut skipped = blank(line).min(indent);
        if has_prompts {
            let typed = line.trim_start();
            match typed.strip_prefix("$ ").or(typed.strip_prefix("> ").filter(|_| is_continued)) {
                Some(rest) => skipped = line.len() - rest.len(),
                None if is_continued => {}
                None => continue,
            }
        }
        let mut line = *line;
        if is_joined {
            if line.trim_start().starts_with('#') {
                continue;
            }
            line = line.find(" #").map_or(line, |comment| &line[..comment]);
            line = line.trim_end().trim_end_matches(['\\', '^', '`']);
        }
        is_continued = is_joined || line.ends_with('\\');
        push(
            &mut script,
            &line[skipped.min(line.len())..],
            *number,
            line[..skipped.min(line.len())].chars().count() as u32 + 1,
        );
        script.push(if is_joined { " " } else { "\n" }, *number, 1);
    }
    script
}

/// Adds a line, with its placeholders as unknown parts.
fn push(script: &mut Script, line: &str, number: u32, column: u32) {
    let mut rest = line;
    let mut column = column;
    while line.len() <= MAX_LINE
        && let Some((before, length)) = placeholder(rest)
    {
        script.push(&rest[..before], number, column);
        let mark = crate::yaml::Mark { file: 0, line: number, column: column + rest[..before].chars().count() as u32 };
        script.push_at(UNKNOWN.encode_utf8(&mut [0; 4]), mark);
        column = mark.column + rest[before..before + length].chars().count() as u32;
        rest = &rest[before + length..];
    }
    script.push(rest, number, column);
}

/// Finds the first placeholder, such as `<your path>`, `{name}`, `[options]` or three dots.
fn placeholder(text: &str) -> Option<(usize, usize)> {
    let pairs = [('<', '>'), ('{', '}'), ('[', ']')];
    let found = pairs.into_iter().filter_map(|(open, close)| {
        let start = text.match_indices(open).map(|(at, _)| at).find(|at| {
            let (before, after) = (&text[..*at], &text[at + 1..]);
            let is_variable = open == '{' && before.ends_with('$') || open == '[' && before.contains("${");
            after.starts_with(|c: char| c.is_alphanumeric() || c == '/') && !is_variable && after.contains(close)
        })?;
        let end = start + 1 + text[start + 1..].find(close)?;
        Some((start, end + 1 - start))
    });
    let dots = ["...", "…"].into_iter().filter_map(|dots| Some((text.find(dots)?, dots.len())));
    found.chain(dots).min()
}
