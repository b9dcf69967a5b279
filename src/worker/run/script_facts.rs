//! The facts from which a job's script is compiled.

use super::cache::JobCache;
use super::prepare::Prepared;
use crate::attempt::HOME;
use crate::domain::{JobKind, RepoName};
use crate::executor::Image;
use crate::lora::smoke::Smoke;
use crate::store::queue::Claimed;
use crate::store::sealed::variables::Seen;
use crate::travis::script::{Facts, Files, Numbered, PullRequestFacts, PythonSubstitute, Setting};
use crate::worker::Settings;

/// The image in which a job begins, and the way in which the files of its commit get there.
pub(super) struct Place<'a> {
    pub(super) repo: &'a RepoName,
    /// The image's name in the configuration or in `.travis.yml`.
    pub(super) name: &'a str,
    pub(super) image: &'a Image,
    pub(super) python: Option<&'a PythonSubstitute>,
    pub(super) files: &'a Files,
}

/// Collects the facts for the script of a job.
pub(super) fn collect(
    settings: &Settings,
    job: &Claimed,
    prepared: &Prepared,
    place: &Place<'_>,
    smoke: Option<&Smoke>,
) -> Facts {
    let Prepared { facts, secrets, cache, .. } = prepared;
    let Place { repo, name, image, python, files } = *place;
    let base = settings.public_url.as_str().trim_end_matches('/');
    let build_url = format!("{base}/{repo}/builds/{}", facts.number);
    // The range of a pull request ends at its own head, not at the merge commit that is built.
    let range = facts.before_sha.as_ref().map(|before| format!("{before}...{}", facts.sha)).unwrap_or_default();
    let pull_request = facts.pull_request.map(|number| PullRequestFacts {
        number: number.into(),
        branch: facts.head_branch.clone().unwrap_or_default(),
        sha: facts.sha.to_string(),
        slug: facts.head_repo.clone().unwrap_or_default(),
        draft: facts.draft,
    });
    Facts {
        home: HOME.to_owned(),
        image: name.to_owned(),
        image_id: image.id.clone(),
        python: python.cloned(),
        files: files.clone(),
        host: settings.public_url.to_string(),
        repo: repo.clone(),
        private: facts.private,
        event: facts.kind,
        branch: facts.branch.clone().unwrap_or_default(),
        tag: facts.tag.clone(),
        commit: facts.built_sha.to_string(),
        commit_range: range,
        commit_message: facts.message.clone().unwrap_or_default(),
        pull_request,
        build: Numbered { id: facts.id.0, number: facts.number.to_string(), url: build_url.clone() },
        job: Numbered {
            id: job.id.0,
            number: format!("{}.{}", facts.number, job.number),
            url: format!("{build_url}/jobs/{}", job.number),
        },
        restarted: false,
        secrets_allowed: secrets.allowed,
        settings: secrets.variables.iter().map(setting).collect(),
        github_api: Some(settings.github_api.to_string()),
        cache: cache.as_ref().map(JobCache::in_words),
        decrypted: secrets.decrypted.clone(),
        is_training: job.kind == JobKind::Train,
        smoke: smoke.map(|smoke| smoke.changes.clone()),
    }
}

fn setting(variable: &Seen) -> Setting {
    let Seen { name, value, is_public } = variable;
    Setting { name: name.clone(), value: value.as_str().to_owned(), secret: !is_public }
}
