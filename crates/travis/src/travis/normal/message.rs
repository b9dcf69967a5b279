//! Messages of the normal form about a file.

use serde_json::{Map, Value as Json};

use crate::domain::Rule;
use crate::travis::env;
use crate::yaml::Mark;
use crate::yaml::Mend;

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

            /// Returns the rule that the message is reported under.
            pub fn rule(self) -> Rule {
                match self { $(Self::$name => Rule::$name,)* }
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
    DuplicateKey = "duplicate_key": "the key `{key}` is given twice, and only the last one counts: put both into one",
    Edge = "edge": "this is experimental and may change",
    Empty = "empty": "`{key}` is empty and was left out",
    InvalidCondition = "invalid_condition": "the condition `{condition}` cannot be read",
    InvalidEnvVar = "invalid_env_var": "`{var}` is not a list of variables such as `NAME=value` and is left out, as ",
    InvalidFormat = "invalid_format": "`{value}` does not have the form {format}",
    InvalidRef = "invalid_ref": "`{ref}` is not a valid import source: write `path.yml`, `./path.yml` or `owner/repo:path.yml@ref`, with a path that stays inside of the repository",
    InvalidType = "invalid_type": "a {expected} is wanted here, not a {actual}: {value}",
    Overwrite = "overwrite": "`{key}` is another name of `{other}`, which is given too: `{key}` replaces it, and what stands under `{other}` has no effect; put everything under one of them",
    Required = "required": "the key `{key}` is missing",
    PlainSecret = "secure": "a secret is written in plain text: encrypt it",
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
    /// True when the file surely means the word that Travis reads.
    pub sure: bool,
}

impl Message {
    /// Returns the word that Travis reads, to be written in place of the one in the file.
    pub fn mend(&self) -> Option<Mend> {
        let arg = |name: &str| self.args.get(name).and_then(Json::as_str);
        let (old, new) = match self.code {
            Code::AliasKey => (arg("alias"), arg("key")),
            Code::AliasValue => (arg("alias"), arg("value")),
            Code::StripKey | Code::UnderscoreKey | Code::CleanKey | Code::FindKey => (arg("original"), arg("key")),
            Code::FindValue => (arg("original"), arg("value")),
            _ => return None,
        };
        self.sure.then_some(Mend::Word { old: old?.into(), new: new?.into() })
    }

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
        if self.code == Code::InvalidEnvVar
            && let Some(Err(why)) = self.args.get("var").and_then(Json::as_str).map(env::pairs)
        {
            text.push_str(&why.to_string());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::travis::normal::{Options, normalize, read};

    fn texts(text: &str) -> Vec<String> {
        let document = read(text).expect("YAML");
        let normal = normalize(&document, Options::PRODUCTION).expect("a map");
        normal.messages.iter().map(super::Message::text).collect()
    }

    #[test]
    fn a_variable_that_cannot_be_read_does_not_show_its_value() {
        let texts = texts("env: TOKEN=\"hunter2\n");
        assert!(texts.iter().any(|text| text.starts_with("`TOKEN=…` is not a list of variables")), "{texts:?}");
        assert!(!texts.concat().contains("hunter2"), "{texts:?}");
    }

    #[test]
    fn the_reason_why_variables_cannot_be_read() {
        for (env, why) in [
            ("A =x", "blank"),
            ("A = x", "blank"),
            ("A=1 B\t= x", "blank"),
            ("A='x", "not closed"),
            ("A=$(x", "not closed"),
            ("=x", "no name"),
            ("A=1 =x", "no name"),
        ] {
            let texts = texts(&format!("env: [{env:?}]\n"));
            assert!(texts.iter().any(|text| text.contains("left out") && text.contains(why)), "{env}: {texts:?}");
        }
    }

    #[test]
    fn two_slips_of_one_key_are_both_left_alone() {
        let mends = |text: &str| {
            let document = read(text).expect("YAML");
            let normal = normalize(&document, Options::PRODUCTION).expect("a map");
            normal.messages.iter().filter_map(super::Message::mend).count()
        };
        for (text, count) in [
            ("barnches: x\n", 1),
            ("barnches: x\nbranhces: y\n", 0),
            ("barnches: x\nbranhces: y\nbranchse: z\n", 0),
            ("Branches: x\nbranhces: y\n", 0),
            ("Branches: x\nsript: y\n", 2),
            ("jobs: {include: [{sript: x}, {scirpt: y}]}\n", 2),
        ] {
            assert_eq!(mends(text), count, "{text}");
        }
    }

    #[test]
    fn two_spellings_of_one_key_are_a_repeated_key() {
        for text in [
            "before-install: a\nbefore_install: b\n",
            "install: a\nInstall: b\n",
            "jobs: {include: [{script: a, Script: b}]}\n",
        ] {
            let texts = texts(text);
            assert!(texts.iter().any(|message| message.contains("given twice")), "{text}: {texts:?}");
        }
        let once = texts("before-install: a\ninstall: b\n");
        assert!(!once.iter().any(|message| message.contains("given twice")), "{once:?}");
    }

    #[test]
    fn of_two_names_of_one_key_the_alias_wins() {
        for (text, told) in [
            ("matrix: {include: [{script: a}]}\njobs: {include: [{script: b}]}\n", "`matrix` replaces it"),
            ("jobs: {include: [{script: b}]}\nmatrix: {include: [{script: a}]}\n", "under `jobs` has no effect"),
            ("env: {jobs: [A=1], matrix: [A=2]}\n", "under `jobs` has no effect"),
            ("branches: {except: [a], exclude: [b]}\n", "`exclude` replaces it"),
        ] {
            let texts = texts(text);
            assert!(texts.iter().any(|message| message.contains(told)), "{text}: {texts:?}");
        }
    }
}
