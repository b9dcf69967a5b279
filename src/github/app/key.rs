//! The key of a GitHub App, and the assertions by which the App proves itself: JSON Web Tokens with RS256.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::{DateTime, Utc};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde_json::json;

/// Seconds by which an assertion begins in the past, as GitHub's documentation advises: clocks differ.
const BACKDATED: i64 = 60;
/// Seconds from now to the end of an assertion. GitHub accepts at most 600.
const LASTS: i64 = 540;

/// A private key that GitHub has made for an App.
pub struct AppKey {
    app: u64,
    pair: RsaKeyPair,
}

/// Error: a text is not the private key of an App.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the RSA private key of a GitHub App, as a PEM file from GitHub has it")]
pub struct NotAnAppKey;

impl AppKey {
    /// Reads the PEM form of a key, of PKCS#1 as GitHub writes it, or of PKCS#8.
    ///
    /// # Errors
    /// Fails when the text is not such a key.
    pub fn from_pem(app: u64, pem: &str) -> Result<Self, NotAnAppKey> {
        let pair = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NotAnAppKey)? {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(NotAnAppKey),
        };
        Ok(Self { app, pair: pair.map_err(|_| NotAnAppKey)? })
    }

    /// Returns GitHub's number of the App.
    pub fn app(&self) -> u64 {
        self.app
    }

    /// Returns an assertion that is good at `now`, by GitHub's clock, and for some minutes after it.
    pub(in crate::github) fn assertion(&self, now: DateTime<Utc>) -> SecretString {
        let now = now.timestamp();
        let encode = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let head = encode(json!({"alg": "RS256", "typ": "JWT"}).to_string());
        let claims = encode(json!({"iat": now - BACKDATED, "exp": now + LASTS, "iss": self.app}).to_string());
        let signed = format!("{head}.{claims}");
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap_or_else(|_| unreachable!("a key signs as many bytes as its modulus has"));
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)).into()
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppKey of App {}", self.app)
    }
}
