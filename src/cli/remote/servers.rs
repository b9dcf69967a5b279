//! The servers that a person has logged in to, with their tokens. Only their owner may read the file.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::address::Address;

/// Permissions of the file, and of its folder: its owner alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Bits of permissions for others than the owner.
const OTHERS: u32 = 0o077;

/// The servers of a person.
#[derive(Debug)]
pub(super) struct Servers {
    /// `None` if the process has no home.
    path: Option<PathBuf>,
    content: Content,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<Address>,
    #[serde(default)]
    server: Vec<Server>,
}

/// A server with a person's token for it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) address: Address,
    /// Name of the token's owner at the server.
    pub(super) name: String,
    token: String,
    /// True when the token may go over plain HTTP to another machine.
    #[serde(default)]
    pub(super) insecure_http: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Server {
    pub(super) fn new(address: Address, name: String, token: &SecretString, insecure_http: bool) -> Self {
        Self { address, name, token: token.expose_secret().to_owned(), insecure_http }
    }

    pub(super) fn token(&self) -> SecretString {
        self.token.clone().into()
    }
}

impl Servers {
    /// Reads the file of the person who runs this process. A file that is missing has no servers.
    ///
    /// # Errors
    /// Fails when others may read the file, or its content is broken.
    pub(super) fn load() -> anyhow::Result<Self> {
        match folder() {
            Some(folder) => Self::load_from(folder.join("servers.toml")),
            None => Ok(Self { path: None, content: Content::default() }),
        }
    }

    fn load_from(path: PathBuf) -> anyhow::Result<Self> {
        let content = match fs::read_to_string(&path) {
            Ok(text) => {
                let mode = fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.permissions();
                ensure!(
                    mode.mode() & OTHERS == 0,
                    "others than you may read {0}, which has your tokens: make new tokens, and run chmod 600 {0}",
                    path.display()
                );
                // The parser's own message would show a line, which may have a token.
                let parsed = toml::from_str(&text).ok();
                parsed.with_context(|| format!("{} is broken: log in again after its removal", path.display()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        Ok(Self { path: Some(path), content })
    }

    pub(super) fn all(&self) -> &[Server] {
        &self.content.server
    }

    /// Returns the server that commands use if nothing else is said.
    pub(super) fn default(&self) -> Option<&Server> {
        self.find(self.content.default.as_ref()?)
    }

    pub(super) fn find(&self, address: &Address) -> Option<&Server> {
        self.content.server.iter().find(|server| server.address == *address)
    }

    /// Adds a server, or replaces its token. It becomes the default.
    pub(super) fn put(&mut self, server: Server) {
        self.content.default = Some(server.address.clone());
        self.content.server.retain(|other| other.address != server.address);
        self.content.server.push(server);
    }

    /// Makes a server the default. Returns false if it is not stored.
    pub(super) fn set_default(&mut self, address: &Address) -> bool {
        let is_known = self.find(address).is_some();
        if is_known {
            self.content.default = Some(address.clone());
        }
        is_known
    }

    /// Removes a server with its token. Returns false if it is not stored.
    pub(super) fn remove(&mut self, address: &Address) -> bool {
        let before = self.content.server.len();
        self.content.server.retain(|server| server.address != *address);
        if self.content.default.as_ref() == Some(address) {
            self.content.default = self.content.server.first().map(|server| server.address.clone());
        }
        self.content.server.len() < before
    }

    /// Writes the file, and returns its path. It is complete, or unchanged if that fails, and never readable by others.
    pub(super) fn save(&self) -> anyhow::Result<&Path> {
        let path = self.path.as_deref().context("there is no place for tokens, since HOME is not set")?;
        let saving = || format!("writing {}", path.display());
        let folder = path.parent().context("the file is in a folder")?;
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).with_context(saving)?;
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(FILE_MODE))
            .tempfile_in(folder)
            .with_context(saving)?;
        file.write_all(toml::to_string(&self.content)?.as_bytes()).with_context(saving)?;
        file.as_file().sync_all().with_context(saving)?;
        file.persist(path).with_context(saving)?;
        Ok(path)
    }
}

/// Returns Trainyard's folder for a person's configuration (<https://specifications.freedesktop.org/basedir-spec/>).
fn folder() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = of("XDG_CONFIG_HOME").or_else(|| of("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("trainyard"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str, token: &str) -> Server {
        Server::new(address.parse().expect("an address"), "anna".to_owned(), &token.to_owned().into(), false)
    }

    #[test]
    fn servers_are_kept_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config/trainyard/servers.toml");
        let mut servers = Servers::load_from(path.clone()).expect("none yet");
        assert!(servers.default().is_none() && servers.all().is_empty());
        servers.put(server("https://one.example.org", "secret-one"));
        servers.put(server("https://two.example.org/ci", "secret-two"));
        servers.put(server("https://two.example.org/ci/", "secret-three"));
        servers.save().expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (FILE_MODE, FOLDER_MODE));

        let mut servers = Servers::load_from(path.clone()).expect("read");
        let two = servers.default().expect("the last one");
        assert_eq!((two.token().expose_secret(), servers.all().len()), ("secret-three", 2));
        assert!(!format!("{servers:?}").contains("secret"), "{servers:?}");
        assert!(servers.set_default(&"one.example.org".parse().expect("an address")));
        assert!(!servers.set_default(&"three.example.org".parse().expect("an address")));
        assert!(servers.remove(&"one.example.org".parse().expect("an address")));
        assert_eq!(
            servers.default().map(|server| server.address.to_string()).as_deref(),
            Some("https://two.example.org/ci/")
        );

        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("changed");
        let refused = Servers::load_from(path.clone()).expect_err("others may read it").to_string();
        assert!(refused.contains("others than you") && !refused.contains("secret"), "{refused}");
        servers.save().expect("written");
        assert_eq!(mode(&path), FILE_MODE);
        fs::write(&path, "token = secret-one").expect("written");
        let broken = format!("{:?}", Servers::load_from(path).expect_err("broken"));
        assert!(broken.contains("is broken") && !broken.contains("secret"), "{broken}");
    }
}
