//! The labels and names by which this installation recognises its containers and images.

/// Id of the installation.
pub(super) const INSTANCE: &str = "trainyard.instance";
/// Marks a helper of a job's container.
pub(super) const HELPS: &str = "trainyard.helps";
/// UUIDs of the GPUs that a job's container sees, separated by commas.
pub(super) const GPUS: &str = "trainyard.gpus";
/// The image that a checkout image was made from, and the repository and commit whose files it has.
pub(super) const CHECKOUT_IMAGE: &str = "trainyard.checkout_image.image";
pub(super) const CHECKOUT_REPO: &str = "trainyard.checkout_image.repo";
pub(super) const CHECKOUT_COMMIT: &str = "trainyard.checkout_image.commit";

/// Returns empty labels in place of the inherited ones, so that an image committed from this container does not count
/// as a checkout image.
pub(super) fn blank_checkout_labels() -> [(String, String); 3] {
    [CHECKOUT_IMAGE, CHECKOUT_REPO, CHECKOUT_COMMIT].map(|label| (label.to_owned(), String::new()))
}

/// Returns the name of the egress gateway of this container.
pub(super) fn gateway_of(container: &str) -> String {
    format!("{container}-gateway")
}

/// Returns the name of the helper that finds the host's addresses for this container.
pub(super) fn probe_of(container: &str) -> String {
    format!("{container}-probe")
}
