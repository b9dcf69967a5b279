//! Objects: finished logs and artifacts, in a folder or in a bucket of an S3 service.
//!
//! **Invariant:** an object is complete and on the disk before the row that names it is written. Keys are made here
//! from ids and hashes: no part of a key comes from outside.

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
use object_store::aws::{AmazonS3, AmazonS3Builder};
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

/// Size of the write buffer, and of a part of a large object; S3 requires at least 5 MiB.
pub(super) const PART: usize = 8 << 20;
/// Number of parts that are uploaded at once.
pub(super) const PARTS: usize = 2;
/// Time limit for silence of an S3 service (a download takes as long as its reader), and time for which a failed
/// request is retried.
const SILENCE: Duration = Duration::from_secs(60);
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// `[storage]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// `s3://BUCKET/PREFIX`; if empty, a folder in the data folder.
    pub url: String,
    /// Address of the S3 service, as in `https://minio.example.org:9000`; if empty, Amazon's.
    pub endpoint: String,
    pub region: String,
    /// Name of the key that signs requests. Without it, the role of the machine on AWS is used.
    pub access_key: String,
    pub secret_key: SecretString,
    /// Minimum free space on a disk that jobs write to. With less, no job starts.
    pub least_free: ByteSize,
}

impl Default for StorageConfig {
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

impl StorageConfig {
    /// Rejects settings that cannot work.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        let has_secret = !self.secret_key.expose_secret().is_empty();
        if self.url.is_empty() {
            let of_s3 = [&self.endpoint, &self.access_key].into_iter().any(|value| !value.is_empty()) || has_secret;
            ensure!(!of_s3, "storage: endpoint and keys are for a bucket: set storage.url to s3://BUCKET/PREFIX");
            return Ok(());
        }
        self.bucket()?;
        let Self { endpoint, region, access_key, secret_key, .. } = self;
        Service { endpoint, region, access_key, secret_key }.check().context("storage")
    }

    /// Returns the bucket, and the prefix in it.
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

/// An S3 service, and the key for it.
pub(super) struct Service<'a> {
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
    pub(super) access_key: &'a str,
    pub(super) secret_key: &'a SecretString,
}

/// Opens a bucket.
pub(super) fn s3(bucket: &str, service: &Service<'_>) -> anyhow::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(service.region)
        .with_client_options(ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENCE))
        // Objects are deleted one by one here, and some services cannot delete several at once.
        .with_disable_bulk_delete(true)
        .with_allow_http(service.endpoint.starts_with("http://"))
        .with_retry(RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() });
    if !service.endpoint.is_empty() {
        builder = builder.with_endpoint(service.endpoint);
    }
    if !service.access_key.is_empty() {
        builder =
            builder.with_access_key_id(service.access_key).with_secret_access_key(service.secret_key.expose_secret());
    }
    builder.build().context("setting up the S3 storage")
}

impl Service<'_> {
    /// Rejects a half of a key, and an address that is not one.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.access_key.is_empty() == self.secret_key.expose_secret().is_empty(),
            "set both access_key and secret_key, or neither for the role of this machine on AWS"
        );
        let endpoint_is_fine = self.endpoint.is_empty()
            || Url::parse(self.endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        ensure!(endpoint_is_fine, "endpoint must be an http or https address, not {:?}", self.endpoint);
        Ok(())
    }
}

/// The object storage does not answer, or denies access. Its data is not lost.
#[derive(Debug, thiserror::Error)]
#[error("the object storage does not answer")]
pub struct Away;

/// The object storage.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Folder of the objects, if they are in one.
    folder: Option<PathBuf>,
}

/// An object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    /// Time at which the object was written.
    pub written: DateTime<Utc>,
}

impl Objects {
    /// Opens the object storage of these settings. If it is a folder, it is created in `data`.
    ///
    /// # Errors
    /// Fails when the folder cannot be created, or when the settings are not valid.
    pub fn open(settings: &StorageConfig, data: &FilePath) -> anyhow::Result<Self> {
        if settings.url.is_empty() {
            let folder = data.join("objects");
            // Logs and artifacts of private repositories must not be readable for other users of this machine.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.with_context(|| format!("making {}", folder.display()))?;
            // An object that a row names must survive a power failure.
            let store = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
            return Ok(Self { store: Arc::new(store), prefix: Path::default(), folder: Some(folder) });
        }
        let (bucket, prefix) = settings.bucket()?;
        let StorageConfig { endpoint, region, access_key, secret_key, .. } = settings;
        let store = s3(&bucket, &Service { endpoint, region, access_key, secret_key })?;
        Ok(Self { store: Arc::new(store), prefix, folder: None })
    }

