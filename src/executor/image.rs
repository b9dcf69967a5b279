//! Images that an engine has, and what is in them.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use bollard::models::ContainerCreateBody;
use tokio::sync::Mutex;

use super::docker::{HELPS, is_status};
use super::{Docker, ExecError, Image, host_config};

/// Whether there is git in an image, by the image's id.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownImages(Arc<Mutex<HashMap<String, bool>>>);

/// The end of the names of containers through which images are looked into.
const INSPECT_SUFFIX: &str = "-inspect";

impl Docker {
    /// An image that the engine has.
    ///
    /// # Errors
    /// [`ExecError::Job`] when it is absent.
    pub async fn image(&self, name: &str) -> Result<Image, ExecError> {
        let inspected = self.client()?.inspect_image(name).await;
        if is_status(&inspected, 404) {
            return Err(ExecError::Job(format!(
                "the image {name} is not on this runner; build or pull it there, or choose another version"
            )));
        }
        let id = inspected.context("looking at the image")?.id.context("an image without an id")?;
        // Held meanwhile: jobs that begin together look once.
        let mut known = self.images.0.lock().await;
        let has_git = match known.get(&id) {
            Some(has_git) => *has_git,
            None => {
                let has_git = self.has_file(&id, "/usr/bin/git").await?;
                *known.entry(id.clone()).or_insert(has_git)
            }
        };
        Ok(Image { id, has_git })
    }

    /// Whether a container is one through which an image is looked into: whoever made it removes it.
    pub fn inspects_image(&self, container: &str) -> bool {
        container.starts_with(&self.prefix()) && container.ends_with(INSPECT_SUFFIX)
    }

    /// Looks into a container that is made for that and never runs.
    async fn has_file(&self, image: &str, path: &str) -> anyhow::Result<bool> {
        let name = format!("{}image-{}{INSPECT_SUFFIX}", self.prefix(), image.trim_start_matches("sha256:"));
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(self.labels((HELPS, "yes".to_owned()))),
            host_config: Some(host_config::of_helper("none", &[])),
            ..Default::default()
        };
        self.make(&name, body).await.context("looking into the image")?;
        // The file itself is not wanted: the engine would not remove the container while its stream is open.
        let found = self.tar_of(&name, path).await.map(|tar| tar.is_some());
        self.remove_one(&name).await?;
        found
    }
}
