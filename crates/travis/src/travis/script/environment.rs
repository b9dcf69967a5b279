//! The variables that a job sees, in the order in which they are set (travis-build env.rb, env/*.rb).

use serde_json::Value as Json;

use super::{Config, Facts, Script};
use crate::domain::TriggerKind;
use crate::travis::shell::{is_name, quoted, text};
use crate::travis::{env, secrets};

/// Adds the variables that hold from the start.
pub fn header(script: &mut Script, config: &Config, facts: &Facts) {
    let os = text(config, "os").unwrap_or("linux");
    let variables = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("SHELL", "/bin/bash"),
        ("TERM", "xterm"),
        ("USER", "travis"),
        ("HOME", &facts.home),
        // Without a terminal, Python would hold back its output for a long time.
        ("PYTHONUNBUFFERED", "1"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_PROGRESS_BAR", "off"),
        ("TRAVIS_OS_NAME", os),
        ("TRAVIS_CPU_ARCH", text(config, "arch").unwrap_or("amd64")),
        ("TRAVIS_ARCH", text(config, "arch").unwrap_or("amd64")),
        ("TRAVIS_DIST", text(config, "dist").unwrap_or_default()),
        ("TRAVIS_INIT", "docker-init"),
        ("TRAVIS_INFRA", "trainyard"),
        ("TRAVIS_TMPDIR", "/tmp"),
        ("TRAVIS_ROOT", "/"),
        ("TRAVIS_HOME", &facts.home),
        ("TRAVIS_BUILD_DIR", &format!("{}/build", facts.home)),
        ("TRAVIS_APP_HOST", &facts.host),
        ("TRAVIS_TEST_RESULT", ""),
        ("TRAVIS_CMD", ""),
        ("TZ", "UTC"),
    ];
    for (name, value) in variables {
        script.line(&format!("export {name}={}", quoted(value)));
    }
    script.line("export LANG=\"${LANG:-C.UTF-8}\"");
    script.line("TRAVIS_PHASE=setup");
}

/// Adds the variables of the checkout: those built in, those of the settings, then those of the config; later ones win.
pub fn export(script: &mut Script, config: &Config, facts: &Facts) {
    for (name, value) in built_in(config, facts) {
        script.line(&format!("export {name}={}", quoted(&value)));
    }
    let settings = facts.settings.iter().filter(|setting| is_name(&setting.name));
    let mut announced = false;
    for setting in settings {
        announce(script, &mut announced, "repository settings");
        let (name, value) = (&setting.name, quoted(&setting.value));
        export_line(script, &format!("export {name}={value}"), setting.secret.then_some(name));
    }
    let mut announced = false;
    for (name, value, secret) in of_config(config, facts) {
        announce(script, &mut announced, ".travis.yml");
        export_line(script, &format!("export {name}={value}"), secret.then_some(&name));
    }
    let lost = secrets::ciphers_of(config).iter().filter(|cipher| clear(facts, cipher).is_none()).count();
    if lost > 0 && !facts.secrets_allowed {
        script.print("YELLOW", "Encrypted environment variables have been removed for security reasons.");
    } else if lost > 0 {
        let values = if lost == 1 { "value" } else { "values" };
        script.print(
            "YELLOW",
            &format!(
                "{lost} `secure:` {values} of .travis.yml cannot be decrypted with this repository's key. \
                 Encrypt them again with: trainyard encrypt NAME=value --repo {}",
                facts.repo
            ),
        );
    }
}

fn announce(script: &mut Script, announced: &mut bool, source: &str) {
    if !std::mem::replace(announced, true) {
        script.print("YELLOW", &format!("Setting environment variables from {source}"));
    }
}

fn export_line(script: &mut Script, line: &str, secret: Option<&String>) {
    match secret {
        None => script.command(line, "--echo --event export"),
        Some(name) => {
            let display = quoted(&format!("export {name}=[secure]"));
            script.command(line, &format!("--echo --secure --display {display} --event export"));
        }
    }
}

/// Returns the config's variables as bash exports them, and true for those that are secret.
fn of_config(config: &Config, facts: &Facts) -> Vec<(String, String, bool)> {
    let clear = |cipher: &Json| clear(facts, cipher.as_str()?);
    let mut all = Vec::new();
    for (name, value) in
        config.get("env").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_object).flatten()
    {
        if name == "secure" {
            let pairs = clear(value).and_then(|text| env::pairs(text).ok()).unwrap_or_default();
            let exports = pairs.iter().flat_map(|(name, value)| env::exports(name, value));
            all.extend(exports.map(|(name, value)| (name, value, true)));
        } else if let Some(cipher) = value.get("secure") {
            let value = clear(cipher).unwrap_or_default();
            all.extend(env::exports(name, value).into_iter().map(|(name, value)| (name, value, true)));
        } else {
            let value = value.as_str().unwrap_or_default();
            all.extend(env::exports(name, value).into_iter().map(|(name, value)| (name, value, false)));
        }
    }
    all.retain(|(name, value, secret)| is_name(name) && !(*secret && value.is_empty()));
    all
}

/// Returns the clear text of a `secure:` string.
fn clear<'a>(facts: &'a Facts, cipher: &str) -> Option<&'a str> {
    facts.decrypted.iter().find(|(secure, _)| secure == cipher).map(|(_, clear)| clear.as_str())
}

