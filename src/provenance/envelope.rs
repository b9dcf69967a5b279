//! The signed envelope of a statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{SigningKey, Statement, VerifyingKey};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Serialize, Deserialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// The reason why an envelope proves nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unverified {
    #[error("this is not a signed statement of provenance")]
    NotAnEnvelope,
    #[error("the statement was not signed with this key, or was changed since")]
    WrongSignature,
}

/// Signs a statement, and returns its envelope as one line.
pub fn seal(statement: &str, key: &SigningKey) -> String {
    let signature = Signature {
        keyid: key.public().id(),
        sig: STANDARD.encode(key.sign(&signed_bytes(PAYLOAD_TYPE, statement.as_bytes()))),
    };
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(statement),
        signatures: vec![signature],
    };
    serde_json::to_string(&envelope).unwrap_or_default() + "\n"
}

/// Returns the statement of an envelope that this key has signed.
///
/// # Errors
/// Fails when the key has signed nothing of it, and when it is not an envelope. Nothing of the statement is read before.
pub fn verified(envelope: &str, key: &VerifyingKey) -> Result<Statement, Unverified> {
    let envelope: Envelope = serde_json::from_str(envelope.trim()).map_err(|_| Unverified::NotAnEnvelope)?;
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| Unverified::NotAnEnvelope)?;
    let message = signed_bytes(&envelope.payload_type, &payload);
    let is_good = |signature: &Signature| {
        STANDARD.decode(&signature.sig).is_ok_and(|signature| key.has_signed(&message, &signature))
    };
    if !envelope.signatures.iter().any(is_good) {
        return Err(Unverified::WrongSignature);
    }
    let statement = Statement::read(&payload).filter(|_| envelope.payload_type == PAYLOAD_TYPE);
    statement.ok_or(Unverified::NotAnEnvelope)
}

/// Returns the bytes that the signature is of: the lengths keep type and payload apart.
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::{Digest, Facts, Subject, statement};

    fn made() -> (String, SigningKey) {
        let facts = Facts {
            server: "https://ci.example.org",
            repository: "https://github.com/acme/styles.git",
            reference: "refs/heads/main".to_owned(),
            commit: "0123456789012345678901234567890123456789",
            config: "ink.yaml",
            config_sha256: "ab".repeat(32),
            command: "python train.py",
            event: "push",
            image: "sha256:cd",
            materials: &[],
            seed: Some(42),
            gpus: &[],
            gpu_models: &[],
            driver: None,
            job: "https://ci.example.org/acme/styles/builds/1/jobs/2",
            attempt: 1,
            started_at: chrono::DateTime::UNIX_EPOCH,
            finished_at: chrono::DateTime::UNIX_EPOCH,
        };
        let subject = Subject { name: "w.safetensors".to_owned(), digest: Digest { sha256: "ef".repeat(32) } };
        (statement(&facts, &[subject]), SigningKey::generate().unwrap())
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        // The example of DSSE's protocol.md.
        let expected = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(signed_bytes("http://example.com/HelloWorld", b"hello world"), expected.as_bytes());
    }

    #[test]
    fn a_statement_is_read_back_only_with_its_key_and_unchanged() {
        let (text, key) = made();
        let envelope = seal(&text, &key);
        let public = VerifyingKey::from_pem(&key.public().to_pem()).unwrap();
        let statement = verified(&envelope, &public).unwrap();
        assert_eq!(statement.name_of(&"EF".repeat(32)), Some("w.safetensors"));
        assert_eq!(statement.name_of(&"00".repeat(32)), None);
        let other = SigningKey::generate().unwrap().public();
        assert_eq!(verified(&envelope, &other).unwrap_err(), Unverified::WrongSignature);
        let forged = text.replace(&"ef".repeat(32), &"00".repeat(32));
        let forged = envelope.replace(&STANDARD.encode(&text), &STANDARD.encode(forged));
        assert_eq!(verified(&forged, &public).unwrap_err(), Unverified::WrongSignature);
        let retyped = envelope.replace("application/vnd.in-toto+json", "text/plain");
        assert_eq!(verified(&retyped, &public).unwrap_err(), Unverified::WrongSignature);
        let other = seal("{\"predicateType\": \"other\", \"subject\": [], \"predicate\": 1}", &key);
        assert_eq!(verified(&other, &public).unwrap_err(), Unverified::NotAnEnvelope);
        for text in ["", "{}", "[]", "{\"payloadType\":\"x\",\"payload\":\"?\",\"signatures\":[]}"] {
            assert_eq!(verified(text, &public).unwrap_err(), Unverified::NotAnEnvelope, "{text}");
        }
    }

    #[test]
    fn a_key_is_stored_by_its_seed_and_read_from_pem() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_seed(&key.seed().unwrap()).unwrap();
        assert_eq!(key.public(), again.public());
        assert!(key.public().has_signed(b"x", &again.sign(b"x")));
        assert!(SigningKey::from_seed(b"short").is_err());
        let rsa = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
        for pem in ["", "no key", rsa] {
            assert!(VerifyingKey::from_pem(pem).is_err(), "{pem}");
        }
    }
}
