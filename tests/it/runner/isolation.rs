//! Isolation of jobs: the rights of their containers, and the addresses that they reach.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::app::App;
use crate::support::docker;
use crate::support::engine::{BRIDGELESS, Engine};
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};
use crate::support::recorder::Recorder;

/// Runs a script to its end. Returns whether it passed, and the log.
async fn run(app: &App, script: &str) -> (bool, String) {
    run_in(app, &app.github.repo("acme/styles"), script).await
}

async fn run_in(app: &App, repo: &Repo, script: &str) -> (bool, String) {
    let script = script.replace('\n', "\n    ");
    repo.write(".travis.yml", &format!("language: shell\nscript:\n  - |\n    {script}\n"));
    let sha = repo.commit("Try");
    Delivery::new("d-1", "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    let log = String::from_utf8_lossy(&app.log(1).await).into_owned();
    docker::assert_no_containers(&app.db).await;
    (end.state == "success", log)
}

/// Listens on a port of every address of this host.
async fn listen_everywhere() -> (tokio::net::TcpListener, u16) {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Lists the addresses of this host except its loopback.
fn own_addresses() -> Vec<String> {
    let output = std::process::Command::new("hostname").arg("--all-ip-addresses").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.split_whitespace().filter(|address| !address.contains(':')).map(str::to_owned).collect()
}

/// Returns a bash command that fails unless a connection to that port is rejected by a rule at once.
fn closed(address: &str, port: u16) -> String {
    format!(
        "said=$(timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>&1) && exit 1; \
         echo \"{address}: $said\"; [[ $said == *'Permission denied'* ]]\n"
    )
}

#[tokio::test]
async fn neither_the_host_nor_private_networks_nor_the_metadata_of_clouds_are_reached() {
    let (_listener, port) = listen_everywhere().await;
    let app = App::start("").await;
    let mut script = String::from("set -e\n");
    for address in own_addresses().iter().map(String::as_str).chain([docker::bridge().as_str()]) {
        script += &closed(address, port);
    }
    for address in ["169.254.169.254", "10.0.0.1", "172.17.99.9", "172.31.0.1", "192.168.1.1", "100.100.100.200"] {
        script += &closed(address, 80);
    }
    // Broadcasts reach the host too, and IPv6 would bypass all rules of IPv4.
    script += "perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 17); setsockopt(S, SOL_SOCKET, SO_BROADCAST, 1); \
               for (qw(255.255.255.255 172.17.255.255)) { send(S, q(x), 0, sockaddr_in(9, inet_aton($_))) and die }'\n";
    script += "if timeout 5 bash -c 'exec 3<>/dev/tcp/2606:4700::1111/80'; then exit 1; fi\n";
    // The job has its own loopback.
    script += "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => q(127.0.0.1)) or die; \
               IO::Socket::INET->new(PeerAddr => q(127.0.0.1), PeerPort => $s->sockport) or die $@'\n";
    // No process of the job may change a rule.
    script += "test $((0x$(awk '/CapBnd/ {print $2}' /proc/self/status) & 1 << 12)) = 0\n";
    let (passed, log) = run(&app, &script).await;
    assert!(passed, "{log}");
    app.stop().await;
}

#[tokio::test]
async fn what_the_configuration_lets_jobs_reach_they_reach() {
    let (_listener, port) = listen_everywhere().await;
    let app = App::start(&docker::reach_bridge()).await;
    let gateway = docker::bridge();
    let open = format!("exec 3<>/dev/tcp/{gateway}/{port}\nset -e\n{}", closed("172.17.99.9", port));
    let (passed, log) = run(&app, &open).await;
    assert!(passed, "{log}");
    app.stop().await;
}

#[tokio::test]
async fn the_internet_is_reached_by_name_where_this_machine_reaches_it() {
    let site = "deb.debian.org";
    let here = tokio::time::timeout(Duration::from_secs(10), tokio::net::TcpStream::connect((site, 80))).await;
    if !matches!(here, Ok(Ok(_))) {
        return eprintln!("skipped: this machine does not reach {site}");
    }
    let app = App::start("").await;
    let (passed, log) = run(&app, &format!("timeout 20 bash -c 'exec 3<>/dev/tcp/{site}/80'")).await;
    assert!(passed, "{log}");
    app.stop().await;
}

#[tokio::test]
async fn the_other_networks_are_what_they_are_called() {
    let (_listener, port) = listen_everywhere().await;
    let gateway = docker::bridge();
    for (network, script) in [
        ("full", format!("exec 3<>/dev/tcp/{gateway}/{port}")),
        ("none", "test \"$(ls /sys/class/net)\" = lo".to_owned()),
    ] {
        let app = App::start(&format!("limits = {{network = '{network}'}}")).await;
        let (passed, log) = run(&app, &script).await;
        assert!(passed, "{network}: {log}");
        app.stop().await;
    }
}

#[tokio::test]
async fn mounts_are_for_the_repositories_that_are_named_and_read_only() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().canonicalize().unwrap();
    std::fs::write(path.join("faces.txt"), "faces").unwrap();
    let mount =
        |target: &str, repos: &str| format!("[[mount]]\nhost = {path:?}\ntarget = '{target}'\nrepos = ['{repos}']\n");
    let app = App::start(&format!("{}{}", mount("/data/ours", "acme/*"), mount("/data/theirs", "other/*"))).await;
    let script = "test \"$(cat /data/ours/faces.txt)\" = faces && ! test -e /data/theirs && ! touch /data/ours/mine && \
                  ! mount -o remount,rw /data/ours";
    let repo = app.github.repo("acme/styles");
    let (passed, log) = run_in(&app, &repo, script).await;
    assert!(passed, "{log}");
    assert!(!path.join("mine").exists());

    // A pull request with a stranger's code cannot read any of it.
    let base = repo.head();
    repo.write(".travis.yml", "language: shell\nscript:\n  - '! test -e /data/ours'\n");
    let head = repo.commit("Read it");
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, &repo, 7, &base, &head);
    Delivery::new("fork", "pull_request", &opened).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    assert_eq!(end.state, "success", "{}", String::from_utf8_lossy(&app.log(2).await));
    app.stop().await;
}

