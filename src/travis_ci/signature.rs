//! Signatures of Travis's webhooks: RSA with SHA-1 over the JSON text of the form field `payload`, in base64 in the header
//! `Signature`. SHA-1 is Travis's choice. It is weak against those who choose both of two texts, and here only Travis
//! chooses.

use anyhow::Context as _;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use sha1::Sha1;

/// Sizes of signatures with keys of 2048 to 8192 bits, in bytes.
const SIZES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A well-formed signature, which is not verified yet.
#[derive(Debug, Clone)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// Reads a header.
    pub fn read(header: &str) -> Option<Self> {
        if header.len() > SIZES.end() * 2 {
            return None;
        }
        STANDARD.decode(header).ok().filter(|bytes| SIZES.contains(&bytes.len())).map(Self)
    }
}

/// A key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads the PEM form (`BEGIN PUBLIC KEY`). Returns `None` for anything but an RSA key.
    pub fn from_pem(pem: &str) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
        // Only to refuse other kinds of keys now, and not at the first signature.
        aws_lc_rs::rsa::PublicEncryptingKey::from_der(&der).ok()?;
        Some(Self(der.to_vec()))
    }

    /// Returns true if the signature is of this payload, by the owner of the key.
    pub fn verifies(&self, payload: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, &self.0)
            .verify(payload, &signature.0)
            .is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey")
    }
}

/// A key that signs as Travis does.
pub struct SigningKey(rsa::pkcs1v15::SigningKey<Sha1>);

impl SigningKey {
    /// Reads a private key in PKCS#8. Returns `None` for anything but an RSA key.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        rsa::pkcs1v15::SigningKey::from_pkcs8_der(der).ok().map(Self)
    }

    /// Returns the header for a payload. Takes milliseconds of processor time.
    ///
    /// # Errors
    /// Fails when the system provides no randomness, which hides the key from those who measure times.
    pub fn sign(&self, payload: &[u8]) -> anyhow::Result<String> {
        let signature = self.0.try_sign(payload).context("signing a webhook")?;
        Ok(STANDARD.encode(signature.to_bytes()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo_keys::PrivateKey;

    #[test]
    fn only_the_keys_own_signature_of_the_text_is_good() {
        let pair = PrivateKey::generate_for_signatures().unwrap();
        let key = SigningKey::from_pkcs8(&pair.to_pkcs8().unwrap()).unwrap();
        let public = PublicKey::from_pem(&pair.public_pem().unwrap()).unwrap();
        let other = PrivateKey::generate_for_signatures().unwrap();
        let other = PublicKey::from_pem(&other.public_pem().unwrap()).unwrap();
        let header = key.sign(b"{\"id\":1}").unwrap();
        let signature = Signature::read(&header).unwrap();
        assert!(public.verifies(b"{\"id\":1}", &signature));
        assert!(!public.verifies(b"{\"id\":2}", &signature));
        assert!(!other.verifies(b"{\"id\":1}", &signature));
        let mut forged = signature;
        forged.0[200] ^= 1;
        assert!(!public.verifies(b"{\"id\":1}", &forged));
    }

    #[test]
    fn headers_and_keys_of_another_form_are_refused_early() {
        for header in ["", "sha1=abc", "AAAA", "not base64!", &"A".repeat(4000), &STANDARD.encode([0; 255])] {
            assert!(Signature::read(header).is_none(), "{header}");
        }
        assert!(Signature::read(&STANDARD.encode([0; 256])).is_some());
        for pem in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert!(PublicKey::from_pem(pem).is_none(), "{pem}");
        }
    }
}
