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
        let before = self.at;
        let not = self.keyword("not");
        if self.keyword("in") {
            let list = if self.symbol("(") { self.list()? } else { Some(Vec::new()) };
            return list.map(|list| Condition::In(left, list, not)).ok_or_else(|| self.syntax());
        }
        self.at = before;
        // `IS` without a predicate has no meaning.
        if self.keyword("is") {
            let not = self.keyword("not");
            if let Some(predicate) = self.predicate() {
                return Ok(Condition::Is(left, predicate, not));
            }
        }
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
        Ok(Condition::Term(left))
    }

    fn predicate(&mut self) -> Option<Predicate> {
        let predicates = [
            ("present", Predicate::Present),
            ("blank", Predicate::Blank),
            ("true", Predicate::True),
            ("false", Predicate::False),
        ];
        let found = predicates.into_iter().find(|(word, _)| self.keyword(word));
        found.map(|(_, predicate)| predicate)
    }

    /// Parses operands up to and including the closing parenthesis. Returns `None` if there are none.
    fn list(&mut self) -> Result<Option<Vec<Operand>>, Error> {
        let mut list = Vec::new();
        while let Some(operand) = self.find_operand()? {
            list.push(operand);
            if !self.symbol(",") {
                break;
            }
        }
        // Travis's parser skips one comma more for each operand, since it calls itself for each.
        let commas = self.rest().bytes().take(list.len()).take_while(|byte| *byte == b',').count();
        self.at += commas;
        if self.symbol(")") { Ok(Some(list).filter(|list| !list.is_empty())) } else { Err(self.syntax()) }
    }

    fn operand(&mut self) -> Result<Operand, Error> {
        self.find_operand()?.ok_or_else(|| self.syntax())
    }

    fn find_operand(&mut self) -> Result<Option<Operand>, Error> {
        self.blanks();
        if let Some(variable) = self.variable() {
            return Ok(Some(Operand::Variable(variable)));
        }
        if let Some(call) = self.call()? {
            return Ok(Some(call));
        }
        if let Some(quote @ ('"' | '\'')) = self.rest().chars().next() {
            let inner = &self.rest()[1..];
            let end = inner.find(quote).ok_or_else(|| self.syntax())?;
            let text = inner[..end].to_owned();
            self.at += end + 2;
            return Ok(Some(Operand::Text(text)));
        }
        let ends = |c: char| c.is_whitespace() || "()\"',=!".contains(c);
        let word = &self.rest()[..self.rest().find(ends).unwrap_or(self.rest().len())];
        if word.starts_with('$') {
            return Err(Error::Dollar(self.at));
        }
        if word.is_empty() {
            return Ok(None);
        }
        let word = word.to_owned();
        self.at += word.len();
        Ok(Some(Operand::Text(word)))
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
                let list = self.list()?.unwrap_or_default();
                self.depth -= 1;
                return Ok(Some(make(list)));
            }
        }
        Ok(None)
    }

    /// Parses a regular expression: a call, `/…/`, or everything up to the last character before a blank that is not a
    /// closing parenthesis. Slashes at its ends do not belong to it. It may be missing.
    fn regex(&mut self) -> Result<Operand, Error> {
        self.blanks();
        if let Some(call) = self.call()? {
            return Ok(call);
        }
        let rest = self.rest();
        let length = slashed(rest).unwrap_or_else(|| {
            let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
            word.trim_end_matches(')').len()
        });
        if length == 0 {
            return Ok(Operand::Missing);
        }
        let text = &rest[..length];
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text).to_owned();
        self.at += length;
        Ok(Operand::Regex(Pattern::new(text)))
    }
}

/// Returns the length of `/…/` at the start of a text. Without the last slash, it is all of the text.
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
    Some(text.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::travis::condition::Data;

    fn term(text: &str) -> Condition {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The trees are those of the parser of travis-conditions c5e8ab1, as its source says.
    #[test]
    fn what_was_not_written_to_its_end_is_read_as_on_travis() {
        let branch = || Operand::Variable("branch".to_owned());
        let text = |text: &str| Operand::Text(text.to_owned());
        let table = [
            ("branch IN (a, b,)", Condition::In(branch(), vec![text("a"), text("b")], false)),
            ("branch IN (a,b,,,)", Condition::In(branch(), vec![text("a"), text("b")], false)),
            ("branch NOT IN", Condition::In(branch(), vec![], true)),
            ("branch IS", Condition::Term(branch())),
            ("branch IS NOT", Condition::Term(branch())),
            ("branch IS = a", Condition::Equal(branch(), text("a"), false)),
            ("branch =~", Condition::Match(branch(), Operand::Missing, false)),
            ("(branch !~)", Condition::Match(branch(), Operand::Missing, true)),
            (
                "branch =~ /a AND b",
                Condition::Match(branch(), Operand::Regex(Pattern::new("a AND b".to_owned())), false),
            ),
            ("env()", Condition::Term(Operand::Env(vec![]))),
            ("concat(a,)", Condition::Term(Operand::Concat(vec![text("a")]))),
        ];
        for (condition, wanted) in table {
            assert_eq!(term(condition), wanted, "{condition}");
        }
        for refused in [
            "branch IN ()",
            "branch IN (,)",
            "branch IN (a,,b)",
            "branch IN (a,,,)",
            "branch =",
            "branch AND",
            "NOT",
            "()",
        ] {
            assert!(parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_is_missing_matches_nothing() {
        let facts = serde_json::json!({ "branch": "main" });
        let data = Data { variables: &facts, env: &serde_json::Value::Null };
        let holds = |text| term(text).holds(data);
        for (condition, wanted) in
            [("branch =~", false), ("branch !~", true), ("branch IN", false), ("branch IS", true)]
        {
            assert_eq!(holds(condition), Ok(wanted), "{condition}");
        }
    }
}
