//! GPUs: the jobs that may have them, the choice among a runner's GPUs, and the output of `nvidia-smi`.
//!
//! Pure: the caller passes in the facts and acts on the results.

mod choose;
mod forecast;
mod smi;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::domain::{GpuRequest, JobKind, RepoName, Requirements};
pub use choose::{Candidate, Choice, Gpu, Held, Wait, choose, wait_in_words};
pub use forecast::{Active, Card, Machine, Waiting, World, forecast};
pub use smi::{APPS_QUERY, DRIVER_QUERY, Device, GPU_QUERY, USE_QUERY, devices, driver, in_use};

/// The `[gpu]` section of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuConfig {
    /// Jobs that may have GPUs.
    pub trusted: Trusted,
    /// Images that jobs with GPUs may run, as globs.
    pub images: Vec<String>,
    /// Maximum memory in use at which a GPU without a process still counts as empty.
    pub idle_memory: ByteSize,
    /// The program that reports GPUs.
    pub nvidia_smi: PathBuf,
    /// GPUs that each `vm: {size: …}` of a `.travis.yml` requests, by the name of the size.
    pub sizes: BTreeMap<String, Size>,
}

/// The jobs that may have GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trusted {
    /// The repository's own jobs: all except those of pull requests from forks.
    Own,
    /// Jobs that do not belong to a pull request.
    Pushed,
    /// All jobs, including those of a stranger's pull request.
    All,
}

/// The GPUs that a size requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Size {
    pub count: u8,
    /// Minimum memory of each GPU.
    pub memory: ByteSize,
    /// The required class; empty for any.
    pub class: String,
}

impl Default for Size {
    fn default() -> Self {
        Self { count: 1, memory: ByteSize::b(0), class: String::new() }
    }
}

impl Default for GpuConfig {
    fn default() -> Self {
        let size = |memory| Size { memory, ..Size::default() };
        let sizes = [("gpu-medium", size(ByteSize::b(0))), ("gpu-xlarge", size(ByteSize::gb(16)))];
        Self {
            trusted: Trusted::Own,
            images: vec!["*".to_owned()],
            idle_memory: ByteSize::mib(512),
            nvidia_smi: PathBuf::from("nvidia-smi"),
            sizes: sizes.map(|(name, size)| (name.to_owned(), size)).into(),
        }
    }
}

/// Origin of a job: its repository, and the head of its pull request if it has one.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    pub repo: &'a RepoName,
    /// Repository of the head; `None` without a pull request, `Some(None)` when the head's repository was deleted.
    pub head: Option<Option<&'a str>>,
}

impl GpuConfig {
    /// Returns a job's requirements on its runner. GPUs that the job requests but may not have are not among them: the
    /// job does not wait for them, and the refusal is reported when the job begins. `is_preemptible` says whether the
    /// job may be stopped for another one; without GPUs there is nothing that it could release.
    pub fn requirements(&self, kind: JobKind, config: &Json, asking: Asking<'_>, is_preemptible: bool) -> Requirements {
        let gpus = self.asked(kind, config).and_then(|asked| self.size(&asked)).filter(|size| size.count > 0);
        let gpus = gpus.filter(|_| self.refusal(kind, config, asking, None).is_none()).map(|size| GpuRequest {
            count: size.count.into(),
            memory: i64::try_from(size.memory.as_u64()).unwrap_or(i64::MAX),
            class: Some(size.class).filter(|class| !class.is_empty()),
        });
        let preemptible = gpus.is_some() && is_preemptible;
        Requirements { gpus, labels: labels(config), preemptible }
    }

    /// Returns the reason why a job may not have the GPUs that it requests, in words for its author. Returns `None`
    /// when the job may have them or requests none. `image` is `None` as long as the image is not known.
    pub fn refusal(&self, kind: JobKind, config: &Json, asking: Asking<'_>, image: Option<&str>) -> Option<String> {
        let asked = &self.asked(kind, config)?;
        if self.size(asked).is_none() {
            return Some(format!("{asked} is not in gpu.sizes of this server's configuration"));
        }
        let is_own = |head: Option<&str>| head.is_some_and(|head| head.eq_ignore_ascii_case(&asking.repo.to_string()));
        match (self.trusted, asking.head) {
            (Trusted::All, _) | (_, None) => {}
            (Trusted::Own, Some(head)) if is_own(head) => {}
            (Trusted::Own, Some(_)) => return Some(refused(asked, "for pull requests from forks")),
            (Trusted::Pushed, Some(_)) => return Some(refused(asked, "for pull requests")),
        }
        let image = image?;
        let is_allowed =
            |pattern: &String| globset::Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(image));
        (!self.images.iter().any(is_allowed)).then(|| {
            format!("the image {image} gets no GPU here: it is not in gpu.images of this server's configuration")
        })
    }

    /// Returns the GPUs that a job requests. A smoke job runs on a CPU, even when the jobs that it takes its set-up from
    /// request GPUs. A train job says how many it needs; the size of these jobs says what kind.
    fn asked<'a>(&self, kind: JobKind, config: &'a Json) -> Option<Asked<'a>> {
        let size = config.get("vm").and_then(|vm| vm.get("size")).and_then(Json::as_str);
        let size = size
            .filter(|size| self.sizes.get(*size).map_or(size.starts_with("gpu-"), |size| size.count > 0))
            .map(Asked::Size);
        match kind {
            JobKind::Smoke => None,
            JobKind::Script => size,
            JobKind::Train => {
                let count = config.get("train")?.get("gpus")?.as_u64()?;
                let count = u8::try_from(count).unwrap_or(u8::MAX);
                let named = match size {
                    Some(Asked::Size(size)) => Some(size),
                    _ => None,
                };
                (count > 0).then_some(Asked::Train(count, named))
            }
        }
    }

    fn size(&self, asked: &Asked<'_>) -> Option<Size> {
        match asked {
            Asked::Size(name) => self.sizes.get(*name).cloned(),
            Asked::Train(count, None) => Some(Size { count: *count, ..Size::default() }),
            Asked::Train(count, Some(name)) => Some(Size { count: *count, ..self.sizes.get(*name)?.clone() }),
        }
    }
}

