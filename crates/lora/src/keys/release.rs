//! Releases of a trainer, and those that a repository installs as far as its requirements tell.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use crate::Repository;

/// The version of a release, as far as it matters: `0.12` and `0.12.0` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version([u32; 3]);

/// A release of a package; without a name, of the trainer itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) package: Option<String>,
    pub(crate) version: Version,
}

/// The releases of a package that the requirements of a repository allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The file that says so.
    pub(crate) file: String,
    low: Option<Version>,
    /// The first version that is too new.
    high: Option<Version>,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = [0; 3];
        for (part, digits) in parts.iter_mut().zip(text.split('.')) {
            let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
            match digits[..end].parse() {
                Ok(number) => *part = number,
                Err(_) => break,
            }
        }
        text.starts_with(|c: char| c.is_ascii_digit()).then_some(Self(parts))
    }

    /// Returns the first version after all that begin with these parts.
    fn after(text: &str) -> Option<Self> {
        let Self(mut parts) = Self::parse(text)?;
        let last =
            text.split('.').filter(|part| part.starts_with(|c: char| c.is_ascii_digit())).count().clamp(1, 3) - 1;
        parts[last] += 1;
        parts[last + 1..].fill(0);
        Some(Self(parts))
    }

    /// Returns the first version that semantic versioning calls incompatible.
    fn after_compatible(self) -> Self {
        let Self([major, minor, _]) = self;
        if major == 0 { Self([0, minor + 1, 0]) } else { Self([major + 1, 0, 0]) }
    }
}

impl Release {
    /// Reads `0.12`, or `PACKAGE 0.12`.
    pub(crate) fn parse<'t>(tokens: &mut impl Iterator<Item = &'t str>) -> Option<Self> {
        let first = tokens.next()?;
        match Version::parse(first) {
            Some(version) => Some(Self { package: None, version }),
            None => Some(Self { package: Some(first.to_owned()), version: Version::parse(tokens.next()?)? }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}")?;
        if patch > 0 { write!(f, ".{patch}") } else { Ok(()) }
    }
}

impl Pin {
    /// Returns what the requirements of a repository say of a package. Files that differ say nothing.
    pub(crate) fn of(repository: &Repository<'_>, package: &str) -> Option<Self> {
        let files = repository.texts().filter(|(path, _)| names_packages(path));
        let pins = files.flat_map(|(path, text)| {
            let text = String::from_utf8_lossy(text).into_owned();
            text.lines().filter_map(|line| Self::in_line(path, line, package)).collect::<Vec<_>>()
        });
        let pins: Vec<Self> = pins.collect();
        let first = pins.first()?.clone();
        pins.iter().all(|pin| (pin.low, pin.high) == (first.low, first.high)).then_some(first)
    }

    fn in_line(file: &str, line: &str, package: &str) -> Option<Self> {
        let line = line.split(" #").next().filter(|line| !line.trim_start().starts_with('#'))?;
        let line = line.to_lowercase().replace('_', "-");
        let bounds = line.match_indices(package).find_map(|(at, _)| {
            let is_name = |c: char| c.is_alphanumeric() || ['-', '.', '/'].contains(&c);
            let rest = &line[at + package.len()..];
            (!line[..at].ends_with(is_name)).then(|| bounds(rest)).flatten()
        });
        let (low, high) = bounds.filter(|bounds| *bounds != (None, None))?;
        Some(Self { file: file.to_owned(), low, high })
    }

    /// Returns true if all of the allowed releases are older than this one.
    pub(crate) fn is_before(&self, version: Version) -> bool {
        self.high.is_some_and(|high| high <= version)
    }

    /// Returns true if all of the allowed releases are this one or newer.
    pub(crate) fn is_from(&self, version: Version) -> bool {
        self.low.is_some_and(|low| low >= version)
    }

    /// Returns true if the requirements exclude newer releases.
    pub(crate) fn has_high(&self) -> bool {
        self.high.is_some()
    }
}

