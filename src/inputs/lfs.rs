//! Large files of git repositories (Git LFS): the pointers that stand for them, and their server, which says where each
//! one is. No program of git-lfs takes part.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use super::InputError;
use super::web::{Answer, Web};
use crate::hub::Opened;

const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
const VERSION: &str = "version https://git-lfs.github.com/spec/v1";
/// Number of objects that a server is asked for at once, as the usual client does.
const BATCH: usize = 100;
/// Maximum number of headers that a server may give for an object.
const MAX_HEADERS: usize = 16;
/// Maximum length of a server's words, in characters.
const MAX_WORDS: usize = 200;

/// A file in git that stands for a large one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) sha256: String,
    pub(super) size: u64,
}

impl Pointer {
    /// A file of this size or larger is no pointer.
    pub(super) const MAX_SIZE: u64 = 1024;

    /// Reads a pointer. Returns `None` for any other file.
    pub(super) fn read(file: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(file).ok()?.lines();
        let (version, oid, size) = (lines.next()?, lines.next()?, lines.next()?);
        let sha256 = oid.strip_prefix("oid sha256:")?;
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let size = size.strip_prefix("size ")?.parse().ok()?;
        // An extension, which changes what is stored, would have a line of its own.
        let is_whole = version == VERSION && is_hash && lines.next().is_none();
        is_whole.then(|| Self { sha256: sha256.to_owned(), size })
    }
}

/// The server with the large files of a repository.
#[derive(Debug)]
pub(super) struct Lfs {
    web: Web,
    /// Address of the repository. Only its server sees the authorization.
    repository: Url,
    authorization: Option<HeaderValue>,
    objects: Vec<Pointer>,
    /// The answers so far, by the hashes.
    answers: Mutex<HashMap<String, Result<Action, Denial>>>,
}

/// The way to an object.
#[derive(Debug, Clone)]
struct Action {
    address: Url,
    headers: HeaderMap,
}

/// A server's reason for not giving an object.
#[derive(Debug, Clone, Default, Deserialize)]
struct Denial {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Batch {
    transfer: Option<String>,
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    authenticated: bool,
    actions: Option<Actions>,
    error: Option<Denial>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Download>,
}

#[derive(Deserialize)]
struct Download {
    href: String,
    header: Option<HashMap<String, String>>,
}

impl Lfs {
    /// Returns the server with these objects of a repository.
    pub(super) fn new(
        web: Web,
        repository: Url,
        authorization: Option<HeaderValue>,
        mut objects: Vec<Pointer>,
    ) -> Self {
        let mut seen = HashSet::new();
        objects.retain(|object| seen.insert(object.sha256.clone()));
        Self { web, repository, authorization, objects, answers: Mutex::default() }
    }

    /// Returns the way to an object. A server is asked for many at once, and again for one whose way has ended.
    async fn action(&self, sha256: &str, is_again: bool) -> Result<Action, InputError> {
        let mut answers = self.answers.lock().await;
        if is_again {
            answers.remove(sha256);
        }
        if !answers.contains_key(sha256) {
            let at = self.objects.iter().position(|object| object.sha256 == sha256).unwrap_or_default();
            let range = if is_again { at..at + 1 } else { at / BATCH * BATCH..(at / BATCH + 1) * BATCH };
            let objects = self.objects.get(range.start..range.end.min(self.objects.len())).unwrap_or_default();
            answers.extend(self.ask(objects).await?);
        }
        match answers.get(sha256) {
            Some(Ok(action)) => Ok(action.clone()),
            Some(Err(Denial { code, message })) => {
                let words = format!("{code} {}", in_one_line(message)).trim_end().to_owned();
                match code {
                    429 | 500.. => {
                        answers.remove(sha256);
                        Err(InputError::Away(format!("the LFS server answers {words}"), None))
                    }
                    401 | 403 => Err(InputError::Token(words)),
                    _ => Err(InputError::Object(words)),
                }
            }
            None => Err(InputError::Object("the server's answer leaves it out".to_owned())),
        }
    }

    async fn ask(&self, objects: &[Pointer]) -> Result<Vec<(String, Result<Action, Denial>)>, InputError> {
        let listed: Vec<_> = objects.iter().map(|object| json!({"oid": object.sha256, "size": object.size})).collect();
        let body = json!({"operation": "download", "transfers": ["basic"], "objects": listed, "hash_algo": "sha256"});
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let answer = self.web.post(&self.batch(), headers, body.to_string().into_bytes()).await?;
        let batch = self.judge(answer)?;
        let wanted = |oid: &str| objects.iter().any(|object| object.sha256 == oid);
        let answers = batch.objects.into_iter().filter(|object| wanted(&object.oid));
        answers.map(|object| Ok((object.oid.clone(), self.read(object)?))).collect()
    }

    /// Returns the address at which the server answers.
    fn batch(&self) -> Url {
        let mut address = self.repository.clone();
        let path = address.path();
        let end = if path.ends_with(".git") { "" } else { ".git" };
        address.set_path(&format!("{path}{end}/info/lfs/objects/batch"));
        address
    }

