//! The address of a data set or a model, as people write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::git::{self, GitSource};
use super::is_commit;
use crate::repository::normal;

/// Maximum length of an address, in bytes.
const MAX_LENGTH: usize = 2048;
/// Maximum length of a part of a name on the Hub, and of a revision.
const MAX_WORD: usize = 96;
/// Forms that are read, for messages.
const FORMS: &str = "hf://datasets/OWNER/NAME@REVISION, hf://OWNER/NAME@REVISION, git+https://HOST/PATH@REVISION, https://…, \
                     s3://… or file:///…";

/// The address of a data set or a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// A repository on the Hugging Face Hub, or a part of it.
    Hub(HubSource),
    /// A git repository, or a part of it.
    Git(GitSource),
    /// A single file on a web server, by its address.
    Web(String),
    /// A file or a folder of a bucket.
    Bucket { bucket: String, key: String },
    /// A file or folder of the service's machine, by its absolute path.
    File(String),
}

/// A repository on the Hugging Face Hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubSource {
    /// True for a repository of data, false for one of a model.
    pub is_dataset: bool,
    /// `OWNER/NAME`.
    pub repo: String,
    /// A commit, a tag or a branch; `None` for the latest commit of `main`.
    pub revision: Option<String>,
    /// A file or a folder in the repository; `None` for all of it.
    pub path: Option<String>,
}

impl HubSource {
    /// Returns true if the revision is a commit.
    pub fn is_at_commit(&self) -> bool {
        self.revision.as_deref().is_some_and(is_commit)
    }
}

impl FromStr for Source {
    type Err = String;

    /// Reads an address. The error says what it has to be.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("an address without spaces, of at most {MAX_LENGTH} characters"));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(FORMS.to_owned()) };
        match scheme {
            "hf" => hub(rest).map(Self::Hub),
            "git+https" => git::read("https", rest).map(Self::Git),
            "git+http" => git::read("http", rest).map(Self::Git),
            "https" | "http" => web(text, rest),
            "s3" => bucket(rest),
            "file" => file(rest),
            _ => Err(format!("{FORMS}; {scheme}:// is not fetched")),
        }
    }
}

fn hub(rest: &str) -> Result<HubSource, String> {
    let wanted = || "hf://datasets/OWNER/NAME@REVISION/PATH or hf://OWNER/NAME@REVISION/PATH".to_owned();
    let (is_dataset, rest) = match rest.split_once('/') {
        Some(("datasets", rest)) => (true, rest),
        Some(("models", rest)) => (false, rest),
        Some(("spaces", _)) => return Err(format!("{}: a Space is neither data nor a model", wanted())),
        _ => (false, rest),
    };
    let mut parts = rest.splitn(3, '/');
    let (owner, name, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let (name, revision) = match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    if !is_name(owner) || !is_name(name) {
        return Err(wanted());
    }
    if revision.is_some_and(|revision| !is_revision(revision)) {
        return Err(format!("{} with a commit, a tag or a branch as revision", wanted()));
    }
    let path = match path.map(|path| path.trim_end_matches('/')).filter(|path| !path.is_empty()) {
        Some(path) => Some(normal(path).filter(|normal| normal == path).ok_or_else(wanted)?),
        None => None,
    };
    let revision = revision.map(str::to_owned);
    Ok(HubSource { is_dataset, repo: format!("{owner}/{name}"), revision, path })
}

/// Returns true for a part of a name that the Hub allows.
fn is_name(text: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    (1..=MAX_WORD).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && is_edge(text.chars().next())
        && is_edge(text.chars().next_back())
        && !text.contains("--")
        && !text.contains("..")
}

/// Returns true for a revision that can stand in an address. A slash of a branch is written as `%2F`.
fn is_revision(text: &str) -> bool {
    let plain = text.replace("%2F", "-");
    (1..=MAX_WORD).contains(&text.len())
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !plain.starts_with(['.', '-'])
        && !plain.contains("..")
}

fn web(text: &str, rest: &str) -> Result<Source, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') {
        return Err("https://HOST/PATH, without a name and a password before the host".to_owned());
    }
    if text.contains('#') || file_name(path).is_none() {
        return Err("the address of a single file, https://HOST/PATH/FILE".to_owned());
    }
    Ok(Source::Web(text.to_owned()))
}

fn bucket(rest: &str) -> Result<Source, String> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_bucket = (1..=63).contains(&bucket.len())
        && bucket.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        && is_edge(bucket.chars().next())
        && is_edge(bucket.chars().next_back());
    let key = key.trim_end_matches('/');
    match is_bucket && (key.is_empty() || normal(key).is_some_and(|normal| normal == key)) {
        true => Ok(Source::Bucket { bucket: bucket.to_owned(), key: key.to_owned() }),
        false => Err("s3://BUCKET/KEY".to_owned()),
    }
}

