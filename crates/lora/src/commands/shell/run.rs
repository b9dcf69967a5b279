//! The commands of a script in the order of its text.

use super::Argument;
use super::script::Script;
use super::variables::{MAX_ARGUMENTS, Variables};
use super::words::{Token, Word, Words};

/// A command with its arguments.
#[derive(Debug)]
pub(in crate::commands) struct Command {
    /// The program and its arguments, without assignments before them.
    pub(in crate::commands) arguments: Vec<Argument>,
    /// The files that its output goes to, or its input comes from.
    pub(in crate::commands) targets: Vec<Argument>,
    /// True when the folder in which it runs is not the one in which the script was started.
    pub(in crate::commands) is_elsewhere: bool,
    /// True when the line before it ended without a connection to this one.
    pub(in crate::commands) begins_line: bool,
}

/// Maximum number of blocks within each other that are told apart.
const MAX_BLOCKS: usize = 64;
/// Words after which another command stands.
const BEFORE_COMMANDS: [&str; 9] = ["then", "do", "else", "elif", "{", "!", "time", "if", "while"];
/// Commands that set the variables that follow.
const DECLARATIONS: [&str; 5] = ["export", "declare", "local", "readonly", "typeset"];

/// Returns the commands of a script.
pub(in crate::commands) fn commands(script: &Script, variables: &mut Variables) -> Vec<Command> {
    let mut run = Run { script, variables, found: Vec::new(), blocks: Vec::new() };
    let mut words = Words::of(script);
    let (mut statement, mut begins_line) = (Vec::new(), false);
    let mut targets = Vec::new();
    while let Some(token) = words.next() {
        match token {
            Token::Word(word) if statement.len() < MAX_ARGUMENTS => statement.push(word),
            Token::Word(_) | Token::Redirect(None) => {}
            Token::Redirect(Some(target)) => targets.push(target),
            Token::Break(c) => {
                run.statement(&statement, &targets, begins_line);
                statement.clear();
                targets.clear();
                begins_line = c == '\n';
                match c {
                    '(' => run.open("("),
                    ')' => run.close("("),
                    _ => {}
                }
            }
        }
    }
    run.statement(&statement, &targets, begins_line);
    // A later part of the file begins outside of all blocks.
    run.blocks.iter().for_each(|_| run.variables.close_block());
    run.found
}

struct Run<'s, 'v> {
    script: &'s Script,
    variables: &'v mut Variables,
    found: Vec<Command>,
    /// The words that opened the blocks in which the text stands.
    blocks: Vec<&'static str>,
}

impl Run<'_, '_> {
    fn open(&mut self, by: &'static str) {
        if self.blocks.len() < MAX_BLOCKS {
            self.blocks.push(by);
            self.variables.open_block();
        }
    }

    fn close(&mut self, by: &str) {
        if self.blocks.last() == Some(&by) {
            self.blocks.pop();
            self.variables.close_block();
        }
    }

    fn statement(&mut self, mut words: &[Word], targets: &[Word], begins_line: bool) {
        // What a branch sets is unknown in the next one.
        while let Some((first, rest)) = words.split_first() {
            let Some(word) = first.plain() else { break };
            match word {
                "if" | "while" | "until" => self.open(if word == "if" { "if" } else { "do" }),
                "else" | "elif" => {
                    self.close("if");
                    self.open("if");
                }
                "for" | "select" => {
                    self.open("do");
                    if let Some(name) = rest.first().and_then(Word::plain) {
                        self.variables.forget(name);
                    }
                    return;
                }
                "case" => return self.open("case"),
                "{" => self.open("{"),
                "fi" => self.close("if"),
                "done" => self.close("do"),
                "esac" => self.close("case"),
                "}" => self.close("{"),
                _ => {}
            }
            let is_before = BEFORE_COMMANDS.contains(&word) || ["until", "function"].contains(&word);
            if !is_before {
                break;
            }
            words = rest;
        }
        self.command(words, targets, begins_line);
    }

    fn command(&mut self, words: &[Word], targets: &[Word], begins_line: bool) {
        let script = self.script;
        let name = words.first().and_then(Word::plain).unwrap_or_default();
        if DECLARATIONS.contains(&name) {
            for word in &words[1..] {
                self.variables.assign(word, script);
            }
            return;
        }
        if ["read", "unset", "mapfile", "readarray", "getopts"].contains(&name) {
            words.iter().filter_map(Word::plain).for_each(|name| self.variables.forget(name));
            return;
        }
        self.variables.is_elsewhere |= ["cd", "pushd", "popd", "chdir", "Set-Location"].contains(&name);
        // An assignment before a command is for this command only, and its own words do not see it.
        let start = words.iter().position(|word| !is_assignment(word)).unwrap_or(words.len());
        if start == words.len() {
            for word in words {
                self.variables.assign(word, script);
            }
        }
        let mut arguments = Vec::new();
        for word in &words[start..] {
            arguments.extend(self.variables.expand(word, script));
            if arguments.len() > MAX_ARGUMENTS {
                let at = script.mark(word.offset);
                arguments.truncate(MAX_ARGUMENTS);
                arguments.push(Argument::unknown(true, at));
                break;
            }
        }
        // A backslash with a space behind it was to join the next line.
        if arguments.last().is_some_and(|last| last.is_whole && !last.text.is_empty() && last.text.trim().is_empty()) {
            arguments.pop();
        }
        let targets: Vec<Argument> = targets.iter().flat_map(|word| self.variables.expand(word, script)).collect();
        if !arguments.is_empty() || !targets.is_empty() {
            let is_elsewhere = self.variables.is_elsewhere;
            self.found.push(Command { arguments, targets, is_elsewhere, begins_line });
        }
    }
}

fn is_assignment(word: &Word) -> bool {
    super::variables::assigned(word).is_some()
}
