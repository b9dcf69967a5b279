//! Reader that turns text into a tree.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::{Data, Entry, Mark, Node};

/// Maximum length of a text, in bytes. Real `.travis.yml` files stay far below 100 KB.
pub const MAX_BYTES: usize = 1_000_000;
/// Maximum nesting depth, after aliases.
pub const MAX_DEPTH: usize = 64;
/// Maximum number of nodes (keys count), after aliases and merges. This limit stops a bomb of aliases.
pub const MAX_NODES: usize = 12_000;

/// The first document of a text, and its doubtful parts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// The document's value; `None` when the text holds nothing but comments.
    pub root: Option<Node>,
    /// Keys that occur twice in a mapping; the last one counts.
    pub duplicates: Vec<Duplicate>,
    /// Aliases without an anchor, which stand for null.
    pub unresolved: Vec<(String, Mark)>,
}

/// A key that occurs twice in a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    pub key: String,
    /// Keys that lead to the mapping, outermost first; sequences add nothing.
    pub path: Vec<String>,
    /// Place where the key is written again.
    pub at: Mark,
}

/// The reason why a text is not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// A sentence without a place.
    pub message: String,
    /// Place where the error shows.
    pub at: Option<Mark>,
}

/// Reads the first document of `text` as libyaml does.
///
/// # Errors
/// Fails when the text is not YAML, has a key that is not a scalar, contains NUL, or exceeds [`MAX_BYTES`],
/// [`MAX_DEPTH`] or [`MAX_NODES`].
pub fn read(text: &str) -> Result<Document, Error> {
    read_as(0, text)
}

/// Reads a document like [`read`], for a text that is merged with others: its marks name `file`.
///
/// # Errors
/// The same as for [`read`].
pub fn read_as(file: u16, text: &str) -> Result<Document, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error { message: format!("the file is larger than {MAX_BYTES} bytes"), at: None });
    }
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        block_scalar_eof_without_line_feed: true,
        bom_inside_document_as_content: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax_error(file, &error))?;
        if matches!(event, Event::DocumentEnd | Event::StreamEnd) {
            break;
        }
        builder.take(event, mark(file, &span.start))?;
    }
    Ok(builder.document)
}

fn syntax_error(file: u16, error: &ScanError) -> Error {
    let info = error.info();
    let message =
        if info.contains("recursion limit") { format!("it is nested more than {MAX_DEPTH} levels deep") } else { info };
    Error { message, at: Some(mark(file, error.marker())) }
}

fn mark(file: u16, marker: &Marker) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { file, line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}

/// The collections that are open, as a separate stack, so that no text can exhaust the thread's stack.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    document: Document,
}

struct Open {
    at: Mark,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    Seq(Vec<Node>),
    Map(Mapping),
}

