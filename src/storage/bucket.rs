//! Buckets of an S3 service that are only read: the lists of their files, and addresses at which anybody reads one for a
//! while.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{Error, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, RetryConfig};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Time for which an address is good.
const SIGNED_FOR: Duration = Duration::from_secs(24 * 3600);
/// Time for which a failed request is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);

/// The place of a bucket, and the key to it.
#[derive(Debug, Clone, Copy)]
pub struct BucketAccess<'a> {
    pub bucket: &'a str,
    /// Address of the S3 service; if empty, Amazon's.
    pub endpoint: &'a str,
    pub region: &'a str,
    /// If empty, the role of the machine on AWS is used.
    pub access_key: &'a str,
    pub secret_key: &'a SecretString,
}

/// A bucket that is read.
#[derive(Debug, Clone)]
pub struct Bucket(Arc<AmazonS3>);

/// A file in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFile {
    pub key: String,
    pub size: u64,
    /// Text that changes with the content.
    pub version: String,
}

/// Reason why a bucket cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("the key may not read the bucket")]
    Denied,
    #[error("there is no such bucket")]
    Missing,
    #[error("the S3 service does not answer")]
    Away,
    #[error(transparent)]
    Wrong(anyhow::Error),
}

impl Bucket {
    /// Opens a bucket, without asking its service.
    ///
    /// # Errors
    /// Fails when the settings are not valid.
    pub fn open(access: BucketAccess<'_>) -> anyhow::Result<Self> {
        let BucketAccess { bucket, endpoint, region, access_key, secret_key } = access;
        let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region(region).with_retry(retry);
        if !endpoint.is_empty() {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if !access_key.is_empty() {
            builder =
                builder.with_access_key_id(access_key).with_secret_access_key(secret_key.expose_secret().to_owned());
        }
        Ok(Self(Arc::new(builder.build()?)))
    }

    /// Lists the file with this key, or the files below it, up to `most`. An empty key stands for the whole bucket.
    ///
    /// # Errors
    /// Fails when the service does not answer, or denies it.
    pub async fn list(&self, key: &str, most: usize) -> Result<Vec<BucketFile>, BucketError> {
        let path = Path::parse(key).map_err(|error| BucketError::Wrong(error.into()))?;
        // For the whole bucket, too: a list does not tell a wrong key from a service that is away.
        let asked = if key.is_empty() { Path::from("any") } else { path.clone() };
        match self.0.head(&asked).await {
            Ok(found) if !key.is_empty() => return Ok(vec![file(&found)]),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut listed = self.0.list((!key.is_empty()).then_some(&path));
        let mut files = Vec::new();
        while let Some(found) = listed.try_next().await? {
            // The consoles of some services make a folder by an empty file.
            if found.size > 0 || !found.location.as_ref().ends_with('/') {
                files.push(file(&found));
            }
            if files.len() > most {
                break;
            }
        }
        Ok(files)
    }

    /// Returns an address of a file with a signature.
    ///
    /// # Errors
    /// Fails when there is no key to sign with.
    pub async fn address(&self, key: &str) -> Result<Url, BucketError> {
        let path = Path::parse(key).map_err(|error| BucketError::Wrong(error.into()))?;
        Ok(self.0.signed_url(Method::GET, &path, SIGNED_FOR).await?)
    }
}

fn file(found: &ObjectMeta) -> BucketFile {
    let version = format!("{} {}", found.e_tag.as_deref().unwrap_or_default(), found.last_modified);
    BucketFile { key: found.location.to_string(), size: found.size, version }
}

impl From<Error> for BucketError {
    fn from(error: Error) -> Self {
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied,
            Error::NotFound { .. } => Self::Missing,
            Error::Generic { .. } => Self::Away,
            error => Self::Wrong(error.into()),
        }
    }
}
