//! The files of a publication: the weights, the model card, and the provenance.

use anyhow::Context as _;
use serde::Deserialize as _;
use sqlx::PgPool;
use url::Url;

use super::card::{Card, Source};
use super::{Failure, page};
use crate::attempt::Examined;
use crate::lora::Publish;
use crate::lora::series::Point;
use crate::provenance;
use crate::storage::{Content, Objects, OutgoingFile};
use crate::store::output::artifacts::{self, Artifact};
use crate::store::output::reports;
use crate::store::publications::{Due, JobFacts};

/// Name of the model card.
pub(super) const CARD: &str = "README.md";
/// Name of the file with the hashes of the others.
pub(super) const SUMS: &str = "SHA256SUMS";
/// The config of an adapter, without which PEFT does not read its weights.
const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Least number of digits at the end of the name of a checkpoint.
const STEP_DIGITS: usize = 5;

/// The places from which the files come.
pub(super) struct Files<'a> {
    pub(super) db: &'a PgPool,
    pub(super) objects: &'a Objects,
    pub(super) public_url: &'a Url,
}

/// The files of a training, without the texts that each place has in its own form.
pub(super) struct Gathered {
    pub(super) files: Vec<OutgoingFile>,
    weights: Vec<String>,
    is_peft: bool,
    losses: Vec<Point>,
    examined: Option<Examined>,
}

impl Files<'_> {
    /// Returns the files. They are the same at each try. Those that tell where the weights come from are left out of a
    /// publication that must not tell it.
    pub(super) async fn of(&self, due: &Due, is_secret: bool) -> Result<Gathered, Failure> {
        let artifacts = artifacts::of(self.db, due.attempt_id()).await.map_err(anyhow::Error::from)?;
        let names: Vec<&str> = artifacts.iter().map(|artifact| artifact.path.as_str()).collect();
        let weights = weights(&names);
        if weights.is_empty() {
            let why = "the job has left no file .safetensors at the top of its output folder";
            return Err(Failure::Never(why.to_owned()));
        }
        let is_wanted = |path: &str| {
            weights.iter().any(|name| name == path)
                || path == ADAPTER_CONFIG
                || (!is_secret && provenance::FILES.contains(&path))
        };
        let mut files = Vec::new();
        for artifact in artifacts.iter().filter(|artifact| is_wanted(&artifact.path)) {
            files.push(self.file(artifact)?);
        }
        let report = reports::training(self.db, due.job_id).await.map_err(anyhow::Error::from)?;
        let examined = report.map(Examined::deserialize).transpose().context("a report of a training")?;
        let losses = reports::loss(self.db, due.job_id).await.map_err(anyhow::Error::from)?.unwrap_or_default();
        let is_peft = names.contains(&ADAPTER_CONFIG);
        Ok(Gathered { files, weights, is_peft, losses, examined })
    }

    /// Returns the place from which the weights of a job come.
    pub(super) fn source(&self, facts: &JobFacts) -> Source {
        Source {
            repo: format!("{}/{}", facts.owner, facts.name),
            commit: facts.sha.to_string(),
            config: facts.train["config"].as_str().unwrap_or_default().to_owned(),
            page: page(self.public_url, facts),
        }
    }

    fn file(&self, artifact: &Artifact) -> Result<OutgoingFile, Failure> {
        let Some(key) = &artifact.key else {
            let why = artifact.removed.as_deref().unwrap_or("it was removed");
            return Err(Failure::Never(format!("{} is no longer stored: {why}", artifact.path)));
        };
        Ok(OutgoingFile {
            path: artifact.path.clone(),
            size: artifact.size.unsigned_abs(),
            sha256: hex::encode(&artifact.sha256),
            content: Content::Object { objects: self.objects.clone(), key: key.clone() },
        })
    }
}

impl Gathered {
    /// Returns the card of these files; `source` is `None` if it must not be told.
    pub(super) fn card<'a>(
        &'a self,
        facts: &'a JobFacts,
        publish: &'a Publish,
        source: Option<Source>,
        on_hub: Option<(&'a str, &'a str)>,
    ) -> Card<'a> {
        let config = facts.train["config"].as_str().unwrap_or_default();
        let title = on_hub.map_or(config, |(target, _)| target);
        let title = title.rsplit('/').next().unwrap_or_default();
        Card {
            publish,
            title,
            build: facts.build,
            job: facts.number,
            on_hub,
            source,
            weights: &self.weights,
            is_peft: self.is_peft,
            losses: &self.losses,
            examined: self.examined.as_ref(),
        }
    }
}

/// Returns the hashes of files, in the form of `sha256sum`.
pub(super) fn sums(files: &[OutgoingFile]) -> String {
    let mut lines: Vec<String> = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.path)).collect();
    lines.sort_unstable();
    lines.concat()
}

/// Returns the files of weights at the top of the output folder, without those of earlier steps, which trainers save
/// under the same name with the number of the step. If there are no others, the last one of them counts.
fn weights(names: &[&str]) -> Vec<String> {
    let mut all: Vec<&str> =
        names.iter().copied().filter(|name| name.ends_with(".safetensors") && !name.contains('/')).collect();
    all.sort_unstable();
    let last: Vec<&str> = all.iter().copied().filter(|name| !is_of_a_step(name)).collect();
    let kept = if last.is_empty() { all.into_iter().next_back().into_iter().collect() } else { last };
    kept.into_iter().map(str::to_owned).collect()
}

/// Returns true for names such as `ink-000010.safetensors`, `ink_000000500.safetensors` and `ink-step00000500.safetensors`.
fn is_of_a_step(name: &str) -> bool {
    let stem = name.trim_end_matches(".safetensors");
    let before = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = stem.len() - before.len();
    let before = before.strip_suffix("step").unwrap_or(before);
    digits >= STEP_DIGITS && before.ends_with(['-', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_last_step_at_the_top() {
        for (names, expected) in [
            (
                &["ink.safetensors", "ink-000010.safetensors", "ink-step00000500.safetensors"][..],
                &["ink.safetensors"][..],
            ),
            (&["ink_000000250.safetensors", "ink_000000500.safetensors"], &["ink_000000500.safetensors"]),
            (&["checkpoint-3/adapter_model.safetensors", "adapter_model.safetensors"], &["adapter_model.safetensors"]),
            (&["sd-1500.safetensors", "flux2.safetensors"], &["flux2.safetensors", "sd-1500.safetensors"]),
            (&["a/b.safetensors", "metrics.json"], &[]),
        ] {
            assert_eq!(weights(names), expected, "{names:?}");
        }
    }
}