/// Returns true for files that say which packages a repository installs.
fn names_packages(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_requirements = name.starts_with("requirements") && name.ends_with(".txt");
    let is_conda = name.starts_with("environment") && (name.ends_with(".yml") || name.ends_with(".yaml"));
    is_requirements || is_conda || ["pyproject.toml", "setup.cfg", "setup.py", ".travis.yml"].contains(&name)
}

/// The bounds behind the name of a package: `==0.12`, `[extra]>=0.12, <0.14`, or conda's `=0.12`.
static PIP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*(?:\[[^\]]*\])?\s*((?:,?\s*(?:={1,3}|~=|>=|<=|!=|<|>)\s*[0-9][0-9a-z.*+]*\s*)+)")
        .expect("a regular expression")
});
/// The bounds in Poetry's table of dependencies: `= "^0.12"`, or `= { version = "^0.12" }`.
static POETRY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^\s*=\s*(?:\{.*?version\s*=\s*)?["']([^"']+)["']"#).expect("a regular expression"));
static BOUND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(={1,3}|~=|>=|<=|!=|<|>|\^|~)?\s*([0-9][0-9a-z.*+]*)").expect("a regular expression")
});

/// Reads the lowest version behind the name of a package, and the first that is too new.
fn bounds(rest: &str) -> Option<(Option<Version>, Option<Version>)> {
    let list = PIP.captures(rest).or_else(|| POETRY.captures(rest))?.get(1)?.as_str();
    let next = |Version([major, minor, patch]): Version| Version([major, minor, patch + 1]);
    let (mut low, mut high) = (None, None);
    for bound in BOUND.captures_iter(list) {
        let version = &bound[2];
        let exact = Version::parse(version);
        match bound.get(1).map_or("", |sign| sign.as_str()) {
            "==" | "===" | "" if version.contains('*') => (low, high) = (exact, Version::after(version)),
            "==" | "===" | "" => (low, high) = (exact, exact.map(next)),
            "=" => (low, high) = (exact, Version::after(version)),
            "~=" => (low, high) = (exact, version.rsplit_once('.').and_then(|(start, _)| Version::after(start))),
            "^" | "~" => (low, high) = (exact, exact.map(Version::after_compatible)),
            ">=" | ">" => low = exact,
            "<" => high = exact,
            "<=" => high = exact.map(next),
            _ => {}
        }
    }
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_say_which_releases_are_allowed() {
        let pin = |file: &str, text: &str| {
            Pin::of(&Repository::of([file], [(file, text.as_bytes())]), "ms-swift").map(|pin| {
                let word = |version: Option<Version>| version.map_or("-".to_owned(), |version| version.to_string());
                format!("{} {}", word(pin.low), word(pin.high))
            })
        };
        for (file, text, expected) in [
            ("requirements.txt", "torch\nms-swift==3.5.2  # the newest\n", Some("3.5.2 3.5.3")),
            ("requirements-gpu.txt", "ms_swift[all] >= 3.5, < 4", Some("3.5 4.0")),
            ("requirements.txt", "ms-swift~=3.5.1", Some("3.5.1 3.6")),
            ("requirements.txt", "ms-swift==3.*", Some("3.0 4.0")),
            ("requirements.txt", "ms-swift", None),
            ("requirements.txt", "# ms-swift==3.5\nms-swift-extra==1\nmy-ms-swift==2", None),
            ("pyproject.toml", "dependencies = [\"torch\", \"ms-swift<=3.5\"]", Some("- 3.5.1")),
            ("pyproject.toml", "ms-swift = \"^3.5\"", Some("3.5 4.0")),
            ("pyproject.toml", "ms-swift = { version = \"3.5.0\" }", Some("3.5 3.5.1")),
            ("environment.yml", "  - ms-swift=3.5", Some("3.5 3.6")),
            (".travis.yml", "install: pip install 'ms-swift==3.5' torch", Some("3.5 3.5.1")),
            ("notes.txt", "ms-swift==3.5", None),
        ] {
            assert_eq!(pin(file, text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn files_that_differ_say_nothing() {
        let files = [("requirements.txt", "trl==0.12".as_bytes()), ("requirements-dev.txt", b"trl==0.13")];
        assert_eq!(Pin::of(&Repository::of(files.map(|(path, _)| path), files), "trl"), None);
    }
}
