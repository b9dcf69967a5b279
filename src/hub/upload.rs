//! The upload of large files by the LFS protocol.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::Body;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Answer, Hub, HubError, LIMIT, SLOWEST, unexpected};
use crate::storage::OutgoingFile;

const LFS: &str = "application/vnd.git-lfs+json";
/// Number of bytes of a file that the Hub looks at to choose a way for it.
const SAMPLE: u64 = 512;
/// Maximum size of all files together that go inside the commit, in bytes.
const MAX_INLINE: u64 = 10 << 20;
/// Maximum number of parts of a file.
const MAX_PARTS: u64 = 10_000;

/// A file that can be part of a commit.
#[derive(Debug)]
pub struct Uploaded {
    /// The line for the commit.
    pub(super) line: Json,
}

#[derive(Deserialize)]
struct Modes {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct ObjectError {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: HashMap<String, Json>,
}

impl Hub {
    /// Uploads the files of a commit, each in the way that the Hub asks for. Nobody sees them before the commit. A file
    /// that was uploaded before is not sent again.
    ///
    /// # Errors
    /// Fails when the Hub does not take a file, or when one of ours cannot be read.
    pub async fn upload(&self, repo: &str, files: &[OutgoingFile]) -> Result<Vec<Uploaded>, HubError> {
        let modes = self.modes(repo, files).await?;
        let mut large = Vec::new();
        let (mut uploaded, mut inline) = (Vec::new(), 0);
        for file in files {
            let mode = modes.iter().find(|mode| mode.path == file.path).ok_or_else(|| unexpected("a way to upload"))?;
            if mode.should_ignore {
                return Err(HubError::Refused(format!("the .gitignore of the repository excludes {}", file.path)));
            }
            // LFS has no empty files.
            if mode.upload_mode == "lfs" && file.size > 0 {
                large.push(file);
                continue;
            }
            inline += file.size;
            if inline > MAX_INLINE {
                return Err(HubError::TooLarge(format!("{} is too large for a file outside of LFS", file.path)));
            }
            let content = STANDARD.encode(file.read(MAX_INLINE).await.map_err(HubError::File)?);
            let value = json!({"path": file.path, "content": content, "encoding": "base64"});
            uploaded.push(Uploaded { line: json!({"key": "file", "value": value}) });
        }
        if !large.is_empty() {
            self.upload_large(repo, &large).await?;
        }
        uploaded.extend(large.into_iter().map(|file| {
            let value = json!({"path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.size});
            Uploaded { line: json!({"key": "lfsFile", "value": value}) }
        }));
        Ok(uploaded)
    }

    async fn modes(&self, repo: &str, files: &[OutgoingFile]) -> Result<Vec<Mode>, HubError> {
        let mut asked = Vec::new();
        for file in files {
            let sample = STANDARD.encode(file.read(SAMPLE).await.map_err(HubError::File)?);
            asked.push(json!({"path": file.path, "size": file.size, "sample": sample}));
        }
        let request = self.request(Method::POST, &format!("/api/models/{repo}/preupload/main"));
        let modes: Modes = self.ask(request.json(&json!({"files": asked}))).await?;
        Ok(modes.files)
    }

    async fn upload_large(&self, repo: &str, files: &[&OutgoingFile]) -> Result<(), HubError> {
        let objects: Vec<Json> = files.iter().map(|file| json!({"oid": file.sha256, "size": file.size})).collect();
        let asked = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": objects,
            "hash_algo": "sha256", "ref": {"name": "main"},
        });
        let request = self.request(Method::POST, &format!("/{repo}.git/info/lfs/objects/batch"));
        let request = request.header(ACCEPT, LFS).header(CONTENT_TYPE, LFS).body(asked.to_string());
        let batch: Batch = self.ask(request).await?;
        for file in files {
            let object = batch.objects.iter().find(|object| object.oid == file.sha256);
            let object = object.ok_or_else(|| unexpected("an upload"))?;
            if let Some(ObjectError { code, message }) = &object.error {
                let json = json!({"error": format!("{}: {message}", file.path)}).to_string();
                return Err(self.without_token(super::error::judge(*code, &http::HeaderMap::new(), json.as_bytes())));
            }
            // Without an action, the Hub has the file.
            let Some(Actions { upload: Some(upload), verify }) = &object.actions else { continue };
            match upload.header.get("chunk_size") {
                None => drop(self.put(&upload.href, file, 0..file.size).await?),
                Some(size) => self.put_in_parts(upload, size, file).await?,
            }
            if let Some(verify) = verify {
                let request = self.follow(Method::POST, &verify.href)?;
                self.send(request.json(&json!({"oid": file.sha256, "size": file.size}))).await?;
            }
        }
        Ok(())
    }

    async fn put_in_parts(&self, upload: &Action, size: &Json, file: &OutgoingFile) -> Result<(), HubError> {
        let size = size.as_u64().or_else(|| size.as_str()?.parse().ok()).filter(|size| *size > 0);
        let size = size.ok_or_else(|| unexpected("a size of parts"))?;
        let count = file.size.div_ceil(size);
        if count > MAX_PARTS || upload.header.keys().filter(|key| key.parse::<u64>().is_ok()).count() as u64 != count {
            return Err(unexpected("the parts of a file"));
        }
        let mut parts = Vec::new();
        for number in 1..=count {
            // The numbers may have zeros before them.
            let address = upload.header.iter().find(|(key, _)| key.parse() == Ok(number));
            let address = address.and_then(|(_, address)| address.as_str());
            let address = address.ok_or_else(|| unexpected("the address of a part"))?;
            let range = (number - 1) * size..(number * size).min(file.size);
            let answer = self.put(address, file, range).await?;
            let etag = answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.is_empty());
            let etag = etag.ok_or_else(|| unexpected("the mark of a part"))?;
            parts.push(json!({"partNumber": number, "etag": etag}));
        }
        let request = self.follow(Method::POST, &upload.href)?.header(ACCEPT, LFS).header(CONTENT_TYPE, LFS);
        self.send(request.body(json!({"oid": file.sha256, "parts": parts}).to_string())).await?;
        Ok(())
    }

    /// Sends a part of a file, of which only a few pieces are in memory at a time. The address has its own signature, so
    /// no token goes there.
    async fn put(&self, address: &str, file: &OutgoingFile, range: Range<u64>) -> Result<Answer, HubError> {
        let length = range.end - range.start;
        let request = self.client.put(self.resolve(address)?);
        let body = Body::wrap_stream(file.stream(range).await.map_err(HubError::File)?);
        let limit = LIMIT + Duration::from_secs(length / SLOWEST);
        // Object storages do not take a body of unknown length.
        self.send(request.header(CONTENT_LENGTH, length).timeout(limit).body(body)).await
    }
}
