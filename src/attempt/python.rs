//! The choice of another version of Python, for a job that asks for one without an image.

use std::cmp::Reverse;
use std::fmt;

/// A version of Python as the tag of an image names it, such as 3.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads `3.11`. Tags such as `latest` and `3.11-torch2` are no versions.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// A request of a job for Python, as far as another version can stand in for it.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// `3.11`, `3.11.4`, `3.11-dev`.
    Minor(Version),
    /// `3`, `3.x`.
    Major(u32),
    /// `nightly`.
    Newest,
}

/// Reads what a job asks for. Returns `None` for other interpreters, such as PyPy.
fn wanted(asked: &str) -> Option<Wanted> {
    if asked == "nightly" {
        return Some(Wanted::Newest);
    }
    let parts: Vec<&str> = asked.strip_suffix("-dev").unwrap_or(asked).split('.').collect();
    let major = number(parts[0])?;
    let is_any = |part: &str| matches!(part, "x" | "X");
    match parts[1..] {
        [] => Some(Wanted::Major(major)),
        [part] if is_any(part) => Some(Wanted::Major(major)),
        [minor] => Some(Wanted::Minor(Version { major, minor: number(minor)? })),
        [minor, patch] if is_any(patch) || number(patch).is_some() => {
            Some(Wanted::Minor(Version { major, minor: number(minor)? }))
        }
        _ => None,
    }
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Returns the version that stands in for the one that a job asks for: of the same major version the next newer one,
/// since packages drop old versions sooner than they support new ones; otherwise the newest.
pub(super) fn nearest(asked: &str, there: &[Version]) -> Option<Version> {
    let there = there.iter().copied();
    match wanted(asked)? {
        Wanted::Newest => there.max(),
        Wanted::Major(major) => there.filter(|version| version.major == major).max(),
        Wanted::Minor(wanted) => {
            let same = there.filter(|version| version.major == wanted.major);
            same.min_by_key(|version| match version.minor.checked_sub(wanted.minor) {
                Some(newer) => (false, newer),
                None => (true, wanted.minor - version.minor),
            })
        }
    }
}

/// Lists versions for a message, the newest first.
pub(super) fn list(there: &[Version]) -> String {
    let mut there = there.to_vec();
    there.sort_by_key(|version| Reverse(*version));
    there.dedup();
    there.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest_of(asked: &str, there: &[&str]) -> Option<String> {
        let there: Vec<Version> = there.iter().map(|tag| Version::of(tag).unwrap()).collect();
        nearest(asked, &there).map(|version| version.to_string())
    }

    #[test]
    fn the_next_newer_version_stands_in_and_otherwise_the_newest() {
        let there = ["3.9", "3.11", "3.13"];
        for (asked, found) in [
            ("3.10", "3.11"),
            ("3.8", "3.9"),
            ("3.12", "3.13"),
            ("3.14", "3.13"),
            ("3.11.4", "3.11"),
            ("3.11.x", "3.11"),
            ("3.12-dev", "3.13"),
            ("3.9-dev", "3.9"),
            ("3", "3.13"),
            ("3.x", "3.13"),
            ("nightly", "3.13"),
        ] {
            assert_eq!(nearest_of(asked, &there).as_deref(), Some(found), "{asked}");
        }
        assert_eq!(nearest_of("3.14", &["3.10", "3.9"]).as_deref(), Some("3.10"), "3.10 is newer than 3.9");
    }

    #[test]
    fn another_major_version_or_interpreter_never_stands_in() {
        for asked in ["2.7", "2", "4.0", "pypy", "pypy3", "pypy3.9-7.3.9", "3.10-torch2", "3.y", "3.", "", "3.1.2.3"] {
            assert_eq!(nearest_of(asked, &["3.9", "3.11"]), None, "{asked}");
        }
        assert_eq!(nearest_of("3.11", &[]), None);
    }

    #[test]
    fn only_tags_of_two_numbers_are_versions() {
        for tag in ["latest", "3", "3.11-torch2", "3.11.4", "3.x", "", "3.-1", "3.99999999999"] {
            assert_eq!(Version::of(tag), None, "{tag}");
        }
        let there = ["3.9", "3.13", "3.9", "3.11"].map(|tag| Version::of(tag).unwrap());
        assert_eq!(list(&there), "3.13, 3.11, 3.9");
    }
}
