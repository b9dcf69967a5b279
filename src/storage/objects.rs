//! Objects: finished logs and artifacts, in a folder or in a bucket of an S3 service. The only file that names
//! object_store.
//!
//! **Invariant:** an object is whole and on the disk before the row that names it is written. Keys are made here, of ids
//! and hashes: nothing that comes from outside is part of one.

use std::fs::DirBuilder;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use bytesize::ByteSize;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, RetryConfig,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::domain::{AttemptId, RepoId};

/// What is gathered before it is written, and the size of a part of a large object; S3 wants 5 MiB at least.
const PART: usize = 8 << 20;
/// Parts that are on their way at once.
const PARTS: usize = 2;
/// How long an S3 service may be silent (a download takes as long as its reader), and how long a failed request is tried
/// again.
const SILENCE: Duration = Duration::from_secs(60);
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// `[storage]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectSettings {
    /// `s3://BUCKET/PREFIX`; a folder in the data folder when empty.
    pub url: String,
    /// The S3 service, as in `https://minio.example.org:9000`; that of Amazon when empty.
    pub endpoint: String,
    /// Its region.
    pub region: String,
    /// The name of the key that requests are signed with; without one, the role of the machine on AWS is asked for.
    pub access_key: String,
    /// The key.
    pub secret_key: SecretString,
    /// With less room than this on a disk that jobs write to, no job is begun.
    pub least_free: ByteSize,
}

impl Default for ObjectSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            access_key: String::new(),
            secret_key: SecretString::default(),
            least_free: ByteSize::gib(5),
        }
    }
}

impl ObjectSettings {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        let has_secret = !self.secret_key.expose_secret().is_empty();
        if self.url.is_empty() {
            let of_s3 = [&self.endpoint, &self.access_key].into_iter().any(|value| !value.is_empty()) || has_secret;
            ensure!(!of_s3, "storage: endpoint and keys are for a bucket: set storage.url to s3://BUCKET/PREFIX");
            return Ok(());
        }
        self.bucket()?;
        ensure!(
            self.access_key.is_empty() != has_secret,
            "storage: set both access_key and secret_key, or neither for the role of this machine on AWS"
        );
        let endpoint_is_fine = self.endpoint.is_empty()
            || Url::parse(&self.endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        ensure!(endpoint_is_fine, "storage.endpoint must be an http or https address, not {:?}", self.endpoint);
        Ok(())
    }

    /// The bucket, and the prefix in it.
    fn bucket(&self) -> anyhow::Result<(String, Path)> {
        let wrong = || format!("storage.url must be empty or s3://BUCKET/PREFIX, not {:?}", self.url);
        let url = Url::parse(&self.url).with_context(wrong)?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).with_context(wrong)?;
        match (scheme, url.scheme(), url.host_str()) {
            (ObjectStoreScheme::AmazonS3, "s3", Some(bucket)) => Ok((bucket.to_owned(), prefix)),
            _ => bail!(wrong()),
        }
    }
}

/// The place of the objects does not answer, or does not let us in; nothing of what it has is lost by that.
#[derive(Debug, thiserror::Error)]
#[error("the object storage does not answer")]
pub struct Away;

/// Where objects are kept.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The folder, if it is one.
    folder: Option<PathBuf>,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// When it was written.
    pub written: DateTime<Utc>,
}

