//! The key `deploy` (travis-build addons/deploy*.rb, dpl): the conditions of deployments and their commands.
//!
//! The provider `script` runs, and those that are written in bash here (`providers`): they require curl, git or Python in the
//! image. Other providers are reported, and their lines before and after do not run.

mod providers;

use serde_json::Value as Json;

use self::providers::{Provider, Required, is_given};
use super::{Config, Facts, Script};
use crate::travis::shell::{lines, quoted, text};

/// The options of `on:` that name a version, and the variables that hold it.
const VERSIONS: [(&str, &str); 11] = [
    ("python", "TRAVIS_PYTHON_VERSION"),
    ("ruby", "TRAVIS_RUBY_VERSION"),
    ("rvm", "TRAVIS_RUBY_VERSION"),
    ("node", "TRAVIS_NODE_VERSION"),
    ("node_js", "TRAVIS_NODE_VERSION"),
    ("jdk", "TRAVIS_JDK_VERSION"),
    ("go", "TRAVIS_GO_VERSION"),
    ("php", "TRAVIS_PHP_VERSION"),
    ("perl", "TRAVIS_PERL_VERSION"),
    ("rust", "TRAVIS_RUST_VERSION"),
    ("scala", "TRAVIS_SCALA_VERSION"),
];

/// Returns true if a provider's deployments run here.
pub fn is_supported(provider: &str) -> bool {
    provider == "script" || Provider::find(provider).is_some()
}

/// Returns true if a job might publish something, as far as this is known before it runs: it has a deployment that runs
/// here, and branch, tag and repository do not exclude it.
pub fn may_deploy(config: &Json, facts: &Facts) -> bool {
    let entries = entries(config.get("deploy"));
    let can = facts.pull_request.is_none() && facts.github_api.is_some();
    let name = facts.tag.as_ref().unwrap_or(&facts.branch);
    can && entries.iter().any(|entry| {
        is_supported(text(entry, "provider").unwrap_or_default())
            && fits(&on(entry), name, facts.tag.is_some(), &facts.repo.to_string())
    })
}

/// Returns true if a deployment surely begins in a build whose script passes, and decides about it. `data` is that of
/// [`matrix::matrix`](crate::travis::matrix::matrix).
pub fn surely_deploys(entry: &Config, data: &Json) -> bool {
    let on = on(entry);
    let fact = |key: &str| data.get(key).and_then(Json::as_str);
    let is_open = on.contains_key("condition") || VERSIONS.iter().any(|(key, _)| on.contains_key(*key));
    fact("type") != Some("pull_request")
        && !is_open
        && entry.get("allow_failure") != Some(&Json::Bool(true))
        && fits(&on, fact("branch").unwrap_or_default(), fact("tag").is_some(), fact("repo").unwrap_or_default())
}

/// Returns the keys that an entry in its normal form lacks, so that nothing can be deployed, with the values that belong
/// there.
pub fn missing(entry: &Config) -> Vec<(&'static str, &'static str)> {
    const SCRIPT: Required = ("script", "the command");
    match text(entry, "provider").unwrap_or_default() {
        "script" => [SCRIPT].into_iter().filter(|(key, _)| !is_given(entry.get(*key))).collect(),
        provider => Provider::find(provider).into_iter().flat_map(|provider| provider.missing(entry)).collect(),
    }
}

/// Returns true if branch, tag and repository fulfil the options of `on:`. `name` is that of the branch or the tag.
fn fits(on: &Config, name: &str, has_tag: bool, repo: &str) -> bool {
    let is_true = |key: &str| on.get(key) == Some(&Json::Bool(true));
    let names = || branches(on.get("branch")).iter().any(|branch| branch == name);
    let is_of_branch = is_true("all_branches") || is_true("tags") || names();
    let fits_tags = on.get("tags").and_then(Json::as_bool).is_none_or(|wanted| wanted == has_tag);
    is_of_branch && fits_tags && text(on, "repo").is_none_or(|wanted| wanted == repo)
}

/// Adds all deployments in order. They run when the script has passed.
pub fn deploy(script: &mut Script, config: &Config, facts: &Facts) {
    let entries = entries(config.get("deploy"));
    if entries.is_empty() {
        return;
    }
    script.line("if [ \"$TRAVIS_TEST_RESULT\" = 0 ]; then");
    for (index, entry) in entries.iter().enumerate() {
        let provider = text(entry, "provider").unwrap_or_default();
        if facts.pull_request.is_some() {
            script.print("YELLOW", &skipping(provider, "the current build is a pull request"));
            continue;
        }
        let Some(api) = &facts.github_api else {
            script.print("YELLOW", &skipping(provider, "only the service deploys"));
            continue;
        };
        let conditions = conditions(entry);
        for (condition, why) in &conditions {
            let why = skipping(provider, why);
            script.line(&format!("if ! {{ {condition}; }}; then"));
            script.print("YELLOW", &why);
            script.line("else");
        }
        script.line(":");
        one(script, config, entry, (provider, index), api);
        script.line(&"fi\n".repeat(conditions.len()));
    }
    script.line("fi");
}

