//! The output folder of a training: weights and losses, read out of the ended container as a stream.
//!
//! Nothing is unpacked. No name and no link in the folder is followed.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use crate::executor::Engine;
use crate::lora;
use crate::lora::series::{self, Series};
use crate::lora::verdict::Saved;
use crate::lora::weights;

/// The limits of one folder: bytes and entries that are read.
const MOST_BYTES: u64 = 64 << 30;
const MOST_ENTRIES: usize = 20_000;
/// The largest number of files with weights that are inspected.
const MOST_WEIGHTS: usize = 50;
/// The time that reading a folder may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// The largest number of characters of a path that are kept.
const MOST_PATH: usize = 300;
const BUFFER: usize = 256 * 1024;
/// The file in which a job may tell numbers, and its largest size in bytes.
const METRICS: &str = "metrics.json";
const MOST_TEXT: u64 = 256 * 1024;

/// The results in an output folder.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Files with weights, those nearest to the top of the folder first.
    pub saved: Vec<Saved>,
    /// The longest series that a trainer wrote into a file.
    pub series: Option<Series>,
    /// The numbers of the `metrics.json` that is nearest to the top of the folder.
    pub metrics: BTreeMap<String, f64>,
    /// The last values in files of experiment trackers, by their names. Of a name in several files, the last file counts.
    pub scalars: BTreeMap<String, f64>,
    /// Number of images.
    pub samples: u64,
}

/// Reads a folder of an ended container. A folder that does not exist counts as empty.
///
/// # Errors
/// Fails when the engine does not answer, or when reading takes too long.
pub async fn outputs(engine: &Engine, container: &str, folder: &str) -> anyhow::Result<Outputs> {
    let stop = CancellationToken::new();
    let _ends_reading = stop.clone().drop_guard();
    let Some(tar) = engine.copy_out(container, folder, &stop).await? else { return Ok(Outputs::default()) };
    let read = tokio::task::spawn_blocking(move || read(tar));
    let outputs = tokio::time::timeout(LIMIT, read).await.context("reading the outputs takes too long")?;
    outputs.context("reading the outputs")?
}

fn read(tar: impl Read) -> anyhow::Result<Outputs> {
    let mut outputs = Outputs::default();
    let mut nearest = None;
    let mut archive = tar::Archive::new(tar.take(MOST_BYTES));
    for entry in archive.entries()?.take(MOST_ENTRIES) {
        let entry = entry.context("reading the output folder")?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        // The first component is the name of the folder itself.
        let path = entry.path()?.components().skip(1).collect::<std::path::PathBuf>();
        let path: String = path.to_string_lossy().chars().take(MOST_PATH).collect();
        if path.ends_with(".safetensors") {
            if outputs.saved.len() < MOST_WEIGHTS {
                let inspected = weights::inspect(BufReader::with_capacity(BUFFER, entry));
                outputs.saved.push(Saved::new(path, inspected));
            }
        } else if path.rsplit('/').next() == Some(METRICS) {
            let depth = path.matches('/').count();
            if nearest.is_none_or(|nearest| depth < nearest) {
                let mut text = Vec::new();
                entry.take(MOST_TEXT).read_to_end(&mut text).context("reading the metrics")?;
                outputs.metrics = metrics(&text);
                nearest = Some(depth);
            }
        } else if lora::is_image(&path) {
            outputs.samples += 1;
        } else if let Some(Ok(mut found)) = series::from_file(&path, entry) {
            let room = MOST_METRICS.saturating_sub(outputs.scalars.len());
            outputs.scalars.extend(std::mem::take(&mut found.scalars).into_iter().take(room));
            // Of two that end at the same step, one may be a summary of the other.
            let length = |series: &Series| (series.steps_seen, series.points.len());
            let longest = outputs.series.as_ref().is_none_or(|known| length(known) < length(&found));
            outputs.series = if longest { Some(found) } else { outputs.series };
        }
    }
    let depth = |saved: &Saved| (saved.path.matches('/').count(), saved.path.clone());
    outputs.saved.sort_by_key(depth);
    Ok(outputs)
}

/// Reads the numbers of a `metrics.json`: an object of numbers, or of such objects, whose names are joined by slashes.
/// Everything else in it is left out.
fn metrics(text: &[u8]) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    if let Ok(Json::Object(entries)) = serde_json::from_slice(text) {
        collect("", &Json::Object(entries), &mut metrics);
    }
    metrics
}

/// Maximum number of metrics, and of characters of a name.
const MOST_METRICS: usize = 1000;
const MOST_NAME: usize = 200;

fn collect(name: &str, value: &Json, metrics: &mut BTreeMap<String, f64>) {
    match value {
        Json::Object(entries) => {
            for (key, value) in entries {
                let below = if name.is_empty() { key.clone() } else { format!("{name}/{key}") };
                collect(&below, value, metrics);
            }
        }
        Json::Number(number) if metrics.len() < MOST_METRICS && name.chars().count() <= MOST_NAME => {
            metrics.extend(number.as_f64().map(|value| (name.to_owned(), value)));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::verdict::Weights;

    #[test]
    fn weights_and_losses_are_found_and_nothing_else_is_followed() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, bytes).unwrap();
        };
        add("output/checkpoint-3/adapter_model.safetensors", b"<!doctype html>");
        add("output/adapter_model.safetensors", b"cut");
        add("output/trainer_log.jsonl", b"{\"current_steps\": 3, \"total_steps\": 3, \"loss\": 0.5}\n");
        add("output/notes.txt", b"hello");
        add("output/checkpoint-3/metrics.json", b"{\"loss\": 9}");
        add("output/metrics.json", b"{\"loss\": 0.5}");
        add("output/samples/1.png", b"image");
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        tar.append_link(&mut link, "output/link.safetensors", "/etc/passwd").unwrap();
        let outputs = read(std::io::Cursor::new(tar.into_inner().unwrap())).unwrap();
        let paths: Vec<&str> = outputs.saved.iter().map(|saved| saved.path.as_str()).collect();
        assert_eq!(paths, ["adapter_model.safetensors", "checkpoint-3/adapter_model.safetensors"]);
        assert!(outputs.saved.iter().all(|saved| matches!(saved.weights, Weights::Unreadable(_))));
        assert_eq!(outputs.series.unwrap().steps_seen, 3);
        assert_eq!((outputs.metrics, outputs.samples), ([("loss".to_owned(), 0.5)].into(), 1));
    }

    #[test]
    fn metrics_are_numbers_by_their_paths() {
        let read = |text: &str| metrics(text.as_bytes());
        let found =
            read(r#"{"loss": 0.5, "eval": {"clip": 1, "by": {"x": -2.5}}, "name": "ink", "list": [1], "no": null}"#);
        let expected = [("eval/by/x", -2.5), ("eval/clip", 1.0), ("loss", 0.5)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)).into());
        for text in ["", "[1]", "3", "{\"a\": NaN}", "{", "null"] {
            assert_eq!(read(text), BTreeMap::new(), "{text}");
        }
        assert_eq!(read(&format!("{{\"{}\": 1}}", "x".repeat(201))), BTreeMap::new());
    }
}
