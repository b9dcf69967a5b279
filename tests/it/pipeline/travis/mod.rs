//! Webhooks from Travis.

mod passed;
