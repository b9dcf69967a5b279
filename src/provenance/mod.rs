//! The provenance of trained weights: a statement that says from what a training made its files, and its signature.
//!
//! The statement has the form of [in-toto](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md), its
//! predicate that of [SLSA provenance v1](https://slsa.dev/spec/v1.0/provenance), and the signed envelope that of
//! [DSSE](https://github.com/secure-systems-lab/dsse/blob/master/envelope.md).

mod envelope;
mod key;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

pub use envelope::{Unverified, seal, verified};
pub use key::{KeyError, SigningKey, VerifyingKey};

/// Name of the file with the statement.
pub const STATEMENT: &str = "provenance.json";
/// Name of the file with the signature of that file's bytes, in base64.
pub const SIGNATURE: &str = "provenance.json.sig";
/// Name of the file with the signed envelope of the statement.
pub const ENVELOPE: &str = "provenance.intoto.jsonl";
/// Names of all these files.
pub const FILES: [&str; 3] = [STATEMENT, SIGNATURE, ENVELOPE];

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// Names what the parameters of the predicate mean: `docs/usage/provenance.md` describes them.
const BUILD_TYPE: &str = "https://trainyard.dev/train/v1";

/// The facts about a training that its statement has.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Address of the server's pages.
    pub server: &'a str,
    /// Address from which git fetches the repository.
    pub repository: &'a str,
    /// The branch, tag or pull request, as git names it.
    pub reference: String,
    /// The commit that was built.
    pub commit: &'a str,
    /// Path of the training config.
    pub config: &'a str,
    /// SHA-256 of the training config, in hexadecimal.
    pub config_sha256: String,
    /// The command that ran.
    pub command: &'a str,
    /// The event that asked for the build.
    pub event: &'a str,
    /// Id of the image, `sha256:…`.
    pub image: &'a str,
    /// Data that the service has fetched for the training.
    pub materials: &'a [Material],
    /// Seed that the config names.
    pub seed: Option<u64>,
    /// UUIDs of the GPUs.
    pub gpus: &'a [String],
    /// Models of the GPUs, and the version of their driver; nothing where `nvidia-smi` does not tell.
    pub gpu_models: &'a [String],
    pub driver: Option<&'a str>,
    /// Address of the job's page, and the number of the attempt.
    pub job: &'a str,
    pub attempt: i32,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
}

/// A data set or a model that a training has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// Place in the checkout.
    pub name: String,
    /// Address of the version that was read.
    pub uri: String,
    /// SHA-256 of the file, or of the list of the files.
    pub sha256: String,
    /// Commit of a repository.
    pub commit: Option<String>,
}

/// A file that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub name: String,
    pub digest: Digest,
}

/// The digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// In hexadecimal.
    pub sha256: String,
}

/// Writes the statement about these files.
pub fn statement(facts: &Facts<'_>, subjects: &[Subject]) -> String {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let image = facts.image.strip_prefix("sha256:").unwrap_or(facts.image);
    let mut dependencies = vec![
        json!({"uri": format!("git+{}@{}", facts.repository, facts.reference), "digest": {"gitCommit": facts.commit}}),
        json!({"name": facts.config, "digest": {"sha256": facts.config_sha256}}),
        json!({"name": "image", "digest": {"sha256": image}}),
    ];
    dependencies.extend(facts.materials.iter().map(|Material { name, uri, sha256, commit }| {
        let mut digest = json!({"sha256": sha256});
        if let Some(commit) = commit {
            digest["gitCommit"] = json!(commit);
        }
        json!({"name": name, "uri": uri, "digest": digest})
    }));
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "repository": facts.repository, "ref": facts.reference, "config": facts.config,
                    "command": facts.command, "event": facts.event, "seed": facts.seed,
                },
                "internalParameters": {"gpus": facts.gpus, "gpuModels": facts.gpu_models, "driver": facts.driver},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": facts.server},
                "metadata": {
                    "invocationId": format!("{}#{}", facts.job, facts.attempt),
                    "startedOn": time(facts.started_at), "finishedOn": time(facts.finished_at),
                },
            },
        },
    });
    format!("{statement:#}\n")
}

/// A statement that was read.
#[derive(Debug, Clone, Deserialize)]
pub struct Statement {
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    pub predicate: Json,
}

impl Statement {
    /// Reads a statement.
    ///
    /// # Errors
    /// Fails when the text is not one of provenance.
    fn read(text: &[u8]) -> Option<Self> {
        let statement: Self = serde_json::from_slice(text).ok()?;
        (statement.predicate_type == PREDICATE_TYPE).then_some(statement)
    }

    /// Returns the name that the file with this SHA-256 has in the statement.
    pub fn name_of(&self, sha256: &str) -> Option<&str> {
        let subject = self.subject.iter().find(|subject| subject.digest.sha256.eq_ignore_ascii_case(sha256));
        subject.map(|subject| subject.name.as_str())
    }
}
