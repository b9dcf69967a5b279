//! Checkout images: a job's image, and one layer with the files of a commit, checked out by the image's own git. A
//! container made from such an image has the files at once, however many they are, and shares their disk space.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bollard::models::ContainerConfig;
use bollard::query_parameters::{CommitContainerOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use futures::StreamExt as _;
use tracing::warn;

use super::Docker;
use super::container::Upload;
use super::create::create;
use super::errors::is_status;
use super::labels::{CHECKOUT_COMMIT, CHECKOUT_IMAGE, CHECKOUT_REPO, INSTANCE};
use crate::domain::Sha;
use crate::executor::{Life, Spec};

/// The longest part of git's error output that is reported, in bytes.
const MOST_WORDS: usize = 1000;
/// Time limit for git, and for the engine.
const CHECKOUT_LIMIT: Duration = Duration::from_secs(10 * 60);

/// An image that has the files of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutImage {
    pub id: String,
    /// The id of the image that the checkout image was made from.
    pub image: String,
    /// A name of the repository, chosen by the caller.
    pub repo: String,
    pub commit: Sha,
}

/// A checkout image to be made.
#[derive(Debug)]
pub struct NewCheckoutImage<'a> {
    /// The container that runs git in the job's image, without a network.
    pub spec: &'a Spec,
    /// The history that git checks out.
    pub upload: Upload,
    /// A path that must exist afterwards.
    pub product: &'a str,
    pub repo: &'a str,
    pub commit: &'a Sha,
}

/// Makes a checkout image. Returns `None` when the job's image keeps its files in volumes: the layer would not hold
/// them.
///
/// # Errors
/// Fails when the command fails or the engine does not answer.
pub async fn make(docker: &Docker, new: NewCheckoutImage<'_>) -> anyhow::Result<Option<CheckoutImage>> {
    let (image, repo, commit) = (new.spec.image.clone(), new.repo.to_owned(), new.commit.clone());
    let inspected = docker.client()?.inspect_image(&image).await.context("inspecting the image")?;
    if inspected.config.and_then(|config| config.volumes).is_some_and(|volumes| !volumes.is_empty()) {
        return Ok(None);
    }
    let name = format!("{}{commit}", prefix(docker));
    let made = check_out_and_commit(docker, &name, new).await;
    if let Err(error) = docker.remove_one(&name).await {
        warn!("cannot remove the container of a checkout image, the next start will do it: {error:#}");
    }
    Ok(Some(CheckoutImage { id: made?, image, repo, commit }))
}

/// Runs the command and commits the container. Returns the image's id. The container is not removed.
async fn check_out_and_commit(docker: &Docker, name: &str, new: NewCheckoutImage<'_>) -> anyhow::Result<String> {
    let NewCheckoutImage { spec, upload, product, repo, commit } = new;
    let labels = [(CHECKOUT_IMAGE, &*spec.image), (CHECKOUT_REPO, repo), (CHECKOUT_COMMIT, commit.as_str())];
    create(docker, spec, name).await?;
    docker.put(name, upload).await?;
    docker.start(name).await?;
    tokio::time::timeout(CHECKOUT_LIMIT, docker.wait(name)).await.context("git took too long")??;
    match docker.life(name).await? {
        Life::Exited(exit) if exit.status == 0 => {}
        Life::Exited(exit) => {
            let mut output = docker.logs(name, 0)?;
            let said = output.next().await.transpose()?.unwrap_or_default();
            let said = String::from_utf8_lossy(&said[..said.len().min(MOST_WORDS)]).trim().to_owned();
            bail!("git ended with exit status {} and printed: {said}", exit.status)
        }
        _ => bail!("the container in which git ran is gone"),
    }
    // A runtime may keep what a container writes in a place that the engine does not see.
    ensure!(docker.tar_of(name, product).await?.is_some(), "git left no {product}");
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = ContainerConfig { labels: Some(labels), ..Default::default() };
    let options = CommitContainerOptionsBuilder::new().container(name).build();
    // A layer is written before the engine answers.
    let patient = docker.client()?.clone().with_timeout(CHECKOUT_LIMIT);
    Ok(patient.commit_container(options, config).await.context("committing the checkout image")?.id)
}

/// Lists the checkout images of this installation, the latest last.
///
/// # Errors
/// Fails when the engine does not answer.
pub async fn list(docker: &Docker) -> anyhow::Result<Vec<CheckoutImage>> {
    let labels = vec![format!("{INSTANCE}={}", docker.instance), CHECKOUT_COMMIT.to_owned()];
    let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("label", labels)])).build();
    let mut listed = docker.client()?.list_images(Some(options)).await.context("listing the images")?;
    listed.sort_by_key(|image| image.created);
    let base = |image: bollard::models::ImageSummary| {
        let label = |name: &str| image.labels.get(name).cloned();
        let (of, repo, commit) = (label(CHECKOUT_IMAGE)?, label(CHECKOUT_REPO)?, label(CHECKOUT_COMMIT)?.parse().ok()?);
        Some(CheckoutImage { id: image.id, image: of, repo, commit })
    };
    Ok(listed.into_iter().filter_map(base).collect())
}

/// Returns true when the engine still has an image: its operator may have removed it.
///
/// # Errors
/// Fails when the engine does not answer.
pub async fn exists(docker: &Docker, id: &str) -> anyhow::Result<bool> {
    let inspected = docker.client()?.inspect_image(id).await;
    if is_status(&inspected, 404) {
        return Ok(false);
    }
    inspected.context("inspecting the image")?;
    Ok(true)
}

/// Removes a checkout image, and nothing else. Returns false while a container uses it.
///
/// # Errors
/// Fails when the engine does not answer.
pub async fn remove(docker: &Docker, base: &CheckoutImage) -> anyhow::Result<bool> {
    let options = RemoveImageOptionsBuilder::new().noprune(true).build();
    let removed = docker.client()?.remove_image(&base.id, Some(options), None).await;
    if is_status(&removed, 409) {
        return Ok(false);
    }
    if !is_status(&removed, 404) {
        removed.context("removing an image")?;
    }
    Ok(true)
}

/// Returns true when a checkout image is being made from this container. The task that made it removes it.
pub fn is_being_made(docker: &Docker, container: &str) -> bool {
    container.starts_with(&prefix(docker))
}

fn prefix(docker: &Docker) -> String {
    format!("{}checkout-", docker.prefix())
}
