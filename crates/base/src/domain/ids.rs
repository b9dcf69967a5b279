//! Names and numbers with their own types. They are parsed at the edge, so that values inside are known to be valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(transparent))]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// Key of a repository's row.
    RepoId
);
row_id!(
    /// Key of a build's row. People see the build's number within its repository instead.
    BuildId
);
row_id!(
    /// Key of a job's row.
    JobId
);
row_id!(
    /// Key of a person's row.
    PersonId
);

/// An attempt at a job: the fence that every write of a worker names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "sqlx", derive(sqlx::FromRow))]
pub struct AttemptId {
    pub job: JobId,
    /// Grows by one at each claim; the first attempt is 1.
    pub number: i32,
}

impl fmt::Display for AttemptId {
    /// The form in the names of containers and the keys of objects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job, self.number)
    }
}

/// The error for a name that does not follow the rules for its kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} {text:?} is not valid: {why}")]
pub struct InvalidName {
    what: &'static str,
    text: String,
    why: &'static str,
}

impl InvalidName {
    pub(super) fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.to_owned(), why }
    }
}

/// The id under which GitHub delivers a webhook (header `X-GitHub-Delivery`): 1 to 100 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(transparent))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryId(String);

impl DeliveryId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() || text.len() > 100 || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidName {
                what: "delivery id",
                text: text.chars().take(100).collect(),
                why: "it must be 1 to 100 visible ASCII characters",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository's full name, `owner/name`, in characters that are safe in a path and in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName {
    owner: String,
    name: String,
}

impl RepoName {
    /// Returns the account that owns the repository.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the repository's name without its owner.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for RepoName {
    type Err = InvalidName;

    /// Accepts what GitHub allows: letters, digits, `-`, `_` and `.`. Neither part may be `.` or `..`.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = |why| InvalidName { what: "repository name", text: text.chars().take(200).collect(), why };
        let (owner, name) = text.split_once('/').ok_or_else(|| invalid("it must be owner/name"))?;
        for part in [owner, name] {
            if part.is_empty() || part.len() > 100 || part == "." || part == ".." || part.starts_with('-') {
                return Err(invalid("each part must be 1 to 100 characters and not start with a hyphen"));
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
                return Err(invalid("only letters, digits, '-', '_' and '.' are allowed"));
            }
        }
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }
}

impl TryFrom<String> for RepoName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<RepoName> for String {
    fn from(name: RepoName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// A full commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "sqlx", derive(sqlx::Type), sqlx(transparent))]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "String")]
pub struct Sha(String);

impl Sha {
    /// Returns the whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first seven digits, as people write the id.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }

    /// Returns the all-zero id, which is that of no commit.
    pub fn zero() -> Self {
        Self("0".repeat(40))
    }

    /// Returns true for GitHub's all-zero id, which stands for "no commit" in a push that creates or deletes a ref.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl FromStr for Sha {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex || !matches!(text.len(), 40 | 64) {
            return Err(InvalidName {
                what: "commit id",
                text: text.chars().take(80).collect(),
                why: "it must be 40 or 64 lower-case hexadecimal digits",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Sha {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_id_is_checked_wherever_it_is_read() {
        let read = |text: &str| serde_json::from_value::<Sha>(text.into());
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(read(id).ok().map(|sha| serde_json::json!(sha)), Some(id.into()));
        for bad in ["main", "--upload-pack=x", "0123", "0123456789ABCDEF0123456789abcdef01234567"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_repository_name_cannot_leave_its_folder() {
        for bad in ["acme", "acme/", "/x", "../x", "a/..", "a/b/c", "a b/c", "-a/b", "a/\u{e9}"] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad} was taken");
        }
        let good: RepoName = "acme/lora-styles.v2".parse().expect("valid");
        assert_eq!((good.owner(), good.name()), ("acme", "lora-styles.v2"));
    }

    #[test]
    fn a_commit_id_is_whole_and_hexadecimal() {
        assert!("abc123".parse::<Sha>().is_err());
        assert!("--upload-pack=touch /tmp/x".parse::<Sha>().is_err());
        let sha: Sha = "0123456789abcdef0123456789abcdef01234567".parse().expect("valid");
        assert_eq!(sha.short(), "0123456");
        assert!("0".repeat(40).parse::<Sha>().expect("valid").is_zero());
    }
}