/// A rule of section 5 of the CIS Docker Benchmark (as numbered from 1.2 to 1.5), and a check that a container meets
/// it.
type Rule = (&'static str, &'static str, fn(&Value) -> bool);

/// Rules on the creation of containers. The other rules: 5.6 and 5.7 (no SSH server, ports below 1024) are about the
/// content of the container, 5.22 and 5.23 about `docker exec`, which is never used, 5.26 (health checks) about
/// services, and 5.27 (the latest image) about the operator's images. 5.29 (not the default bridge) is met in effect:
/// the rules of `egress` close all of its network, and without NET_RAW no process can forge addresses on it.
const RULES: [Rule; 20] = [
    ("5.1", "AppArmor is not switched off", |made| !list(made, "SecurityOpt").join(" ").contains("apparmor")),
    ("5.2", "SELinux is not switched off", |made| !list(made, "SecurityOpt").join(" ").contains("label")),
    ("5.3", "capabilities are dropped but for a list", |made| {
        let kept = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"];
        let allowed = if is_helper(made) { ["NET_ADMIN"].as_slice() } else { kept.as_slice() };
        list(made, "CapDrop") == ["ALL"] && list(made, "CapAdd").iter().all(|cap| allowed.contains(&cap.as_str()))
    }),
    ("5.4", "not privileged", |made| made["HostConfig"]["Privileged"] == false),
    ("5.5", "nothing of the host is mounted", |made| nothing(made, &["Binds", "Mounts", "VolumesFrom", "Tmpfs"])),
    ("5.8, 5.13", "no port is opened", |made| nothing(made, &["PortBindings", "PublishAllPorts"])),
    ("5.9", "not the host's network", |made| made["HostConfig"]["NetworkMode"] != "host"),
    ("5.10", "memory has a limit, swap included", |made| {
        number(made, "Memory") > 0 && number(made, "Memory") == number(made, "MemorySwap")
    }),
    ("5.11", "processor time has a limit (a helper sleeps)", |made| is_helper(made) || number(made, "NanoCpus") > 0),
    ("5.12", "the root is read-only (a job installs packages)", |made| {
        !is_helper(made) || made["HostConfig"]["ReadonlyRootfs"] == true
    }),
    ("5.14", "never restarted by Docker", |made| nothing(made, &["RestartPolicy"])),
    ("5.15", "not the host's processes", |made| nothing(made, &["PidMode"])),
    ("5.16", "shared memory of its own", |made| made["HostConfig"]["IpcMode"] == "private"),
    ("5.17", "no device", |made| nothing(made, &["Devices", "DeviceRequests", "DeviceCgroupRules"])),
    ("5.18", "limits of core dumps, open files and their size (a helper opens none)", |made| {
        let limits = made["HostConfig"]["Ulimits"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| limits.iter().find(|limit| limit["Name"] == name)?["Hard"].as_i64();
        is_helper(made) || (of("core") == Some(0) && of("nofile") > Some(0) && of("fsize") > Some(0))
    }),
    ("5.20", "a host name of its own", |made| nothing(made, &["UTSMode"])),
    ("5.21, 5.25", "the default seccomp, and no new privileges", |made| {
        list(made, "SecurityOpt") == ["no-new-privileges"]
    }),
    ("5.24, 5.30", "cgroup and user namespace are the engine's choice", |made| {
        nothing(made, &["CgroupParent", "UsernsMode", "CgroupnsMode"])
    }),
    ("5.28", "processes have a limit", |made| number(made, "PidsLimit") > 0),
    ("5.31", "no socket of the engine", |made| !made.to_string().contains("docker.sock")),
];

fn is_helper(made: &Value) -> bool {
    made["Labels"]["trainyard.helps"] == "yes"
}

fn list(made: &Value, key: &str) -> Vec<String> {
    serde_json::from_value(made["HostConfig"][key].clone()).unwrap_or_default()
}

fn number(made: &Value, key: &str) -> i64 {
    made["HostConfig"][key].as_i64().unwrap_or_default()
}

/// Returns true if none of these keys is set.
fn nothing(made: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| match &made["HostConfig"][key] {
        Value::Array(items) => items.is_empty(),
        value => value.is_null(),
    })
}

