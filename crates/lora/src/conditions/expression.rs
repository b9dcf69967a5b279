//! Expressions over the keys of a map.

use crate::read::Format;
use crate::tree::{Node, Value};

/// A condition on the keys of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Key { key: String, test: Test },
}

/// A test of the value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    True,
    Set,
    Is(Vec<String>),
    Begins(String),
    Ends(String),
    Has(String),
    Order(Order, Operand),
    /// The number of items in a list, or of the words between commas in a text.
    Count(Order, Operand),
    Kind(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
    Indivisible,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Number(f64),
    Key(String),
}

impl Expression {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let spaced =
            text.replace('(', " ( ").replace(')', " ) ").replace('{', " { ").replace('}', " } ").replace(',', " ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut parser = Parser { words: &words };
        let expression = parser.any()?;
        parser.words.is_empty().then_some(expression)
    }

    /// Returns the keys that the condition names, in its order.
    pub(crate) fn keys(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::keys).collect(),
            Self::Not(part) => part.keys(),
            Self::Key { key, test: Test::Order(_, Operand::Key(other)) | Test::Count(_, Operand::Key(other)) } => {
                vec![key, other]
            }
            Self::Key { key, .. } => vec![key],
        }
    }

    /// Returns the keys that make the condition hold: of alternatives, those of the ones that hold.
    pub(crate) fn causes<'a>(&self, values: &impl Fn(&str) -> Vec<&'a Node>) -> Vec<&str> {
        match self {
            Self::All(parts) => parts.iter().flat_map(|part| part.causes(values)).collect(),
            Self::Any(parts) => {
                parts.iter().filter(|part| part.holds(values)).flat_map(|part| part.causes(values)).collect()
            }
            Self::Not(_) | Self::Key { .. } => self.keys(),
        }
    }

    /// Returns keys that must be there for the condition to hold.
    pub(super) fn needed(&self) -> Vec<&str> {
        match self {
            Self::All(parts) => parts.iter().flat_map(Self::needed).collect(),
            // Alternatives need what each of them needs.
            Self::Any(parts) => {
                let mut needed = parts.first().map(Self::needed).unwrap_or_default();
                needed.retain(|key| parts.iter().all(|part| part.needed().contains(key)));
                needed
            }
            Self::Not(_) => Vec::new(),
            Self::Key { key, .. } => vec![key],
        }
    }

    /// Returns true if the condition holds. `values` returns the values of a key: several where lists are on the way to
    /// it, and none when it is absent.
    pub(crate) fn holds<'a>(&self, values: &impl Fn(&str) -> Vec<&'a Node>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(values)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(values)),
            Self::Not(part) => !part.holds(values),
            Self::Key { key, test } => values(key).into_iter().any(|node| test.holds(node, values)),
        }
    }
}

impl Test {
    fn holds<'a>(&self, node: &Node, values: &impl Fn(&str) -> Vec<&'a Node>) -> bool {
        let text = || node.text().unwrap_or_default();
        match self {
            Self::True => is_on(node),
            Self::Set => node.value != Value::Null,
            Self::Is(words) => words.iter().any(|word| is(node, word)),
            Self::Begins(start) => text().starts_with(start),
            Self::Ends(end) => text().ends_with(end),
            Self::Has(part) => text().contains(part) || node.items().iter().any(|item| is(item, part)),
            Self::Order(order, operand) => order.holds(node, operand, values, number),
            Self::Count(order, operand) => order.holds(node, operand, values, count),
            Self::Kind(kind) => match kind.as_str() {
                "text" => node.text().is_some(),
                "number" => matches!(node.value, Value::Number { .. }),
                "decimal" => matches!(node.value, Value::Number { whole: false, .. }),
                "list" => matches!(node.value, Value::List(_)),
                "json" => node.text().is_some_and(is_json),
                _ => matches!(node.value, Value::Map(_)),
            },
        }
    }
}

impl Order {
    /// Compares a node with an operand; `measure` is what counts of a node.
    fn holds<'a>(
        self,
        node: &Node,
        operand: &Operand,
        values: &impl Fn(&str) -> Vec<&'a Node>,
        measure: fn(&Node) -> Option<f64>,
    ) -> bool {
        let other = match operand {
            Operand::Number(number) => Some(*number),
            Operand::Key(key) => values(key).first().and_then(|node| measure(node)),
        };
        let Some((number, other)) = measure(node).zip(other) else { return false };
        match self {
            Self::Less => number < other,
            Self::AtMost => number <= other,
            Self::More => number > other,
            Self::AtLeast => number >= other,
            Self::Indivisible => number % other != 0.0,
        }
    }
}

/// Returns true if a trainer takes the value for true. The words for false that trainers convert are false.
fn is_on(node: &Node) -> bool {
    let is_no = |text: &str| ["false", "no", "off", "0", "none"].contains(&text.to_lowercase().as_str());
    node.is_true() && !node.text().is_some_and(is_no)
}

/// Returns true if the value is this word of a table.
fn is(node: &Node, word: &str) -> bool {
    match &node.value {
        Value::Null => word == "none",
        Value::Bool(is) => word == if *is { "true" } else { "false" },
        Value::Number { value, .. } => word.parse() == Ok(*value),
        Value::Text { text, .. } => crate::keys::matches(word, text),
        Value::List(_) | Value::Map(_) => false,
    }
}

/// Returns true for a map or a list in the notation of JSON.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && !Format::Json.read(text).faults.iter().any(|fault| fault.fatal)
}

fn number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Number { value, .. } => Some(*value),
        Value::Text { text, .. } => text.trim().parse().ok(),
        _ => None,
    }
}

