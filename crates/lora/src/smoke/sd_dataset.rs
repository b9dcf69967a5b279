//! The data sets of sd-scripts that a config of arguments names.

use serde_json::{Map, json};

use super::draft::{Draft, Part};
use super::{Unfit, Work, shortened};
use crate::Dialect;
use crate::mock::{self, File};
use crate::read::Format;
use crate::repository::normal;
use crate::tree::{Node, Value};
use crate::yaml::{MAX_BYTES, Mark};

/// The folder of the images, with the number of repeats in its name as kohya expects it.
pub(super) const IMAGES: &str = "1_smoke";

/// Adds the data set config with dummy images in place of the team's, and returns its path. If the repository does not
/// contain the file, a simple one of ours replaces it.
pub(super) fn derive(work: &mut Work<'_>, path: &str) -> Result<String, Unfit> {
    let (format, root) = read(work, path)?;
    let images = work.path(&format!("data/{IMAGES}"));
    let table = needs_table(&root).then(|| table(work));
    let side = work.ask.resolution;
    let mut draft = Draft::new(format, Dialect::SdScriptsDataset, root);
    for (place, is_set) in [("general", false), ("datasets", true)] {
        draft.each(place, |set| {
            set.replace("resolution", side);
            set.replace("batch_size", 1);
            set.replace("num_repeats", 1);
            set.remove(&["validation_split", "validation_seed", "skip_image_resolution"]);
            if is_set {
                set.set("resolution", side);
                buckets(set, side);
            } else {
                set.remove(&["enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"]);
            }
        });
    }
    draft.each("datasets.subsets", |subset| {
        if subset.gives("metadata_file") {
            subset.replace("image_dir", images.clone());
            subset.set("metadata_file", table.clone().unwrap_or_default());
        } else {
            subset.set("image_dir", images.clone());
        }
        subset.replace("conditioning_data_dir", images.clone());
        subset.replace("num_repeats", 1);
    });
    draft.remove_secrets();
    let name = format!("dataset.{}", format.extension());
    let (text, changes) = draft.finish();
    work.files.push(File::new(name.clone(), text));
    work.changes.extend(changes.into_iter().map(|change| change.within("dataset_config")));
    Ok(work.path(&name))
}

/// Turns buckets on: without them the trainer stops at an image that is not a square of this size.
pub(super) fn buckets(part: &mut Part<'_>, side: u32) {
    part.set("enable_bucket", true);
    part.set("min_bucket_reso", 64);
    part.set("max_bucket_reso", 2 * side);
    part.remove(&["bucket_reso_steps"]);
}

fn read(work: &Work<'_>, path: &str) -> Result<(Format, Node), Unfit> {
    let text = normal(path).and_then(|path| work.repository.text(&path)).filter(|text| text.len() <= MAX_BYTES);
    let at = Mark::default();
    let Some(text) = text else {
        let subset: Value = [("image_dir", Value::from("")), ("num_repeats", 1.into())].into();
        let set: Value = [("batch_size", Value::from(1)), ("subsets", vec![subset].into())].into();
        return Ok((Format::Toml, Node { value: [("datasets", vec![set].into())].into(), at }));
    };
    let shown = shortened(path);
    let cannot = |why: &str| Unfit::Cannot(format!("dataset_config names {shown}, which {why}"));
    let format = Format::of(path).filter(|format| *format != Format::Yaml);
    let format = format.ok_or_else(|| cannot("is neither TOML nor JSON"))?;
    let source = format.read(std::str::from_utf8(text).map_err(|_| cannot("is not UTF-8 text"))?);
    if let Some(fault) = source.faults.iter().find(|fault| fault.fatal) {
        return Err(cannot(&format!("cannot be read: {}", fault.message)));
    }
    Ok((format, source.root.ok_or_else(|| cannot("is empty"))?))
}

fn needs_table(root: &Node) -> bool {
    let sets = root.entries().iter().filter(|entry| entry.key == "datasets").flat_map(|entry| entry.node.items());
    let subsets = sets.flat_map(Node::entries).filter(|entry| entry.key == "subsets");
    subsets
        .flat_map(|entry| entry.node.items())
        .any(|subset| subset.entries().iter().any(|entry| entry.key == "metadata_file"))
}

/// Adds the captions as a table by image path, for trainings that read such a table.
pub(super) fn table(work: &mut Work<'_>) -> String {
    let folder = work.path(&format!("data/{IMAGES}"));
    let path = |index| format!("{folder}/{}.png", mock::name(index));
    let captions = mock::IMAGES.iter().enumerate();
    let table: Map<_, _> = captions.map(|(index, (caption, _))| (path(index), json!({"caption": caption}))).collect();
    work.files.push(File::json("data/captions.json", &table.into()));
    work.path("data/captions.json")
}
