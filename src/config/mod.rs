//! `config.toml`. This module only puts it together; each section is defined in the module that it configures.
//!
//! Each value can also be set by an environment variable, `TRAINYARD__SECTION__KEY`, which takes precedence over the
//! file.

mod check;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use url::Url;

use crate::attempt::ImagesConfig;
use crate::worker::RunnerConfig;
use crate::{
    executor, git, github, gpu, inputs, intake, notifier, permits, storage, store, telemetry, trackers, travis_ci, web,
};

/// The whole configuration. If a value is invalid, the process does not start.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the service and place of its data.
    pub server: ServerConfig,
    pub database: store::DatabaseConfig,
    pub github: github::GitHubConfig,
    /// Other servers with repositories: Gitea and Forgejo.
    pub forge: Vec<github::ForgeConfig>,
    /// Fetches of repositories.
    pub git: git::GitConfig,
    /// Treatment of pull requests from forks.
    pub forks: intake::ForksConfig,
    /// Settings of single repositories.
    pub repositories: intake::RepositoriesConfig,
    /// Settings that Travis keeps in a repository's settings, and the webhooks of Travis itself.
    pub travis: travis_ci::TravisConfig,
    /// Receivers of webhooks.
    pub notifications: notifier::NotificationsConfig,
    /// Data sets and models of train jobs.
    pub inputs: inputs::InputsConfig,
    /// Places to which trained weights may go.
    pub publish: permits::PublishConfig,
    /// Forms in which trainings are kept for experiment trackers.
    pub trackers: trackers::TrackersConfig,
    /// Images of jobs, by language.
    pub images: ImagesConfig,
    /// Limits of a job.
    pub limits: executor::Limits,
    /// Folders of the machine that jobs may read.
    pub mount: Vec<executor::Mount>,
    /// The only networks that some jobs reach.
    pub egress: Vec<executor::EgressRule>,
    /// Folders that jobs keep for later jobs.
    pub cache: storage::CacheConfig,
    /// Place of logs and artifacts.
    pub storage: storage::StorageConfig,
    /// Time for which logs and artifacts are kept.
    pub retention: store::output::retention::RetentionConfig,
    /// Limits on the slots that repositories and forks may hold.
    pub queue: store::queue::QueueConfig,
    /// GPU hours that repositories and people have.
    pub budget: Vec<store::runner::budgets::BudgetConfig>,
    /// Jobs that may have GPUs, their images, and the sizes that they may request.
    pub gpu: gpu::GpuConfig,
    /// Docker engines. Without any, there is one local runner.
    pub runner: Vec<RunnerConfig>,
    /// Tokens for changes over HTTP.
    pub auth: web::AuthConfig,
    /// Logging.
    pub telemetry: telemetry::TelemetryConfig,
}

/// `[server]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port of the web server.
    #[serde(deserialize_with = "address_and_port")]
    pub listen: SocketAddr,
    /// Address at which people and GitHub reach the service.
    pub public_url: Url,
    /// Folder for mirrors, the private Postgres and everything else that is kept.
    pub data_dir: PathBuf,
    /// True if a stop of the service cancels its running jobs. Otherwise they keep running, and the next start adopts
    /// them.
    pub cancel_on_stop: bool,
    /// Requests to the API that each caller may send in a minute; 0 for any number.
    pub api_per_minute: u32,
}

fn address_and_port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!("{text:?} is not ADDRESS:PORT, such as 127.0.0.1:8700 or [::]:8700"))
    })
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8700)),
            public_url: Url::parse("http://127.0.0.1:8700").unwrap_or_else(|_| unreachable!("a constant that parses")),
            data_dir: PathBuf::from("/var/lib/trainyard"),
            cancel_on_stop: false,
            api_per_minute: 1200,
        }
    }
}

/// Prefix of the environment variables that set values.
const PREFIX: &str = "TRAINYARD__";

impl Config {
    /// Reads `file` (for `None`, only defaults) and the environment variables.
    ///
    /// # Errors
    /// Fails with the file, the line and the expected value when a key is unknown or a value has the wrong type.
    pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration {}", path.display()))?,
        };
        let name = file.map_or_else(|| "config".to_owned(), |path| path.display().to_string());
        // Parses the file alone first, because its mistakes have a line; then again with the environment on top.
        let of_file: Self =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}", located(&name, &text, &error)))?;
        let variables: Vec<(String, String)> = environment.filter(|(key, _)| key.starts_with(PREFIX)).collect();
        let mut config = if variables.is_empty() { of_file } else { with_environment(&text, &variables)? };
        if config.runner.is_empty() {
            config.runner.push(RunnerConfig::default());
        }
        config.queue.has_own_limits = config.repositories.have_slots();
        config.check()?;
        Ok(config)
    }
}

/// Formats a TOML error as `file:line:column: what`, with the line itself.
fn located(name: &str, text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else { return format!("{name}: {}", error.message()) };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let source = text.lines().nth(line - 1).unwrap_or_default();
    format!("{name}:{line}:{column}: {}\n    {source}", error.message())
}

