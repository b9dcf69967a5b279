//! Changes over HTTP. Each needs a token of `[auth]`.

pub(super) mod cancel;
pub(super) mod restart;