    fn judge(&self, Answer { status, wait, body }: Answer) -> Result<Batch, InputError> {
        let said: Denial = serde_json::from_slice(&body).unwrap_or_default();
        let words = format!("{} answers {} {}", self.batch(), status.as_u16(), in_one_line(&said.message))
            .trim_end()
            .to_owned();
        match status.as_u16() {
            200 => {}
            401 | 403 if self.authorization.is_some() => return Err(InputError::Token(words)),
            401 | 403 => return Err(InputError::Missing(words)),
            404 => return Err(InputError::Refused(format!("{words}: it has no Git LFS there"))),
            // The bandwidth of the owner's plan is used up.
            509 => return Err(InputError::Refused(words)),
            408 | 429 | 500.. => return Err(InputError::Away(words, wait)),
            _ => return Err(InputError::Refused(words)),
        }
        let batch: Batch = serde_json::from_slice(&body)
            .map_err(|_| InputError::Refused(format!("{} answers in an unknown form", self.batch())))?;
        match batch.transfer.as_deref() {
            None | Some("basic") => Ok(batch),
            Some(_) => Err(InputError::Refused(format!("{} knows no basic transfer", self.batch()))),
        }
    }

    fn read(&self, object: Object) -> Result<Result<Action, Denial>, InputError> {
        let Object { error, actions, authenticated, .. } = object;
        let Some(Download { href, header }) = actions.and_then(|actions| actions.download).filter(|_| error.is_none())
        else {
            let nothing = Denial { code: 404, message: "the server does not say where it is".to_owned() };
            return Ok(Err(error.unwrap_or(nothing)));
        };
        let refused = |words: &str| InputError::Refused(format!("{} {words}", self.batch()));
        let address = self.repository.join(&href).map_err(|_| refused("gives something that is no address"))?;
        if address.scheme() != "https" && address.scheme() != self.repository.scheme() {
            return Err(refused("gives an address that is not encrypted"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in header.into_iter().flatten().take(MAX_HEADERS) {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
                && may_be_given(&name)
            {
                headers.insert(name, value);
            }
        }
        let is_own = address.origin() == self.repository.origin();
        if is_own && !authenticated && !headers.contains_key(AUTHORIZATION) {
            headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        }
        Ok(Ok(Action { address, headers }))
    }
}

/// Returns true for a header that a server may give for a request: none that changes what the request is.
fn may_be_given(name: &HeaderName) -> bool {
    *name == AUTHORIZATION || *name == ACCEPT || name.as_str().starts_with("x-")
}

fn in_one_line(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

/// A large file of a repository.
#[derive(Debug)]
pub(super) struct LfsFile {
    lfs: Arc<Lfs>,
    sha256: String,
    /// Path in the repository, for messages.
    path: String,
}

impl LfsFile {
    pub(super) fn new(lfs: Arc<Lfs>, sha256: String, path: String) -> Self {
        Self { lfs, sha256, path }
    }

    /// Begins to read a part of the file.
    pub(super) async fn open(&self, headers: &HeaderMap) -> Result<Opened, InputError> {
        match self.try_open(headers, false).await {
            // The way to it may have ended.
            Err(InputError::Refused(_)) => self.try_open(headers, true).await,
            opened => opened,
        }
    }

    async fn try_open(&self, headers: &HeaderMap, is_again: bool) -> Result<Opened, InputError> {
        let action = self.lfs.action(&self.sha256, is_again).await.map_err(|error| self.named(error))?;
        self.lfs.web.open(&action.address, headers, &action.headers).await
    }

    fn named(&self, error: InputError) -> InputError {
        match error {
            InputError::Object(words) => InputError::Object(format!("{} (sha256:{}): {words}", self.path, self.sha256)),
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_has_three_lines() {
        let hash = "ab".repeat(32);
        let text = format!("{VERSION}\noid sha256:{hash}\nsize 12345\n");
        assert_eq!(Pointer::read(text.as_bytes()), Some(Pointer { sha256: hash.clone(), size: 12345 }));
        for (from, to) in [
            ("spec/v1", "spec/v2"),
            ("sha256:", "sha512:"),
            ("ab", "AB"),
            ("ab\n", "\n"),
            ("size 12345", "size -1"),
            ("size 12345", "size 99999999999999999999"),
            ("size 12345\n", ""),
            ("oid", "ext-0-x sha256:00\noid"),
            ("12345\n", "12345\nx y\n"),
        ] {
            assert_eq!(Pointer::read(text.replacen(from, to, 1).as_bytes()), None, "{from} {to}");
        }
        assert_eq!(Pointer::read(b"\xff\xfe"), None);
    }

    #[test]
    fn the_server_is_beside_the_repository() {
        let web = Web::trusting().unwrap();
        for address in ["https://git.example.org/acme/style", "https://git.example.org/acme/style.git"] {
            let lfs = Lfs::new(web.clone(), Url::parse(address).unwrap(), None, Vec::new());
            let batch = lfs.batch();
            assert_eq!(batch.as_str(), "https://git.example.org/acme/style.git/info/lfs/objects/batch");
        }
    }
}
