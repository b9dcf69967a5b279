//! Key pairs of repositories, for the `secure:` strings of `.travis.yml`, and the seal on the private keys in the
//! database.
//!
//! As on Travis: RSA with 4096 bits, PKCS#1 v1.5 padding, base64. Anyone may encrypt with the public key; only the
//! server can decrypt.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{
    KeySize, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// Errors of keys and secrets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The bytes are not a key of this kind.
    #[error("this is not an RSA {0} key")]
    NotAKey(&'static str),
    /// The cryptographic library failed; on a healthy machine it never does.
    #[error("cannot make a key pair")]
    NotMade,
    /// The value exceeds the maximum length for RSA.
    #[error("the value has {length} bytes, and a secret may have {most} at most: split it into several")]
    TooLong {
        /// Length of the value, in bytes.
        length: usize,
        /// Maximum length for the key, in bytes.
        most: usize,
    },
    /// The string was encrypted with another public key, or is not complete.
    #[error("the string was not encrypted with this repository's key")]
    NotForThisKey,
    /// The data was sealed with another key, or under another name, or was changed since.
    #[error("it was sealed with another key than that of this server")]
    NotOurSeal,
}

/// Seal on data in the database (AES-256 in GCM). The database does not have its key, so a copy or dump of it reveals
/// nothing. Another key, which follows from it, signs texts that come back to us.
pub struct Seal {
    data: RandomizedNonceKey,
    texts: hmac::Key,
}

/// Makes a new key for a seal.
///
/// # Errors
/// Fails when the system provides no randomness.
pub fn new_seal() -> Result<Zeroizing<[u8; Seal::LENGTH]>, KeyError> {
    let mut key = Zeroizing::new([0; Seal::LENGTH]);
    aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| KeyError::NotMade)?;
    Ok(key)
}

impl Seal {
    /// Length of a key, in bytes.
    pub const LENGTH: usize = 32;

    /// Returns the seal with this key.
    ///
    /// # Errors
    /// Fails when the key has another length.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let data = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| KeyError::NotAKey("sealing"))?;
        let of_texts = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"trainyard: signed texts");
        Ok(Self { data, texts: hmac::Key::new(hmac::HMAC_SHA256, of_texts.as_ref()) })
    }

    /// Signs a text, in hexadecimal.
    pub fn sign(&self, text: &str) -> String {
        hex::encode(hmac::sign(&self.texts, text.as_bytes()))
    }

    /// Returns true if [`Self::sign`] has made the signature of the text. The time that it takes reveals nothing.
    pub fn has_signed(&self, text: &str, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|tag| hmac::verify(&self.texts, text.as_bytes(), &tag).is_ok())
    }

    /// Seals bytes under the name `of`. They cannot be opened under another name.
    ///
    /// # Errors
    /// Fails when the cryptographic library does.
    pub fn seal(&self, of: &str, clear: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = clear.to_vec();
        let nonce = self.data.seal_in_place_append_tag(Aad::from(of), &mut sealed).map_err(|_| KeyError::NotMade)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens the result of [`Self::seal`].
    ///
    /// # Errors
    /// Fails when the bytes were sealed with another key or under another name, or are not complete.
    pub fn open(&self, of: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::NotOurSeal)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::NotOurSeal)?;
        let mut clear = Zeroizing::new(sealed.to_vec());
        let length = self.data.open_in_place(nonce, Aad::from(of), &mut clear).map_err(|_| KeyError::NotOurSeal)?.len();
        clear.truncate(length);
        Ok(clear)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// Public half of a pair, for everyone.
pub struct PublicKey(PublicEncryptingKey);

/// Private half of a pair, which never leaves the server.
pub struct PrivateKey(PrivateDecryptingKey);

impl PublicKey {
    /// Reads the PEM form of a public key (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// Fails when the text is not such a key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::NotAKey("public"))?;
        PublicEncryptingKey::from_der(&der).map(Self).map_err(|_| KeyError::NotAKey("public"))
    }

    /// Encrypts a text as a `secure:` string.
    ///
    /// # Errors
    /// Fails when the text is too long for the key.
    pub fn encrypt(&self, text: &str) -> Result<String, KeyError> {
        let key = Pkcs1PublicEncryptingKey::new(self.0.clone()).map_err(|_| KeyError::NotAKey("public"))?;
        let (length, most) = (text.len(), key.max_plaintext_size());
        if length > most {
            return Err(KeyError::TooLong { length, most });
        }
        let mut cipher = vec![0; key.ciphertext_size()];
        let cipher = key.encrypt(text.as_bytes(), &mut cipher).map_err(|_| KeyError::NotAKey("public"))?;
        Ok(STANDARD.encode(cipher))
    }
}

