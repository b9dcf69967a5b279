//! Webhooks from Travis, and webhooks as Travis sends them.

mod notifications;
mod passed;