fn file(rest: &str) -> Result<Source, String> {
    let path = rest.strip_prefix('/').map(|path| path.trim_end_matches('/'));
    match path.filter(|path| normal(path).is_some_and(|normal| normal == *path)) {
        Some(path) => Ok(Source::File(format!("/{path}"))),
        None => Err("file:///PATH, with an absolute path".to_owned()),
    }
}

/// Returns the name of the file to which the path of an address leads.
fn file_name(path: &str) -> Option<&str> {
    let path = path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_alphanumeric() || "-_.+=,()%~ ".contains(c);
    (!matches!(name, "" | "." | "..") && name.chars().all(is_plain)).then_some(name)
}

impl Source {
    /// Returns the name of the file, for an address that is one of a single file for sure.
    pub fn file_name(&self) -> Option<&str> {
        match self {
            Self::Web(address) => file_name(address.split_once("://")?.1),
            Self::Hub(_) | Self::Git(_) | Self::Bucket { .. } | Self::File(_) => None,
        }
    }

    /// Returns true if the address shows everybody on the way what is fetched, and lets them change it.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Web(address) | Self::Git(GitSource { url: address, .. }) => address.starts_with("http://"),
            Self::Hub(_) | Self::Bucket { .. } | Self::File(_) => false,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(HubSource { is_dataset, repo, revision, path }) => {
                write!(f, "hf://{}{repo}", if *is_dataset { "datasets/" } else { "" })?;
                revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
                path.iter().try_for_each(|path| write!(f, "/{path}"))
            }
            Self::Git(git) => fmt::Display::fmt(git, f),
            Self::Web(address) => f.write_str(address),
            Self::Bucket { bucket, key } => {
                write!(f, "s3://{bucket}{}{key}", if key.is_empty() { "" } else { "/" })
            }
            Self::File(path) => write!(f, "file://{path}"),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_written_again() {
        for text in [
            "hf://datasets/acme/style@v1.0",
            "hf://acme/Base_model.2@0123456789012345678901234567890123456789/unet/model.safetensors",
            "hf://acme/base",
            "hf://datasets/acme/style@refs%2Fpr%2F1/train",
            "git+https://git.example.org:8443/acme/sub/style.git@feature/x//train/a",
            "git+http://10.0.0.3/style@0123456789012345678901234567890123456789",
            "https://data.example.org/sets/style.zip?version=2",
            "http://10.0.0.3:8080/sd.safetensors",
            "s3://acme-data/sets/style",
            "s3://acme-data",
            "file:///srv/data/style",
        ] {
            let source: Source = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(source.to_string(), text);
        }
        let models: Source = "hf://models/acme/base@main/".parse().unwrap();
        assert_eq!(models.to_string(), "hf://acme/base@main");
        let Source::Hub(hub) = "hf://datasets/acme/style@main/a/b".parse().unwrap() else { panic!("the Hub") };
        assert!(hub.is_dataset && !hub.is_at_commit());
        assert_eq!((hub.repo.as_str(), hub.path.as_deref()), ("acme/style", Some("a/b")));
        let web: Source = "https://data.example.org/sets/style.zip?name=../x".parse().unwrap();
        assert_eq!(web.file_name(), Some("style.zip"));
    }

    #[test]
    fn an_address_that_is_none_is_told_with_what_is_right() {
        for (text, told) in [
            ("acme/style", "hf://datasets/OWNER/NAME@REVISION"),
            ("ftp://data.example.org/x", "ftp:// is not fetched"),
            ("s3://Bucket_1/x", "s3://BUCKET/KEY"),
            ("s3://acme-data/a/../b", "s3://BUCKET/KEY"),
            ("hf://style", "hf://datasets/OWNER/NAME@REVISION/PATH"),
            ("hf://datasets/style", "hf://datasets/OWNER/NAME@REVISION/PATH"),
            ("hf://spaces/acme/demo", "a Space is neither"),
            ("hf://acme/a--b", "hf://OWNER/NAME@REVISION/PATH"),
            ("hf://acme/../etc", "hf://OWNER/NAME@REVISION/PATH"),
            ("hf://acme/base@", "a commit, a tag or a branch"),
            ("hf://acme/base@..%2Fx", "a commit, a tag or a branch"),
            ("hf://acme/base@main/../x", "hf://OWNER/NAME@REVISION/PATH"),
            ("https://ada:secret@example.org/x", "without a name and a password"),
            ("https:///x", "without a name and a password"),
            ("https://example.org/", "the address of a single file"),
            ("https://example.org/a/..", "the address of a single file"),
            ("https://example.org/x#y", "the address of a single file"),
            ("https://example.org/a b", "without spaces"),
            ("file://srv/data", "an absolute path"),
            ("file:///srv/../etc", "an absolute path"),
            ("file:///", "an absolute path"),
        ] {
            let error = text.parse::<Source>().expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
