//! The labels and names by which this installation knows its containers and images.

/// The id of the installation.
pub(super) const INSTANCE: &str = "trainyard.instance";
/// Marks a container that helps a job's own.
pub(super) const HELPS: &str = "trainyard.helps";
/// The UUIDs of the GPUs that a job's container sees, separated by commas.
pub(super) const GPUS: &str = "trainyard.gpus";
/// The image that a checkout image was made from, and the repository and commit whose files it has.
pub(super) const CHECKOUT_IMAGE: &str = "trainyard.checkout_image.image";
pub(super) const CHECKOUT_REPO: &str = "trainyard.checkout_image.repo";
pub(super) const CHECKOUT_COMMIT: &str = "trainyard.checkout_image.commit";

/// Blanks the inherited labels, so that an image committed from this container is not taken for a checkout image.
pub(super) fn blank_checkout_labels() -> [(String, String); 3] {
    [CHECKOUT_IMAGE, CHECKOUT_REPO, CHECKOUT_COMMIT].map(|label| (label.to_owned(), String::new()))
}

/// The name of the egress gateway of this container.
pub(super) fn gateway_of(container: &str) -> String {
    format!("{container}-gateway")
}

/// The name of the helper that looks up the host's addresses for this container.
pub(super) fn probe_of(container: &str) -> String {
    format!("{container}-probe")
}
