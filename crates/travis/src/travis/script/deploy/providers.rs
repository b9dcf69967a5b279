//! The providers that publish with a function of bash, which finds its options in shell variables.

use serde_json::Value as Json;

use super::{Config, Script};
use crate::travis::shell::{lines, quoted, text};

/// The form of an option.
#[derive(Debug, Clone, Copy)]
enum Form {
    Word,
    /// A word that may be a decrypted `secure:` string.
    Secret,
    /// True or false, with this default.
    Flag(bool),
}

/// An option: the variable, the keys that set it, and its form.
type Choice = (&'static str, &'static [&'static str], Form);

/// A key without which a deployment cannot work, and the value that belongs there.
pub(super) type Required = (&'static str, &'static str);

/// A provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider {
    name: &'static str,
    /// The function that publishes, which the first text defines.
    function: &'static str,
    texts: &'static [&'static str],
    options: &'static [Choice],
    /// The first key of each option that has to be given.
    required: &'static [Required],
}

const GITHUB_TOKEN: &str = "a token of GitHub, as `{secure: …}` or as a variable such as `$GITHUB_TOKEN`";

const PROVIDERS: [Provider; 5] = [
    Provider {
        name: "releases",
        function: "travis_release",
        texts: &[include_str!("release.sh")],
        options: &[
            ("release_token", &["token", "api_key"], Form::Secret),
            ("release_repo", &["repo"], Form::Word),
            ("release_tag", &["tag_name"], Form::Word),
            ("release_name", &["name"], Form::Word),
            ("release_body", &["release_notes", "body"], Form::Word),
            ("release_body_file", &["release_notes_file"], Form::Word),
            ("release_target", &["target_commitish"], Form::Word),
            ("release_draft", &["draft"], Form::Flag(false)),
            ("release_prerelease", &["prerelease"], Form::Flag(false)),
            ("release_overwrite", &["overwrite"], Form::Flag(false)),
            ("release_glob", &["file_glob"], Form::Flag(true)),
        ],
        required: &[("token", GITHUB_TOKEN)],
    },
    Provider {
        name: "s3",
        function: "travis_s3",
        texts: &[include_str!("s3.sh")],
        options: &[
            ("s3_key", &["access_key_id"], Form::Secret),
            ("s3_secret", &["secret_access_key"], Form::Secret),
            ("s3_bucket", &["bucket"], Form::Word),
            ("s3_region", &["region"], Form::Word),
            ("s3_endpoint", &["endpoint"], Form::Word),
            ("s3_upload_dir", &["upload_dir"], Form::Word),
            ("s3_local_dir", &["local_dir"], Form::Word),
            ("s3_glob", &["glob"], Form::Word),
            ("s3_dot_match", &["dot_match"], Form::Flag(false)),
            ("s3_acl", &["acl"], Form::Word),
            ("s3_cache_control", &["cache_control"], Form::Word),
            ("s3_storage_class", &["storage_class"], Form::Word),
            ("s3_encryption", &["server_side_encryption"], Form::Flag(false)),
            ("s3_overwrite", &["overwrite"], Form::Flag(true)),
        ],
        required: &[
            ("access_key_id", "the id of the key"),
            (
                "secret_access_key",
                "the secret of the key, as `{secure: …}` or as a variable such as `$AWS_SECRET_ACCESS_KEY`",
            ),
            ("bucket", "the name of the bucket"),
        ],
    },
    Provider {
        name: "pages",
        function: "travis_pages",
        texts: &[include_str!("pages.sh")],
        options: &[
            ("pages_token", &["token", "github_token"], Form::Secret),
            ("pages_repo", &["repo"], Form::Word),
            ("pages_branch", &["target_branch"], Form::Word),
            ("pages_local_dir", &["local_dir"], Form::Word),
            ("pages_url", &["url", "github_url"], Form::Word),
            ("pages_fqdn", &["fqdn"], Form::Word),
            ("pages_name", &["name"], Form::Word),
            ("pages_email", &["email"], Form::Word),
            ("pages_message", &["commit_message"], Form::Word),
            ("pages_keep_history", &["keep_history"], Form::Flag(true)),
            ("pages_allow_empty", &["allow_empty_commit"], Form::Flag(false)),
        ],
        required: &[("token", GITHUB_TOKEN)],
    },
    Provider {
        name: "pypi",
        function: "travis_pypi",
        texts: &[include_str!("pypi.sh"), include_str!("client.sh")],
        options: &[
            ("pypi_user", &["username", "user"], Form::Secret),
            ("pypi_password", &["password"], Form::Secret),
            ("pypi_server", &["server"], Form::Word),
            ("pypi_distributions", &["distributions"], Form::Word),
            ("pypi_skip_existing", &["skip_existing"], Form::Flag(false)),
            ("pypi_check", &["twine_check"], Form::Flag(true)),
            ("pypi_remove_build_dir", &["remove_build_dir"], Form::Flag(true)),
        ],
        required: &[("password", "an API token, as `{secure: …}` or as a variable such as `$PYPI_TOKEN`")],
    },
    Provider {
        name: "huggingface",
        function: "travis_huggingface",
        texts: &[include_str!("huggingface.sh"), include_str!("client.sh")],
        options: &[
            ("hf_token", &["token"], Form::Secret),
            ("hf_repo", &["repo"], Form::Word),
            ("hf_type", &["repo_type"], Form::Word),
            ("hf_private", &["private"], Form::Flag(true)),
            ("hf_local_dir", &["local_dir"], Form::Word),
            ("hf_branch", &["target_branch"], Form::Word),
            ("hf_tag", &["tag_name"], Form::Word),
            ("hf_message", &["commit_message"], Form::Word),
            ("hf_endpoint", &["endpoint"], Form::Word),
        ],
        required: &[
            ("token", "a token of the Hub, as `{secure: …}` or as a variable such as `$HF_TOKEN`"),
            ("repo", "the repository on the Hub, as `OWNER/NAME`"),
        ],
    },
];

