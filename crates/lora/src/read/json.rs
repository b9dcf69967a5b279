//! Parser for JSON with positions and duplicate keys, which none of our dependencies reports.

use std::collections::HashMap;

use super::{Fault, Places, Source};
use crate::domain::Rule;
use crate::tree::{Entry, Node, Value};
use crate::yaml::MAX_DEPTH;
use crate::yaml::Mend;

pub(super) fn read(text: &str) -> Source {
    let mut reader = Reader { text, at: 0, places: Places::of(text), faults: Vec::new() };
    let root = reader.value(0).and_then(|root| {
        reader.skip_space();
        match reader.peek() {
            None => Ok(root),
            Some(_) => Err(Partial { node: Some(root), ..Partial::from("there is more text after its end") }),
        }
    });
    match root {
        Ok(root) => Source { root: Some(root), faults: reader.faults },
        Err(Partial { node, message, mend }) => {
            let at = Some(reader.places.mark(reader.at));
            let message = format!("this is not JSON, so the trainer cannot read it: {message}");
            reader.faults.push(Fault { mend, ..Fault::fatal(Rule::BadJson, message, at) });
            Source { root: node, faults: reader.faults }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    places: Places<'a>,
    faults: Vec<Fault>,
}

/// The reason why reading stopped at the reader's position, and what was read until then.
struct Partial {
    node: Option<Node>,
    message: &'static str,
    mend: Option<Mend>,
}

impl From<&'static str> for Partial {
    fn from(message: &'static str) -> Self {
        Self { node: None, message, mend: None }
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Partial> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".into());
        }
        self.skip_space();
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => return self.map(depth),
            Some(b'[') => return self.list(depth),
            Some(b'"') => Value::Text { text: self.string()?, plain: false },
            _ => self.word()?,
        };
        Ok(Node { value, at: self.places.mark(start) })
    }

    fn map(&mut self, depth: usize) -> Result<Node, Partial> {
        let at = self.places.mark(self.at);
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let stopped = self.collect(b'}', |reader| {
            let at = reader.places.mark(reader.at);
            if reader.peek() != Some(b'"') {
                return Err("expected a key in double quotes".into());
            }
            let key = reader.string()?;
            reader.skip_space();
            if reader.peek() != Some(b':') {
                return Err("a colon must follow the key".into());
            }
            reader.at += 1;
            let node = reader.value(depth + 1)?;
            if let Some(old) = places.get(&key) {
                reader.faults.push(Fault::twice(&key, at));
                entries[*old] = Entry { key, at, node };
            } else {
                places.insert(key.clone(), entries.len());
                entries.push(Entry { key, at, node });
            }
            Ok(())
        });
        let node = Node { value: Value::Map(entries), at };
        match stopped {
            Ok(()) => Ok(node),
            Err(stopped) => Err(Partial { node: Some(node), ..stopped }),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Node, Partial> {
        let at = self.places.mark(self.at);
        let mut items = Vec::new();
        self.collect(b']', |reader| {
            items.push(reader.value(depth + 1)?);
            Ok(())
        })?;
        Ok(Node { value: Value::List(items), at })
    }

    /// Reads the items between commas until `end`.
    fn collect(&mut self, end: u8, mut one: impl FnMut(&mut Self) -> Result<(), Partial>) -> Result<(), Partial> {
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            one(self)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => {
                    let comma = self.at;
                    self.at += 1;
                    self.skip_space();
                    if self.peek() == Some(end) || self.peek() == Some(b',') {
                        self.at = comma;
                        let mend = Some(Mend::Remove { text: "," });
                        return Err(Partial { mend, ..Partial::from("nothing follows the comma: remove it") });
                    }
                }
                Some(byte) if byte == end => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err("expected a comma or the closing bracket".into()),
            }
        }
    }

    /// Reads a quoted string. serde_json resolves the escapes.
    fn string(&mut self) -> Result<String, Partial> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                None | Some(b'\n') => return Err("the string that starts here has no end".into()),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let quoted = &self.text[self.at..=end];
        let text = serde_json::from_str(quoted).map_err(|_| "the string that starts here has an invalid escape")?;
        self.at = end + 1;
        Ok(text)
    }

    /// Reads `true`, `false`, `null` or a number. Python also accepts `NaN` and `Infinity`.
    fn word(&mut self) -> Result<Value, Partial> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
        let value = match &rest[..length] {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "NaN" => Value::Number { value: f64::NAN, whole: false },
            "Infinity" => Value::Number { value: f64::INFINITY, whole: false },
            "-Infinity" => Value::Number { value: f64::NEG_INFINITY, whole: false },
            word => {
                let number: serde_json::Number = serde_json::from_str(word).map_err(|_| no_value(word))?;
                Value::Number { value: number.as_f64().unwrap_or(f64::NAN), whole: !number.is_f64() }
            }
        };
        self.at += length;
        Ok(value)
    }
}

/// Returns why a word is not a value. Words of Python have their counterparts in JSON.
fn no_value(word: &str) -> Partial {
    const OF_PYTHON: [(&str, &str); 3] = [("True", "true"), ("False", "false"), ("None", "null")];
    let known = OF_PYTHON.iter().find(|(python, _)| *python == word);
    let mend = known.map(|(python, json)| Mend::word(python, json));
    let message = if mend.is_some() { "this is a word of Python: write it as JSON does" } else { "expected a value" };
    Partial { mend, ..Partial::from(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the position and the message of each fault.
    fn faults(text: &str) -> Vec<String> {
        let place = |fault: &Fault| fault.at.map(|at| format!("{}:{}", at.line, at.column)).unwrap_or_default();
        read(text).faults.iter().map(|fault| format!("{} {}", place(fault), fault.message)).collect()
    }

    #[test]
    fn what_is_read_has_its_place() {
        let source = read("{\n \"é\": [1, {\"b\": \"\\u00e9\"}],\n \"c\": -1.5e3}");
        let root = source.root.expect("a root");
        let [first, second] = root.entries() else { panic!("two entries") };
        assert_eq!((first.at.line, first.at.column, first.node.at.column), (2, 2, 7));
        assert_eq!(first.node.items()[1].entries()[0].node.text(), Some("é"));
        assert_eq!(second.node.value, Value::Number { value: -1500.0, whole: false });
    }

    #[test]
    fn faults_tell_the_place_and_what_to_do() {
        assert_eq!(
            faults("{\"a\": 1,\n}"),
            ["1:8 this is not JSON, so the trainer cannot read it: nothing follows the comma: remove it"]
        );
        assert_eq!(
            faults("{\"a\" 1}"),
            ["1:6 this is not JSON, so the trainer cannot read it: a colon must follow the key"]
        );
        assert_eq!(faults("{\"a\": x}"), ["1:7 this is not JSON, so the trainer cannot read it: expected a value"]);
        assert_eq!(
            faults("{\"a\": \"x"),
            ["1:7 this is not JSON, so the trainer cannot read it: the string that starts here has no end"]
        );
        assert_eq!(
            faults("{} {}"),
            ["1:4 this is not JSON, so the trainer cannot read it: there is more text after its end"]
        );
        assert_eq!(
            faults("{\"a\": 1, \"a\": 2}"),
            ["1:10 the trainer reads only the last a, which is given twice: remove one"]
        );
        assert_eq!(faults(&"[".repeat(1000)).len(), 1);
    }

    #[test]
    fn what_was_read_before_a_fault_is_kept() {
        let root = read("{\"LoRA_type\": \"Standard\", \"epoch\": 1,}").root.expect("a root");
        assert_eq!(root.entries().len(), 2);
    }
}
