//! Messages of the normal form about a file.

use serde_json::{Map, Value as Json};

use crate::yaml::Mark;

/// Severity of a message, in Travis's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something was changed into what its author surely meant.
    Info,
    /// Something was repaired or has no effect.
    Warn,
    /// Something is wrong.
    Error,
    /// A secret is readable by everyone.
    Alert,
}

impl Level {
    /// Returns Travis's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Alert => "alert",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $word:literal: $text:literal,)*) => {
        /// The kind of a message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $text] $name,)*
        }

        impl Code {
            /// Returns Travis's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Returns the sentence, with the arguments' names in braces.
            fn template(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    AliasKey = "alias_key": "`{alias}` is another name of `{key}`",
    AliasValue = "alias_value": "`{alias}` is another name of `{value}`",
    StripKey = "strip_key": "the key `{original}` is read as `{key}`",
    UnderscoreKey = "underscore_key": "the key `{original}` is read as `{key}`",
    CleanKey = "clean_key": "the key `{original}` is read as `{key}`",
    FindKey = "find_key": "the key `{original}` is not known and is read as `{key}`: write `{key}`",
    CleanValue = "clean_value": "the value `{original}` is read as `{value}`",
    FindValue = "find_value": "the value `{original}` is not known and is read as `{value}`: write `{value}`",
    Downcase = "downcase": "`{value}` is read in lower case",
    Default = "default": "`{key}` is not given, so it is `{default}`",
    DeprecatedKey = "deprecated_key": "the key `{key}` should not be used any more: {info}",
    DeprecatedValue = "deprecated_value": "the value `{value}` should not be used any more: {info}",
    Duplicate = "duplicate": "these should be unique: {values}",
    DuplicateKey = "duplicate_key": "the key `{key}` is given twice: only the last one counts",
    Edge = "edge": "this is experimental and may change",
    Empty = "empty": "`{key}` is empty and was left out",
    InvalidCondition = "invalid_condition": "the condition `{condition}` cannot be read",
    InvalidEnvVar = "invalid_env_var": "`{var}` is not a list of variables such as `NAME=value`: check its quotes",
    InvalidFormat = "invalid_format": "`{value}` does not have the form {format}",
    InvalidRef = "invalid_ref": "`{ref}` is not a valid import source: write `path.yml`, `./path.yml` or `owner/repo:path.yml@ref`, with a path that stays inside of the repository",
    InvalidType = "invalid_type": "a {expected} is wanted here, not a {actual}: {value}",
    Overwrite = "overwrite": "`{key}` and `{other}` are the same: only one of them counts",
    Required = "required": "the key `{key}` is missing",
    Secure = "secure": "a secret is written in plain text: encrypt it",
    TooManyVars = "too_many_vars": "the file gives more than {most} variables: those of this text are left out",
    UnexpectedSeq = "unexpected_seq": "one value is wanted here, not a list: only the first, `{value}`, counts",
    UnknownKey = "unknown_key": "the key `{key}` is not known and has no effect",
    UnknownValue = "unknown_value": "the value `{value}` is not known",
    UnknownVar = "unknown_var": "there is no variable `{var}` for templates",
    Unsupported = "unsupported": "`{key}` has no effect with `{on_key}: {on_value}`",
    TooManyImports = "too_many_imports": "more than {max} files are imported: import fewer",
    SkipImport = "skip_import": "`{source}` is not imported; its condition does not hold: {condition}",
    SkipJob = "skip_job": "job {number} is left out; its condition does not hold: {condition}",
    SkipStage = "skip_stage": "stage `{name}` is left out; its condition does not hold: {condition}",
    SkipExclude = "skip_exclude": "an entry of `exclude` is left out; its condition does not hold: {condition}",
    SkipAllowFailure = "skip_allow_failure": "an entry of `allow_failures` is left out; its condition does not hold: {condition}",
    SkipNotification = "skip_notification": "a notification is left out; its condition does not hold: {condition}",
}

/// A message of the normal form.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub level: Level,
    /// Dotted path of the key concerned; empty for the root.
    pub key: String,
    pub code: Code,
    /// Arguments of the sentence.
    pub args: Map<String, Json>,
    /// Place in the file.
    pub at: Mark,
}

impl Message {
    /// Returns the sentence for people, without the place.
    pub fn text(&self) -> String {
        let mut text = self.code.template().to_owned();
        for (name, value) in &self.args {
            let value = match value {
                Json::String(value) => value.clone(),
                other => other.to_string(),
            };
            // Values come from the file: a long value would hide the sentence.
            let mut short: String = value.chars().take(120).collect();
            if self.code == Code::InvalidEnvVar
                && let Some((name, _)) = short.split_once('=')
            {
                // The value of a variable may be a secret, and anyone may read the message.
                short = format!("{name}=…");
            }
            text = text.replace(&format!("{{{name}}}"), short.trim());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::travis::normal::{Options, normalize, read};

    #[test]
    fn a_variable_that_cannot_be_read_does_not_show_its_value() {
        let document = read("env: TOKEN=\"hunter2\n").expect("YAML");
        let texts: Vec<String> = normalize(&document, Options::PRODUCTION)
            .expect("a map")
            .messages
            .iter()
            .map(super::Message::text)
            .collect();
        assert!(texts.iter().any(|text| text.starts_with("`TOKEN=…` is not a list of variables")), "{texts:?}");
        assert!(!texts.concat().contains("hunter2"), "{texts:?}");
    }
}