/// Counts the items of a list, or the words between the commas of a text.
fn count(node: &Node) -> Option<f64> {
    let count = match &node.value {
        Value::List(items) => items.len(),
        Value::Text { text, .. } => text.split(',').count(),
        _ => return None,
    };
    u32::try_from(count).ok().map(f64::from)
}

struct Parser<'a, 'w> {
    words: &'a [&'w str],
}

impl<'w> Parser<'_, 'w> {
    fn take(&mut self) -> Option<&'w str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn take_if(&mut self, word: &str) -> bool {
        let is = self.words.first() == Some(&word);
        if is {
            self.words = &self.words[1..];
        }
        is
    }

    fn any(&mut self) -> Option<Expression> {
        let mut parts = vec![self.all()?];
        while self.take_if("or") {
            parts.push(self.all()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Option<Expression> {
        let mut parts = vec![self.part()?];
        while self.take_if("and") {
            parts.push(self.part()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn part(&mut self) -> Option<Expression> {
        if self.take_if("not") {
            return Some(Expression::Not(Box::new(self.part()?)));
        }
        if self.take_if("(") {
            let expression = self.any()?;
            return self.take_if(")").then_some(expression);
        }
        let key = self.take()?;
        let (test, negated) = self.test()?;
        let (key, test) = match (key.strip_suffix('#'), test) {
            (Some(key), Test::Order(order, operand)) => (key, Test::Count(order, operand)),
            (Some(_), _) => return None,
            (None, test) => (key, test),
        };
        let expression = Expression::Key { key: key.to_owned(), test };
        Some(if negated { Expression::Not(Box::new(expression)) } else { expression })
    }

    /// Reads the test behind a key, and whether it is negated.
    fn test(&mut self) -> Option<(Test, bool)> {
        let negated = self.take_if("not");
        let test = match self.words.first().copied() {
            Some("set") => Test::Set,
            Some("in") => {
                self.words = &self.words[1..];
                return Some((Test::Is(self.set()?), negated));
            }
            Some("==" | "!=") => {
                let negated = self.take()? == "!=";
                return Some((Test::Is(vec![self.word()?]), negated));
            }
            Some("begins" | "ends" | "has" | "is") => {
                let (word, text) = (self.take()?, self.take()?.to_owned());
                let test = match word {
                    "begins" => Test::Begins(text),
                    "ends" => Test::Ends(text),
                    "has" => Test::Has(text),
                    _ => Test::Kind(text),
                };
                return Some((test, negated));
            }
            Some("<" | "<=" | ">" | ">=" | "indivisible") => return self.order().map(|test| (test, negated)),
            _ if negated => return None,
            _ => return Some((Test::True, false)),
        };
        self.words = &self.words[1..];
        Some((test, negated))
    }

    fn order(&mut self) -> Option<Test> {
        let order = match self.take()? {
            "<" => Order::Less,
            "<=" => Order::AtMost,
            ">" => Order::More,
            "indivisible" => Order::Indivisible,
            _ => Order::AtLeast,
        };
        let word = self.take()?;
        let operand = match word.strip_prefix('@') {
            Some(key) => Operand::Key(key.to_owned()),
            None => Operand::Number(word.parse().ok()?),
        };
        Some(Test::Order(order, operand))
    }

    fn set(&mut self) -> Option<Vec<String>> {
        let mut words = Vec::new();
        if !self.take_if("{") {
            return None;
        }
        while !self.take_if("}") {
            words.push(self.word()?);
        }
        Some(words)
    }

    /// Reads a word to compare with; two quotes stand for an empty one.
    fn word(&mut self) -> Option<String> {
        self.take().map(|word| word.trim_matches('"').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str, config: &str) -> bool {
        let root = Format::Yaml.read(config).root.expect("YAML");
        let values = |key: &str| -> Vec<&Node> {
            root.entries().iter().filter(|entry| entry.key == key).map(|entry| &entry.node).collect()
        };
        Expression::parse(condition).expect("a condition").holds(&values)
    }

    #[test]
    fn conditions_are_read_as_they_are_written() {
        for (condition, config, expected) in [
            ("a and not b", "a: 1", true),
            ("a and not b", "{a: 1, b: yes}", false),
            ("a and not b", "{a: 1, b: 'False'}", true),
            ("a or b and c", "{b: 1, a: 1}", true),
            ("(a or b) and c", "{b: 1, a: 1}", false),
            ("a set", "a: 0", true),
            ("a not set", "a: null", true),
            ("a == 8", "a: 8.0", true),
            ("a != x", "b: x", true),
            ("a in {x, y}", "a: y", true),
            ("a not in {x, 5*}", "a: 5z", false),
            ("a begins x and a ends z", "a: xyz", true),
            ("a has q", "a: [p, q]", true),
            ("a > 3", "a: '4'", true),
            ("a > 3", "b: 4", false),
            ("a < @b", "{a: 1, b: 2}", true),
            ("a indivisible @b", "{a: 6, b: 4}", true),
            ("a indivisible @b", "{a: 6, b: 2}", false),
            ("a indivisible 64", "b: 1", false),
            ("a# > 1", "a: [p, q]", true),
            ("a# < @b", "{a: p, b: 'p, q'}", true),
            ("a# > 1", "a: 7", false),
            ("a not is list", "a: x", true),
            ("a is json", "a: '[1, {\"b\": true}]'", true),
            ("a is json", "a: '[1'", false),
            ("a is json", "a: '12'", false),
            ("a is decimal", "a: 1.0", true),
            ("a is decimal", "a: 1", false),
        ] {
            assert_eq!(holds(condition, config), expected, "{condition} on {config}");
        }
        for wrong in ["", "a ==", "a in x", "a not", "(a", "a b", "a < x", "a# == 2"] {
            assert_eq!(Expression::parse(wrong), None, "{wrong}");
        }
    }
}
