//! Parser for conditions.

use super::{Condition, Error, Operand, Pattern, Predicate};

/// Variables, which are in lower case only.
const VARIABLES: [&str; 14] = [
    "type",
    "repo",
    "head_repo",
    "os",
    "dist",
    "group",
    "sudo",
    "language",
    "sender",
    "fork",
    "draft",
    "branch",
    "head_branch",
    "tag",
];
const COMMIT_MESSAGE: &str = "commit_message";

/// Returns the names of all variables.
pub fn variables() -> impl Iterator<Item = &'static str> {
    VARIABLES.into_iter().chain([COMMIT_MESSAGE])
}

/// Maximum length of a condition: conditions are evaluated once per job.
pub const MAX_BYTES: usize = 20_000;
/// Maximum nesting depth.
const MAX_DEPTH: usize = 60;

/// Parses a condition.
///
/// # Errors
/// Fails when the expression does not follow the grammar or uses the shell's `$NAME`.
pub fn parse(text: &str) -> Result<Condition, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::Syntax(MAX_BYTES));
    }
    let text = on_one_line(text);
    let mut parser = Parser { text: &text, at: 0, depth: 0 };
    let condition = parser.or()?;
    parser.blanks();
    if parser.at < text.len() { Err(parser.syntax()) } else { Ok(condition) }
}

/// Returns a condition's text as it is parsed: a backslash at the end of a line joins it with the next, and newlines
/// are blanks.
pub fn on_one_line(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let Some(content) = line.strip_suffix('\n') else {
            joined.push_str(line);
            continue;
        };
        joined.push_str(content.trim_end().strip_suffix('\\').unwrap_or(content));
        joined.push(' ');
    }
    joined
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn syntax(&self) -> Error {
        Error::Syntax(self.at)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Consumes a symbol after blanks.
    fn symbol(&mut self, symbol: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(symbol);
        self.at += if found { symbol.len() } else { 0 };
        found
    }

    /// Consumes a word in any case after blanks. No separator is required after it: `ORtag` is `OR tag`.
    fn keyword(&mut self, word: &str) -> bool {
        self.blanks();
        let found = self.rest().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn or(&mut self) -> Result<Condition, Error> {
        let mut left = self.and()?;
        while self.keyword("or") || self.symbol("||") {
            left = Condition::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Condition, Error> {
        let mut left = self.not()?;
        while self.keyword("and") || self.symbol("&&") {
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Condition, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.syntax());
        }
        let result = if self.symbol("(") {
            let inner = self.or()?;
            if self.symbol(")") { Ok(inner) } else { Err(self.syntax()) }
        } else if self.keyword("not") || self.negation() {
            self.not().map(|inner| Condition::Not(Box::new(inner)))
        } else {
            self.term()
        };
        self.depth -= 1;
        result
    }

    /// Consumes `!`, unless it begins an operator.
    fn negation(&mut self) -> bool {
        self.blanks();
        !self.rest().starts_with("!=") && !self.rest().starts_with("!~") && self.symbol("!")
    }

    fn term(&mut self) -> Result<Condition, Error> {
        let left = self.operand()?;
        if self.symbol("=~") || self.symbol("~=") {
            return Ok(Condition::Match(left, self.regex()?, false));
        }
        if self.symbol("!~") {
            return Ok(Condition::Match(left, self.regex()?, true));
        }
        if self.symbol("!=") {
            return Ok(Condition::Equal(left, self.operand()?, true));
        }
        if self.symbol("==") || self.symbol("=") {
            return Ok(Condition::Equal(left, self.operand()?, false));
        }
        if self.keyword("is") {
            let not = self.keyword("not");
            return Ok(Condition::Is(left, self.predicate()?, not));
        }
        let before = self.at;
        let not = self.keyword("not");
        if self.keyword("in") {
            if !self.symbol("(") {
                return Err(self.syntax());
            }
            let list = self.list()?;
            return Ok(Condition::In(left, list, not));
        }
        self.at = before;
        Ok(Condition::Term(left))
    }

    fn predicate(&mut self) -> Result<Predicate, Error> {
        let predicates = [
            ("present", Predicate::Present),
            ("blank", Predicate::Blank),
            ("true", Predicate::True),
            ("false", Predicate::False),
        ];
        let found = predicates.into_iter().find(|(word, _)| self.keyword(word));
        found.map(|(_, predicate)| predicate).ok_or_else(|| self.syntax())
    }

    /// Parses operands up to and including the closing parenthesis.
    fn list(&mut self) -> Result<Vec<Operand>, Error> {
        let mut list = Vec::new();
        if self.symbol(")") {
            return Ok(list);
        }
        loop {
            list.push(self.operand()?);
            if self.symbol(")") {
                return Ok(list);
            }
            if !self.symbol(",") {
                return Err(self.syntax());
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, Error> {
        self.blanks();
        if let Some(variable) = self.variable() {
            return Ok(Operand::Variable(variable));
        }
        if let Some(call) = self.call()? {
            return Ok(call);
        }
        if let Some(quote @ ('"' | '\'')) = self.rest().chars().next() {
            let inner = &self.rest()[1..];
            let end = inner.find(quote).ok_or_else(|| self.syntax())?;
            let text = inner[..end].to_owned();
            self.at += end + 2;
            return Ok(Operand::Text(text));
        }
        let ends = |c: char| c.is_whitespace() || "()\"',=!".contains(c);
        let word = &self.rest()[..self.rest().find(ends).unwrap_or(self.rest().len())];
        if word.starts_with('$') {
            return Err(Error::Dollar(self.at));
        }
        if word.is_empty() {
            return Err(self.syntax());
        }
        let word = word.to_owned();
        self.at += word.len();
        Ok(Operand::Text(word))
    }

    fn variable(&mut self) -> Option<String> {
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        let known = variables().any(|name| name == word);
        let ends = after.chars().next().is_none_or(|c| c.is_whitespace() || ",=)|".contains(c));
        if !known || !ends {
            return None;
        }
        let word = word.to_owned();
        self.at += length;
        Some(word)
    }

    fn call(&mut self) -> Result<Option<Operand>, Error> {
        for (name, make) in [("env", Operand::Env as fn(Vec<Operand>) -> Operand), ("concat", Operand::Concat)] {
            if self.keyword(name) {
                // Travis's parser does not backtrack here, so `env_name` is the word `_name`.
                if !self.symbol("(") {
                    continue;
                }
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(self.syntax());
                }
                let list = self.list()?;
                self.depth -= 1;
                return Ok(Some(make(list)));
            }
        }
        Ok(None)
    }

    /// Parses a regular expression: a call, `/…/`, or everything up to the last character before a blank that is not a
    /// closing parenthesis. Slashes at its ends do not belong to it.
    fn regex(&mut self) -> Result<Operand, Error> {
        self.blanks();
        if let Some(call) = self.call()? {
            return Ok(call);
        }
        let rest = self.rest();
        let length = slashed(rest).or_else(|| {
            let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
            let length = word.trim_end_matches(')').len();
            (length > 0).then_some(length)
        });
        let length = length.ok_or_else(|| self.syntax())?;
        let text = &rest[..length];
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text).to_owned();
        self.at += length;
        Ok(Operand::Regex(Pattern::new(text)))
    }
}

/// Returns the length of `/…/` at the start of a text.
fn slashed(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('/')?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '/' => return Some(at + 2),
            _ => {}
        }
    }
    None
}
