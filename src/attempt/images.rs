//! The choice of a job's image.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::python::{self, Version};
use crate::executor::{Engine, ExecError, Image};
use crate::travis::script::PythonSubstitute;

/// The version of Python for jobs that name none.
const DEFAULT_PYTHON: &str = "3.11";
/// The images that `make image` builds.
const OWN_PYTHON: &str = "trainyard/cpu:{version}";

/// `[images]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// For `language: python`; `{version}` stands for the version that the job asks for.
    pub python: String,
    /// Fate of a job whose version of Python has no image.
    pub python_missing: PythonMissing,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonMissing {
    /// The job ends, and says which versions there are.
    Error,
    /// The job runs with the nearest version that there is, and has a warning.
    Nearest,
}

/// The image that a job runs in.
#[derive(Debug)]
pub struct JobImage {
    pub name: String,
    pub image: Image,
    /// The version of Python that runs in place of the one that the job asks for.
    pub python: Option<PythonSubstitute>,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            python: OWN_PYTHON.to_owned(),
            python_missing: PythonMissing::Error,
            generic: "trainyard/minimal:bookworm".to_owned(),
            languages: BTreeMap::new(),
            allowed: Vec::new(),
            ca_certificates: std::path::PathBuf::new(),
        }
    }
}

impl ImagesConfig {
    /// Finds the image of a job on an engine.
    ///
    /// # Errors
    /// Returns [`ExecError::Job`] when the engine has no image for what the job asks for.
    pub async fn find(&self, engine: &Engine, config: &Value) -> Result<JobImage, ExecError> {
        let name = self.of(config).map_err(ExecError::Job)?;
        match engine.image(&name).await {
            Ok(image) => Ok(JobImage { name, image, python: None }),
            Err(ExecError::Job(missing)) => match python_of(config).filter(|_| self.python.contains(VERSION)) {
                Some(asked) => self.find_python(engine, asked).await,
                None => Err(ExecError::Job(missing)),
            },
            Err(error) => Err(error),
        }
    }

    async fn find_python(&self, engine: &Engine, asked: Option<&str>) -> Result<JobImage, ExecError> {
        let names = engine.image_names().await?;
        let versions = names.iter().filter_map(|name| Version::of(version_in(name, &self.python)?));
        let substitute = self.substitute(asked, &versions.collect::<Vec<_>>()).map_err(ExecError::Job)?;
        let name = self.python.replace(VERSION, &substitute.version);
        Ok(JobImage { image: engine.image(&name).await?, name, python: Some(substitute) })
    }

    /// Returns the version for a job whose own version has no image. `asked` is `None` for a job that names none.
    fn substitute(&self, asked: Option<&str>, there: &[Version]) -> Result<PythonSubstitute, String> {
        let version = asked.unwrap_or(DEFAULT_PYTHON);
        let wanted = match asked {
            Some(asked) => format!("Python {asked}, which this job asks for,"),
            None => format!("Python {version}, the default,"),
        };
        if self.python_missing == PythonMissing::Nearest
            && let Some(nearest) = python::nearest(version, there)
        {
            let warning = format!("{wanted} has no image on this runner: the job runs with Python {nearest}.");
            return Ok(PythonSubstitute { version: nearest.to_string(), warning });
        }
        let has = match python::list(there) {
            list if list.is_empty() => "no image for Python".to_owned(),
            list => format!("Python {list}"),
        };
        let near = match self.python_missing {
            PythonMissing::Error => "",
            PythonMissing::Nearest => ", and none of it can stand in",
        };
        let mend = self.how_to_make(version);
        Err(format!("{wanted} has no image on this runner, which has {has}{near}: choose another version, or {mend}"))
    }

    fn how_to_make(&self, version: &str) -> String {
        match Version::of(version) {
            Some(_) if self.python == OWN_PYTHON => format!("build it there: make image PYTHON={version}"),
            _ => format!("build or pull {} there", self.python.replace(VERSION, version)),
        }
    }

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
            return if allowed || self.is_own(wanted) {
                Ok(wanted.to_owned())
            } else {
                Err(format!("the image {wanted} is not in images.allowed of this server's configuration"))
            };
        }
        let language = config.get("language").and_then(Value::as_str).unwrap_or("generic");
        match language {
            "python" => with_version(&self.python, config, "python", DEFAULT_PYTHON),
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

    /// Returns true for an image that jobs get by their language, in any version: naming it gives them no more.
    fn is_own(&self, image: &str) -> bool {
        let patterns = [&self.python, &self.generic].into_iter().chain(self.languages.values());
        patterns.into_iter().any(|pattern| image == pattern || version_in(image, pattern).is_some())
    }
}

