//! The secrets of a job, for jobs that are trusted with them.

use anyhow::Context as _;

use super::mask::Mask;
use crate::store::builds::BuildFacts;
use crate::store::queue::Claimed;
use crate::store::repo_keys::RepoKeys;
use crate::travis::secrets;

/// The secrets of one job, in the clear.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// True when the job may have secrets.
    pub(super) allowed: bool,
    /// The `secure:` strings that could be decrypted, with their clear texts.
    pub(super) decrypted: Vec<(String, String)>,
}

/// Decrypts a job's secrets, if the job is trusted with them.
pub(super) async fn decrypt(keys: &RepoKeys, job: &Claimed, facts: &BuildFacts) -> anyhow::Result<Secrets> {
    if facts.is_fork {
        return Ok(Secrets::default());
    }
    let ciphers: Vec<String> = secrets::ciphers(&job.config).into_iter().map(str::to_owned).collect();
    if ciphers.is_empty() {
        return Ok(Secrets { allowed: true, decrypted: Vec::new() });
    }
    let Some(key) = keys.private(facts.repo_id).await? else {
        return Ok(Secrets { allowed: true, decrypted: Vec::new() });
    };
    // Each decryption takes milliseconds of processor time.
    let decrypt_all = move || -> Vec<(String, String)> {
        ciphers.into_iter().filter_map(|cipher| key.decrypt(&cipher).ok().map(|clear| (cipher, clear))).collect()
    };
    let decrypted = tokio::task::spawn_blocking(decrypt_all).await.context("decrypting secrets")?;
    Ok(Secrets { allowed: true, decrypted })
}

/// Returns the mask for the job's log.
pub(super) fn mask(job: &Claimed, known: &Secrets) -> anyhow::Result<Mask> {
    // The job's authors asked for an unmasked log, as they may on Travis.
    if job.config.get("filter_secrets").is_some_and(|filter| filter == false) {
        return Ok(Mask::default());
    }
    let hidden = secrets::to_hide(&job.config, &known.decrypted);
    Mask::new(hidden.iter().map(String::as_str)).context("the job's secrets")
}
