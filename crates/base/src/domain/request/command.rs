//! Commands that people write into the comments of a pull request.

use crate::domain::only_near;

/// A command about a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the smoke jobs of all training configs, or of this one.
    Smoke(Option<String>),
    /// Run the whole training of all configs, or of this one.
    Train(Option<String>),
    /// Run the jobs again that have not passed.
    Retry,
    /// End the build.
    Cancel,
    /// Let the jobs of a fork run.
    Approve,
}

/// Names of the commands.
const NAMES: [&str; 5] = ["smoke", "train", "retry", "cancel", "approve"];
/// Maximum length of the path of a config, in bytes, as in a plan.
const MAX_PATH: usize = 300;

impl Command {
    /// Reads the command at the beginning of a comment. Returns `None` for a comment without one, as other programs have
    /// commands, too.
    ///
    /// # Errors
    /// Fails with a sentence for its author when the command is misspelled.
    pub fn of_comment(comment: &str) -> Option<Result<Self, String>> {
        let line = comment.lines().next()?.strip_prefix('/')?;
        let mut words = line.split_whitespace();
        // A space after the slash makes no command.
        let name = words.next().filter(|name| line.starts_with(name))?;
        if !NAMES.contains(&name) {
            let meant = only_near(name, NAMES)?;
            return Some(Err(format!("There is no such command. Did you mean /{meant}?")));
        }
        Some(Self::of_words(name, &words.collect::<Vec<_>>()))
    }

    fn of_words(name: &str, rest: &[&str]) -> Result<Self, String> {
        let config = match rest {
            [] => None,
            [path] if matches!(name, "smoke" | "train") => {
                let is_path = path.len() <= MAX_PATH && !path.contains(|c: char| c.is_control());
                Some(is_path.then(|| (*path).to_owned()).ok_or("This is no path of a config.")?)
            }
            _ if matches!(name, "smoke" | "train") => return Err(format!("/{name} takes the path of one config.")),
            _ => return Err(format!("/{name} stands alone on its line.")),
        };
        Ok(match name {
            "smoke" => Self::Smoke(config),
            "train" => Self::Train(config),
            "retry" => Self::Retry,
            "cancel" => Self::Cancel,
            _ => Self::Approve,
        })
    }

    /// Returns the command as people write it, without what follows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Smoke(_) => "/smoke",
            Self::Train(_) => "/train",
            Self::Retry => "/retry",
            Self::Cancel => "/cancel",
            Self::Approve => "/approve",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_first_word_of_a_comment() {
        let of = Command::of_comment;
        assert_eq!(of("/retry"), Some(Ok(Command::Retry)));
        assert_eq!(of("/cancel  \r\nThis one is too old."), Some(Ok(Command::Cancel)));
        assert_eq!(of("/approve\n/smoke"), Some(Ok(Command::Approve)));
        assert_eq!(of("/smoke"), Some(Ok(Command::Smoke(None))));
        assert_eq!(of("/smoke configs/ink.yaml"), Some(Ok(Command::Smoke(Some("configs/ink.yaml".to_owned())))));
        assert_eq!(of("/train a.toml"), Some(Ok(Command::Train(Some("a.toml".to_owned())))));
        let others =
            ["", "\n/retry", " /retry", "/ retry", "please /retry", "> /retry", "/lgtm", "/", "/test all", "//"];
        for other in others {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_misspelled_command_says_so_and_does_nothing() {
        let told = |comment: &str| Command::of_comment(comment).unwrap().unwrap_err();
        assert_eq!(told("/aprove"), "There is no such command. Did you mean /approve?");
        assert_eq!(told("/Retry"), "There is no such command. Did you mean /retry?");
        assert_eq!(told("/approve 0123456"), "/approve stands alone on its line.");
        assert_eq!(told("/smoke a b"), "/smoke takes the path of one config.");
        assert_eq!(told(&format!("/smoke {}", "x".repeat(301))), "This is no path of a config.");
        assert_eq!(told("/smoke a\u{7}b"), "This is no path of a config.");
    }
}