fn with_environment(text: &str, variables: &[(String, String)]) -> anyhow::Result<Config> {
    let mut root: toml::Table = toml::from_str(text)?;
    for (variable, value) in variables {
        let path: Vec<String> = variable[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        let Some((key, sections)) = path.split_last().filter(|(_, sections)| !sections.is_empty()) else {
            bail!("environment variable {variable}: it must name a section and a key, as in {PREFIX}SERVER__LISTEN");
        };
        let Some(table) = descend(&mut root, sections) else {
            bail!("{variable}: {} is not a section", sections.join("."))
        };
        // The value is tried as text first, so that a secret of digits stays text; then as TOML, for numbers and lists.
        table.insert(key.clone(), toml::Value::String(value.clone()));
        let Err(as_text) = Config::deserialize(toml::Value::Table(root.clone())) else { continue };
        let parsed =
            toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
        let Some(parsed) = parsed else { bail!("environment variable {variable}: {}", as_text.message()) };
        let Some(table) = descend(&mut root, sections) else { unreachable!("found above") };
        table.insert(key.clone(), parsed);
        Config::deserialize(toml::Value::Table(root.clone()))
            .map_err(|error| anyhow::anyhow!("environment variable {variable}: {}", error.message()))?;
    }
    Ok(Config::deserialize(toml::Value::Table(root))?)
}

/// Returns the table of a section, which is made if there is none. A list such as `[[forge]]` has its tables by their
/// names: the variables of a shell cannot have a `-`, so a `_` stands for it.
fn descend<'a>(root: &'a mut toml::Table, sections: &[String]) -> Option<&'a mut toml::Table> {
    let Some((section, rest)) = sections.split_first() else { return Some(root) };
    let entry = root.entry(section.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    match entry {
        toml::Value::Table(inner) => descend(inner, rest),
        toml::Value::Array(tables) => {
            let (name, rest) = rest.split_first()?;
            let is_named = |table: &toml::Table| {
                table.get("name").and_then(toml::Value::as_str).is_some_and(|known| known.replace('-', "_") == *name)
            };
            let mut tables = tables.iter_mut().filter_map(toml::Value::as_table_mut);
            descend(tables.find(|table| is_named(table))?, rest)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::signature::{self, Signature};
    use crate::worker::RunnerGpus;

    fn load(text: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(file.path()), environment)
    }

    #[test]
    fn a_secret_from_the_environment_may_be_a_list_while_it_changes() {
        let secrets = |text: &str| load("", &[("TRAINYARD__GITHUB__WEBHOOK_SECRET", text)]);
        let body = b"{}";
        for (text, good) in [("12345678", "12345678"), ("[\"new\", \"old\"]", "old"), ("['new', 'old']", "new")] {
            let config = secrets(text).expect("it may be read");
            let signature = Signature::read(&signature::sign(good.as_bytes(), body)).expect("a signature");
            assert!(config.github.webhook_secret.sign(body, signature), "{text}");
        }
        let error = secrets("[\"new\", \"old\"").expect_err("it is cut").to_string();
        assert!(error.contains("TRAINYARD__GITHUB__WEBHOOK_SECRET") && error.contains("begins like a list"), "{error}");
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let error = load("[server]\nlisten = \"127.0.0.1:1\"\nlissten = 1\n", &[]).expect_err("refused").to_string();
        assert!(error.contains(":3:1: unknown field `lissten`"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let error = load("[limits]\ntime = \"soon\"\n", &[]).expect_err("refused").to_string();
        assert!(error.contains(":2:8:"), "{error}");
    }

    #[test]
    fn mounts_that_would_hand_over_the_machine_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().canonicalize().expect("its path").join("data");
        std::fs::create_dir_all(data.join("inner")).expect("made");
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).expect("linked");
        let try_mount = |host: &str, target: &str| {
            let text = format!(
                "server = {{data_dir = {:?}}}\n[[mount]]\nhost = {host:?}\ntarget = {target:?}\nrepos = [\"acme/*\"]\n",
                data.join("inner"),
            );
            load(&text, &[]).map(drop).map_err(|error| format!("{error:#}"))
        };
        let (top, link) = (data.display().to_string(), folder.path().join("link").display().to_string());
        for host in ["/", "/etc", "/etc/ssl", "/var", "/var/lib/docker", "/var/run", "/no/such", "data", &top, &link] {
            let refused = try_mount(host, "/data").expect_err(host);
            assert!(refused.starts_with("mount "), "{host}: {refused}");
        }
        let inner = data.join("set");
        std::fs::create_dir(&inner).expect("made");
        let inner = inner.display().to_string();
        assert_eq!(try_mount(&inner, "/data/set"), Ok(()));
        for target in ["/", "data", "/etc/x", "/data/../etc", "/home/travis/build"] {
            assert!(try_mount(&inner, target).is_err(), "{target}");
        }
    }

    #[test]
    fn a_runtime_that_gets_past_the_rules_of_egress_is_refused() {
        let of = |network: &str, runtime: &str| {
            load(&format!("limits = {{network = {network:?}}}\n[[runner]]\nruntime = {runtime:?}\n"), &[]).map(drop)
        };
        assert!(of("egress", "runsc").expect_err("refused").to_string().contains("runtime runsc"));
        for (network, runtime) in [("none", "runsc"), ("full", "sysbox-runc"), ("egress", "crun"), ("egress", "")] {
            assert!(of(network, runtime).is_ok(), "{network} {runtime}");
        }
    }

    #[test]
    fn a_runner_elsewhere_says_how_it_is_reached_and_may_have_limits_of_its_own() {
        let runner =
            |text: &str| load(&format!("limits = {{memory = '4 GiB'}}\n[[runner]]\nname = 'far'\n{text}\n"), &[]);
        let tls = "tls = { ca = '/tls/ca.pem', certificate = '/tls/cert.pem', key = '/tls/key.pem' }";
        let config = runner(&format!("endpoint = 'tcp://gpu1:2376'\n{tls}\nmemory = '32 GiB'")).expect("valid");
        let limits = config.runner[0].limits(&config.limits);
        assert_eq!((limits.memory, limits.cpus), (bytesize::ByteSize::gib(32), config.limits.cpus));
        for (wrong, told) in [
            ("endpoint = 'tcp://gpu1:2376'", "is root on its machine"),
            ("endpoint = 'gpu1'", "must be unix://"),
            ("cpus = 0.0", "cpus must be more than 0"),
            ("memory = '1 MiB'", "memory must be at least 6 MiB"),
        ] {
            let error = format!("{:#}", runner(wrong).expect_err("refused"));
            assert!(error.starts_with("runner \"far\": ") && error.contains(told), "{error}");
        }
    }

    #[test]
    fn gpus_are_a_word_or_a_list() {
        let runner = |gpus: &str| load(&format!("[[runner]]\ngpus = {gpus}\n"), &[]);
        let listed = runner("[{ uuid = 'GPU-1', memory = '16 GB', class = 't4' }, { uuid = 'MIG-2' }]").expect("valid");
        assert!(matches!(&listed.runner[0].gpus, RunnerGpus::Listed(gpus) if gpus.len() == 2));
        assert!(runner("'none'").is_ok());
        for (wrong, told) in [
            ("'all'", "`gpus` must be \"auto\", \"none\" or a list of"),
            ("[{ uuid = '0' }]", "is not a UUID of a GPU"),
            ("[{ uuid = 'GPU-1' }, { uuid = 'GPU-1' }]", "the GPU GPU-1 is listed twice"),
        ] {
            let error = runner(wrong).expect_err("refused").to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_forge_has_its_secrets_from_the_environment_and_its_owners_to_itself() {
        let forge = |name: &str, owners: &str| {
            format!(
                "[[forge]]\nname = '{name}'\nkind = 'forgejo'\nurl = 'https://git.example.org'\nowners = [{owners}]\n"
            )
        };
        let secret = |variable: &'static str| [(variable, "0123456789abcdef")];
        let of_mine = secret("TRAINYARD__FORGE__MY_GIT__WEBHOOK_SECRET");
        let config = load(&forge("my-git", "'studio'"), &of_mine).expect("valid");
        assert!(config.forge[0].has("Studio") && !config.forge[0].webhook_secret.is_empty());
        let two = forge("my-git", "'studio'") + &forge("other", "'STUDIO'") + "webhook_secret = 'x'\n";
        for (text, environment, told) in [
            (forge("my-git", "'studio'"), &[][..], "it needs a webhook_secret"),
            (forge("my-git", "'studio'"), &secret("TRAINYARD__FORGE__GIT__TOKEN")[..], "forge.git is not a section"),
            (forge("my-git", ""), &of_mine[..], "it needs owners"),
            (forge("my-git", "'a/b'"), &of_mine[..], "is not the name of an owner"),
            (forge("github", "'studio'") + "webhook_secret = 'x'\n", &[][..], "its name must be"),
            (two, &of_mine[..], "the owner STUDIO is also one of the forge"),
        ] {
            let error = format!("{:#}", load(&text, environment).expect_err("refused"));
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_environment_wins() {
        let environment = [("TRAINYARD__LIMITS__CPUS", "1.5"), ("TRAINYARD__GITHUB__TOKEN", "123456")];
        let config = load("[limits]\ncpus = 8.0\n", &environment).expect("valid");
        assert!((config.limits.cpus - 1.5).abs() < f64::EPSILON);
        assert!(config.github.token.is_some());
        let error = load("", &[("TRAINYARD__SERVER__PORT", "1")]).expect_err("refused").to_string();
        assert!(error.contains("TRAINYARD__SERVER__PORT"), "{error}");
    }

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let shipped =
            Config::load(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml"))), std::iter::empty());
        let defaults = Config::load(None, std::iter::empty());
        assert_eq!(format!("{:?}", shipped.expect("valid")), format!("{:?}", defaults.expect("valid")));
    }
}
