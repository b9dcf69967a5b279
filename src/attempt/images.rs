//! Which image runs which job.

use serde::Deserialize;
use serde_json::Value;

/// `[images]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// For `language: python`; `{version}` stands for the version that the job asks for.
    pub python: String,
    /// For `language: generic`, `shell` and `minimal`.
    pub generic: String,
    /// What `image:` in a `.travis.yml` may name, as globs.
    pub allowed: Vec<String>,
    /// A PEM file of the authorities that jobs trust, beside the image's own; empty for none. Programs that can trust
    /// one file only, as pip does, trust this one: so it should hold the public authorities too.
    pub ca_certificates: std::path::PathBuf,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            python: "trainyard/cpu:{version}".to_owned(),
            generic: "trainyard/minimal:bookworm".to_owned(),
            allowed: Vec::new(),
            ca_certificates: std::path::PathBuf::new(),
        }
    }
}

impl Images {
    /// The image of a job in Travis's normal form.
    ///
    /// # Errors
    /// Words for the author when no image is configured for what the job asks for.
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
            "python" => {
                let version = config.get("python").and_then(Value::as_str).unwrap_or("3.11");
                let plain =
                    !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
                if !plain {
                    return Err(format!("python: {version:?} is no version that an image could have"));
                }
                Ok(self.python.replace("{version}", version))
            }
            "generic" | "shell" | "minimal" | "bash" | "sh" => Ok(self.generic.clone()),
            other => Err(format!("no image is configured for language: {other}; name one with image: in .travis.yml")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_put_into_the_name() {
        let images = Images { allowed: vec!["acme/*".to_owned()], ..Images::default() };
        let of = |config: Value| images.of(&config);
        assert_eq!(of(json!({"language": "python", "python": "3.12"})).as_deref(), Ok("trainyard/cpu:3.12"));
        assert_eq!(of(json!({"language": "shell"})).as_deref(), Ok("trainyard/minimal:bookworm"));
        assert_eq!(of(json!({"language": "ruby", "image": "acme/ruby:3"})).as_deref(), Ok("acme/ruby:3"));
        assert!(of(json!({"language": "ruby"})).is_err());
        assert!(of(json!({"image": "evil/ruby"})).is_err());
        assert!(of(json!({"language": "python", "python": "3.11@sha256:x/../y"})).is_err());
    }
}
