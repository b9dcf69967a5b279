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
pub enum BucketError {
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

impl From<Error> for BucketError {
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
    /// Fails with [`BucketError::Other`] when it is there with other bytes.
    pub async fn write_once(&self, name: &str, bytes: Bytes) -> Result<(), BucketError> {
        let (path, options) = (self.path.clone().join(name), PutOptions::from(PutMode::Create));
        match self.store.put_opts(&path, bytes.clone().into(), options).await {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let found = self.store.get(&path).await?.bytes().await?;
                if found == bytes { Ok(()) } else { Err(BucketError::Other(path.to_string())) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Uploads a file. If it is there already, it is not sent again.
    ///
    /// # Errors
    /// Fails with [`BucketError::Other`] when it is there with other bytes.
    pub async fn upload(&self, file: &OutgoingFile) -> Result<(), BucketError> {
        let path = self.path.clone().join(file.path.as_str());
        let head = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(&path, head).await {
            Ok(found) => {
                let hash = found.attributes.get(&SHA256).map(|value| value.as_ref().to_owned());
                let is_same = found.meta.size == file.size && hash.as_ref() == Some(&file.sha256);
                return if is_same { Ok(()) } else { Err(BucketError::Other(path.to_string())) };
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let attributes = Attributes::from_iter([(SHA256, file.sha256.clone())]);
        let writer = BufWriter::with_capacity(Arc::clone(&self.store) as _, path, PART);
        let mut writer = writer.with_max_concurrency(PARTS).with_attributes(attributes);
        let sent = send(file, &mut writer).await;
        if sent.is_err() {
            // The parts that are there would cost room for good.
            let _ = writer.abort().await;
        }
        sent
    }
}

async fn send(file: &OutgoingFile, writer: &mut BufWriter) -> Result<(), BucketError> {
    let mut stream = file.stream(0..file.size).await.map_err(BucketError::File)?;
    while let Some(bytes) = stream.try_next().await.map_err(BucketError::File)? {
        writer.put(bytes).await?;
    }
    writer.shutdown().await.map_err(|error| BucketError::Away(error.into()))
}