impl Objects {
    /// The objects of these settings; a folder is made in `data`.
    ///
    /// # Errors
    /// When the folder cannot be made, or the settings are no place.
    pub fn open(settings: &ObjectSettings, data: &FilePath) -> anyhow::Result<Self> {
        if settings.url.is_empty() {
            let folder = data.join("objects");
            // Logs and artifacts of private repositories are nobody else's on this machine.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.with_context(|| format!("making {}", folder.display()))?;
            // What a row names shall be there after a power cut, too.
            let store = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
            return Ok(Self { store: Arc::new(store), prefix: Path::default(), folder: Some(folder) });
        }
        let (bucket, prefix) = settings.bucket()?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&settings.region)
            .with_client_options(ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENCE))
            // Objects go one by one here, and not every service knows how to remove many.
            .with_disable_bulk_delete(true)
            .with_allow_http(settings.endpoint.starts_with("http://"))
            .with_retry(RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() });
        if !settings.endpoint.is_empty() {
            builder = builder.with_endpoint(&settings.endpoint);
        }
        if !settings.access_key.is_empty() {
            builder = builder
                .with_access_key_id(&settings.access_key)
                .with_secret_access_key(settings.secret_key.expose_secret());
        }
        let store = builder.build().context("setting up the S3 storage")?;
        Ok(Self { store: Arc::new(store), prefix, folder: None })
    }

    /// Begins an object, which is there once it is finished; one of the same key is replaced then.
    pub fn begin(&self, key: &str) -> NewObject {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), self.path(key), PART);
        NewObject { writer: writer.with_max_concurrency(PARTS) }
    }

    /// Some bytes of an object; none when there is no such object.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn range(&self, key: &str, range: Range<u64>) -> anyhow::Result<Option<Bytes>> {
        match self.store.get_range(&self.path(key), range).await {
            Err(Error::NotFound { .. }) => Ok(None),
            bytes => Ok(Some(bytes.with_context(|| format!("reading the object {key}")).context(Away)?)),
        }
    }

    /// The bytes of an object, as they come; none when there is no such object.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> anyhow::Result<Option<BoxStream<'static, anyhow::Result<Bytes>>>> {
        // An empty object has no range that could be asked for.
        let range = (!range.is_empty()).then_some(GetRange::Bounded(range));
        match self.store.get_opts(&self.path(key), GetOptions { range, ..GetOptions::default() }).await {
            Err(Error::NotFound { .. }) => Ok(None),
            answer => {
                let answer = answer.with_context(|| format!("reading the object {key}")).context(Away)?;
                Ok(Some(answer.into_stream().map_err(anyhow::Error::from).boxed()))
            }
        }
    }

    /// Removes an object; one that is gone already is fine.
    ///
    /// # Errors
    /// When the place does not answer.
    pub async fn remove(&self, key: &str) -> anyhow::Result<()> {
        match self.store.delete(&self.path(key)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed.with_context(|| format!("removing the object {key}")),
        }
    }

    /// Every object of an installation, as they come.
    pub fn list(&self, instance: &str) -> BoxStream<'static, anyhow::Result<Listed>> {
        let prefix = self.path(instance);
        let own = self.prefix.clone();
        let listed = self.store.list(Some(&prefix)).map_err(anyhow::Error::from).try_filter_map(move |object| {
            let key = object
                .location
                .prefix_match(&own)
                .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
            std::future::ready(Ok(key.map(|key| Listed { key, written: object.last_modified })))
        });
        listed.boxed()
    }

    /// Asks the place for an object that is not there. That changes nothing, and tells of a wrong address, bucket or key.
    ///
    /// # Errors
    /// When it cannot be used.
    pub async fn examine(&self) -> anyhow::Result<()> {
        // Not a HEAD: an answer to that has no words, and a missing bucket looks like a missing object.
        self.store.list_with_delimiter(Some(&self.path("no-such-folder"))).await.context("listing objects")?;
        Ok(())
    }

    /// The folder of the objects, if it is one.
    pub fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

/// An object that is being written. One that is not finished leaves nothing that could be read.
#[derive(Debug)]
pub struct NewObject {
    writer: BufWriter,
}

impl NewObject {
    /// Adds bytes.
    ///
    /// # Errors
    /// When the place does not take them.
    pub async fn write(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.writer.put(bytes).await.context("writing an object")
    }

    /// Waits until the object is whole and durable.
    ///
    /// # Errors
    /// When the place does not take it.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.writer.shutdown().await.context("writing an object")
    }

    /// Gives it up. Without this, a bucket keeps the parts that it has.
    pub async fn abort(mut self) {
        let _ = self.writer.abort().await;
    }
}

/// The keys of one installation's objects. Several may share a bucket, and none removes what is another's.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The installation.
    pub instance: String,
}

impl Keys {
    /// That of an attempt's log.
    pub fn log(&self, attempt: AttemptId) -> String {
        format!("{}/logs/{}/{attempt}.zst", self.instance, attempt.job.0 / 1000)
    }

    /// That of an artifact. What comes from a fork has a place of its own.
    pub fn artifact(&self, repo: RepoId, from_fork: bool, attempt: AttemptId, path: &str) -> String {
        let trust = if from_fork { "forks" } else { "own" };
        let hash = hex::encode(&Sha256::digest(path)[..16]);
        format!("{}/artifacts/{trust}/{repo}/{attempt}/{hash}", self.instance)
    }
}
