//! Images whose size does not fit the resolution that a config asks for, with what the trainer makes of them.

use super::fate::{Buckets, Fate, Limits, OwnBuckets};
use super::folder::Folder;
use super::image_size::Size;
use super::listed;
use crate::Finding;
use crate::domain::{Rule, Severity};
use crate::rules::Map;
use crate::rules::subsets::sides;
use crate::tree::Entry;

/// Images of at most this many pixels a side, all alike, stand in for the data of a test.
const STAND_IN: u32 = 64;

/// The sizes of images that suit a config.
pub(super) enum Sizes {
    SdScripts(Buckets),
    /// A bound for each resolution that is trained.
    AiToolkit(Vec<OwnBuckets>),
    SimpleTuner {
        limits: Limits,
        deletes: bool,
    },
}

/// Returns sd-scripts' settings of buckets. `get` looks a key up where the trainer does.
pub(super) fn of_sd_scripts<'a>(get: impl Fn(&str) -> Option<&'a Entry>, resolution: &str) -> Option<Sizes> {
    let pixels = |side: f64| (1.0..=16384.0).contains(&side).then_some(side as u32);
    let number = |key: &str, usual| match get(key) {
        Some(entry) => pixels(*sides(&entry.node)?.first()?),
        None => Some(usual),
    };
    let resolution = match sides(&get(resolution)?.node)?[..] {
        [side] => (pixels(side)?, pixels(side)?),
        [width, height] => (pixels(width)?, pixels(height)?),
        _ => return None,
    };
    Some(Sizes::SdScripts(Buckets {
        resolution,
        enabled: get("enable_bucket").map(|entry| entry.node.is_true()),
        no_upscale: get("bucket_no_upscale").is_some_and(|entry| entry.node.is_true()),
        smallest: number("min_bucket_reso", 256)?,
        largest: number("max_bucket_reso", 1024)?,
        steps: number("bucket_reso_steps", 64)?,
    }))
}

/// Returns ai-toolkit's settings of a data set.
pub(super) fn of_ai_toolkit(map: &Map<'_>) -> Option<Sizes> {
    let scaled = map.number("scale").is_some_and(|scale| scale != 1.0);
    if scaled || map.get("buckets").is_some_and(|entry| !entry.node.is_true()) {
        return None;
    }
    let resolutions = map.get("resolution").map_or(Some(vec![512.0]), |entry| sides(&entry.node))?;
    let tolerance = map.number("bucket_tolerance").unwrap_or(64.0);
    let square_crop = map.is_true("square_crop");
    let of = |resolution: f64| OwnBuckets { resolution: resolution as u32, tolerance: tolerance as u32, square_crop };
    Some(Sizes::AiToolkit(resolutions.into_iter().map(of).collect()))
}

/// Returns the limits of a data set of SimpleTuner, in the unit of its resolution.
pub(super) fn of_simpletuner(map: &Map<'_>) -> Option<Sizes> {
    if map.text("dataset_type").is_some_and(|kind| kind != "image") {
        return None;
    }
    let least = map.number("minimum_image_size").filter(|least| *least > 0.0);
    let (least_side, least_area) = match map.text("resolution_type") {
        Some("pixel") => (least, None),
        Some("pixel_area") => (None, least.map(|side| side * side)),
        Some("area") => (None, least.map(|megapixels| megapixels * 1e6)),
        _ => (None, None),
    };
    let shape = |key: &str| map.number(key).filter(|shape| *shape > 0.0);
    let (narrowest, widest) = (shape("minimum_aspect_ratio"), shape("maximum_aspect_ratio"));
    let limits = Limits { least_side, least_area, narrowest, widest };
    Some(Sizes::SimpleTuner { limits, deletes: map.is_true("delete_unwanted_images") })
}

impl Sizes {
    fn fate(&self, image: Size) -> Fate {
        match self {
            Self::SdScripts(buckets) => buckets.fate(image),
            // An image that suits one of the resolutions is there for it.
            Self::AiToolkit(all) => {
                let fates = all.iter().map(|buckets| buckets.fate(image));
                fates.reduce(|one, other| if one == Fate::Fine { one } else { other }).unwrap_or(Fate::Fine)
            }
            Self::SimpleTuner { limits, .. } => limits.fate(image),
        }
    }

