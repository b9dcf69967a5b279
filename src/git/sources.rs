//! The files of a commit that a plan is made of.

use super::{Mirrors, TreeFile};
use crate::domain::RepoName;
use crate::lora;
use crate::plan::{self, SourceFile};

/// Files that are looked at for training configs, and their bytes together: a repository may have millions.
const MOST_FILES: usize = 2000;
const MOST_BYTES: u64 = 32 << 20;

impl Mirrors {
    /// Reads the files of a commit's tree that a plan wants to see, bounded in number and size.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub async fn sources(&self, repo: &RepoName, tree: &[TreeFile]) -> anyhow::Result<Vec<SourceFile>> {
        let (readable, too_large): (Vec<_>, Vec<_>) =
            wanted(tree).into_iter().partition(|file| file.size < plan::READ_AT_MOST as u64);
        let texts = self.read(repo, &readable).await?;
        let read = readable.into_iter().zip(texts).map(|(file, text)| SourceFile { path: file.path, text });
        // What is too large is not read: its length alone tells the plan what to say.
        let unread = |file: TreeFile| SourceFile { path: file.path, text: vec![b' '; plan::READ_AT_MOST] };
        Ok(read.chain(too_large.into_iter().map(unread)).collect())
    }
}

fn wanted(files: &[TreeFile]) -> Vec<TreeFile> {
    let mut bytes = 0;
    let mut chosen: Vec<TreeFile> = files.iter().filter(|file| plan::wants(&file.path, file.size)).cloned().collect();
    // The file that decides everything is never among those that are left out.
    chosen.sort_by_key(|file| (file.path != plan::CONFIG, lora::is_image(&file.path)));
    chosen.truncate(MOST_FILES);
    chosen.retain(|file| {
        bytes += file.size.min(plan::READ_AT_MOST as u64);
        bytes <= MOST_BYTES
    });
    chosen
}
