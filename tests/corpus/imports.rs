//! Files that import others.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use trainyard::domain::{RepoName, RequestConfig, Revision};
use trainyard::travis::document::document;
use trainyard::travis::import::{Build, Found, Imports, Merged, Source, merged, merged_request};
use trainyard::travis::matrix;
use trainyard::travis::normal::normalize;

use crate::real::jobs;
use crate::support::{Score, list};
use crate::valid::{expected, options, said, sorted};

const CONFIG: &str = ".travis.yml";
/// Repository whose files are numbered 1 in the corpus; files numbered 2 belong to any other.
const OWN: &str = "travis-ci/travis-yml";

pub fn scores() -> Vec<Score> {
    let mut score = Score::new("imports", 79.0);
    for (index, case) in list("imports.json").iter().enumerate() {
        let files = &case["files"];
        let data = if case["data"].is_null() { json!({}) } else { case["data"].clone() };
        let own: RepoName = OWN.parse().expect("a name");
        let requested = requested(case);
        let merged = all_merged(files, &requested, Build { repo: &own, config: CONFIG, data: &data });
        let normal = normalize(&merged.document, options(&case["opts"])).expect("a map");
        let matrix = matrix::matrix(normal.config.as_object().expect("a map"), &data);
        let names = Names::of(case, &data);
        let messages = [&merged.messages[..], &normal.messages, &matrix.messages].concat();
        let got = (
            sorted(&normal.config),
            sorted(&jobs(&matrix.jobs)),
            messages.iter().map(said).collect::<BTreeSet<_>>(),
            merged.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        );
        let sources = case["expected_sources"].as_array().expect("a list").iter();
        let wanted = (
            sorted(&case["expected_config"]),
            sorted(&case["expected_jobs"]),
            names.in_messages(&case["expected_msgs"]),
            sources.map(|source| names.ours(source.as_str().expect("a text"))).collect::<Vec<_>>(),
        );
        let equal = got == wanted && merged.faults.is_empty();
        score.count(index, equal, || {
            format!("{}: {files}\n  got {got:?}\n  not {wanted:?}\n  {:?}", case["name"], merged.faults)
        });
    }
    vec![score]
}

/// Merges all files after the wanted ones have been looked up. Files beyond the bound are never wanted, but the
/// reference merges those that it has read until then, so all files of the build's own repository are there from the
/// start.
fn all_merged(files: &Value, requested: &[RequestConfig], build: Build<'_>) -> Merged {
    let text = |number: u8, path: &str| files[format!("{number}:{path}")].as_str().map(|text| text.as_bytes().to_vec());
    let config = Source { repo: build.repo.clone(), revision: Revision::Built, path: CONFIG.to_owned() };
    let mut imports = Imports::new();
    for (name, _) in files.as_object().expect("a map") {
        if let Some(path) = name.strip_prefix("1:")
            && let (Some(source), Some(text)) = (Source::parse(path, &config), text(1, path))
        {
            imports.insert(source, Found::File(text));
        }
    }
    loop {
        let merged = if requested.is_empty() {
            merged(document(0, &text(1, CONFIG).unwrap_or_default()).expect("YAML"), &imports, build)
        } else {
            merged_request(requested, text(1, CONFIG).as_deref(), &imports, build)
        };
        if merged.wanted.is_empty() {
            return merged;
        }
        for source in merged.wanted {
            let number = if source.repo == *build.repo { 1 } else { 2 };
            let found = text(number, &source.path).map_or_else(|| Found::Failed("no file".to_owned()), Found::File);
            imports.insert(source, found);
        }
    }
}

/// Configurations of the API requests in the specs of travis-yml 8d6f36f, which the corpus names and does not hold.
fn requested(case: &Value) -> Vec<RequestConfig> {
    let is_requested = |source: &Value| source.as_str().is_some_and(|source| source.starts_with("api"));
    if !case["expected_sources"].as_array().expect("a list").iter().any(is_requested) {
        return Vec::new();
    }
    let one = |text: &str, mode: Option<&str>| RequestConfig { text: text.to_owned(), mode: mode.map(str::to_owned) };
    let name = case["name"].as_str().expect("a text");
    // The mode is the last word of the name: `merging apt merge_normalized turned off api deep_merge`.
    let mode = name.rsplit(' ').next();
    match name {
        _ if name.contains("api (empty)") => vec![one("", mode)],
        _ if name.contains("merging apt") => vec![one("addons: {apt: {packages: [vim]}}", mode)],
        _ if name.contains("merging cache") => vec![one("cache: {timeout: 1}", mode)],
        _ if name.contains("merging env") => vec![one("{dist: focal, script: ./api, env: API=true}", mode)],
        _ if name.contains("with .travis.yml") => {
            ["script: ./api.1", "script: ./api.2"].map(|text| one(text, Some("deep_merge_prepend"))).to_vec()
        }
        _ => vec![one("script: ./api", None)],
    }
}

/// Names of sources in the corpus: always with the repository and a placeholder for its built commit or its default
/// branch, and as in the template where there is one.
struct Names {
    usual: HashMap<String, String>,
    commit_message: String,
}

impl Names {
    fn of(case: &Value, data: &Value) -> Self {
        let mut usual = HashMap::new();
        for source in case["expected_sources"].as_array().expect("a list") {
            // The first source of a repository has no revision in these cases.
            if let Some((repo, rest)) = source.as_str().expect("a text").split_once(':')
                && let Some((_, revision)) = rest.rsplit_once('@')
            {
                usual.entry(repo.to_owned()).or_insert_with(|| revision.to_owned());
            }
        }
        Self { usual, commit_message: data["commit_message"].as_str().unwrap_or_default().to_owned() }
    }

    fn ours(&self, name: &str) -> String {
        if let Some(place) = name.strip_prefix("api") {
            return format!("api:config{place}");
        }
        let name = name.replace("%{commit_message}", &self.commit_message);
        let Some((repo, rest)) = name.split_once(':') else { return name };
        let usual = self.usual.get(repo).map(|revision| format!("@{revision}")).unwrap_or_default();
        let rest = rest.strip_suffix(&usual).unwrap_or(rest);
        if repo == OWN { rest.to_owned() } else { format!("{repo}:{rest}") }
    }

    fn in_messages(&self, messages: &Value) -> BTreeSet<String> {
        let mut messages = messages.as_array().expect("a list").clone();
        for message in &mut messages {
            if let Some(source) = message["args"]["source"].as_str() {
                message["args"]["source"] = json!(self.ours(source));
            }
        }
        messages.iter().map(expected).collect()
    }
}