    /// Finds the images of a folder that do not fit.
    pub(super) fn check(&self, folder: &Folder<'_>) -> Vec<Finding> {
        let images = folder.sizes();
        let fated: Vec<(&str, Size, Fate)> = images
            .iter()
            .map(|(name, size)| (*name, *size, self.fate(*size)))
            .filter(|(.., fate)| *fate != Fate::Fine)
            .collect();
        let is_test = are_stand_ins(&images);
        let told = KINDS.iter().filter(|kind| !is_test || **kind == Fate::Refused).filter_map(|kind| {
            let alike: Vec<_> = fated.iter().filter(|(.., fate)| is_alike(fate, kind)).collect();
            let (.., first) = alike.first()?;
            let names: Vec<String> = alike.iter().map(|(name, size, fate)| told(name, *size, fate)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let message = format!("in {} {}: {}; {}", folder.path, self.action(first), listed(&names), mend(first));
            let severity = if *kind == Fate::Refused { Severity::Error } else { Severity::Warning };
            Some(folder.finding(Rule::DataSizes, severity, message))
        });
        told.collect()
    }

    /// Says what the trainer does with such images.
    fn action(&self, fate: &Fate) -> String {
        let (trainer, resolution) = match self {
            Self::SdScripts(buckets) => {
                let (width, height) = buckets.resolution;
                ("sd-scripts", format!("{width}x{height}"))
            }
            Self::AiToolkit(all) => {
                let least = all.iter().map(|buckets| buckets.resolution).min().unwrap_or_default();
                ("ai-toolkit", least.to_string())
            }
            Self::SimpleTuner { .. } => ("SimpleTuner", String::new()),
        };
        match fate {
            Fate::Fine => String::new(),
            Fate::Enlarged(_) => format!("{trainer} enlarges these images many times for the resolution {resolution}"),
            Fate::Cut(_) => format!("{trainer} cuts away most of these images, as no bucket has their shape"),
            Fate::Small => {
                format!("{trainer} trains these images in their own size, far below the resolution {resolution}")
            }
            Fate::LeftOut(key) => match self {
                Self::SimpleTuner { deletes: true, .. } => format!("{trainer} deletes these images because of {key}"),
                _ => format!("{trainer} leaves these images out because of {key}"),
            },
            Fate::Refused => format!(
                "{trainer} stops at these images: with bucket_no_upscale, a side shorter than bucket_reso_steps gives a \
                 bucket of size 0"
            ),
        }
    }
}

/// The kinds of fates that are told, each with any number.
const KINDS: [Fate; 7] = [
    Fate::Refused,
    Fate::LeftOut("minimum_image_size"),
    Fate::LeftOut("minimum_aspect_ratio"),
    Fate::LeftOut("maximum_aspect_ratio"),
    Fate::Enlarged(0.0),
    Fate::Cut(0.0),
    Fate::Small,
];

fn is_alike(fate: &Fate, kind: &Fate) -> bool {
    match (fate, kind) {
        (Fate::LeftOut(one), Fate::LeftOut(other)) => one == other,
        _ => std::mem::discriminant(fate) == std::mem::discriminant(kind),
    }
}

fn told(name: &str, size: Size, fate: &Fate) -> String {
    match fate {
        Fate::Enlarged(times) => format!("{name} ({size}, {times:.0} times)"),
        Fate::Cut(part) => format!("{name} ({size}, {:.0} % cut)", part * 100.0),
        _ => format!("{name} ({size})"),
    }
}

fn mend(fate: &Fate) -> &'static str {
    match fate {
        Fate::Cut(_) => "crop them yourself, or remove them",
        Fate::LeftOut(_) => "lower the limit, or replace them",
        _ => "replace them by larger ones, or remove them",
    }
}

/// Returns true if all images are alike and tiny: stand-ins, for a test that is about something else.
fn are_stand_ins(images: &[(&str, Size)]) -> bool {
    let Some((_, first)) = images.first() else { return false };
    first.width.max(first.height) <= STAND_IN && images.iter().all(|(_, size)| size == first)
}
