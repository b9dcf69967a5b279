//! The table of the language: its keys, their values, and their spellings.
//!
//! `schema.json` holds the facts of the JSON schema that Travis publishes for its format, one definition per line:
//! `"str"`, `"num"` and `"bool"` are scalars, another word names a definition, and an object has one of `map`, `each`,
//! `seq`, `any`, `all`, `ref` or `type` in addition to the traits below.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

#[derive(Debug, Default)]
pub struct Table {
    /// Schema of the whole file.
    pub root: Arc<Schema>,
    /// Keys that expand into jobs, slowest first.
    pub expand: Vec<String>,
}

/// The description of a value.
#[derive(Debug, Default, Clone)]
pub struct Schema {
    pub shape: Shape,
    pub traits: Traits,
}

/// The form of a value.
#[derive(Debug, Default, Clone)]
pub enum Shape {
    /// A string.
    #[default]
    Str,
    /// A number.
    Num,
    /// A boolean.
    Bool,
    /// A list.
    Seq(Arc<Schema>),
    /// A map with known keys.
    Map(Keys),
    /// A map with any keys.
    Each(Arc<Schema>),
    /// Several alternative forms.
    Any(Vec<Arc<Schema>>),
}

/// The keys of a map, in the order of the table, with indexes to find them.
#[derive(Debug, Default, Clone)]
pub struct Keys {
    list: Vec<(String, Arc<Schema>)>,
    places: HashMap<String, usize>,
    aliases: HashMap<String, usize>,
}

impl Keys {
    /// Creates the indexes. If several keys share an alias, the first key has it.
    pub fn new(list: Vec<(String, Arc<Schema>)>) -> Self {
        let mut keys = Self { list, ..Self::default() };
        for (place, (key, schema)) in keys.list.iter().enumerate() {
            keys.places.insert(key.clone(), place);
            for alias in schema.aliases() {
                keys.aliases.entry(alias.to_owned()).or_insert(place);
            }
        }
        keys
    }
}

/// Facts about a value besides its form.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Traits {
    /// True when this is the form that the others are changed into.
    pub normal: bool,
    /// Allowed values; empty when any value is allowed.
    #[serde(rename = "enum")]
    pub values: Vec<String>,
    /// Facts about single values.
    #[serde(rename = "values")]
    pub about: BTreeMap<String, About>,
    /// Other names of the key that holds the value.
    pub aliases: Vec<String>,
    /// Conditions under which the key has an effect.
    #[serde(flatten)]
    pub support: Support,
    /// Flags: `unique`, `expand`, `edge`, `internal`.
    pub flags: Vec<String>,
    /// Reason why the key should not be used any more.
    pub deprecated: Option<String>,
    /// Keys that must be present.
    pub required: Vec<String>,
    /// Values for when the key is missing.
    pub defaults: Vec<Default_>,
    /// True when upper case means lower case.
    pub downcase: bool,
    /// True when values are compared without regard to case.
    pub ignore_case: bool,
    /// A Ruby regular expression that the value must match.
    pub pattern: Option<String>,
    /// Names that may stand in `%{…}`.
    pub vars: Vec<String>,
    /// Key under which a value of another form is put, so that it becomes this map.
    pub prefix: Option<String>,
    /// The only other forms that are put under the prefix; empty for all.
    pub prefix_only: Vec<String>,
    /// For secrets: true when plain text raises an alert. For enums: true when only these values select this form.
    pub strict: Option<bool>,
    /// A change of form that is implemented in code.
    pub change: Option<Change>,
    /// For [`Change::Inherit`], the keys that are handed down.
    pub inherit: Vec<String>,
    /// Key whose value selects one of the forms.
    pub detect: Option<String>,
    /// Maximum number of keys.
    pub max: Option<usize>,
    /// True when other keys are wrong.
    pub closed: bool,
    /// True when the value is a condition.
    pub condition: bool,
}

/// Facts about a single value.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct About {
    /// Other spellings.
    pub aliases: Vec<String>,
    /// Conditions under which the value has an effect.
    #[serde(flatten)]
    pub support: Support,
    /// Reason why the value should not be used any more.
    pub deprecated: Option<String>,
    /// True when the value is new and may change.
    pub edge: bool,
}

/// The values of `language`, `os` and other keys on which something has an effect.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Support {
    /// Only on these values, for each key named.
    pub only: BTreeMap<String, Vec<String>>,
    /// Not on these values.
    pub except: BTreeMap<String, Vec<String>>,
}

/// The value of a missing key.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct Default_ {
    /// The value; `None` for `vm.size`, whose default Travis does not write into the config.
    pub value: Option<String>,
    /// Conditions under which the default applies.
    #[serde(flatten)]
    pub support: Support,
}

