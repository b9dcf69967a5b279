//! Signatures of webhooks: HMAC-SHA256 over the raw body, in the header `X-Hub-Signature-256`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Length of a signature, in bytes.
const LENGTH: usize = 32;

/// A well-formed signature, which is not verified yet.
#[derive(Debug, Clone, Copy)]
pub struct Signature([u8; LENGTH]);

impl Signature {
    /// Reads a header: `sha256=` and 64 hexadecimal digits.
    pub fn read(header: &str) -> Option<Self> {
        Self::read_digits(header.strip_prefix("sha256=")?)
    }

    /// Reads 64 hexadecimal digits, as in Gitea's header `X-Gitea-Signature`.
    pub fn read_digits(header: &str) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        hex::decode_to_slice(header, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Returns true if this is the signature of `body` with `secret`. Compares in constant time.
    pub fn is_of(&self, secret: &[u8], body: &[u8]) -> bool {
        mac(secret, body).verify_slice(&self.0).is_ok()
    }
}

/// Returns the header that signs `body` with `secret`, as GitHub makes it.
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    format!("sha256={}", hex::encode(mac(secret, body).finalize().into_bytes()))
}

fn mac(secret: &[u8], body: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"));
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(secret: &[u8], body: &[u8], header: &str) -> bool {
        Signature::read(header).is_some_and(|signature| signature.is_of(secret, body))
    }

    #[test]
    fn the_example_of_githubs_documentation() {
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(is_valid(b"It's a Secret to Everybody", b"Hello, World!", header));
        assert_eq!(sign(b"It's a Secret to Everybody", b"Hello, World!"), header);
    }

    #[test]
    fn anything_else_is_refused() {
        let good = sign(b"secret", b"body");
        assert!(!is_valid(b"secret", b"body ", &good));
        assert!(!is_valid(b"other", b"body", &good));
        assert!(!is_valid(b"secret", b"body", &good[..good.len() - 2]));
        for bad in ["", "sha256=", "sha1=abc", "sha256=zz", &good["sha256=".len()..]] {
            assert!(!is_valid(b"secret", b"body", bad), "{bad} was taken");
        }
    }
}