/// The place of the version in the name of an image.
const VERSION: &str = "{version}";

/// Returns the part of an image's name that stands for the version.
pub fn version_in<'a>(image: &'a str, pattern: &str) -> Option<&'a str> {
    let (before, after) = pattern.split_once(VERSION)?;
    let version = image.strip_prefix(before)?.strip_suffix(after)?;
    is_version(version).then_some(version)
}

/// Returns the version of Python that a job asks for, which may be none, if that version chooses the job's image.
fn python_of(config: &Value) -> Option<Option<&str>> {
    let is_python = config.get("language").and_then(Value::as_str) == Some("python");
    (is_python && config.get("image").is_none()).then(|| version_asked(config, "python"))
}

fn version_asked<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    match config.get(key)? {
        Value::Array(items) => items.first()?.as_str(),
        value => value.as_str(),
    }
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
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
    let version = version_asked(config, key).unwrap_or(default);
    if !is_version(version) {
        return Err(format!("{key}: {version:?} is not a version that an image can have"));
    }
    Ok(pattern.replace(VERSION, version))
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

    #[test]
    fn an_image_that_a_language_gives_may_be_named() {
        let images = ImagesConfig::default();
        for own in ["trainyard/cpu:3.11-torch2", "trainyard/cpu:3.13", "trainyard/minimal:bookworm"] {
            assert_eq!(images.of(&json!({"language": "python", "image": own})).as_deref(), Ok(own));
        }
        for other in ["trainyard/cpu", "trainyard/cpu:", "trainyard/cpu:3@sha256:1", "evil/trainyard/cpu:3.11"] {
            assert!(images.of(&json!({"image": other})).is_err(), "{other}");
        }
    }

    #[test]
    fn a_missing_version_is_named_with_what_to_do() {
        let images = ImagesConfig::default();
        let there = ["3.11", "3.13"].map(|tag| Version::of(tag).unwrap());
        let told = |images: &ImagesConfig, asked, there: &[Version]| images.substitute(asked, there).unwrap_err();
        assert_eq!(
            told(&images, Some("3.10"), &there),
            "Python 3.10, which this job asks for, has no image on this runner, which has Python 3.13, 3.11: choose \
             another version, or build it there: make image PYTHON=3.10"
        );
        assert!(told(&images, Some("pypy3"), &there).ends_with("or build or pull trainyard/cpu:pypy3 there"));
        assert!(told(&images, None, &[]).starts_with("Python 3.11, the default, has no image"));
        assert!(told(&images, None, &[]).contains("which has no image for Python: choose"));
        let own = ImagesConfig { python: "acme/py:{version}-cuda".to_owned(), ..images };
        assert!(told(&own, Some("3.10"), &there).ends_with("or build or pull acme/py:3.10-cuda there"));
        let nearest = ImagesConfig { python_missing: PythonMissing::Nearest, ..own };
        assert_eq!(nearest.substitute(Some("3.12"), &there).unwrap().version, "3.13");
        assert!(told(&nearest, Some("2.7"), &there).contains("Python 3.13, 3.11, and none of it can stand in:"));
    }

    #[test]
    fn the_version_is_found_in_the_name() {
        assert_eq!(version_in("acme/py:3.10-cuda", "acme/py:{version}-cuda"), Some("3.10"));
        assert_eq!(version_in("acme/py:3.10", "acme/py:{version}-cuda"), None);
        assert_eq!(version_in("trainyard/cpu:3.11-torch2", "trainyard/cpu:{version}"), Some("3.11-torch2"));
        assert_eq!(version_in("trainyard/cpu:", "trainyard/cpu:{version}"), None);
        assert_eq!(version_in("acme/py", "acme/py"), None);
    }
}
