//! Texts that nobody can guess, and their digests.

use anyhow::Context as _;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use sha2::{Digest as _, Sha256};

/// Number of random bytes.
const LENGTH: usize = 32;

/// Makes a text of 256 random bits, in letters, digits, `-` and `_`.
///
/// # Errors
/// Fails when the system provides no randomness.
pub(in crate::web) fn new() -> anyhow::Result<String> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system gives no random numbers")?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns the digest of a text, as rows have it.
pub(in crate::web) fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// Returns the challenge of PKCE for a verifier.
pub(in crate::web) fn challenge(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// Compares two texts by their digests, so that the time reveals nothing.
pub(in crate::web) fn is_same(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()) == Sha256::digest(b.as_bytes())
}
