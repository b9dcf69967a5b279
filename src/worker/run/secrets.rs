//! The secrets of a job, for jobs that are trusted with them.

use anyhow::Context as _;

use super::mask::Mask;
use crate::store::builds::BuildFacts;
use crate::store::queue::Claimed;
use crate::store::sealed::repo_keys::RepoKeys;
use crate::store::sealed::variables::Seen;
use crate::travis::secrets;
use crate::worker::Settings;

/// The secrets of one job, in the clear.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// True when the job may have secrets.
    pub(super) allowed: bool,
    /// The `secure:` strings that could be decrypted, with their clear texts.
    pub(super) decrypted: Vec<(String, String)>,
    /// The variables of the repository's settings that the job sees, also without secrets.
    pub(super) variables: Vec<Seen>,
}

/// Reads a job's variables, and decrypts its secrets if the job is trusted with them.
pub(super) async fn read(settings: &Settings, job: &Claimed, facts: &BuildFacts) -> anyhow::Result<Secrets> {
    let allowed = !facts.is_fork;
    let variables = settings.variables.seen(facts.repo_id, facts.branch.as_deref(), allowed).await?;
    let decrypted = if allowed { decrypt(&settings.keys, job, facts).await? } else { Vec::new() };
    Ok(Secrets { allowed, decrypted, variables })
}

async fn decrypt(keys: &RepoKeys, job: &Claimed, facts: &BuildFacts) -> anyhow::Result<Vec<(String, String)>> {
    let ciphers: Vec<String> = secrets::ciphers(&job.config).into_iter().map(str::to_owned).collect();
    if ciphers.is_empty() {
        return Ok(Vec::new());
    }
    let Some(key) = keys.private(facts.repo_id).await? else { return Ok(Vec::new()) };
    // Each decryption takes milliseconds of processor time.
    let decrypt_all = move || -> Vec<(String, String)> {
        ciphers.into_iter().filter_map(|cipher| key.decrypt(&cipher).ok().map(|clear| (cipher, clear))).collect()
    };
    tokio::task::spawn_blocking(decrypt_all).await.context("decrypting secrets")
}

/// Returns the mask for the job's log.
pub(super) fn mask(job: &Claimed, known: &Secrets) -> anyhow::Result<Mask> {
    // The job's authors asked for an unmasked log, as they may on Travis.
    if job.config.get("filter_secrets").is_some_and(|filter| filter == false) {
        return Ok(Mask::default());
    }
    let hidden = secrets::to_hide(&job.config, &known.decrypted);
    let of_settings = known.variables.iter().filter(|variable| !variable.is_public).map(|it| it.value.as_str());
    let of_settings = of_settings.filter(|value| value.chars().count() >= secrets::SHORTEST);
    Mask::new(hidden.iter().map(String::as_str).chain(of_settings)).context("the job's secrets")
}