#[tokio::test]
async fn every_container_meets_the_benchmark_for_docker() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path());
    let endpoint = format!("unix://{}", recorder.socket.display());
    let app = App::start(&format!("[[runner]]\nendpoint = {endpoint:?}\nruntime = 'runc'\n")).await;
    let (passed, log) = run(&app, "true").await;
    assert!(passed, "{log}");
    let mut kinds = BTreeSet::new();
    for (name, made) in recorder.made() {
        let kind = name.rsplit('-').next().filter(|last| last.parse::<u32>().is_err()).unwrap_or("job").to_owned();
        for (number, words, holds) in RULES {
            // The probe checks the host's network now and then before a job, which is its purpose. It has no
            // capability, and runs nothing of a job's.
            let excepted = kind == "probe" && matches!(number, "5.9" | "5.24, 5.30");
            assert!(excepted || holds(&made), "{name}: {number} {words}: {:#}", made["HostConfig"]);
        }
        assert_eq!(made["HostConfig"]["Runtime"] == "runc", kind == "job", "{name}");
        assert_eq!(list(&made, "CapAdd").contains(&"NET_ADMIN".to_owned()), kind == "gateway", "{name}");
        kinds.insert(kind);
    }
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["gateway", "inspect", "job", "probe"],
        "all kinds of containers were seen"
    );
    app.stop().await;
}

#[tokio::test]
async fn jobs_run_under_user_namespaces_where_the_engine_has_them() {
    use std::os::unix::fs::PermissionsExt as _;
    // The engine's data is read by a user other than root.
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let options: Vec<String> = BRIDGELESS.into_iter().chain(["--userns-remap=default"]).map(str::to_owned).collect();
    let engine = Engine::start(folder, &["unshare", "--net"], &options);
    let socket = engine.at("docker.sock");
    let runner = format!(
        "[limits]\nnetwork = 'none'\n[[runner]]\nname = 'remapped'\nendpoint = 'unix://{}'\n",
        socket.display()
    );
    let app = App::start(&runner).await;
    // Root in the container is another user outside, and can do what a job needs.
    let script = "set -e\ntest -f .travis.yml\nid -u | grep -qx 0\nawk '{ exit $2 < 1000 }' /proc/self/uid_map\n\
                  touch mine\nchown 1000:1000 mine\necho fine";
    let (passed, log) = run(&app, script).await;
    assert!(passed && log.contains("fine"), "{log}");
    app.stop().await;
}