fn built_in(config: &Config, facts: &Facts) -> Vec<(&'static str, String)> {
    let pull = facts.pull_request.as_ref();
    let of_pull = |value: fn(&super::PullRequestFacts) -> String| pull.map(value).unwrap_or_default();
    let event = match facts.event {
        TriggerKind::Push | TriggerKind::Tag | TriggerKind::Travis => "push",
        TriggerKind::PullRequest => "pull_request",
        TriggerKind::Cron => "cron",
        TriggerKind::Api => "api",
    };
    let flag = |flag: bool| flag.to_string();
    let is_true = |key: &str| flag(config.get(key) == Some(&Json::Bool(true)));
    let word = |key: &str| text(config, key).unwrap_or_default().to_owned();
    let tag = facts.tag.clone().unwrap_or_default();
    let branch = if facts.branch.is_empty() { tag.clone() } else { facts.branch.clone() };
    let mut all = vec![
        ("CI", flag(true)),
        ("TRAVIS", flag(true)),
        ("CONTINUOUS_INTEGRATION", flag(true)),
        ("HAS_JOSH_K_SEAL_OF_APPROVAL", flag(true)),
        ("PAGER", "cat".to_owned()),
        ("TRAVIS_EVENT_TYPE", event.to_owned()),
        ("TRAVIS_PULL_REQUEST", pull.map_or_else(|| flag(false), |pull| pull.number.to_string())),
        ("TRAVIS_PULL_REQUEST_BRANCH", of_pull(|pull| pull.branch.clone())),
        ("TRAVIS_PULL_REQUEST_SHA", of_pull(|pull| pull.sha.clone())),
        ("TRAVIS_PULL_REQUEST_SLUG", of_pull(|pull| pull.slug.clone())),
        ("TRAVIS_PULL_REQUEST_IS_DRAFT", of_pull(|pull| pull.draft.to_string())),
        ("TRAVIS_BRANCH", branch),
        ("TRAVIS_TAG", tag),
        ("TRAVIS_COMMIT", facts.commit.clone()),
        ("TRAVIS_COMMIT_RANGE", facts.commit_range.clone()),
        ("TRAVIS_COMMIT_MESSAGE", facts.commit_message.clone()),
        ("TRAVIS_SECURE_ENV_VARS", flag(facts.secrets_allowed && facts.has_secrets())),
        ("TRAVIS_REPO_SLUG", facts.repo.to_string()),
        ("TRAVIS_REPO_PRIVATE", flag(facts.private)),
        ("TRAVIS_BUILD_ID", facts.build.id.to_string()),
        ("TRAVIS_BUILD_NUMBER", facts.build.number.clone()),
        ("TRAVIS_BUILD_WEB_URL", facts.build.url.clone()),
        ("TRAVIS_BUILD_DIR", format!("{}/build/{}", facts.home, facts.repo)),
        ("TRAVIS_BUILD_STAGE_NAME", word("stage")),
        ("TRAVIS_JOB_ID", facts.job.id.to_string()),
        ("TRAVIS_JOB_NUMBER", facts.job.number.clone()),
        ("TRAVIS_JOB_NAME", word("name")),
        ("TRAVIS_JOB_WEB_URL", facts.job.url.clone()),
        ("TRAVIS_JOB_RESTARTED", flag(facts.restarted)),
        ("TRAVIS_ALLOW_FAILURE", is_true("allow_failure")),
        ("TRAVIS_LANGUAGE", word("language")),
        ("TRAVIS_OSX_IMAGE", word("osx_image")),
        ("TRAVIS_SUDO", flag(true)),
    ];
    for (key, name) in VERSIONS {
        if let Some(version) = text(config, key) {
            all.push((name, version.to_owned()));
        }
    }
    all
}

/// The keys of the versions that a job of the matrix is for, and the variables that hold these versions.
const VERSIONS: [(&str, &str); 20] = [
    ("compiler", "TRAVIS_COMPILER"),
    ("crystal", "TRAVIS_CRYSTAL_VERSION"),
    ("d", "TRAVIS_D_VERSION"),
    ("dart", "TRAVIS_DART_VERSION"),
    ("elixir", "TRAVIS_ELIXIR_VERSION"),
    ("ghc", "TRAVIS_HASKELL_VERSION"),
    ("go", "TRAVIS_GO_VERSION"),
    ("haxe", "TRAVIS_HAXE_VERSION"),
    ("jdk", "TRAVIS_JDK_VERSION"),
    ("julia", "TRAVIS_JULIA_VERSION"),
    ("mono", "TRAVIS_MONO"),
    ("node_js", "TRAVIS_NODE_VERSION"),
    ("otp_release", "TRAVIS_OTP_RELEASE"),
    ("perl", "TRAVIS_PERL_VERSION"),
    ("php", "TRAVIS_PHP_VERSION"),
    ("python", "TRAVIS_PYTHON_VERSION"),
    ("r", "TRAVIS_R_VERSION"),
    ("rust", "TRAVIS_RUST_VERSION"),
    ("rvm", "TRAVIS_RUBY_VERSION"),
    ("scala", "TRAVIS_SCALA_VERSION"),
];