impl Provider {
    /// Returns the provider of this name, if it publishes with a function.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        PROVIDERS.iter().find(|provider| provider.name == name)
    }

    /// Returns the required keys that an entry does not give.
    pub(super) fn missing(&self, entry: &Config) -> impl Iterator<Item = Required> {
        self.required.iter().copied().filter(move |(required, _)| {
            let keys = self.options.iter().map(|(_, keys, _)| *keys).find(|keys| keys[0] == *required);
            !keys.unwrap_or_default().iter().any(|key| is_given(entry.get(*key)))
        })
    }

    /// Adds the function, the variables with its options, and the command. `api` is the address of GitHub's API.
    pub(super) fn publish(&self, script: &mut Script, entry: &Config, api: &str, options: &str) {
        script.line(&format!("TRAVIS_GITHUB_API_URL={}", quoted(api)));
        for functions in self.texts {
            if !script.0.contains(functions) {
                script.text(functions);
            }
        }
        for (variable, keys, form) in self.options {
            let value = match form {
                Form::Word => keys.iter().find_map(|key| text(entry, key)).unwrap_or_default().to_owned(),
                Form::Secret => {
                    keys.iter().find_map(|key| entry.get(*key)).map(|it| lines(it).join("")).unwrap_or_default()
                }
                Form::Flag(usual) => {
                    let set = keys.iter().find_map(|key| entry.get(*key)?.as_bool());
                    set.unwrap_or(*usual).to_string()
                }
            };
            script.line(&assignment(variable, &value));
        }
        if self.name == "releases" {
            let files = entry.get("file").map(lines).filter(|files| !files.is_empty());
            let files = files.unwrap_or_else(|| vec!["*".to_owned()]);
            let files: Vec<String> = files.iter().map(|file| quoted(file)).collect();
            script.line(&format!("release_files=({})", files.join(" ")));
        }
        script.command(self.function, options);
    }
}

/// Returns true if a key has a value that may be of use.
pub(super) fn is_given(value: Option<&Json>) -> bool {
    match value {
        None | Some(Json::Null) => false,
        Some(Json::String(text)) => !text.trim().is_empty(),
        Some(Json::Array(items)) => items.iter().any(|item| is_given(Some(item))),
        Some(Json::Object(map)) => !map.is_empty(),
        Some(Json::Bool(_) | Json::Number(_)) => true,
    }
}

/// Returns the line that sets a variable. As with dpl, bash expands variables in the value.
fn assignment(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('`', r"\`");
    match value.contains('$') {
        true => format!("eval {}", quoted(&format!("{name}=\"{escaped}\""))),
        false => format!("{name}={}", quoted(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_reads_every_option_that_it_is_given() {
        for provider in PROVIDERS {
            for (variable, ..) in provider.options {
                let is_read = provider
                    .texts
                    .iter()
                    .any(|text| text.contains(&format!("${{{variable}")) || text.contains(&format!("${variable}")));
                assert!(is_read, "{}: {variable}", provider.name);
            }
            for (key, _) in provider.required {
                assert!(provider.options.iter().any(|(_, keys, _)| keys[0] == *key), "{}: {key}", provider.name);
            }
            assert!(provider.texts[0].contains(&format!("\n{}() {{", provider.function)), "{}", provider.name);
        }
    }

    #[test]
    fn values_are_words_of_bash_and_only_variables_expand() {
        assert_eq!(assignment("a", "it's `x`"), r"a='it'\''s `x`'");
        assert_eq!(assignment("a", "$TAG `x` \"y\""), r#"eval 'a="$TAG \`x\` \"y\""'"#);
    }
}
