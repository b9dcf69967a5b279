//! The language-specific part of a script: the runtime, and the commands of phases that are not given.

use serde_json::Value as Json;

use super::{Config, Facts, Script};
use crate::travis::shell::{quoted, text};

/// A command of a default phase, which runs when its condition holds. If several conditions hold, only the first
/// counts.
struct Choice {
    condition: &'static str,
    command: &'static str,
}

/// The default phases of a language (travis-build script/*.rb).
struct Language {
    name: &'static str,
    install: &'static [Choice],
    script: &'static [Choice],
}

const fn when(condition: &'static str, command: &'static str) -> Choice {
    Choice { condition, command }
}

const LANGUAGES: [Language; 11] = [
    Language { name: "generic", install: &[], script: &[] },
    Language { name: "shell", install: &[], script: &[] },
    Language {
        name: "python",
        install: &[
            when("[ -f Requirements.txt ]", "pip install -r Requirements.txt"),
            when("[ -f requirements.txt ]", "pip install -r requirements.txt"),
        ],
        script: &[],
    },
    Language {
        name: "node_js",
        install: &[
            when("[ -f yarn.lock ]", "yarn --frozen-lockfile"),
            when("[ -f package-lock.json ]", "npm ci"),
            when("[ -f package.json ]", "npm install"),
        ],
        script: &[
            when("[ -f yarn.lock ] && [ -f package.json ]", "yarn test"),
            when("[ -f package.json ]", "npm test"),
            when("true", "make test"),
        ],
    },
    Language {
        name: "ruby",
        install: &[
            when("[ -f Gemfile.lock ]", "bundle install --jobs=3 --retry=3 --deployment"),
            when("[ -f Gemfile ]", "bundle install --jobs=3 --retry=3"),
        ],
        script: &[when("[ -f Gemfile ]", "bundle exec rake"), when("true", "rake")],
    },
    Language {
        name: "java",
        install: &[
            when("[ -f gradlew ]", "./gradlew assemble"),
            when("[ -f build.gradle ] || [ -f build.gradle.kts ]", "gradle assemble"),
            when("[ -f mvnw ]", "./mvnw install -DskipTests=true -Dmaven.javadoc.skip=true -B -V"),
            when("[ -f pom.xml ]", "mvn install -DskipTests=true -Dmaven.javadoc.skip=true -B -V"),
        ],
        script: &[
            when("[ -f gradlew ]", "./gradlew check"),
            when("[ -f build.gradle ] || [ -f build.gradle.kts ]", "gradle check"),
            when("[ -f mvnw ]", "./mvnw test -B"),
            when("[ -f pom.xml ]", "mvn test -B"),
            when("true", "ant test"),
        ],
    },
    Language {
        name: "go",
        install: &[when("[ -f go.mod ]", "go mod download"), when("true", "go get -t -v ./...")],
        script: &[when("[ -f Makefile ]", "make"), when("true", "go test -v ./...")],
    },
    Language { name: "rust", install: &[], script: &[when("true", "cargo build --verbose && cargo test --verbose")] },
    Language { name: "c", install: &[], script: &[when("true", "./configure && make && make test")] },
    Language { name: "cpp", install: &[], script: &[when("true", "./configure && make && make test")] },
    Language { name: "php", install: &[], script: &[when("true", "phpunit")] },
];

fn language(config: &Config) -> &str {
    text(config, "language").unwrap_or("generic")
}

fn known(config: &Config) -> Option<&'static Language> {
    LANGUAGES.iter().find(|known| known.name == language(config))
}

/// Returns the reason why a job without its own `script` cannot run: the language's commands are not known.
pub fn unsupported(config: &Config) -> Option<String> {
    if known(config).is_some() || config.contains_key("script") {
        return None;
    }
    let language = language(config);
    Some(format!(
        "Trainyard has no default commands for the language `{language}`: give the key `script` in your .travis.yml."
    ))
}

