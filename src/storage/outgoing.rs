//! The files that go to a place outside.

use std::ops::Range;

use anyhow::Context as _;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::Objects;

/// A file for a place outside.
#[derive(Debug, Clone)]
pub struct OutgoingFile {
    /// Name at the top of the place.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal, which is the file's id in LFS.
    pub sha256: String,
    pub content: Content,
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub enum Content {
    Text(Bytes),
    Object { objects: Objects, key: String },
}

impl OutgoingFile {
    /// Makes a file of a text.
    pub fn text(path: &str, text: String) -> Self {
        let sha256 = hex::encode(Sha256::digest(&text));
        Self { path: path.to_owned(), size: text.len() as u64, sha256, content: Content::Text(text.into()) }
    }

    /// Reads a range of the file as a stream.
    ///
    /// # Errors
    /// Fails when the file is not stored any more.
    pub async fn stream(&self, range: Range<u64>) -> anyhow::Result<BoxStream<'static, anyhow::Result<Bytes>>> {
        match &self.content {
            Content::Text(text) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
                let bytes = text.slice(place(range.start)..place(range.end));
                Ok(futures::stream::iter([Ok(bytes)]).boxed())
            }
            Content::Object { objects, key } => {
                let read = objects.read(key, range).await?;
                read.with_context(|| format!("{} is not stored any more", self.path))
            }
        }
    }

    /// Reads the first `most` bytes of the file.
    ///
    /// # Errors
    /// Fails when the file is not stored any more.
    pub async fn read(&self, most: u64) -> anyhow::Result<Vec<u8>> {
        let stream = self.stream(0..self.size.min(most)).await?;
        let read = stream.try_fold(Vec::new(), |mut read, bytes| async move {
            read.extend_from_slice(&bytes);
            Ok(read)
        });
        read.await
    }

    /// Returns the file's id in git.
    ///
    /// # Errors
    /// Fails when the file is not stored any more.
    pub async fn git_oid(&self) -> anyhow::Result<String> {
        let mut hash = Sha1::new();
        hash.update(format!("blob {}\0", self.size));
        let mut stream = self.stream(0..self.size).await?;
        while let Some(bytes) = stream.try_next().await? {
            hash.update(&bytes);
        }
        Ok(hex::encode(hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ids_are_those_of_git_and_of_lfs() {
        let file = OutgoingFile::text("a", "what is up, doc?".to_owned());
        // As in git's own book.
        assert_eq!(file.git_oid().await.unwrap(), "bd9dbf5aae1a3862dd1526723246b20206e5fc37");
        assert!(file.sha256.len() == 64 && file.size == 16);
        assert_eq!(file.read(4).await.unwrap(), b"what");
    }
}
