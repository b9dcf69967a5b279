//! Passwords of local users, as hashes with argon2id.

use anyhow::{Context as _, ensure};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};

/// Minimum length of a password, in characters.
pub const MIN_LENGTH: usize = 12;
/// Maximum length of a password, in bytes.
pub const MAX_LENGTH: usize = 1024;
/// A hash that no known password has. A login under an unknown name is compared with it, so that it takes as long as one
/// under a known name.
const OF_NOBODY: &str =
    "$argon2id$v=19$m=47104,t=1,p=1$bm9ib2R5J3Mgc2FsdC4$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Memory of a hash, in KiB, and its passes: the first of OWASP's recommendations. The system's allocator gives blocks of
/// more than 32 MiB back at once; smaller ones it would keep, for each thread that has made a hash.
const MEMORY: u32 = 46 << 10;
const PASSES: u32 = 1;

/// Hashes a new password. This takes some hundredths of a second and 46 MiB, as argon2id is meant to.
///
/// # Errors
/// Fails when the password is too short or too long, and when the system provides no randomness.
pub fn hash(password: &SecretString) -> anyhow::Result<String> {
    let text = password.expose_secret();
    ensure!(text.chars().count() >= MIN_LENGTH, "a password has at least {MIN_LENGTH} characters");
    ensure!(text.len() <= MAX_LENGTH, "a password has at most {MAX_LENGTH} bytes");
    let params = Params::new(MEMORY, PASSES, 1, None).context("hashing a password")?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(text.as_bytes()).context("hashing a password")?.to_string())
}

/// Returns true if a password has this hash. Without a hash the answer is false, and takes as long.
pub fn verify(password: &SecretString, hash: Option<&str>) -> bool {
    let Ok(known) = PasswordHash::new(hash.unwrap_or(OF_NOBODY)) else { return false };
    let text = password.expose_secret();
    let is_it = Argon2::default().verify_password(text.as_bytes(), &known).is_ok();
    is_it && hash.is_some() && text.len() <= MAX_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_has_its_hash() {
        let hashed = hash(&"correct horse".into()).unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{hashed}");
        assert!(verify(&"correct horse".into(), Some(&hashed)));
        assert!(!verify(&"correct hors".into(), Some(&hashed)));
        assert!(!verify(&"correct horse".into(), None));
        assert!(!verify(&"correct horse".into(), Some("no hash")));
        assert_ne!(hashed, hash(&"correct horse".into()).unwrap(), "the salt is random");
    }

    #[test]
    fn an_unknown_name_costs_as_much() {
        let (ours, nobodys) = (hash(&"correct horse".into()).unwrap(), PasswordHash::new(OF_NOBODY).unwrap());
        assert_eq!(PasswordHash::new(&ours).unwrap().params, nobodys.params);
    }

    #[test]
    fn a_password_that_can_be_guessed_is_refused() {
        assert!(hash(&"too short".into()).is_err());
        assert!(hash(&"x".repeat(MAX_LENGTH + 1).into()).is_err());
    }
}
