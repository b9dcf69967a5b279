//! Set-up of the machine before the checkout: packages, services, hosts (travis-build addons/*.rb, services.rb).

use serde_json::Value as Json;

use super::{Config, Facts, Script};
use crate::travis::shell::quoted;

/// Names of services in Debian, by the names that Travis accepts.
const SERVICES: [(&str, &str); 15] = [
    ("cassandra", "cassandra"),
    ("couchdb", "couchdb"),
    ("elasticsearch", "elasticsearch"),
    ("memcache", "memcached"),
    ("memcached", "memcached"),
    ("mongodb", "mongodb"),
    ("mysql", "mysql"),
    ("mariadb", "mariadb"),
    ("neo4j", "neo4j"),
    ("neo4j-server", "neo4j"),
    ("postgresql", "postgresql"),
    ("rabbitmq", "rabbitmq-server"),
    ("redis", "redis-server"),
    ("redis-server", "redis-server"),
    ("riak", "riak"),
];

/// Adds packages, services and hosts.
pub fn prepare(script: &mut Script, config: &Config, facts: &Facts) {
    let addons = config.get("addons");
    let addon = |name: &str| addons.and_then(|addons| addons.get(name));
    hosts(script, &words(addon("hosts")), &words(addon("ssh_known_hosts")));
    apt(script, addon("apt"), &words(addon("apt_packages")), facts);
    services(script, &words(config.get("services")), facts);
}

fn hosts(script: &mut Script, hosts: &[String], ssh: &[String]) {
    if !hosts.is_empty() {
        let line = quoted(&format!("127.0.0.1 {}", hosts.join(" ")));
        script.line("travis_fold start hosts");
        script.command(&format!("echo {line} >> /etc/hosts"), "--assert --echo --event hosts");
        script.line("travis_fold end hosts");
    }
    for host in ssh {
        let (name, port) = host.split_once(':').unwrap_or((host, "22"));
        let scan = format!("ssh-keyscan -t rsa,ecdsa,ed25519 -p {} -- {}", quoted(port), quoted(name));
        script.line("mkdir -p -m 700 \"$HOME/.ssh\"");
        script.command(&format!("{scan} >> \"$HOME/.ssh/known_hosts\""), "--echo --timing --event ssh_known_hosts");
    }
}

fn apt(script: &mut Script, apt: Option<&Json>, more: &[String], facts: &Facts) {
    let of = |key: &str| apt.and_then(|apt| apt.get(key));
    let mut packages = words(of("packages"));
    packages.extend_from_slice(more);
    let sources: Vec<&Json> = of("sources").and_then(Json::as_array).into_iter().flatten().collect();
    let update = of("update") == Some(&Json::Bool(true));
    if packages.is_empty() && sources.is_empty() && !update {
        return;
    }
    script.line("travis_fold start apt");
    let missing =
        format!("The image {} has no apt-get to install packages: choose an image of Debian or Ubuntu.", facts.image);
    script.line("if ! command -v apt-get > /dev/null; then");
    script.stop(&missing);
    script.line("fi");
    for source in sources {
        apt_source(script, source);
    }
    script.command("apt-get update -qq", "--assert --echo --retry --timing --event apt");
    if !packages.is_empty() {
        let packages: Vec<String> = packages.iter().map(|package| quoted(package)).collect();
        let install = "apt-get -yq --no-install-suggests --no-install-recommends install";
        script.command(&format!("{install} -- {}", packages.join(" ")), "--assert --echo --timing --event apt");
    }
    script.line("travis_fold end apt");
}

fn apt_source(script: &mut Script, source: &Json) {
    if let Some(url) = source.get("key_url").and_then(Json::as_str) {
        let fetch = format!("curl -sSfL --retry 3 -- {}", quoted(url));
        // apt accepts a key in either form, by the ending of the file's name.
        let keep = "/etc/apt/trusted.gpg.d/travis-$RANDOM$RANDOM.asc";
        script.command(&format!("{fetch} > {keep}"), "--assert --echo --retry --timing --event apt");
    }
    match source.get("sourceline").and_then(Json::as_str) {
        Some(line) if line.trim_start().starts_with("deb") => {
            let list = "/etc/apt/sources.list.d/travis.list";
            script.command(&format!("echo {} >> {list}", quoted(line)), "--assert --echo --event apt");
        }
        _ => {
            let name = source.get("name").or_else(|| source.get("sourceline")).unwrap_or(source);
            let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
            script.print(
                "YELLOW",
                &format!("The source {name} is not known here: give its `sourceline` (deb …) and `key_url`."),
            );
        }
    }
}

fn services(script: &mut Script, services: &[String], facts: &Facts) {
    if services.is_empty() {
        return;
    }
    script.line("travis_fold start services");
    for service in services {
        let asked = service.to_lowercase();
        match asked.as_str() {
            "docker" => {
                script.print("YELLOW", "Docker is not available in a job: access to it is in effect root on the host.")
            }
            "xvfb" => xvfb(script, facts),
            _ => {
                let name = SERVICES.iter().find(|(name, _)| *name == asked).map_or(asked.as_str(), |(_, name)| name);
                start(script, &asked, name, facts);
            }
        }
    }
    script.command("sleep 3", "--event services");
    script.line("travis_fold end services");
}

/// Starts a service. As on Travis, a service that does not start is left to the job, but a missing service is reported.
fn start(script: &mut Script, asked: &str, name: &str, facts: &Facts) {
    script.line(&format!("if [ -x {} ]; then", quoted(&format!("/etc/init.d/{name}"))));
    script.command(&format!("service {} start", quoted(name)), "--echo --timing --event services");
    script.line("else");
    script.print(
        "YELLOW",
        &format!(
            "The image {} has no service `{asked}`: put it into the image, or install it with `addons: apt: packages:`.",
            facts.image
        ),
    );
    script.line("fi");
}

fn xvfb(script: &mut Script, facts: &Facts) {
    script.line("if command -v Xvfb > /dev/null; then");
    script.line("export DISPLAY=:99.0");
    script.command("Xvfb :99 -screen 0 1600x1200x24 > /dev/null 2>&1 &", "--echo --event services");
    script.line("else");
    let missing = format!("The image {} has no Xvfb: install it with `addons: apt: packages: xvfb`.", facts.image);
    script.print("YELLOW", &missing);
    script.line("fi");
}

/// Returns the words of a list, or a single word. Words that a command would take for options are left out.
fn words(value: Option<&Json>) -> Vec<String> {
    let items: Vec<&Json> = match value {
        Some(Json::Array(items)) => items.iter().collect(),
        Some(one @ Json::String(_)) => vec![one],
        _ => Vec::new(),
    };
    let texts = items.into_iter().filter_map(Json::as_str);
    texts.filter(|word| !word.is_empty() && !word.starts_with('-')).map(str::to_owned).collect()
}
