//! The explanations of the rules. They are the pages in `docs/usage/rules`, so that a terminal, the documents and other
//! programs show the same text.

use crate::cli::table::{Colour, Table, paint};
use crate::domain::Rule;

/// Pages of rules that a team can switch off, and of rules of the `.travis.yml`, whose errors stay.
const OF_CONFIGS: [&str; 2] =
    [include_str!("../../../../docs/usage/rules/configs.md"), include_str!("../../../../docs/usage/rules/data.md")];
const OF_TRAVIS: [&str; 2] = [
    include_str!("../../../../docs/usage/rules/travis.md"),
    include_str!("../../../../docs/usage/rules/travis-keys.md"),
];

/// The explanation of a rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Explanation {
    /// A sentence on what the rule finds.
    pub(super) summary: &'static str,
    /// The reason, and examples, in Markdown.
    pub(super) text: &'static str,
    pub(super) is_of_travis: bool,
}

impl Explanation {
    /// Returns the explanation of a rule. The tests know that each rule has one.
    pub(super) fn of(rule: Rule) -> Self {
        let pages = OF_CONFIGS.map(|page| (page, false)).into_iter().chain(OF_TRAVIS.map(|page| (page, true)));
        let mut found = pages.filter_map(|(page, is_of_travis)| Some((section(page, rule.name())?, is_of_travis)));
        let (section, is_of_travis) = found.next().unwrap_or_default();
        let (summary, text) = section.split_once("\n\n").unwrap_or((section, ""));
        Self { summary: summary.trim(), text: text.trim(), is_of_travis }
    }
}

/// Returns what stands below the heading of a rule.
fn section(page: &'static str, name: &str) -> Option<&'static str> {
    let mut sections = page.split("\n## ").skip(1);
    sections.find_map(|section| section.strip_prefix(name)?.strip_prefix("\n\n"))
}

/// Renders the list of all rules, one line each.
pub(super) fn list(colours: bool, width: Option<usize>) -> String {
    let mut table = Table::new(["RULE", "WHAT IT FINDS"]);
    for rule in Rule::ALL {
        let summary = Explanation::of(*rule).summary.replace('\n', " ");
        table.push_painted(vec![(rule.name().to_owned(), Some(Colour::Bold)), (summary, None)]);
    }
    table.render(colours, width)
}

/// Renders the explanation of a rule for a terminal.
pub(super) fn explain(rule: Rule, colours: bool) -> String {
    let Explanation { summary, text, is_of_travis } = Explanation::of(rule);
    let mut shown = format!("{}\n\n{}\n", paint(rule.name(), Colour::Bold, colours), wrapped(summary));
    for (index, part) in text.split("```").enumerate() {
        // Every second part is code, behind the name of its language.
        if index % 2 == 1 {
            let code = part.lines().skip(1).map(|line| format!("    {line}").trim_end().to_owned() + "\n");
            shown.extend(std::iter::once("\n".to_owned()).chain(code));
            continue;
        }
        for paragraph in part.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
            let paragraph = wrapped(paragraph);
            let colour = [("Wrong", Colour::Red), ("Right", Colour::Green)];
            let colour = colour.into_iter().find(|(word, _)| paragraph.starts_with(word));
            let paragraph = colour.map_or(paragraph.clone(), |(_, colour)| paint(&paragraph, colour, colours));
            shown.push_str(&format!("\n{paragraph}\n"));
        }
    }
    let errors = if is_of_travis { " (an error stays one)" } else { "" };
    shown
        + &format!("\nThis in the .travis.yml switches the rule off{errors}:\n\n    lora: {{rules: {{{rule}: off}}}}\n")
}

/// Breaks a paragraph into lines for a terminal.
fn wrapped(paragraph: &str) -> String {
    const WIDTH: usize = 96;
    let mut text = String::new();
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        let is_full = column > 0 && column + 1 + length > WIDTH;
        if column > 0 {
            text.push(if is_full { '\n' } else { ' ' });
        }
        text.push_str(word);
        column = if is_full || column == 0 { length } else { column + 1 + length };
    }
    text
}

#[cfg(test)]
mod tests;
