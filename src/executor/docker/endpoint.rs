//! The address of a Docker engine, and the settings of the connection to it.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use url::{Host, Url};

/// The engine's socket on a machine when the endpoint names no socket.
const SOCKET: &str = "/var/run/docker.sock";

/// The address of a Docker engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An engine on this machine.
    Unix(PathBuf),
    /// An engine on another machine, over TCP with mutual TLS.
    Tls {
        /// Name or address of the machine, which the engine's certificate has to name.
        host: String,
        port: u16,
        /// The files for mutual TLS.
        files: TlsFiles,
    },
    /// An engine on another machine, over ssh.
    Ssh(SshHost),
}

/// The files of mutual TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The authority that signed the engine's certificate. No other one is trusted.
    pub ca: PathBuf,
    /// The client's certificate, signed by the authority that the engine trusts.
    pub certificate: PathBuf,
    /// The client's private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Returns the files with the names of their settings.
    pub fn all(&self) -> [(&'static str, &PathBuf); 3] {
        [("ca", &self.ca), ("certificate", &self.certificate), ("key", &self.key)]
    }
}

/// A machine that is reached by `ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    /// The user that logs in; by default the user in ssh's own configuration.
    pub user: Option<String>,
    /// The machine's name or address, or an alias in ssh's own configuration.
    pub host: String,
    /// The port; by default the port in ssh's own configuration.
    pub port: Option<u16>,
    /// Path of the engine's socket on that machine.
    pub socket: String,
}

impl Endpoint {
    /// Reads `unix:///path`, `tcp://host:port` or `ssh://user@host`.
    ///
    /// # Errors
    /// Returns an error for the operator when the text or its TLS files do not form an endpoint.
    pub fn parse(text: &str, tls: Option<&TlsFiles>) -> anyhow::Result<Self> {
        const FORMS: &str = "unix:///path/to/docker.sock, tcp://host:2376 with tls, or ssh://user@host";
        let scheme = text.split_once("://").map(|(scheme, _)| scheme);
        ensure!(tls.is_none() || scheme == Some("tcp"), "tls is for tcp:// endpoints, and this is {text}");
        match scheme {
            Some("unix") => {
                let path = PathBuf::from(&text["unix://".len()..]);
                ensure!(path.is_absolute(), "endpoint {text:?} must be unix:///path/to/docker.sock");
                Ok(Self::Unix(path))
            }
            Some("tcp") => {
                let Some(files) = tls.cloned() else {
                    bail!(
                        "endpoint {text:?} needs tls = {{ ca = \"…\", certificate = \"…\", key = \"…\" }}: anyone reaching \
                         a Docker engine by plain TCP is root on its machine; docs/operate/machines.md shows how"
                    );
                };
                let (url, host) = parts(text)?;
                ensure!(
                    url.username().is_empty() && url.password().is_none(),
                    "endpoint {text:?} must not name a user"
                );
                ensure!(matches!(url.path(), "" | "/"), "endpoint {text:?} must end with its port");
                let port = url.port().with_context(|| format!("endpoint {text:?} must name its port, mostly 2376"))?;
                Ok(Self::Tls { host, port, files })
            }
            Some("ssh") => {
                let (url, host) = parts(text)?;
                ensure!(
                    url.password().is_none(),
                    "endpoint ssh://…: a password does not belong here; ssh logs in with a key"
                );
                let user = Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned);
                // The user and the host become arguments of ssh, and parts of the names of its files.
                for name in user.iter().chain([&host]) {
                    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
                    ensure!(
                        !name.starts_with('-') && name.chars().all(plain),
                        "endpoint {text:?}: {name:?} is not the name of a user or a host"
                    );
                }
                let socket = if matches!(url.path(), "" | "/") { SOCKET } else { url.path() };
                ensure!(!socket.contains([':', '%']), "endpoint {text:?}: {socket} cannot be the engine's socket");
                Ok(Self::Ssh(SshHost { user, host, port: url.port(), socket: socket.to_owned() }))
            }
            _ => bail!("endpoint {text:?} must be {FORMS}"),
        }
    }
}

fn parts(text: &str) -> anyhow::Result<(Url, String)> {
    let url = Url::parse(text).with_context(|| format!("endpoint {text:?} cannot be read"))?;
    ensure!(url.query().is_none() && url.fragment().is_none(), "endpoint {text:?} has more than a host and a port");
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => bail!("endpoint {text:?} names no host"),
    };
    Ok((url, host))
}

/// The form of the configuration.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tls { host, port, .. } => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::Ssh(SshHost { user, host, port, socket }) => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                let socket = if socket == SOCKET { "" } else { socket };
                write!(f, "ssh://{user}{}{port}{socket}", bracketed(host))
            }
        }
    }
}

/// Returns a host as URLs contain it.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> TlsFiles {
        TlsFiles { ca: "/ca.pem".into(), certificate: "/cert.pem".into(), key: "/key.pem".into() }
    }

    #[test]
    fn endpoints_read_as_they_are_written() {
        for text in [
            "unix:///var/run/docker.sock",
            "tcp://gpu1.example.org:2376",
            "tcp://10.1.2.3:2376",
            "tcp://[fd00::1]:2376",
            "ssh://gpu1",
            "ssh://trainyard@gpu1.example.org:2222",
            "ssh://trainyard@[fd00::1]",
            "ssh://me@gpu1/run/user/1000/docker.sock",
        ] {
            let files = files();
            let tls = text.starts_with("tcp").then_some(&files);
            assert_eq!(Endpoint::parse(text, tls).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_unsafe_or_makes_no_sense_is_refused() {
        let files = files();
        for (text, tls, told) in [
            ("tcp://gpu1:2376", None, "is root on its machine"),
            ("tcp://gpu1", Some(&files), "must name its port"),
            ("tcp://me@gpu1:2376", Some(&files), "must not name a user"),
            ("tcp://gpu1:2376/x", Some(&files), "must end with its port"),
            ("ssh://me:secret@gpu1", None, "a password does not belong here"),
            ("ssh://-oProxyCommand=sh/", None, "is not the name of a user or a host"),
            ("ssh://$(id)@gpu1", None, "is not the name of a user or a host"),
            ("ssh://", None, ""),
            ("ssh://gpu1", Some(&files), "tls is for tcp:// endpoints"),
            ("unix://docker.sock", None, "must be unix:///path"),
            ("https://gpu1:2376", None, "must be unix:///path/to/docker.sock, tcp://host:2376 with tls, or ssh://"),
            ("gpu1", None, "must be unix://"),
        ] {
            let error = format!("{:#}", Endpoint::parse(text, tls).expect_err(text));
            assert!(error.contains(told) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
