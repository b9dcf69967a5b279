//! The files of a commit that a plan reads.

use super::{Mirrors, TreeFile};
use crate::domain::RepoName;
use crate::lora;
use crate::plan::{self, SourceFile};

/// Maximum number and total size of the files that are read as possible training configs: a repository may have
/// millions.
const MOST_FILES: usize = 2000;
const MOST_BYTES: u64 = 32 << 20;

impl Mirrors {
    /// Reads the files of a commit's tree that a plan needs, limited in number and size.
    ///
    /// # Errors
    /// Fails when the mirror cannot be read.
    pub async fn sources(&self, repo: &RepoName, tree: &[TreeFile]) -> anyhow::Result<Vec<SourceFile>> {
        let (readable, too_large): (Vec<_>, Vec<_>) =
            wanted(tree).into_iter().partition(|file| file.size < plan::READ_AT_MOST as u64);
        let texts = self.read(repo, &readable).await?;
        let read = readable.into_iter().zip(texts).map(|(file, text)| SourceFile { path: file.path, text });
        // A file that is too large is not read: from its length alone, the plan knows what to report.
        let unread = |file: TreeFile| SourceFile { path: file.path, text: vec![b' '; plan::READ_AT_MOST] };
        Ok(read.chain(too_large.into_iter().map(unread)).collect())
    }
}

fn wanted(files: &[TreeFile]) -> Vec<TreeFile> {
    let mut bytes = 0;
    let mut chosen: Vec<TreeFile> = files.iter().filter(|file| plan::wants(&file.path, file.size)).cloned().collect();
    // The `.travis.yml` comes first, so that it is never among the files that are left out.
    chosen.sort_by_key(|file| (file.path != plan::CONFIG, lora::is_image(&file.path)));
    chosen.truncate(MOST_FILES);
    chosen.retain(|file| {
        bytes += file.size.min(plan::READ_AT_MOST as u64);
        bytes <= MOST_BYTES
    });
    chosen
}