/// The changes of form that are implemented in code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A boolean becomes `{enabled: …}`.
    Enable,
    /// Words and lists of them become a map.
    Cache,
    /// Strings of variables become maps.
    EnvVars,
    /// Some keys are handed down to the siblings.
    Inherit,
}

impl Schema {
    /// Returns the alternative forms; empty for a schema with a single form.
    pub fn forms(&self) -> &[Arc<Schema>] {
        match &self.shape {
            Shape::Any(forms) => forms,
            _ => &[],
        }
    }

    /// Returns other names of the key that holds this value.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.traits.aliases.iter().map(String::as_str)
    }

    /// Returns the known keys of a map, or of the first form that has such keys.
    pub fn keys(&self) -> &[(String, Arc<Schema>)] {
        self.known().map_or(&[], |keys| &keys.list)
    }

    /// Returns the schema of a map's key.
    pub fn key(&self, name: &str) -> Option<&Arc<Schema>> {
        let keys = self.known()?;
        keys.places.get(name).map(|place| &keys.list[*place].1)
    }

    /// Returns the key of a map that `word` is another name of.
    pub fn key_of_alias(&self, word: &str) -> Option<&str> {
        let keys = self.known()?;
        keys.aliases.get(word).map(|place| keys.list[*place].0.as_str())
    }

    fn known(&self) -> Option<&Keys> {
        match &self.shape {
            Shape::Map(keys) => Some(keys),
            Shape::Any(forms) => forms.iter().filter_map(|form| form.known()).find(|keys| !keys.list.is_empty()),
            _ => None,
        }
    }

    /// Returns the schema of a list's items, or of the items of the first form that is a list.
    pub fn item(&self) -> Option<&Arc<Schema>> {
        match &self.shape {
            Shape::Seq(item) => Some(item),
            Shape::Any(forms) => forms.iter().find_map(|form| form.item()),
            _ => None,
        }
    }
}

impl Support {
    /// Returns the first key whose value prevents an effect, with that value. `value_of` returns the values of a key of
    /// the job; a key without values prevents nothing.
    pub fn refused(&self, value_of: impl Fn(&str) -> Vec<String>) -> Option<(&str, String)> {
        let only = self.only.iter().map(|(key, list)| (key, list, true));
        let except = self.except.iter().map(|(key, list)| (key, list, false));
        only.chain(except).find_map(|(key, list, wanted)| {
            let values = value_of(key);
            if values.is_empty() || values.iter().any(|value| list.contains(value) == wanted) {
                return None;
            }
            values.into_iter().next().map(|value| (key.as_str(), value))
        })
    }
}

/// Returns the table of Travis's language.
pub fn table() -> &'static Table {
    // A test loads the table, so it can be empty only in a broken build.
    static TABLE: LazyLock<Table> = LazyLock::new(|| load(include_str!("schema.json")).unwrap_or_default());
    &TABLE
}

fn load(text: &str) -> Result<Table, serde_json::Error> {
    let raw: HashMap<String, serde_json::Value> = serde_json::from_str(text)?;
    let mut loader = Loader { raw, done: HashMap::new() };
    let root = loader.named("root")?;
    let expand = loader.raw.get("expand").cloned().unwrap_or_default();
    Ok(Table { root, expand: serde_json::from_value(expand)? })
}

struct Loader {
    raw: HashMap<String, serde_json::Value>,
    done: HashMap<String, Arc<Schema>>,
}

