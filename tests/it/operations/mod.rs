//! The service as its operator sees it.

mod rate;
