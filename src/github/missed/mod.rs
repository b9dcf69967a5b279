//! Facts that GitHub can still tell after a webhook was lost: its logs of deliveries, and the open pull requests.

mod hooks;
mod pulls;

pub use hooks::{DeliveryLog, Hook, LoggedDelivery};
pub use pulls::OpenPulls;