impl PrivateKey {
    /// Makes a new pair, which takes about a second of processor time.
    ///
    /// # Errors
    /// Fails when the cryptographic library does.
    pub fn generate() -> Result<Self, KeyError> {
        PrivateDecryptingKey::generate(KeySize::Rsa4096).map(Self).map_err(|_| KeyError::NotMade)
    }

    /// Makes a pair of the size that Travis signs its webhooks with.
    ///
    /// # Errors
    /// Fails when the cryptographic library does.
    pub fn generate_for_signatures() -> Result<Self, KeyError> {
        PrivateDecryptingKey::generate(KeySize::Rsa2048).map(Self).map_err(|_| KeyError::NotMade)
    }

    /// Reads the form that [`Self::to_pkcs8`] writes.
    ///
    /// # Errors
    /// Fails when the bytes are not such a key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        PrivateDecryptingKey::from_pkcs8(der).map(Self).map_err(|_| KeyError::NotAKey("private"))
    }

    /// Returns the key in the form in which it is stored: PKCS#8 in DER.
    ///
    /// # Errors
    /// Fails when the cryptographic library does.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| KeyError::NotMade)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// Returns the PEM form of the public half.
    ///
    /// # Errors
    /// Fails when the cryptographic library does.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().map_err(|_| KeyError::NotMade)?;
        let body = STANDARD.encode(der.as_ref());
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for (index, character) in body.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    /// Returns the clear text of a `secure:` string. Blanks and line breaks in it do not matter.
    ///
    /// # Errors
    /// Fails when it was not made with this pair's public key, or is not text.
    pub fn decrypt(&self, secure: &str) -> Result<String, KeyError> {
        let packed: String = secure.split_whitespace().collect();
        let cipher = STANDARD.decode(packed).map_err(|_| KeyError::NotForThisKey)?;
        let key = Pkcs1PrivateDecryptingKey::new(self.0.clone()).map_err(|_| KeyError::NotAKey("private"))?;
        let mut clear = Zeroizing::new(vec![0; key.min_output_size()]);
        let clear = key.decrypt(&cipher, &mut clear).map_err(|_| KeyError::NotForThisKey)?;
        String::from_utf8(clear.to_vec()).map_err(|_| KeyError::NotForThisKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_public_key_encrypts_only_its_private_key_decrypts() {
        let ours = PrivateKey::generate().unwrap();
        let stored = PrivateKey::from_pkcs8(&ours.to_pkcs8().unwrap()).unwrap();
        let public = PublicKey::from_pem(&ours.public_pem().unwrap()).unwrap();
        let secure = public.encrypt("HF_TOKEN=hf_not_a_real_one").unwrap();
        assert_ne!(secure, public.encrypt("HF_TOKEN=hf_not_a_real_one").unwrap(), "the padding is random");
        let wrapped = format!("{}\n  {}", &secure[..76], &secure[76..]);
        assert_eq!(stored.decrypt(&wrapped).unwrap(), "HF_TOKEN=hf_not_a_real_one");
        for wrong in ["", "AAAA", "not base64!", &secure[4..], &format!("AAAA{}", &secure[4..])] {
            assert_eq!(stored.decrypt(wrong), Err(KeyError::NotForThisKey), "{wrong}");
        }
        let other = PrivateKey::generate().unwrap();
        assert_eq!(other.decrypt(&secure), Err(KeyError::NotForThisKey));
    }

    #[test]
    fn a_seal_opens_for_its_own_key_and_name() {
        let key = new_seal().unwrap();
        let seal = Seal::new(key.as_slice()).unwrap();
        let sealed = seal.seal("repository 1", b"clear").unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"clear"));
        assert_eq!(Seal::new(key.as_slice()).unwrap().open("repository 1", &sealed).unwrap().as_slice(), b"clear");
        assert_eq!(seal.open("repository 2", &sealed), Err(KeyError::NotOurSeal));
        let other = Seal::new(new_seal().unwrap().as_slice()).unwrap();
        assert_eq!(other.open("repository 1", &sealed), Err(KeyError::NotOurSeal));
        assert_eq!(seal.open("repository 1", &sealed[..10]), Err(KeyError::NotOurSeal));
        assert!(Seal::new(&key[1..]).is_err());
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_with_the_bound() {
        let public = PublicKey::from_pem(&PrivateKey::generate().unwrap().public_pem().unwrap()).unwrap();
        assert!(public.encrypt(&"x".repeat(501)).is_ok());
        assert_eq!(public.encrypt(&"x".repeat(502)), Err(KeyError::TooLong { length: 502, most: 501 }));
        assert!(matches!(PublicKey::from_pem("nonsense"), Err(KeyError::NotAKey("public"))));
    }
}