/// Sets up the runtime.
pub fn setup(script: &mut Script, config: &Config, facts: &Facts) {
    match language(config) {
        "python" => python(script, config, facts),
        "c" | "cpp" => {
            let compiler = text(config, "compiler").unwrap_or("gcc");
            let (cc, cxx) = if compiler.starts_with("clang") { ("clang", "clang++") } else { ("gcc", "g++") };
            script.line(&format!("export CC=\"${{CC:-{cc}}}\" CXX=\"${{CXX:-{cxx}}}\""));
        }
        _ => {}
    }
}

/// Travis's version of Python for files that do not name a version.
const DEFAULT_PYTHON: &str = "3.10";

/// Activates the image's virtualenv of the requested version. Without such a virtualenv, the image's own `python` is
/// used if it has that version; another version is an error, as on Travis. If no version is requested, any version is
/// used.
fn python(script: &mut Script, config: &Config, facts: &Facts) {
    let substitute = facts.python.as_ref();
    if let Some(substitute) = substitute {
        script.print("YELLOW", &substitute.warning);
    }
    let asked = substitute.map(|python| python.version.as_str()).or_else(|| text(config, "python"));
    let version = asked.unwrap_or(DEFAULT_PYTHON);
    let virtualenv = config.get("virtualenv").and_then(|v| v.get("system_site_packages")) == Some(&Json::Bool(true));
    let prefix = if version.starts_with("pypy") { "" } else { "python" };
    let suffix = if virtualenv { "_with_system_site_packages" } else { "" };
    let venv = quoted(&format!("{}/virtualenv/{prefix}{version}{suffix}", facts.home));
    let wanted = quoted(version);
    let missing = quoted(&format!(
        "The image {} has no Python {version}: choose another value of `python`, or another `image`.",
        facts.image
    ));
    script.line(&format!("travis_venv={venv}"));
    script.line("travis_image_python=$(python -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])' 2>/dev/null)");
    script.line("if [ -f \"$travis_venv/bin/activate\" ]; then");
    script.command("source \"$travis_venv/bin/activate\"", "--assert --echo --event setup");
    match asked {
        Some(_) => script.line(&format!("elif [ \"$travis_image_python\" = {wanted} ]; then")),
        None => script.line("elif [ -n \"$travis_image_python\" ]; then"),
    }
    script.line("printf '%s\\n' \"Using Python $travis_image_python of the image.\"");
    script.line("else");
    script.line(&format!("printf '%b%s%b\\n' \"$ANSI_RED\" {missing} \"$ANSI_RESET\""));
    script.line("printf '\\nYour build has been stopped.\\n'");
    script.line("travis_terminate 2");
    script.line("fi");
    // Asking pip takes longer than all other work of a smoke job besides its training.
    if facts.smoke.is_none() {
        script.command("python --version", "--echo");
        script.command("pip --version", "--echo");
    }
}

/// Adds a phase that is not given.
pub fn default_phase(script: &mut Script, config: &Config, name: &str) {
    let Some(known) = known(config) else { return };
    let choices = if name == "install" { known.install } else { known.script };
    for (index, choice) in choices.iter().enumerate() {
        let word = if index == 0 { "if" } else { "elif" };
        script.line(&format!("{word} {}; then", choice.condition));
        if name == "install" {
            script.line("travis_fold start install");
            script.command(choice.command, "--assert --echo --retry --timing --event install");
            script.line("travis_fold end install");
        } else {
            script.command(choice.command, "--echo --timing --event script");
            script.line("travis_result $?");
        }
    }
    match (known.name, name) {
        ("python", "install") => {
            script.line("else");
            script.print(
                "YELLOW",
                "Could not locate requirements.txt. Override the install: key in your .travis.yml to install dependencies.",
            );
        }
        ("python", "script") => {
            script.print("RED", "Please override the script: key in your .travis.yml to run tests.");
            script.line("export TRAVIS_TEST_RESULT=1");
        }
        (_, "script") if choices.is_empty() => script.line("export TRAVIS_TEST_RESULT=0"),
        _ => {}
    }
    if !choices.is_empty() {
        script.line("fi");
    }
}
