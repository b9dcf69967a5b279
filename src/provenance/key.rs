//! The key pair that signs statements: Ed25519, which `cosign`, `openssl` and in-toto's tools verify.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Errors of keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The bytes are not a key of this kind.
    #[error("this is not an Ed25519 {0} key")]
    NotAKey(&'static str),
    /// The cryptographic library failed; on a healthy machine it never does.
    #[error("cannot make a key pair")]
    NotMade,
}

/// The beginning of a public Ed25519 key in the form of X.509 (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A private key.
pub struct SigningKey(Ed25519KeyPair);

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// Fails when the system provides no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?))
    }

    /// Reads the seed of a key.
    ///
    /// # Errors
    /// Fails when the bytes are not one.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Ok(Self(pair.map_err(|_| KeyError::NotAKey("private"))?))
    }

    /// Returns the seed of the key.
    ///
    /// # Errors
    /// Fails when the library cannot write it.
    pub fn seed(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let seed = self.0.seed().map_err(|_| KeyError::NotMade)?;
        let bytes: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::NotMade)?;
        Ok(Zeroizing::new(bytes.as_ref().to_vec()))
    }

    pub fn public(&self) -> VerifyingKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        VerifyingKey(bytes)
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl VerifyingKey {
    /// Reads a key from PEM.
    ///
    /// # Errors
    /// Fails when the text is not a public Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let wrong = KeyError::NotAKey("public");
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong)?;
        let key = der.as_ref().strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(KeyError::NotAKey("public"))
    }

    /// Returns the key as PEM.
    pub fn to_pem(&self) -> String {
        let der = [SPKI.as_slice(), &self.0].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// Returns the name of the key: the SHA-256 of its X.509 form, in hexadecimal.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest([SPKI.as_slice(), &self.0].concat()))
    }

    /// Returns true if the private half has signed the message.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}
