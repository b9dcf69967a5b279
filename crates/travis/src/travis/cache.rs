//! The key `cache`: the folders that outlive a job, and the caches that a job may use (travis-build
//! script/shared/directory_cache).

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::matrix::Config;
use super::shell::text;

/// Time limit for fetching or storing without `timeout`.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Maximum of `timeout`.
const LONGEST: Duration = Duration::from_secs(1800);

/// The built-in caches and their folders.
const BUILT_IN: [(&str, &[&str]); 5] = [
    // uv does what pip does, and Travis has no word for uv.
    ("pip", &["~/.cache/pip", "~/.cache/uv"]),
    ("npm", &["~/.npm"]),
    ("yarn", &["~/.cache/yarn"]),
    ("ccache", &["~/.ccache"]),
    ("cargo", &["~/.cargo/registry", "~/.cargo/git", "target"]),
];
/// Built-in caches of Travis that have no counterpart here.
const WITHOUT_EFFECT: [&str; 4] = ["apt", "bundler", "cocoapods", "packages"];

/// The cache that a job asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Paths, which bash expands; relative ones start at the checkout.
    pub paths: Vec<String>,
    /// Time limit for fetching or storing.
    pub timeout: Duration,
}

/// Returns the cache that a job's config asks for, or `None` when it asks for none.
pub fn wanted(config: &Config) -> Option<Wanted> {
    let cache = config.get("cache")?.as_object()?;
    let is_on = |name: &str| cache.get(name) == Some(&Json::Bool(true));
    let built_in = BUILT_IN.iter().filter(|(name, _)| is_on(name)).flat_map(|(_, paths)| paths.iter().copied());
    let named = match cache.get("directories") {
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).collect(),
        Some(Json::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let paths: Vec<String> = built_in.chain(named).filter(|path| !path.trim().is_empty()).map(str::to_owned).collect();
    let seconds = cache.get("timeout").and_then(Json::as_u64).map(Duration::from_secs);
    (!paths.is_empty()).then(|| Wanted { paths, timeout: seconds.unwrap_or(TIMEOUT).min(LONGEST) })
}

/// Returns the words under `cache` that have an effect on Travis but not here.
pub fn without_effect(config: &Config) -> Vec<&'static str> {
    let cache = config.get("cache").and_then(Json::as_object);
    let is_on = |name: &&str| cache.is_some_and(|cache| cache.get(*name) == Some(&Json::Bool(true)));
    WITHOUT_EFFECT.into_iter().filter(is_on).collect()
}

/// Returns the name of a job's cache within its repository and ref. Jobs that differ in platform, variables or language
/// version do not share a cache. Secret variables do not count, since the name would reveal them.
pub fn slug(config: &Config) -> String {
    let word = |key: &str, default: &'static str| text(config, key).unwrap_or(default).to_owned();
    let items = config.get("env").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_object).flatten();
    let mut plain: Vec<String> =
        items.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    plain.retain(|pair| !pair.starts_with("secure="));
    plain.sort_unstable();
    let env = hex::encode(Sha256::digest(plain.join("=")));
    let (arch, os, dist) = (word("arch", "amd64"), word("os", "linux"), word("dist", "focal"));
    let mut slug = format!("cache-{arch}-{os}-{dist}-{env}");
    for key in ["python", "node_js", "go", "rust", "rvm", "jdk", "php", "compiler"] {
        if let Some(version) = text(config, key) {
            let _ = write!(slug, "--{key}-{version}");
        }
    }
    slug
}

/// The ref that a job was started for, as far as caches are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    Branch(&'a str),
    Tag(&'a str),
    /// A pull request into a branch, from the repository itself.
    PullRequest(i64, &'a str),
    /// A pull request from another repository.
    Fork(i64),
}

/// Returns the refs whose caches a job looks for, the best first. The job writes only to the first, and no two kinds of
/// origins write the same: neither a tag nor a pull request writes what a branch reads. A fork reads the default
/// branch's cache only if `forks_read` is true.
pub fn refs(origin: Origin<'_>, default_branch: &str, forks_read: bool) -> Vec<String> {
    let of_branch = |name: &str| format!("branch/{name}");
    let mut refs = match origin {
        Origin::Branch(name) => vec![of_branch(name)],
        Origin::Tag(name) => vec![format!("tag/{name}")],
        Origin::PullRequest(number, base) => vec![format!("pull/{number}"), of_branch(base)],
        Origin::Fork(number) => vec![format!("fork/{number}")],
    };
    let default = of_branch(default_branch);
    if (forks_read || !matches!(origin, Origin::Fork(_))) && !refs.contains(&default) {
        refs.push(default);
    }
    refs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Json) -> Config {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn words_stand_for_folders() {
        let cache = json!({"cache": {"pip": true, "bundler": true, "directories": ["data", "~/x y"], "timeout": 900}});
        let found = wanted(&config(cache.clone())).unwrap();
        assert_eq!(found.paths, ["~/.cache/pip", "~/.cache/uv", "data", "~/x y"]);
        assert_eq!(found.timeout, Duration::from_secs(900));
        assert_eq!(without_effect(&config(cache)), ["bundler"]);
        for nothing in [json!({}), json!({"cache": false}), json!({"cache": {"pip": false}}), json!({"cache": {}})] {
            assert_eq!(wanted(&config(nothing)), None);
        }
    }

    #[test]
    fn plain_variables_and_versions_part_caches_and_secrets_do_not() {
        let base = json!({"python": "3.11", "env": [{"A": "1"}, {"B": "2"}]});
        let slug_of = |value: Json| slug(&config(value));
        assert!(slug_of(base.clone()).ends_with("--python-3.11"));
        assert_eq!(slug_of(base.clone()), slug_of(json!({"python": "3.11", "env": [{"B": "2"}, {"A": "1"}]})));
        let with_secrets =
            json!({"python": "3.11", "env": [{"A": "1"}, {"B": "2"}, {"secure": "x"}, {"C": {"secure": "y"}}]});
        assert_eq!(slug_of(base.clone()), slug_of(with_secrets));
        for other in [json!({"python": "3.12", "env": [{"A": "1"}, {"B": "2"}]}), json!({"python": "3.11"})] {
            assert_ne!(slug_of(base.clone()), slug_of(other));
        }
    }

    #[test]
    fn each_kind_of_origin_writes_its_own_cache() {
        assert_eq!(refs(Origin::Branch("main"), "main", true), ["branch/main"]);
        assert_eq!(refs(Origin::Branch("next"), "main", true), ["branch/next", "branch/main"]);
        assert_eq!(refs(Origin::PullRequest(7, "next"), "main", false), ["pull/7", "branch/next", "branch/main"]);
        assert_eq!(refs(Origin::Tag("main"), "main", true), ["tag/main", "branch/main"]);
        assert_eq!(refs(Origin::Fork(7), "main", true), ["fork/7", "branch/main"]);
        assert_eq!(refs(Origin::Fork(7), "main", false), ["fork/7"]);
        // A branch cannot pass as a pull request.
        assert_eq!(refs(Origin::Branch("pull/7"), "main", true)[0], "branch/pull/7");
    }
}
