//! Images that have the files of a commit: a job's image, and one layer of what its own git has checked out there. Whatever
//! is made from such an image has the files at once, however many they are, and shares the space that they take.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bollard::models::ContainerConfig;
use bollard::query_parameters::{CommitContainerOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use futures::StreamExt as _;
use tracing::warn;

use super::docker::{INSTANCE, is_status};
use super::{Docker, Life, Spec, Upload};
use crate::domain::Sha;

const IMAGE: &str = "trainyard.checkout_image.image";
const REPO: &str = "trainyard.checkout_image.repo";
const COMMIT: &str = "trainyard.checkout_image.commit";

/// What is told of git's complaints, in bytes.
const MOST_WORDS: usize = 1000;
/// How long git may take, and how long the engine.
const CHECKOUT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Labels of a container by which an image that somebody makes of it is none of these, although its own image is one.
pub(super) fn blank_labels() -> [(String, String); 3] {
    [IMAGE, REPO, COMMIT].map(|label| (label.to_owned(), String::new()))
}

/// An image that has a commit's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutImage {
    /// Its id.
    pub id: String,
    /// The id of the image that it was made from.
    pub image: String,
    /// Whose files they are, in the words of whoever had it made.
    pub repo: String,
    /// The commit.
    pub commit: Sha,
}

impl Docker {
    /// Makes an image out of what the command of `spec` leaves of an upload, in no network; afterwards the `product` has to be
    /// there. None when the image keeps its files in volumes, of which nothing would be left.
    ///
    /// # Errors
    /// When the command fails or the engine does not answer.
    pub async fn make_checkout_image(
        &self,
        spec: &Spec,
        (upload, product): (Upload, &str),
        (repo, commit): (&str, &Sha),
    ) -> anyhow::Result<Option<CheckoutImage>> {
        let image = self.client()?.inspect_image(&spec.image).await.context("looking at the image")?;
        if image.config.and_then(|config| config.volumes).is_some_and(|volumes| !volumes.is_empty()) {
            return Ok(None);
        }
        let name = format!("{}{commit}", self.checkout_image_prefix());
        let labels = [(IMAGE, &*spec.image), (REPO, repo), (COMMIT, commit.as_str())];
        let made = self.leave(spec, &name, (upload, product), labels).await;
        if let Err(error) = self.remove_one(&name).await {
            warn!("cannot remove the container that an image was made of, the next start will: {error:#}");
        }
        Ok(Some(CheckoutImage { id: made?, image: spec.image.clone(), repo: repo.to_owned(), commit: commit.clone() }))
    }

    /// Runs the command and makes the image of what is left; gives the image's id. The container stays.
    async fn leave(
        &self,
        spec: &Spec,
        name: &str,
        (upload, product): (Upload, &str),
        labels: [(&str, &str); 3],
    ) -> anyhow::Result<String> {
        self.create(spec, name).await?;
        self.put(name, upload).await?;
        self.start(name).await?;
        tokio::time::timeout(CHECKOUT_LIMIT, self.wait(name)).await.context("git took too long")??;
        match self.life(name).await? {
            Life::Exited(exit) if exit.status == 0 => {}
            Life::Exited(exit) => {
                let mut output = self.logs(name, 0)?;
                let said = output.next().await.transpose()?.unwrap_or_default();
                let said = String::from_utf8_lossy(&said[..said.len().min(MOST_WORDS)]).trim().to_owned();
                bail!("git ended with exit status {} and said: {said}", exit.status)
            }
            _ => bail!("the container in which git ran is gone"),
        }
        // A runtime may keep what a container writes where the engine does not see it.
        ensure!(self.tar_of(name, product).await?.is_some(), "git left no {product}");
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let config = ContainerConfig { labels: Some(labels), ..Default::default() };
        let options = CommitContainerOptionsBuilder::new().container(name).build();
        // A layer is written before the engine answers.
        let patient = self.client()?.clone().with_timeout(CHECKOUT_LIMIT);
        Ok(patient.commit_container(options, config).await.context("making an image of the files")?.id)
    }

    /// Those that the engine has of this installation, the latest last.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn checkout_images(&self) -> anyhow::Result<Vec<CheckoutImage>> {
        let labels = vec![format!("{INSTANCE}={}", self.instance), COMMIT.to_owned()];
        let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("label", labels)])).build();
        let mut listed = self.client()?.list_images(Some(options)).await.context("listing the images")?;
        listed.sort_by_key(|image| image.created);
        let base = |image: bollard::models::ImageSummary| {
            let label = |name: &str| image.labels.get(name).cloned();
            let (of, repo, commit) = (label(IMAGE)?, label(REPO)?, label(COMMIT)?.parse().ok()?);
            Some(CheckoutImage { id: image.id, image: of, repo, commit })
        };
        Ok(listed.into_iter().filter_map(base).collect())
    }

    /// Whether the engine still has an image: its operator may have removed it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn has_image(&self, id: &str) -> anyhow::Result<bool> {
        let inspected = self.client()?.inspect_image(id).await;
        if is_status(&inspected, 404) {
            return Ok(false);
        }
        inspected.context("looking at the image")?;
        Ok(true)
    }

    /// Removes one, and nothing else; false while a container uses it.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn remove_checkout_image(&self, base: &CheckoutImage) -> anyhow::Result<bool> {
        let options = RemoveImageOptionsBuilder::new().noprune(true).build();
        let removed = self.client()?.remove_image(&base.id, Some(options), None).await;
        if is_status(&removed, 409) {
            return Ok(false);
        }
        if !is_status(&removed, 404) {
            removed.context("removing an image")?;
        }
        Ok(true)
    }

    /// Whether a container is one that an image is made of: whoever made it removes it.
    pub fn is_making_checkout_image(&self, container: &str) -> bool {
        container.starts_with(&self.checkout_image_prefix())
    }

    fn checkout_image_prefix(&self) -> String {
        format!("{}checkout-", self.prefix())
    }
}