#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    /// Position of each key, and true if the key came in by a merge key and may be written again.
    index: HashMap<String, (usize, bool)>,
    key: Option<(String, Mark)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Mark) -> Result<(), Error> {
        match event {
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().unwrap_or_else(|| Node::new(Data::Unresolved, at, false));
                self.count(node.size, at)?;
                if self.open.len() + node.height > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                self.add(node, at)
            }
            Event::UnresolvedAlias(name) => {
                self.document.unresolved.push((name.into_owned(), at));
                self.count(1, at)?;
                self.add(Node::new(Data::Unresolved, at, false), at)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                if text.contains('\0') {
                    let message = "a text has the character NUL, which programs and databases refuse: remove it";
                    return Err(Error { message: message.to_owned(), at: Some(at) });
                }
                let tagged = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let data = Data::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain && !tagged };
                let node = Node::new(data, at, anchor > 0);
                self.remember(anchor, &node, at)?;
                self.add(node, at)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Kind::Seq(Vec::new()), anchor, at),
            Event::MappingStart(_, anchor, _) => self.begin(Kind::Map(Mapping::default()), anchor, at),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    /// Takes over the entries of a merge key's value. As in Ruby, they count as if they were written at this place:
    /// they overwrite the keys before it, and the keys after it overwrite them. In a list the first map wins.
    fn merge(&mut self, value: &Node) -> Result<(), Error> {
        let sources = if value.items().is_empty() { std::slice::from_ref(value) } else { value.items() };
        for entry in sources.iter().rev().flat_map(Node::entries) {
            self.count(entry.value.size + 1, entry.at)?;
            if let Some(Open { kind: Kind::Map(mapping), .. }) = self.open.last_mut() {
                mapping.set(entry.key.clone(), entry.at, entry.value.clone(), true);
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Mark) -> Result<(), Error> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            let message = format!(
                "it holds more than {MAX_NODES} keys and values once its aliases are expanded: make it smaller"
            );
            return Err(Error { message, at: Some(at) });
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind, anchor: usize, at: Mark) -> Result<(), Error> {
        self.count(1, at)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(at));
        }
        if let Some(Open { kind: Kind::Map(Mapping { key: None, .. }), .. }) = self.open.last() {
            return Err(complex_key(at));
        }
        self.open.push(Open { at, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let data = match open.kind {
            Kind::Seq(items) => Data::Seq(items),
            Kind::Map(mapping) => Data::Map(mapping.entries),
        };
        let node = Node::new(data, open.at, open.anchor > 0);
        self.remember(open.anchor, &node, open.at)?;
        self.add(node, open.at)
    }

    fn remember(&mut self, anchor: usize, node: &Node, at: Mark) -> Result<(), Error> {
        if anchor > 0 {
            // The copy counts too. Otherwise anchors within anchors would cost the square of the text.
            self.count(node.size, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(())
    }

    fn add(&mut self, node: Node, at: Mark) -> Result<(), Error> {
        let path = || {
            let keys = self.open.iter().rev().skip(1).rev().filter_map(|open| match &open.kind {
                Kind::Map(mapping) => mapping.key.as_ref().map(|(key, _)| key.clone()),
                Kind::Seq(_) => None,
            });
            keys.collect::<Vec<_>>()
        };
        // The path is computed only for a duplicate, but before the stack is borrowed mutably.
        let is_duplicate = |mapping: &Mapping| mapping.key.as_ref().is_some_and(|(k, _)| mapping.index.contains_key(k));
        let path = match self.open.last() {
            Some(Open { kind: Kind::Map(mapping), .. }) if is_duplicate(mapping) => path(),
            _ => Vec::new(),
        };
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.document.root = Some(node),
            Some(Kind::Seq(items)) => items.push(node),
            Some(Kind::Map(mapping)) => match mapping.key.take() {
                None => match node.data {
                    Data::Scalar { text, .. } => mapping.key = Some((text, at)),
                    Data::Unresolved => mapping.key = Some((String::new(), at)),
                    Data::Seq(_) | Data::Map(_) => return Err(complex_key(at)),
                },
                Some((key, _)) if key == "<<" && is_mergeable(&node) => return self.merge(&node),
                Some((key, at)) => {
                    let (duplicate, key) = (mapping.set(key.clone(), at, node, false), key);
                    if duplicate {
                        self.document.duplicates.push(Duplicate { key, path, at });
                    }
                }
            },
        }
        Ok(())
    }
}

impl Mapping {
    /// Sets a key. Returns true if the key was written before.
    fn set(&mut self, key: String, at: Mark, value: Node, merged: bool) -> bool {
        let place = self.index.get(&key).copied();
        let (index, was_merged) = place.unwrap_or((self.entries.len(), true));
        self.index.insert(key.clone(), (index, merged));
        let entry = Entry { key, at, value };
        match self.entries.get_mut(index) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
        !was_merged
    }
}

fn is_mergeable(node: &Node) -> bool {
    match &node.data {
        Data::Map(_) | Data::Unresolved => true,
        Data::Seq(items) => items.iter().all(|item| matches!(item.data, Data::Map(_))),
        Data::Scalar { .. } => false,
    }
}

fn too_deep(at: Mark) -> Error {
    Error { message: format!("it is nested more than {MAX_DEPTH} levels deep"), at: Some(at) }
}

fn complex_key(at: Mark) -> Error {
    Error { message: "a key must be a plain word, not a list or a map".to_owned(), at: Some(at) }
}
