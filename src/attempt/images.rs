//! The choice of a job's image.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `[images]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// For `language: python`; `{version}` stands for the version that the job asks for.
    pub python: String,
    /// Image for `language: generic`, `shell` and `minimal`.
    pub generic: String,
    /// Images for other languages, by the language's name; `{version}` as above.
    pub languages: BTreeMap<String, String>,
    /// Names that `image:` in a `.travis.yml` may use, as globs.
    pub allowed: Vec<String>,
    /// A PEM file of the authorities that jobs trust, besides those of the image; empty for none. Some programs, such
    /// as pip, can trust only one file, and trust this one: so it should hold the public authorities too.
    pub ca_certificates: std::path::PathBuf,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            python: "trainyard/cpu:{version}".to_owned(),
            generic: "trainyard/minimal:bookworm".to_owned(),
            languages: BTreeMap::new(),
            allowed: Vec::new(),
            ca_certificates: std::path::PathBuf::new(),
        }
    }
}

impl ImagesConfig {
    /// The image of a job in Travis's normal form.
    ///
    /// # Errors
    /// Returns a text for the author when no image is configured for what the job asks for.
    pub fn of(&self, config: &Value) -> Result<String, String> {
        if let Some(wanted) = config.get("image").and_then(Value::as_str) {
            let allowed = self
                .allowed
                .iter()
                .any(|pattern| globset::Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(wanted)));
            return if allowed {
                Ok(wanted.to_owned())
            } else {
                Err(format!("the image {wanted} is not in images.allowed of this server's configuration"))
            };
        }
        let language = config.get("language").and_then(Value::as_str).unwrap_or("generic");
        match language {
            "python" => with_version(&self.python, config, "python", "3.11"),
            "generic" | "shell" | "minimal" | "bash" | "sh" => Ok(self.generic.clone()),
            other => match self.languages.get(other) {
                Some(pattern) => with_version(pattern, config, version_key(other), "latest"),
                None => Err(format!(
                    "no image is configured for language: {other}; name one with image: in .travis.yml, or in \
                     images.languages of this server's configuration"
                )),
            },
        }
    }
}

/// Returns the key of `.travis.yml` that gives the version of a language.
fn version_key(language: &str) -> &str {
    match language {
        "ruby" => "rvm",
        "java" | "groovy" | "android" => "jdk",
        "c" | "cpp" => "compiler",
        "erlang" => "otp_release",
        "haskell" => "ghc",
        other => other,
    }
}

fn with_version(pattern: &str, config: &Value, key: &str, default: &str) -> Result<String, String> {
    let version = match config.get(key) {
        Some(Value::Array(items)) => items.first().and_then(Value::as_str),
        Some(value) => value.as_str(),
        None => None,
    };
    let version = version.unwrap_or(default);
    let is_plain = !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if !is_plain {
        return Err(format!("{key}: {version:?} is not a version that an image can have"));
    }
    Ok(pattern.replace("{version}", version))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_put_into_the_name() {
        let languages = [("ruby", "acme/rb:{version}"), ("rust", "acme/rust")];
        let languages = languages.map(|(name, image)| (name.to_owned(), image.to_owned())).into();
        let images = ImagesConfig { allowed: vec!["acme/*".to_owned()], languages, ..ImagesConfig::default() };
        let of = |config: Value| images.of(&config);
        assert_eq!(of(json!({"language": "python", "python": "3.12"})).as_deref(), Ok("trainyard/cpu:3.12"));
        assert_eq!(of(json!({"language": "shell"})).as_deref(), Ok("trainyard/minimal:bookworm"));
        assert_eq!(of(json!({"language": "ruby", "image": "acme/ruby:3"})).as_deref(), Ok("acme/ruby:3"));
        assert_eq!(of(json!({"language": "ruby", "rvm": "3.3"})).as_deref(), Ok("acme/rb:3.3"));
        assert_eq!(of(json!({"language": "ruby"})).as_deref(), Ok("acme/rb:latest"));
        assert_eq!(of(json!({"language": "rust", "rust": "stable"})).as_deref(), Ok("acme/rust"));
        assert!(of(json!({"language": "ruby", "rvm": "3@sha256:1"})).is_err());
        assert!(of(json!({"language": "go"})).unwrap_err().contains("images.languages"));
        assert!(of(json!({"image": "evil/ruby"})).is_err());
        assert!(of(json!({"language": "python", "python": "3.11@sha256:x/../y"})).is_err());
    }
}