fn entries(deploy: Option<&Json>) -> Vec<Config> {
    match deploy {
        Some(Json::Array(items)) => items.iter().filter_map(entry).collect(),
        Some(one) => entry(one).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Returns an entry as a map; a single word names a provider.
fn entry(value: &Json) -> Option<Config> {
    match value {
        Json::Object(map) => Some(map.clone()),
        Json::String(provider) => Some(Config::from_iter([("provider".to_owned(), Json::from(provider.as_str()))])),
        _ => None,
    }
}

fn skipping(provider: &str, why: &str) -> String {
    format!("Skipping a deployment with the {provider} provider because {why}.")
}

fn one(script: &mut Script, config: &Config, entry: &Config, (provider, index): (&str, usize), api: &str) {
    if !is_supported(provider) {
        script.print(
            "YELLOW",
            &format!(
                "Not deployed: Trainyard does not run the provider `{provider}`. Put its commands into `provider: script`."
            ),
        );
        return;
    }
    let hooks = |name: &str| entry.get(name).or_else(|| config.get(name)).map(lines).unwrap_or_default();
    for line in hooks("before_deploy") {
        script.command(&line, "--assert --echo --timing --event before_deploy");
    }
    let fold = format!("dpl_{index}");
    script.line(&format!("travis_fold start {fold}"));
    let allowed = entry.get("allow_failure") == Some(&Json::Bool(true));
    let options = if allowed { "--echo --timing --event deploy" } else { "--assert --echo --timing --event deploy" };
    // Before, the files that the job has made are put aside, unless the entry keeps them, which is the default.
    let cleans = entry.get("cleanup") == Some(&Json::Bool(true));
    if cleans {
        script.command("git stash --all --quiet", options);
    }
    match Provider::find(provider) {
        Some(provider) => provider.publish(script, entry, api, options),
        None => {
            for line in entry.get("script").map(lines).unwrap_or_default() {
                script.command(&line, options);
            }
        }
    }
    if cleans {
        script.command("if git rev-parse --quiet --verify refs/stash; then git stash pop --quiet; fi", "--echo");
    }
    if allowed {
        // A failure here does not count for the job's status.
        script.line(":");
    }
    script.line(&format!("travis_fold end {fold}"));
    for line in hooks("after_deploy") {
        script.command(&line, "--echo --timing --event after_deploy");
    }
}

/// Returns the options of `on:`. YAML reads a plain `on` as true.
fn on(entry: &Config) -> Config {
    match entry.get("on").or_else(|| entry.get("true")).or_else(|| entry.get("if")) {
        Some(Json::Object(map)) => map.clone(),
        Some(Json::String(branch)) => Config::from_iter([("branch".to_owned(), Json::from(branch.as_str()))]),
        _ => Config::new(),
    }
}

/// Returns the conditions of `on:`: each is a command of bash, with the text for the log when it does not hold.
fn conditions(entry: &Config) -> Vec<(String, String)> {
    let on = on(entry);
    let is_true = |key: &str| on.get(key) == Some(&Json::Bool(true));
    let mut all = Vec::new();
    if let Some(repo) = text(&on, "repo") {
        let condition = format!("[[ $TRAVIS_REPO_SLUG = {} ]]", quoted(repo));
        all.push((condition, "this is not the right repository".to_owned()));
    }
    // A tag's build has the tag's name as its branch.
    if !is_true("all_branches") && !is_true("tags") {
        let branches = branches(on.get("branch"));
        let each: Vec<String> = branches.iter().map(|branch| format!("$TRAVIS_BRANCH = {}", quoted(branch))).collect();
        let why = format!("this branch is not permitted (only {})", branches.join(", "));
        all.push((format!("[[ {} ]]", each.join(" || ")), why));
    }
    for (key, variable) in VERSIONS {
        if let Some(version) = text(&on, key) {
            let condition = format!("[[ ${variable} = {} ]]", quoted(version));
            all.push((condition, format!("this is not on the required runtime ({key} {version})")));
        }
    }
    for condition in on.get("condition").map(lines).unwrap_or_default() {
        // The condition is a bash expression of the author's; `eval` keeps its syntax errors apart from the script's
        // syntax.
        let test = format!("eval {}", quoted(&format!("[[ {condition} ]]")));
        all.push((test, format!("the condition {condition} does not hold")));
    }
    match on.get("tags") {
        Some(Json::Bool(true)) => {
            all.push(("[[ -n $TRAVIS_TAG ]]".to_owned(), "this is not a tagged commit".to_owned()));
        }
        Some(Json::Bool(false)) => {
            all.push(("[[ -z $TRAVIS_TAG ]]".to_owned(), "this is a tagged commit".to_owned()));
        }
        _ => {}
    }
    all
}

fn branches(value: Option<&Json>) -> Vec<String> {
    match value {
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        Some(Json::Object(map)) => map.keys().cloned().collect(),
        Some(Json::String(one)) => vec![one.clone()],
        _ => vec!["master".to_owned()],
    }
}
