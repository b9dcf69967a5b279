//! A release at GitHub, in the repository that was built.
//!
//! The release is a draft until all of its files are there, so nobody sees a half. Its notes have a marker of the job: by it
//! a draft whose answer was lost is found again. GitHub allows one visible release for a tag, so of two tries at once, one
//! shows its draft, and the other finds that one.

use super::files::{Gathered, SUMS, sums};
use super::{Failure, Published, Publisher, Task};
use crate::github::{Asset, NewAsset, NewRelease, Release, SendError, Target};
use crate::storage::OutgoingFile;

/// Status codes of refusals that a try after another look may not meet again.
const OUTDATED: [u16; 3] = [404, 409, 422];

impl Publisher {
    /// Publishes a release.
    pub(super) async fn to_release(&self, task: &Task<'_>) -> Result<Published, Failure> {
        let Task { due, facts, publish, repo } = task;
        if !self.permissions.of(repo).releases {
            let why =
                format!("{repo} may not publish releases any more: publish.releases in config.toml does not have it");
            return Err(Failure::Never(why));
        }
        let target = Target { repo, number: Some(facts.github_id) };
        // The release of a tag's build is the tag's own.
        let tag = facts.tag.clone().unwrap_or_else(|| publish.tag_of(facts.build));
        let marker = format!("<!-- {} -->", self.marker_of_job(due));
        let (ours, others): (Vec<Release>, Vec<Release>) = self
            .github
            .releases(target)
            .await?
            .into_iter()
            .partition(|release| release.body.as_ref().is_some_and(|notes| notes.contains(&marker)));
        let gathered = self.files().of(due, false).await?;
        let files = files_of(&gathered);
        if let Some(shown) = ours.iter().find(|release| !release.draft) {
            if !files.iter().all(|file| shown.assets.iter().any(|asset| is_same(asset, file))) {
                let why =
                    format!("an earlier attempt of the job has made the release, with other files: {}", shown.html_url);
                return Err(Failure::Never(why));
            }
            self.remove_drafts(target, &ours, shown.id).await?;
            return Ok(Published { commit: None, url: shown.html_url.clone() });
        }
        if let Some(other) = others.iter().find(|release| !release.draft && release.tag_name == tag) {
            let why = format!("there is another release of {tag} already, which stays as it is: {}", other.html_url);
            return Err(Failure::Never(why));
        }
        let notes = gathered.card(facts, publish, Some(self.files().source(facts)), None).notes();
        let new = NewRelease {
            tag_name: &tag,
            target_commitish: &facts.sha.to_string(),
            name: &format!("{tag}: weights of build {}, job {}", facts.build, facts.number),
            body: &format!("{notes}\n{marker}\n"),
        };
        let draft = match ours.iter().min_by_key(|release| release.id) {
            Some(draft) => draft.clone(),
            None => self.github.draft_release(target, &new).await?,
        };
        self.remove_drafts(target, &ours, draft.id).await?;
        self.upload(target, &draft, &files).await?;
        let shown = self.github.show_release(target, &draft, &new).await.map_err(outdated)?;
        Ok(Published { commit: None, url: shown.html_url })
    }

    /// Removes our drafts other than one. There are several after two tries at once.
    async fn remove_drafts(&self, target: Target<'_>, ours: &[Release], kept: i64) -> Result<(), Failure> {
        for draft in ours.iter().filter(|release| release.draft && release.id != kept) {
            self.github.remove_draft(target, draft).await?;
        }
        Ok(())
    }

    /// Uploads the files that are not there yet, and removes what is none of them.
    async fn upload(&self, target: Target<'_>, draft: &Release, files: &[OutgoingFile]) -> Result<(), Failure> {
        let is_good = |asset: &Asset| files.iter().any(|file| is_same(asset, file));
        for asset in draft.assets.iter().filter(|asset| !is_good(asset)) {
            self.github.remove_asset(target, asset).await?;
        }
        let good: Vec<&str> =
            draft.assets.iter().filter(|asset| is_good(asset)).map(|asset| asset.name.as_str()).collect();
        for file in files.iter().filter(|file| !good.contains(&file.path.as_str())) {
            let content = file.stream(0..file.size).await?;
            let new = NewAsset { name: &file.path, size: file.size, content };
            let asset = self.github.upload_asset(target, draft, new).await.map_err(outdated)?;
            if !asset.is(file.size, &file.sha256) {
                return Err(Failure::Later(format!("GitHub has got other bytes of {}", file.path), None));
            }
        }
        Ok(())
    }
}

/// Returns the files under the names that they have at GitHub, with their hashes.
fn files_of(gathered: &Gathered) -> Vec<OutgoingFile> {
    let mut files = gathered.files.clone();
    for file in &mut files {
        file.path = name_of(&file.path);
    }
    let sums = sums(&files);
    files.push(OutgoingFile::text(SUMS, sums));
    files
}

fn is_same(asset: &Asset, file: &OutgoingFile) -> bool {
    file.path == asset.name && asset.is(file.size, &file.sha256)
}

/// Judges a refusal about our draft. It may be gone, or shown, or have the file, by another try at the same time.
fn outdated(error: SendError) -> Failure {
    match error {
        SendError::Refused { status, .. } if OUTDATED.contains(&status) => Failure::Later(error.to_string(), None),
        error => error.into(),
    }
}

/// Returns the name that GitHub gives to a file.
fn name_of(path: &str) -> String {
    path.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '.' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_github_would_make() {
        assert_eq!(name_of("ink-2_b.safetensors"), "ink-2_b.safetensors");
        assert_eq!(name_of("a b/ü.safetensors"), "a.b...safetensors");
    }
}
