//! Values on their way to the normal form.

use serde_json::Value as Json;

use crate::yaml::{self, Boolean, Data, Mark};

/// A value and the place where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub data: Kind,
    pub at: Mark,
    pub anchored: bool,
}

/// Type and content of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    /// A plain integer, as written. It is a string wherever a string is expected.
    Num(String),
    Str(String),
    Seq(Vec<Value>),
    Map(Vec<Pair>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    pub key: String,
    pub at: Mark,
    pub value: Value,
}

impl Value {
    /// Converts a value of Travis's YAML: 1.1 without its extra booleans, octals, floats and dates, and without a
    /// leading colon in keys (Ruby symbols were common in old files).
    pub fn of(node: &yaml::Node) -> Self {
        let data = match &node.data {
            Data::Unresolved => Kind::Null,
            Data::Scalar { text, plain: false } => Kind::Str(text.clone()),
            Data::Scalar { text, .. } => {
                if yaml::is_null(text) {
                    Kind::Null
                } else if let Some(bool) = Boolean::Yaml12.of(text) {
                    Kind::Bool(bool)
                } else if yaml::is_integer(text) {
                    Kind::Num(text.clone())
                } else {
                    Kind::Str(text.clone())
                }
            }
            Data::Seq(items) => Kind::Seq(items.iter().map(Self::of).collect()),
            Data::Map(entries) => {
                let pairs = entries.iter().map(|entry| Pair {
                    key: entry.key.strip_prefix(':').unwrap_or(&entry.key).to_owned(),
                    at: entry.at,
                    value: Self::of(&entry.value),
                });
                Kind::Map(pairs.collect())
            }
        };
        Self { data, at: node.at, anchored: node.anchored }
    }

    /// Creates a value that is not written anywhere itself.
    pub fn new(data: Kind, at: Mark) -> Self {
        Self { data, at, anchored: false }
    }

    pub fn str(text: impl Into<String>, at: Mark) -> Self {
        Self::new(Kind::Str(text.into()), at)
    }

    /// Returns a list of this one value.
    pub fn wrapped(self) -> Self {
        let at = self.at;
        Self::new(Kind::Seq(vec![self]), at)
    }

    /// Returns a map of this one value.
    pub fn under(self, key: &str) -> Self {
        let at = self.at;
        Self::new(Kind::Map(vec![Pair { key: key.to_owned(), at, value: self }]), at)
    }

    /// Returns the text of a scalar, as a string would hold it.
    pub fn text(&self) -> Option<String> {
        match &self.data {
            Kind::Bool(bool) => Some(bool.to_string()),
            Kind::Num(text) | Kind::Str(text) => Some(text.clone()),
            Kind::Null | Kind::Seq(_) | Kind::Map(_) => None,
        }
    }

    pub fn pairs(&self) -> &[Pair] {
        match &self.data {
            Kind::Map(pairs) => pairs,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Self] {
        match &self.data {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Self> {
        self.pairs().iter().find(|pair| pair.key == key).map(|pair| &pair.value)
    }

    pub fn is_null(&self) -> bool {
        self.data == Kind::Null
    }

    /// Returns true for null, and for an empty list, map or string.
    pub fn is_empty(&self) -> bool {
        match &self.data {
            Kind::Null => true,
            Kind::Str(text) => text.is_empty(),
            Kind::Seq(items) => items.is_empty(),
            Kind::Map(pairs) => pairs.is_empty(),
            Kind::Bool(_) | Kind::Num(_) => false,
        }
    }

    /// Returns Travis's word for the type.
    pub fn type_name(&self) -> &'static str {
        match &self.data {
            Kind::Null => "none",
            Kind::Bool(_) => "bool",
            Kind::Num(_) => "num",
            Kind::Str(_) => "str",
            Kind::Seq(_) => "seq",
            Kind::Map(_) => "map",
        }
    }

    /// Returns the value without its places.
    pub fn json(&self) -> Json {
        match &self.data {
            Kind::Null => Json::Null,
            Kind::Bool(bool) => Json::Bool(*bool),
            Kind::Num(text) => text.parse::<i64>().map_or_else(|_| Json::String(text.clone()), Json::from),
            Kind::Str(text) => Json::String(text.clone()),
            Kind::Seq(items) => Json::Array(items.iter().map(Self::json).collect()),
            Kind::Map(pairs) => Json::Object(pairs.iter().map(|p| (p.key.clone(), p.value.json())).collect()),
        }
    }
}
