//! Files in which programs keep tokens. They are left out of caches, since forks read the caches of branches.

use std::path::Path;

/// Largest size of a file whose text decides. A larger one counts as if it held a token.
pub(super) const MOST_TEXT: u64 = 64 * 1024;

/// Ends of the paths of files that hold nothing but tokens and keys.
const ALWAYS: [&str; 33] = [
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh/hosts.yml",
    ".pypirc",
    ".pgpass",
    ".boto",
    ".s3cfg",
    ".huggingface/token",
    "huggingface/token",
    "huggingface/stored_tokens",
    ".modelscope/credentials/git_token",
    ".modelscope/credentials/session",
    "modelscope/credentials/git_token",
    ".kaggle/kaggle.json",
    "kaggle/kaggle.json",
    ".docker/config.json",
    "containers/auth.json",
    ".aws/credentials",
    ".azure/accessTokens.json",
    ".azure/msal_token_cache.json",
    "gcloud/application_default_credentials.json",
    "gcloud/credentials.db",
    "gcloud/access_tokens.db",
    "rclone/rclone.conf",
    ".kube/config",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".terraform.d/credentials.tfrc.json",
    ".ssh/id_rsa",
    ".ssh/id_ecdsa",
    ".ssh/id_ed25519",
    ".ssh/id_dsa",
];
/// Ends of the paths of files that hold a token if one of these words is in them.
const WITH_WORD: [(&str, &[&str]); 4] = [
    (".npmrc", &["_auth", "_password"]),
    (".yarnrc.yml", &["npmAuth"]),
    (".git/config", &["extraheader", "extraHeader"]),
    (".condarc", &["/t/"]),
];
/// Ends of the paths of files that hold a token if an address in them has a user.
const WITH_LOGIN: [&str; 8] =
    ["pip.conf", "pip/pip.ini", ".npmrc", "uv.toml", ".condarc", ".git/config", ".gitconfig", ".config/git/config"];

/// A judgement on a file by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByPath {
    Harmless,
    HoldsToken,
    /// The text of the file decides: see [`text_holds_token`].
    Maybe,
}

/// Judges a file by its path.
pub(super) fn judge(path: &Path) -> ByPath {
    let ends_with = |end: &&str| path.ends_with(end);
    if ALWAYS.iter().any(ends_with) {
        ByPath::HoldsToken
    } else if WITH_LOGIN.iter().chain(WITH_WORD.iter().map(|(end, _)| end)).any(ends_with) {
        ByPath::Maybe
    } else {
        ByPath::Harmless
    }
}

/// Returns true if a file whose path says `Maybe` has a token in its text.
pub(super) fn text_holds_token(path: &Path, text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let words = WITH_WORD.iter().filter(|(end, _)| path.ends_with(end)).flat_map(|(_, words)| *words);
    let has_login = || WITH_LOGIN.iter().any(|end| path.ends_with(end)) && has_login(&text);
    words.into_iter().any(|word| text.contains(word)) || has_login()
}

/// Returns true if an address in the text has a user, as in `https://user:token@host/`.
fn has_login(text: &str) -> bool {
    let after = text.split("http://").skip(1).chain(text.split("https://").skip(1));
    let mut hosts = after.map(|rest| rest.split(|c: char| c == '/' || c.is_whitespace()).next().unwrap_or_default());
    hosts.any(|host| host.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_whole_names() {
        let by_path = |path: &str| judge(Path::new(path));
        assert_eq!(by_path("home/travis/.cache/huggingface/token"), ByPath::HoldsToken);
        assert_eq!(by_path("home/travis/.netrc"), ByPath::HoldsToken);
        assert_eq!(by_path("home/travis/x.netrc"), ByPath::Harmless);
        assert_eq!(by_path("home/travis/.cache/huggingface/token/model"), ByPath::Harmless);
        assert_eq!(by_path("home/travis/.config/pip/pip.conf"), ByPath::Maybe);
    }

    #[test]
    fn the_text_decides_where_files_often_hold_no_token() {
        let holds = |path: &str, text: &str| text_holds_token(Path::new(path), text.as_bytes());
        assert!(holds("pip.conf", "[global]\nindex-url = https://me:secret@pypi.example.org/simple\n"));
        assert!(!holds("pip.conf", "[global]\nindex-url = https://pypi.example.org/simple/@latest\n"));
        assert!(holds("x/.npmrc", "//registry.npmjs.org/:_authToken=npm_x\n") && !holds("x/.npmrc", "fund=false\n"));
        assert!(holds(".git/config", "url = https://x-access-token:t@github.com/acme/styles.git\n"));
        assert!(!holds(".git/config", "url = git@github.com:acme/styles.git\n"));
    }
}