/// A definition as `schema.json` writes it, without its traits.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    map: Option<serde_json::Map<String, serde_json::Value>>,
    each: Option<serde_json::Value>,
    seq: Option<serde_json::Value>,
    any: Option<Vec<serde_json::Value>>,
    all: Option<Vec<serde_json::Value>>,
    #[serde(rename = "ref")]
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Loader {
    fn named(&mut self, name: &str) -> Result<Arc<Schema>, serde_json::Error> {
        let scalar = match name {
            "str" => Some(Shape::Str),
            "num" => Some(Shape::Num),
            "bool" => Some(Shape::Bool),
            _ => None,
        };
        if let Some(shape) = scalar {
            return Ok(Arc::new(Schema { shape, traits: Traits::default() }));
        }
        if let Some(done) = self.done.get(name) {
            return Ok(done.clone());
        }
        let raw = self.raw.get(name).cloned();
        let raw = raw.ok_or_else(|| serde::de::Error::custom(format!("no definition {name}")))?;
        let schema = Arc::new(self.schema(&raw)?);
        self.done.insert(name.to_owned(), schema.clone());
        Ok(schema)
    }

    fn schema(&mut self, value: &serde_json::Value) -> Result<Schema, serde_json::Error> {
        if let Some(name) = value.as_str() {
            return self.named(name).map(|schema| (*schema).clone());
        }
        let raw = Raw::deserialize(value)?;
        let mut traits = Traits::deserialize(value)?;
        let shape = if let Some(name) = raw.name {
            let named = self.named(&name)?;
            let strict = traits.strict;
            traits.inherit_from(&named.traits);
            strict.map_or_else(|| named.shape.clone(), |strict| with_strict(&named.shape, strict))
        } else if let Some(map) = raw.map {
            let keys = map.iter().map(|(key, value)| Ok((key.clone(), Arc::new(self.schema(value)?))));
            Shape::Map(Keys::new(keys.collect::<Result<_, serde_json::Error>>()?))
        } else if let Some(each) = raw.each {
            Shape::Each(Arc::new(self.schema(&each)?))
        } else if let Some(seq) = raw.seq {
            Shape::Seq(Arc::new(self.schema(&seq)?))
        } else if let Some(any) = raw.any {
            let forms = any.iter().map(|value| self.schema(value).map(Arc::new));
            let forms = forms.collect::<Result<Vec<_>, _>>()?;
            traits.aliases.extend(forms.iter().flat_map(|form| form.traits.aliases.clone()));
            Shape::Any(forms)
        } else if let Some(all) = raw.all {
            let mut keys = Vec::new();
            for part in &all {
                let part = self.schema(part)?;
                if traits.prefix.is_none() {
                    traits.prefix.clone_from(&part.traits.prefix);
                    traits.prefix_only.clone_from(&part.traits.prefix_only);
                }
                let maps = if part.forms().is_empty() { vec![Arc::new(part)] } else { part.forms().to_vec() };
                maps.iter().for_each(|map| unite(&mut keys, map.keys()));
            }
            traits.closed = true;
            Shape::Map(Keys::new(keys))
        } else {
            let kind = raw.kind.ok_or_else(|| serde::de::Error::custom("a definition without a form"))?;
            self.named(&kind)?.shape.clone()
        };
        Ok(Schema { shape, traits })
    }
}

impl Traits {
    /// Takes from a named definition what the reference to it does not set itself.
    fn inherit_from(&mut self, named: &Self) {
        let own = std::mem::replace(self, named.clone());
        self.aliases.extend(own.aliases);
        self.flags.extend(own.flags);
        self.support.only.extend(own.support.only);
        self.support.except.extend(own.support.except);
        self.strict = own.strict.or(self.strict);
        self.deprecated = own.deprecated.or_else(|| self.deprecated.take());
        self.defaults.extend(own.defaults);
        self.normal |= own.normal;
    }
}

/// Returns the form with its secrets made strict or not, as a reference to it sets.
fn with_strict(shape: &Shape, strict: bool) -> Shape {
    let set = |schema: &Arc<Schema>| {
        let shape = with_strict(&schema.shape, strict);
        Arc::new(Schema { shape, traits: Traits { strict: Some(strict), ..schema.traits.clone() } })
    };
    match shape {
        Shape::Seq(item) => Shape::Seq(set(item)),
        Shape::Any(forms) => Shape::Any(forms.iter().map(set).collect()),
        other => other.clone(),
    }
}

/// Adds a language's keys to those of all languages. A key that several languages have works on all of them.
fn unite(all: &mut Vec<(String, Arc<Schema>)>, keys: &[(String, Arc<Schema>)]) {
    for (key, schema) in keys {
        let Some((_, known)) = all.iter_mut().find(|(name, _)| name == key) else {
            all.push((key.clone(), schema.clone()));
            continue;
        };
        let mut united = (**known).clone();
        for (on, values) in &schema.traits.support.only {
            united.traits.support.only.entry(on.clone()).or_default().extend(values.iter().cloned());
        }
        let more = schema.traits.aliases.iter().filter(|alias| !known.traits.aliases.contains(alias));
        united.traits.aliases.extend(more.cloned());
        *known = Arc::new(united);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_loads() {
        let table = load(include_str!("schema.json")).expect("the table is well-formed");
        assert!(table.root.key("script").is_some_and(|schema| schema.item().is_some()));
        assert!(table.root.key("python").is_some_and(|schema| schema.traits.flags.contains(&"expand".to_owned())));
        let jdk = table.root.key("jdk").expect("a key of several languages");
        assert!(jdk.traits.support.only["language"].len() > 3);
        assert_eq!(table.expand.first().map(String::as_str), Some("os"));
    }
}
