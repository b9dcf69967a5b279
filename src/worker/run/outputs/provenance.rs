//! The statement of provenance of a whole training, signed here and not in the container.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use sha2::{Digest as _, Sha256};

use super::Keeping;
use crate::attempt::TrainJob;
use crate::domain::TriggerKind;
use crate::lora::input::{GitSource, HubSource, Input, Source};
use crate::provenance::{Digest, ENVELOPE, Facts, Material, SIGNATURE, STATEMENT, Subject, seal, statement};
use crate::store::builds::BuildFacts;
use crate::store::inputs;
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
    let materials = materials(keeping, train).await?;
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
        materials: &materials,
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

/// Returns the data that the service has fetched for the training.
async fn materials(keeping: &Keeping<'_>, train: &TrainJob) -> anyhow::Result<Vec<Material>> {
    let Keeping { run, .. } = keeping;
    if train.inputs.is_empty() {
        return Ok(Vec::new());
    }
    let fetched = inputs::of_job(&run.handles.db, run.job.id).await.context("reading the data of the build")?;
    let material = |input: &Input| {
        let source = input.from.to_string();
        let found = fetched.iter().find(|fetched| fetched.source == source)?;
        let (uri, commit) = match &input.from {
            Source::Hub(hub) => {
                let at = HubSource { revision: Some(found.revision.clone()), ..hub.clone() };
                (Source::Hub(at).to_string(), Some(found.revision.clone()))
            }
            Source::Git(git) => {
                let at = GitSource { revision: Some(found.revision.clone()), ..git.clone() };
                (Source::Git(at).to_string(), Some(found.revision.clone()))
            }
            Source::Web(_) | Source::Bucket { .. } | Source::File(_) => (source, None),
        };
        Some(Material { name: input.to.clone(), uri, sha256: found.digest.clone(), commit })
    };
    Ok(train.inputs.iter().filter_map(material).collect())
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
