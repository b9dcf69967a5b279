//! Buckets into which weights are published. Nothing in them is ever overwritten or removed.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::aws::AmazonS3;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use super::OutgoingFile;
use super::objects::{PART, PARTS, Service, s3};

/// Name of the metadata with the SHA-256 of an object. S3 has its own hash of each part, but none of the whole.
const SHA256: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("sha256"));

/// `[[publish.s3]]` of the configuration: a permission to publish in buckets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// Name of the permission, for the environment.
    pub name: String,
    /// Patterns of the repositories that may publish, such as `acme/*`.
    pub repos: Vec<String>,
    /// Patterns of the folders, such as `s3://models/style/**`.
    pub to: Vec<String>,
    /// Address of the S3 service; if empty, Amazon's.
    #[serde(default)]
    pub endpoint: String,
    #[serde(default = "region")]
    pub region: String,
    /// Name of the key that signs requests. Without it, the role of the machine on AWS is used.
    #[serde(default)]
    pub access_key: String,
    #[serde(default)]
    pub secret_key: SecretString,
}

fn region() -> String {
    "us-east-1".to_owned()
}

impl S3Config {
    /// Rejects settings that cannot work.
    ///
    /// # Errors
    /// Fails with a message for the operator.
    pub fn check(&self) -> anyhow::Result<()> {
        self.service().check()
    }

    fn service(&self) -> Service<'_> {
        let Self { endpoint, region, access_key, secret_key, .. } = self;
        Service { endpoint, region, access_key, secret_key }
    }
}

/// Reason why a bucket has not done something.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The bucket does not exist, or the key may not write there.
    #[error("the bucket does not let this key in: {0}")]
    Denied(String),
    /// The place has other bytes, which stay.
    #[error("{0} is there already, with other bytes")]
    Other(String),
    /// The service cannot be reached, or has a fault. What was sent may have taken effect.
    #[error("the bucket does not answer: {0:#}")]
    Away(anyhow::Error),
    /// A file of ours cannot be read.
    #[error("reading a file: {0:#}")]
    File(anyhow::Error),
}

impl From<Error> for FolderError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } | Error::NotFound { .. } => {
                Self::Denied(error.to_string())
            }
            error => Self::Away(error.into()),
        }
    }
}

/// A folder in a bucket.
#[derive(Debug)]
pub struct Folder {
    store: Arc<AmazonS3>,
    path: Path,
}

impl Folder {
    /// Opens a folder, `s3://BUCKET/FOLDER`.
    ///
    /// # Errors
    /// Fails when the settings or the address cannot be used.
    pub fn open(settings: &S3Config, address: &str) -> anyhow::Result<Self> {
        let (bucket, path) = address
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .with_context(|| format!("{address} is not s3://BUCKET/FOLDER"))?;
        Ok(Self { store: Arc::new(s3(bucket, &settings.service())?), path: Path::parse(path)? })
    }

    /// Writes a small file. If it is there with the same bytes, that is fine.
    ///
    /// # Errors
    /// Fails with [`FolderError::Other`] when it is there with other bytes.
    pub async fn write_once(&self, name: &str, bytes: Bytes) -> Result<(), FolderError> {
        let (path, options) = (self.path.clone().join(name), PutOptions::from(PutMode::Create));
        match self.store.put_opts(&path, bytes.clone().into(), options).await {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let found = self.store.get(&path).await?.bytes().await?;
                if found == bytes { Ok(()) } else { Err(FolderError::Other(path.to_string())) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Uploads a file. If it is there already, it is not sent again.
    ///
    /// # Errors
    /// Fails with [`FolderError::Other`] when it is there with other bytes.
    pub async fn upload(&self, file: &OutgoingFile) -> Result<(), FolderError> {
        let path = self.path.clone().join(file.path.as_str());
        if let Some(is_same) = self.is_same(&path, file).await? {
            return if is_same { Ok(()) } else { Err(FolderError::Other(path.to_string())) };
        }
        let attributes = Attributes::from_iter([(SHA256, file.sha256.clone())]);
        if file.size <= PART as u64 {
            let bytes = file.read(file.size).await.map_err(FolderError::File)?;
            let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
            return match self.store.put_opts(&path, bytes.into(), options).await {
                Ok(_) => Ok(()),
                // The client repeats a request whose answer was lost.
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. })
                    if self.is_same(&path, file).await? == Some(true) =>
                {
                    Ok(())
                }
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                    Err(FolderError::Other(path.to_string()))
                }
                Err(error) => Err(error.into()),
            };
        }
        let writer = BufWriter::with_capacity(Arc::clone(&self.store) as _, path, PART);
        let mut writer = writer.with_max_concurrency(PARTS).with_attributes(attributes);
        let sent = send(file, &mut writer).await;
        if sent.is_err() {
            // The parts that are there would cost room for good.
            let _ = writer.abort().await;
        }
        sent
    }

    /// Returns true if an object has the bytes of this file; `None` if there is no object.
    async fn is_same(&self, path: &Path, file: &OutgoingFile) -> Result<Option<bool>, FolderError> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(path, head).await {
            Ok(found) => {
                let hash = found.attributes.get(&SHA256).map(|value| value.as_ref().to_owned());
                Ok(Some(found.meta.size == file.size && hash.as_ref() == Some(&file.sha256)))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

async fn send(file: &OutgoingFile, writer: &mut BufWriter) -> Result<(), FolderError> {
    let mut stream = file.stream(0..file.size).await.map_err(FolderError::File)?;
    while let Some(bytes) = stream.try_next().await.map_err(FolderError::File)? {
        writer.put(bytes).await?;
    }
    writer.shutdown().await.map_err(|error| FolderError::Away(error.into()))
}
