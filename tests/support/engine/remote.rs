//! A stand-in for another machine with a Docker engine: a network namespace behind a virtual cable, with a dockerd that
//! requires mutual TLS, and an ssh server. The cable can be cut in two ways.

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{self as engine, Engine, SMI_FILES};

const SSH_PORT: u16 = 2222;

pub struct RemoteEngine {
    engine: Engine,
    sshd: Child,
    network: Namespace,
}

/// Kind of network failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// This machine sees that the cable is unplugged.
    Unplugged,
    /// Packets vanish, and neither side notices.
    Silent,
}

impl DerefMut for RemoteEngine {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Deref for RemoteEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

struct Namespace {
    name: String,
    ours: Ipv4Addr,
    theirs: Ipv4Addr,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Namespace {
    fn new() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _};
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish() as u32;
        let [a, b, ..] = random.to_be_bytes();
        let address = |last| Ipv4Addr::new(10, 213, a, (b & 0xfc) + last);
        let new = Self { name: format!("ty{:06x}", random & 0xff_ffff), ours: address(1), theirs: address(2) };
        let (name, cable) = (new.name.as_str(), new.cable());
        run("ip", &["netns", "add", name]);
        run("ip", &["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", name]);
        run("ip", &["address", "add", &format!("{}/30", new.ours), "dev", &cable]);
        run("ip", &["link", "set", &cable, "up"]);
        run("ip", &["-n", name, "address", "add", &format!("{}/30", new.theirs), "dev", "eth0"]);
        run("ip", &["-n", name, "link", "set", "eth0", "up"]);
        run("ip", &["-n", name, "link", "set", "lo", "up"]);
        new
    }

    /// Returns the name of our end of the cable.
    fn cable(&self) -> String {
        format!("{}c", self.name)
    }

    /// Returns the option of nsenter that enters the namespace. `ip netns exec` would mount another /sys, without
    /// control groups.
    fn entry(&self) -> String {
        format!("--net=/var/run/netns/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
        let _ = Command::new("ip").args(["link", "delete", &self.cable()]).output();
    }
}

impl RemoteEngine {
    /// Starts the machine, with the image of shell jobs and a stand-in for `nvidia-smi`. It ends with the test.
    pub fn start() -> Self {
        Self::start_with(&engine::BRIDGELESS)
    }

    /// Starts the machine with a bridge for its containers, which has no route to the internet.
    pub fn start_with_bridge() -> Self {
        Self::start_with(&[])
    }

    fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let network = Namespace::new();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        engine::nvidia_smi(folder.path());
        hook(folder.path());
        certificates(folder.path(), network.theirs);
        let sshd = ssh(folder.path(), &network);
        let listen = [
            format!("--host=tcp://{}:2376", network.theirs),
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", at("ca.pem").display()),
            format!("--tlscert={}", at("server.pem").display()),
            format!("--tlskey={}", at("server.key").display()),
        ];
        let options: Vec<String> = listen.into_iter().chain(options.iter().map(|&option| option.to_owned())).collect();
        let engine = Engine::start(folder, &["nsenter", &network.entry()], &options);
        Self { engine, sshd, network }
    }

    /// Returns the value of `tls` for a runner.
    pub fn tls(&self) -> String {
        let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|name| self.at(name));
        format!("{{ca = {ca:?}, certificate = {certificate:?}, key = {key:?}}}")
    }

    /// Returns the value of `endpoint` for a runner by TLS.
    pub fn tcp(&self) -> String {
        format!("tcp://{}:2376", self.network.theirs)
    }

    /// Returns the value of `endpoint` for a runner by ssh.
    pub fn ssh(&self) -> String {
        format!("ssh://root@{}:{SSH_PORT}{}", self.network.theirs, self.at("docker.sock").display())
    }

    /// Returns the folder with an `ssh` that knows the machine's key. It must come first on the PATH.
    pub fn ssh_folder(&self) -> PathBuf {
        self.at("client")
    }

    /// Returns the configuration of a service with this machine as its only runner, by TLS.
    pub fn by_tcp(&self) -> String {
        format!(
            "limits = {{network = 'none'}}\nrunner = [{{name = 'remote', endpoint = {:?}, tls = {}}}]\n",
            self.tcp(),
            self.tls()
        )
    }

    /// Returns the configuration of a service with this machine as its only runner, by ssh.
    pub fn by_ssh(&self) -> String {
        format!("limits = {{network = 'none'}}\nrunner = [{{name = 'remote', endpoint = {:?}}}]\n", self.ssh())
    }

    /// Cuts the network to the machine.
    pub fn cut(&self, how: Cut) {
        match how {
            Cut::Unplugged => run("ip", &["link", "set", &self.network.cable(), "down"]),
            Cut::Silent => self.firewall("--append"),
        }
    }

    /// Restores the network.
    pub fn heal(&self, how: Cut) {
        match how {
            Cut::Unplugged => run("ip", &["link", "set", &self.network.cable(), "up"]),
            Cut::Silent => self.firewall("--delete"),
        }
    }

    fn firewall(&self, change: &str) {
        let entry = self.network.entry();
        for (chain, side) in [("INPUT", "--in-interface"), ("OUTPUT", "--out-interface")] {
            run("nsenter", &[&entry, "iptables", "--wait", change, chain, side, "eth0", "--jump", "DROP"]);
        }
    }

    /// Sets what `nvidia-smi` reports there from now on, also in a container that is checking GPUs already.
    pub fn has(&self, gpus: &[(&str, u32)], processes: &[&str]) {
        engine::has(self.folder.path(), gpus, processes);
        for container in self.docker(&["ps", "--quiet", "--filter", "name=-gpus$"]).lines() {
            for file in SMI_FILES {
                self.docker(&["cp", &self.at(file).display().to_string(), &format!("{container}:/usr/bin/{file}")]);
            }
        }
    }
}

