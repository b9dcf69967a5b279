//! Images of an engine, and the search for git in them.

use anyhow::Context as _;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::ListImagesOptionsBuilder;

use super::errors::is_status;
use super::labels::{CHECKOUT_REPO, HELPS};
use super::{Docker, PROMPT, create, host_config};
use crate::executor::{ExecError, Image};

/// The end of the names of containers that serve to inspect an image.
const INSPECT_SUFFIX: &str = "-inspect";

/// Finds an image of the engine.
///
/// # Errors
/// Returns [`ExecError::Job`] when it is absent, or a checkout image: those are not found by name.
pub async fn find(docker: &Docker, name: &str) -> Result<Image, ExecError> {
    let inspected = docker.client()?.inspect_image(name).await;
    if is_status(&inspected, 404) {
        return Err(ExecError::Job(format!(
            "the image {name} is not on this runner; build or pull it there, or choose another version"
        )));
    }
    let image = inspected.context("inspecting the image")?;
    let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
    if labels.get(CHECKOUT_REPO).is_some_and(|repo| !repo.is_empty()) {
        // A job could name the image of another repository by its id.
        return Err(ExecError::Job(format!("the image {name} holds the files of a repository, and is not for jobs")));
    }
    let id = image.id.context("an image without an id")?;
    // The lock is held during the check, so that jobs that begin together check the image once.
    let mut known = docker.images.0.lock().await;
    let has_git = match known.get(&id) {
        Some(has_git) => *has_git,
        None => {
            let has_git = has_file(docker, &id, "/usr/bin/git").await?;
            *known.entry(id.clone()).or_insert(has_git)
        }
    };
    Ok(Image { id, has_git })
}

/// Lists the names of all images, with their tags.
pub async fn names(docker: &Docker) -> anyhow::Result<Vec<String>> {
    let images = docker.client()?.list_images(Some(ListImagesOptionsBuilder::new().build()));
    let images = tokio::time::timeout(PROMPT, images).await.context("no answer in time")??;
    Ok(images.into_iter().flat_map(|image| image.repo_tags).collect())
}

/// Returns true when a container serves to inspect an image. The task that made it removes it.
pub fn is_inspection(docker: &Docker, container: &str) -> bool {
    container.starts_with(&docker.prefix()) && container.ends_with(INSPECT_SUFFIX)
}

/// Checks for a file by a container that is made only for this and never runs.
async fn has_file(docker: &Docker, image: &str, path: &str) -> anyhow::Result<bool> {
    let name = format!("{}image-{}{INSPECT_SUFFIX}", docker.prefix(), image.trim_start_matches("sha256:"));
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["true".to_owned()]),
        labels: Some(docker.labels((HELPS, "yes".to_owned()))),
        host_config: Some(host_config::of_helper("none", &[])),
        ..Default::default()
    };
    create::make(docker, &name, body).await.context("inspecting the image")?;
    // The content of the file is not needed. The engine would not remove the container while the file's stream is open.
    let found = docker.tar_of(&name, path).await.map(|tar| tar.is_some());
    docker.remove_one(&name).await?;
    found
}