/// The GPUs that a job requests.
#[derive(Debug, Clone, Copy)]
enum Asked<'a> {
    /// The GPUs of a size of `gpu.sizes`.
    Size(&'a str),
    /// The number that `lora.train.gpus` says, of the kind of a size if there is one.
    Train(u8, Option<&'a str>),
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(name) | Self::Train(_, Some(name)) => write!(f, "vm: size: {name}"),
            Self::Train(_, None) => f.write_str("lora.train.gpus"),
        }
    }
}

fn refused(asked: &Asked<'_>, whom: &str) -> String {
    format!("{asked} asks for a GPU, but this server provides none {whom} (gpu.trusted of its configuration)")
}

/// Returns the labels that the job's runner must have: its architecture and its system, where they are not the usual
/// ones.
fn labels(config: &Json) -> Vec<String> {
    let named = |key: &str, usual: &str| config.get(key)?.as_str().filter(|name| *name != usual).map(str::to_owned);
    [named("arch", "amd64"), named("os", "linux")].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asking<'a>(repo: &'a RepoName, head: Option<Option<&'a str>>) -> Asking<'a> {
        Asking { repo, head }
    }

    #[test]
    fn a_size_asks_for_gpus_and_other_machines_for_labels() {
        let (settings, repo) = (GpuConfig::default(), "acme/styles".parse().expect("a name"));
        let requirements = |kind, config: Json| settings.requirements(kind, &config, asking(&repo, None), false);
        let request = |memory| Some(GpuRequest { count: 1, memory, class: None });
        assert_eq!(
            requirements(JobKind::Script, json!({"os": "linux", "arch": "amd64", "vm": {"size": "large"}})),
            Requirements::default()
        );
        assert_eq!(requirements(JobKind::Script, json!({"vm": {"size": "gpu-medium"}})).gpus, request(0));
        let train = |gpus: u8, vm: Json| requirements(JobKind::Train, json!({"train": {"gpus": gpus}, "vm": vm})).gpus;
        assert_eq!(train(1, json!({"size": "gpu-xlarge"})), request(16_000_000_000));
        assert_eq!(train(1, Json::Null), request(0));
        assert_eq!(train(2, Json::Null).map(|request| request.count), Some(2));
        assert_eq!(train(0, json!({"size": "gpu-xlarge"})), None, "a training on CPU");
        assert_eq!(requirements(JobKind::Smoke, json!({"vm": {"size": "gpu-medium"}})).gpus, None);
        assert_eq!(requirements(JobKind::Script, json!({"os": "osx", "arch": "arm64"})).labels, ["arm64", "osx"]);
    }

    #[test]
    fn who_is_not_trusted_is_told_so_and_needs_no_gpu() {
        let repo: RepoName = "acme/styles".parse().expect("a name");
        let config = json!({"vm": {"size": "gpu-medium"}});
        let told = |trusted, head, image| {
            let settings = GpuConfig { trusted, images: vec!["acme/*".to_owned()], ..GpuConfig::default() };
            let why = settings.refusal(JobKind::Script, &config, asking(&repo, head), image);
            let requirements = settings.requirements(JobKind::Script, &config, asking(&repo, head), false);
            assert!(image.is_some() || why.is_some() == requirements.gpus.is_none());
            why.unwrap_or_default()
        };
        assert_eq!(told(Trusted::Own, None, Some("acme/cuda")), "");
        assert_eq!(told(Trusted::Own, Some(Some("Acme/styles")), None), "");
        assert!(told(Trusted::Own, Some(Some("mallory/styles")), None).contains("for pull requests from forks"));
        assert!(told(Trusted::Own, Some(None), None).contains("forks"), "a deleted fork is a fork");
        assert!(told(Trusted::Pushed, Some(Some("acme/styles")), None).contains("for pull requests ("));
        assert_eq!(told(Trusted::All, Some(Some("mallory/styles")), None), "");
        assert!(told(Trusted::All, None, Some("evil/cuda")).contains("gpu.images"));
        let unknown = GpuConfig::default().refusal(
            JobKind::Script,
            &json!({"vm": {"size": "gpu-huge"}}),
            asking(&repo, None),
            None,
        );
        assert!(unknown.is_some_and(|why| why.contains("gpu-huge is not in gpu.sizes")));
    }
}