impl Drop for RemoteEngine {
    fn drop(&mut self) {
        engine::end(&mut self.sshd);
    }
}

/// Writes a hook: NVIDIA's puts the driver's programs into a container that requests GPUs; this one puts the stand-in
/// there.
fn hook(folder: &Path) {
    let script = format!(
        "#!/bin/sh\nbundle=$(sed -n 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/p')\n\
         root=$(sed -n 's/.*\"root\":{{\"path\":\"\\([^\"]*\\)\".*/\\1/p' \"$bundle/config.json\")\n\
         cd {} && cp nvidia-smi gpus apps list use \"$root/usr/bin/\"\n",
        folder.display()
    );
    engine::program(&folder.join("bin/nvidia-container-runtime-hook"), &script);
}

/// Makes an authority, and certificates of the engine and of its client.
fn certificates(folder: &Path, address: Ipv4Addr) {
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("openssl.cnf"), "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    let config = at("openssl.cnf");
    let common = ["req", "-x509", "-config", &config, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    let ca = (at("ca.key"), at("ca.pem"));
    let authority = ["-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", &ca.0, "-out", &ca.1];
    run("openssl", &[&common[..], &authority, &["-addext", "basicConstraints=critical,CA:TRUE"]].concat());
    let name = format!("subjectAltName=IP:{address}");
    for (who, names, usage) in
        [("server", name.as_str(), "serverAuth"), ("client", "subjectAltName=DNS:us", "clientAuth")]
    {
        let (key, certificate) = (at(&format!("{who}.key")), at(&format!("{who}.pem")));
        let usage = format!("extendedKeyUsage={usage}");
        let leaf = ["-nodes", "-days", "2", "-subj", "/CN=leaf", "-keyout", &key, "-out", &certificate];
        let signed = ["-CA", &ca.1, "-CAkey", &ca.0, "-addext", names, "-addext", &usage];
        let no_authority = ["-addext", "basicConstraints=critical,CA:FALSE"];
        run("openssl", &[&common[..], &leaf, &signed, &no_authority].concat());
    }
}

/// Starts an ssh server in the namespace. Also writes an `ssh` that knows its key and has a key that it accepts.
fn ssh(folder: &Path, network: &Namespace) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    for key in ["host_key", "user_key"] {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]);
    }
    std::fs::copy(folder.join("user_key.pub"), folder.join("authorized_keys")).unwrap();
    let host_key = std::fs::read_to_string(folder.join("host_key.pub")).unwrap();
    std::fs::write(folder.join("known_hosts"), format!("[{}]:{SSH_PORT} {host_key}", network.theirs)).unwrap();
    let config = format!(
        "Port {SSH_PORT}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\n",
        network.theirs,
        at("host_key"),
        at("authorized_keys")
    );
    std::fs::write(folder.join("sshd_config"), config).unwrap();
    let client = format!(
        "IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\n",
        at("user_key"),
        at("known_hosts")
    );
    std::fs::write(folder.join("ssh_config"), client).unwrap();
    std::fs::create_dir(folder.join("client")).unwrap();
    let ssh = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("ssh_config"));
    engine::program(&folder.join("client/ssh"), &ssh);
    // sshd needs this folder for its privilege separation.
    std::fs::create_dir_all("/run/sshd").unwrap();
    let mut sshd = Command::new("nsenter");
    sshd.args([&network.entry(), "/usr/sbin/sshd", "-D", "-e", "-f", &at("sshd_config")]);
    let log = std::fs::File::create(folder.join("sshd.log")).unwrap();
    let child = sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter runs");
    let begin = Instant::now();
    while std::net::TcpStream::connect((network.theirs, SSH_PORT)).is_err() {
        let said = std::fs::read_to_string(folder.join("sshd.log")).unwrap_or_default();
        assert!(begin.elapsed() < Duration::from_secs(20), "sshd does not listen: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}