    /// Begins an object, which exists once it is finished. It then replaces an older one with the same key.
    pub fn begin(&self, key: &str) -> NewObject {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), self.path(key), PART);
        NewObject { writer: writer.with_max_concurrency(PARTS) }
    }

    /// Reads a range of an object. Returns `None` if the object does not exist.
    ///
    /// # Errors
    /// Fails when the storage does not answer.
    pub async fn range(&self, key: &str, range: Range<u64>) -> anyhow::Result<Option<Bytes>> {
        match self.store.get_range(&self.path(key), range).await {
            Err(Error::NotFound { .. }) => Ok(None),
            bytes => Ok(Some(bytes.with_context(|| format!("reading the object {key}")).context(Away)?)),
        }
    }

    /// Reads a range of an object as a stream. Returns `None` if the object does not exist.
    ///
    /// # Errors
    /// Fails when the storage does not answer.
    pub async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> anyhow::Result<Option<BoxStream<'static, anyhow::Result<Bytes>>>> {
        // An empty object has no range to request.
        let range = (!range.is_empty()).then_some(GetRange::Bounded(range));
        match self.store.get_opts(&self.path(key), GetOptions { range, ..GetOptions::default() }).await {
            Err(Error::NotFound { .. }) => Ok(None),
            answer => {
                let answer = answer.with_context(|| format!("reading the object {key}")).context(Away)?;
                Ok(Some(answer.into_stream().map_err(anyhow::Error::from).boxed()))
            }
        }
    }

    /// Removes an object. If it does not exist any more, that is fine.
    ///
    /// # Errors
    /// Fails when the storage does not answer.
    pub async fn remove(&self, key: &str) -> anyhow::Result<()> {
        match self.store.delete(&self.path(key)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed.with_context(|| format!("removing the object {key}")),
        }
    }

    /// Lists all objects of an installation, as a stream.
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

    /// Lists a folder that does not exist. That changes nothing, and detects a wrong address, bucket or key.
    ///
    /// # Errors
    /// Fails when the storage cannot be used.
    pub async fn examine(&self) -> anyhow::Result<()> {
        // Not a HEAD: its response has no body, and a missing bucket looks like a missing object.
        self.store.list_with_delimiter(Some(&self.path("no-such-folder"))).await.context("listing objects")?;
        Ok(())
    }

    /// Returns the folder of the objects, if they are in one.
    pub fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

/// An object that is being written. Without `finish`, no reader ever sees it.
#[derive(Debug)]
pub struct NewObject {
    writer: BufWriter,
}

impl NewObject {
    /// Adds bytes.
    ///
    /// # Errors
    /// Fails when the storage does not accept them.
    pub async fn write(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.writer.put(bytes).await.context("writing an object")
    }

    /// Waits until the object is complete and durable.
    ///
    /// # Errors
    /// Fails when the storage does not accept it.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.writer.shutdown().await.context("writing an object")
    }

    /// Discards the object. Without this, a bucket keeps the uploaded parts.
    pub async fn abort(mut self) {
        let _ = self.writer.abort().await;
    }
}

/// Keys of one installation's objects. Several installations may share a bucket, and none removes objects of another.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Id of the installation.
    pub instance: String,
}

impl Keys {
    /// Returns the key of an attempt's log.
    pub fn log(&self, attempt: AttemptId) -> String {
        format!("{}/logs/{}/{attempt}.zst", self.instance, attempt.job.0 / 1000)
    }

    /// Returns the key of an artifact. Artifacts of forks have their own prefix.
    pub fn artifact(&self, repo: RepoId, from_fork: bool, attempt: AttemptId, path: &str) -> String {
        let trust = if from_fork { "forks" } else { "own" };
        let hash = hex::encode(&Sha256::digest(path)[..16]);
        format!("{}/artifacts/{trust}/{repo}/{attempt}/{hash}", self.instance)
    }

    /// Returns the key of a checkpoint, by its number in the attempt.
    pub fn checkpoint(&self, repo: RepoId, attempt: AttemptId, number: u32) -> String {
        format!("{}/checkpoints/{repo}/{attempt}/{number}.tar.zst", self.instance)
    }
}
