//! Messages between the service and a child: a length, a head in JSON, and after a request's head the bytes of its
//! files. The child's memory is bounded, so no large text is held twice.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};

use crate::domain::Trigger;
use crate::plan::{Plan, Settings, SourceFile};
use crate::travis::import::{Found, Imports, Source};

/// Maximum length of an answer in bytes. Postgres stores most of it.
pub(super) const MAX_ANSWER: usize = 32 << 20;

/// A commit to plan, with the files that were looked up for its imports so far.
#[derive(Debug)]
pub struct Request<'a> {
    pub trigger: &'a Trigger,
    pub settings: &'a Settings,
    /// The files that the plan reads.
    pub files: &'a [SourceFile],
    /// Paths of all files in the commit.
    pub paths: &'a [&'a str],
    /// Paths that the push or pull request changes; `None` when every file counts as changed.
    pub changed: Option<&'a BTreeSet<String>>,
    pub imports: Imports,
}

/// A request as the child receives it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) trigger: Trigger,
    pub(super) settings: Settings,
    pub(super) files: Vec<SourceFile>,
    pub(super) imports: Imports,
    /// Paths, each followed by NUL.
    pub(super) paths: String,
    pub(super) changed: Option<String>,
}

/// Head of a request. The numbers are lengths in bytes; the texts follow in the order of the fields.
#[derive(Serialize, Deserialize)]
struct Head {
    trigger: Trigger,
    settings: Settings,
    files: Vec<(String, usize)>,
    imports: Vec<(Source, Lookup)>,
    paths: usize,
    changed: Option<usize>,
}

/// The result for an imported file, with the length of its text.
#[derive(Serialize, Deserialize)]
enum Lookup {
    File(usize),
    Failed(String),
    NotHere,
}

/// Answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Planned(Box<Plan>),
    /// The files that must be looked up before the commit can be planned.
    Wanted(Vec<Source>),
}

/// A message of the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    /// The answer; `None` when it is longer than [`MAX_ANSWER`].
    pub(super) answer: Option<Answer>,
    /// True when the child ends after this message.
    pub(super) is_last: bool,
}

/// Sends a request to a child.
pub(super) async fn send(request: &Request<'_>, to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let imports: Vec<(&Source, &Found)> = request.imports.iter().collect();
    let lookup = |found: &Found| match found {
        Found::File(text) => Lookup::File(text.len()),
        Found::Failed(reason) => Lookup::Failed(reason.clone()),
        Found::NotHere => Lookup::NotHere,
    };
    let head = serde_json::to_vec(&Head {
        trigger: request.trigger.clone(),
        settings: request.settings.clone(),
        files: request.files.iter().map(|file| (file.path.clone(), file.text.len())).collect(),
        imports: imports.iter().map(|(source, found)| ((*source).clone(), lookup(found))).collect(),
        paths: request.paths.iter().map(|path| path.len() + 1).sum(),
        changed: request.changed.map(|changed| changed.iter().map(|path| path.len() + 1).sum()),
    })?;
    let mut to = BufWriter::new(to);
    to.write_u32(u32::try_from(head.len()).map_err(io::Error::other)?).await?;
    to.write_all(&head).await?;
    for file in request.files {
        to.write_all(&file.text).await?;
    }
    for (_, found) in imports {
        if let Found::File(text) = found {
            to.write_all(text).await?;
        }
    }
    let changed = request.changed.into_iter().flatten().map(String::as_str);
    for path in request.paths.iter().copied().chain(changed) {
        to.write_all(path.as_bytes()).await?;
        to.write_all(b"\0").await?;
    }
    to.flush().await
}

/// Reads the next request, or returns `None` at the end of the input.
pub(super) fn receive(from: &mut impl Read) -> io::Result<Option<Received>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let head: Head = serde_json::from_slice(&bytes(from, u32::from_be_bytes(length) as usize)?)?;
    let mut files = Vec::with_capacity(head.files.len());
    for (path, length) in head.files {
        files.push(SourceFile { path, text: bytes(from, length)? });
    }
    let mut imports = Imports::new();
    for (source, lookup) in head.imports {
        let found = match lookup {
            Lookup::File(length) => Found::File(bytes(from, length)?),
            Lookup::Failed(reason) => Found::Failed(reason),
            Lookup::NotHere => Found::NotHere,
        };
        imports.insert(source, found);
    }
    let paths = text(from, head.paths)?;
    let changed = head.changed.map(|length| text(from, length)).transpose()?;
    Ok(Some(Received { trigger: head.trigger, settings: head.settings, files, imports, paths, changed }))
}

fn bytes(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(from: &mut impl Read, length: usize) -> io::Result<String> {
    String::from_utf8(bytes(from, length)?).map_err(io::Error::other)
}

/// Sends a reply to the service.
pub(super) fn reply(mut reply: Reply, to: &mut impl Write) -> io::Result<()> {
    let mut message = serde_json::to_vec(&reply)?;
    if message.len() > MAX_ANSWER {
        reply.answer = None;
        message = serde_json::to_vec(&reply)?;
    }
    to.write_all(&u32::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes())?;
    to.write_all(&message)?;
    to.flush()
}

/// Reads the reply of a child.
pub(super) async fn receive_reply(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Reply> {
    let length = from.read_u32().await? as usize;
    if length > MAX_ANSWER {
        return Err(io::Error::other(format!("the child announced an answer of {length} bytes")));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message).await?;
    Ok(serde_json::from_slice(&message)?)
}
