//! Changes over HTTP. Each needs a token of `[auth]`.

pub(super) mod approve;
pub(super) mod cancel;
pub(super) mod crons;
pub(super) mod requests;
pub(super) mod restart;
