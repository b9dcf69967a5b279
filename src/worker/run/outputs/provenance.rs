//! The statement of provenance of a whole training, signed here and not in the container.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use sha2::{Digest as _, Sha256};

use super::Keeping;
use crate::attempt::TrainJob;
use crate::domain::TriggerKind;
use crate::provenance::{Digest, ENVELOPE, Facts, SIGNATURE, STATEMENT, Subject, seal, statement};
use crate::store::builds::BuildFacts;
use crate::store::output::artifacts::NewArtifact;
use crate::worker::gpus::Hardware;
use crate::worker::run::checkout::read_file;

/// Makes the statement about these files. Returns the names and the texts of the files that prove it.
///
/// # Errors
/// Fails when the container, the mirror or the key cannot be read.
pub(super) async fn prove(
    keeping: &Keeping<'_>,
    train: &TrainJob,
    files: &[NewArtifact],
) -> anyhow::Result<[(&'static str, String); 3]> {
    let Keeping { run, facts, repo, container, duration, .. } = keeping;
    let settings = &run.handles.settings;
    let server = settings.public_url.as_str().trim_end_matches('/');
    let config = read_file(&run.handles.mirrors, repo, facts, &train.config).await?;
    let image = run.handles.engine.image_of(container).await?;
    let Hardware { models, driver } = run.handles.gpus.hardware(&run.job.gpus).await;
    let seed = train.parameters(&config).seed;
    let finished_at = Utc::now();
    let facts = Facts {
        server,
        repository: &facts.clone_url,
        reference: reference(facts),
        commit: facts.built_sha.as_str(),
        config: &train.config,
        config_sha256: hex::encode(Sha256::digest(config)),
        command: run.job.config["script"][0].as_str().unwrap_or_default(),
        event: &facts.kind.to_string(),
        image: &image,
        seed,
        gpus: &run.job.gpus,
        gpu_models: &models,
        driver: driver.as_deref(),
        job: &format!("{server}/{repo}/builds/{}/jobs/{}", facts.number, run.job.number),
        attempt: run.job.attempt,
        started_at: finished_at - Duration::from_secs(duration.as_secs()),
        finished_at,
    };
    let subject =
        |file: &NewArtifact| Subject { name: file.path.clone(), digest: Digest { sha256: hex::encode(file.sha256) } };
    let subjects: Vec<Subject> = files.iter().map(subject).collect();
    let key = settings.provenance.private().await?;
    let text = statement(&facts, &subjects);
    let signature = STANDARD.encode(key.sign(text.as_bytes())) + "\n";
    let envelope = seal(&text, &key);
    Ok([(STATEMENT, text), (SIGNATURE, signature), (ENVELOPE, envelope)])
}

/// Returns the name that git has for what was built.
fn reference(facts: &BuildFacts) -> String {
    match (facts.kind, facts.pull_request, &facts.tag, &facts.branch) {
        (TriggerKind::PullRequest, Some(number), ..) => format!("refs/pull/{number}/merge"),
        (_, _, Some(tag), _) => format!("refs/tags/{tag}"),
        (_, _, None, Some(branch)) => format!("refs/heads/{branch}"),
        _ => facts.built_sha.to_string(),
    }
}
