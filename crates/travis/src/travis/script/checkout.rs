//! The key `git`, and the part of the checkout that is left to the job (travis-build vcs/git*.rs).
//!
//! Before the start, the worker puts the history in place from its mirror, and also the files if the image has no git
//! to check them out. The job itself clones submodules, without any credentials: a pull request could name any
//! repository that the server's token may read.

use serde_json::Value as Json;

use super::{Config, Facts, Script};
use crate::domain::{Checkout, Sha};
use crate::travis::shell::{quoted, text};

/// The place of a checkout's files before the script runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// The files are in their folder.
    InPlace,
    /// The files are in the checkout's `.git`: the job's own git checks them out.
    InHistory,
    /// The files are in the checkout's `.git`, and their folder has those of this commit: the job's own git changes the
    /// files that differ.
    OfCheckoutImage(Sha),
}

/// Reads what a job gets of its repository from the job's config.
pub fn checkout_of(config: &Json) -> Checkout {
    let git = config.get("git");
    let option = |key: &str| git.and_then(|git| git.get(key));
    let depth = match option("depth") {
        Some(Json::Bool(false)) => None,
        Some(value) => Some(number(value).filter(|depth| *depth > 0).unwrap_or(Checkout::DEPTH)),
        None => Some(Checkout::DEPTH),
    };
    let autocrlf = match option("autocrlf") {
        Some(Json::Bool(on)) => Some(on.to_string()),
        Some(Json::String(word)) if word == "input" => Some(word.clone()),
        _ => None,
    };
    Checkout {
        clone: option("clone") != Some(&Json::Bool(false)),
        depth,
        autocrlf,
        symlinks: option("symlinks").and_then(Json::as_bool),
    }
}

fn number(value: &Json) -> Option<u32> {
    let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
    // A depth beyond the whole history means all of it, and must still be a number that git accepts.
    text.parse::<u64>().ok().map(|number| u32::try_from(number).unwrap_or(i32::MAX as u32).min(i32::MAX as u32))
}

/// Enters the folder of the checkout, and does the rest of the checkout there.
pub fn checkout(script: &mut Script, config: &Config, facts: &Facts) {
    let git = config.get("git").and_then(Json::as_object).cloned().unwrap_or_default();
    let is = |key: &str, value: bool| git.get(key) == Some(&Json::Bool(value));
    script.line("export GIT_ASKPASS=echo GIT_TERMINAL_PROMPT=0");
    if is("lfs_skip_smudge", true) {
        script.line("export GIT_LFS_SKIP_SMUDGE=1");
    }
    script.line("travis_fold start git.checkout");
    let image = format!("Image {} ({})", facts.image, facts.image_id);
    script.line(&format!("printf '%s\\n' {}", quoted(&image)));
    if is("clone", false) {
        script.line("printf '%s\\n' 'Cloning is disabled (git.clone): the folder is empty.'");
    } else {
        let of = facts.tag.as_deref().unwrap_or(&facts.branch);
        let what = format!("Commit {} of {} ({of})", facts.commit, facts.repo);
        script.line(&format!("printf '%s\\n' {}", quoted(&what)));
    }
    let cd = format!("cd {}", quoted(&format!("{}/build/{}", facts.home, facts.repo)));
    let display = format!("cd {}", facts.repo);
    script.line(&format!("travis_cmd {} --assert --echo --display {} --event checkout", quoted(&cd), quoted(&display)));
    let files = match &facts.files {
        Files::InPlace => None,
        Files::InHistory => Some(format!("git checkout -qf {}", facts.commit)),
        // Unlike a checkout, this command does not check files that both commits have. When it finds something
        // unexpected, a checkout repairs it.
        Files::OfCheckoutImage(base) => {
            let commit = &facts.commit;
            Some(format!("git read-tree -m -u {base} {commit} || git checkout -qf {commit}"))
        }
    };
    if let Some(files) = files.filter(|_| !is("clone", false)) {
        script.command(&files, "--assert --echo --timing --event checkout");
    }
    if let Some(file) = text(&git, "sparse_checkout") {
        script.command("git config core.sparseCheckout true", "--assert --event checkout");
        // The patterns are read from the commit: after the second command the file itself may be gone.
        let patterns = format!("git show HEAD:{} > .git/info/sparse-checkout", quoted(file));
        script.command(&format!("mkdir -p .git/info && {patterns}"), "--assert --echo --event checkout");
        script.command("git reset --hard --quiet", "--assert --echo --timing --event checkout");
    }
    script.line("travis_fold end git.checkout");
    if !is("submodules", false) && !is("clone", false) {
        let depth = git.get("submodules_depth").and_then(number);
        let depth = depth.map(|depth| format!(" --depth={depth}")).unwrap_or_default();
        script.line("if [ -f .gitmodules ] && [ -e .git ]; then");
        script.line("travis_fold start git.submodule");
        let update = format!("git submodule update --init --recursive --quiet{depth}");
        script.command(&update, "--assert --echo --retry --timing --event submodule");
        script.line("travis_fold end git.submodule");
        script.line("fi");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_depth_is_travis_own_unless_it_is_said() {
        for (git, depth) in [
            (json!({}), Some(50)),
            (json!({"depth": 3}), Some(3)),
            (json!({"depth": "7"}), Some(7)),
            (json!({"depth": false}), None),
            (json!({"depth": true}), Some(50)),
            (json!({"depth": 0}), Some(50)),
            (json!({"depth": 99_999_999_999_u64}), Some(2_147_483_647)),
        ] {
            assert_eq!(checkout_of(&json!({ "git": git })).depth, depth, "{git}");
        }
    }
}
