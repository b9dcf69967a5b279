//! Reader of `lora.train.gate`: the bounds that a training has to keep.

use super::reader::{MOST, Reader, time};
use crate::gates::{Bounds, Gates, LossGate, WINDOW};
use crate::repository::normal;
use crate::yaml::{Entry, Node};

const GATE: &str = "lora.train.gate";
const GATES: [&str; 7] = ["loss", "weights", "metrics", "vram", "duration", "samples", "reference"];

/// Reads the value of the key.
pub(super) fn read(reader: &mut Reader, node: &Node) -> Gates {
    let mut gates = Gates::default();
    for entry in reader.entries(GATE, node) {
        match entry.key.as_str() {
            "loss" => gates.loss = Some(loss(reader, &entry.value)),
            "weights" => weights(reader, &entry.value, &mut gates),
            "metrics" => {
                for metric in reader.entries("lora.train.gate.metrics", &entry.value).iter().take(MOST) {
                    let key = format!("lora.train.gate.metrics.{}", metric.key);
                    let bounds = bounds(reader, &key, &metric.value);
                    gates.metrics.insert(metric.key.clone(), bounds);
                }
            }
            "duration" => match limit(reader, "lora.train.gate.duration", &entry.value, "max").and_then(time) {
                Some(time) => gates.duration = Some(time.as_secs()),
                None => reader.wrong("lora.train.gate.duration", entry.value.at, "{max: TIME}, such as {max: 2h}"),
            },
            "samples" => match limit(reader, "lora.train.gate.samples", &entry.value, "min").map(str::parse) {
                Some(Ok(least)) => gates.samples = Some(least),
                _ => reader.wrong("lora.train.gate.samples", entry.value.at, "{min: NUMBER}, such as {min: 4}"),
            },
            "vram" => match limit(reader, "lora.train.gate.vram", &entry.value, "max").and_then(bytes) {
                Some(most) => gates.vram = Some(most),
                None => reader.wrong("lora.train.gate.vram", entry.value.at, "{max: SIZE}, such as {max: 22GiB}"),
            },
            "reference" => match normal(entry.value.text().unwrap_or_default()) {
                Some(path) => gates.reference = Some(path),
                None => {
                    reader.wrong("lora.train.gate.reference", entry.value.at, "the path of a file in the repository")
                }
            },
            _ => reader.unknown(GATE, node, entry, &GATES),
        }
    }
    if gates.reference.is_some() && !gates.need_reference() {
        let wanted = "beside `loss: {within: 10%}` or `weights: {norm: {factor: 2}}`, which compare with it";
        reader.wrong("lora.train.gate.reference", node.at, wanted);
    }
    gates
}

/// Returns the text of the only key of a map.
fn limit<'a>(reader: &mut Reader, key: &str, node: &'a Node, name: &str) -> Option<&'a str> {
    match reader.entries(key, node) {
        [entry] if entry.key == name => entry.value.text(),
        _ => None,
    }
}

fn loss(reader: &mut Reader, node: &Node) -> LossGate {
    const KEY: &str = "lora.train.gate.loss";
    let mut gate = LossGate { mean: Bounds::default(), window: WINDOW, falling: false, within: None };
    for entry in reader.entries(KEY, node) {
        match entry.key.as_str() {
            "min" => gate.mean.min = number(reader, KEY, entry),
            "max" => gate.mean.max = number(reader, KEY, entry),
            "window" => match entry.value.text().unwrap_or_default().parse().ok().filter(|window| *window > 0) {
                Some(window) => gate.window = window,
                None => reader.wrong(&format!("{KEY}.window"), entry.value.at, "a number of steps from 1"),
            },
            "falling" => match entry.value.text() {
                Some("true") => gate.falling = true,
                Some("false") => gate.falling = false,
                _ => reader.wrong(&format!("{KEY}.falling"), entry.value.at, "true or false"),
            },
            "within" => match entry.value.text().and_then(percent) {
                Some(part) => gate.within = Some(part),
                None => reader.wrong(&format!("{KEY}.within"), entry.value.at, "a percentage such as 10%"),
            },
            _ => reader.unknown(KEY, node, entry, &["min", "max", "window", "falling", "within"]),
        }
    }
    if gate.mean.is_open() && !gate.falling && gate.within.is_none() {
        let wanted = "a map with `min`, `max`, `within` or `falling: true`, or it lets every loss through";
        reader.wrong(KEY, node.at, wanted);
    }
    gate
}

/// Reads a percentage as a part of 1.
fn percent(text: &str) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (number > 0.0 && number <= 1000.0).then_some(number / 100.0)
}

fn bytes(text: &str) -> Option<u64> {
    text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()).filter(|bytes| *bytes > 0)
}

fn weights(reader: &mut Reader, node: &Node, gates: &mut Gates) {
    const KEY: &str = "lora.train.gate.weights";
    for entry in reader.entries(KEY, node) {
        match entry.key.as_str() {
            // These hold for every training.
            "finite" | "trained" if entry.value.text() == Some("true") => {}
            key @ ("finite" | "trained") => {
                reader.wrong(&format!("{KEY}.{key}"), entry.value.at, "true: weights that are not are never good");
            }
            "rank" => match entry.value.text().unwrap_or_default().parse() {
                Ok(rank) => gates.rank = Some(rank),
                Err(_) => reader.wrong(&format!("{KEY}.rank"), entry.value.at, "a number"),
            },
            "size" => gates.size = sizes(reader, &format!("{KEY}.size"), &entry.value),
            "norm" => norm(reader, &entry.value, gates),
            _ => reader.unknown(KEY, node, entry, &["finite", "trained", "rank", "size", "norm"]),
        }
    }
}

/// Reads bounds on the norm, and the factor by which it may differ from that of the reference.
fn norm(reader: &mut Reader, node: &Node, gates: &mut Gates) {
    const KEY: &str = "lora.train.gate.weights.norm";
    for entry in reader.entries(KEY, node) {
        match entry.key.as_str() {
            "min" => gates.norm.min = number(reader, KEY, entry),
            "max" => gates.norm.max = number(reader, KEY, entry),
            "factor" => match number(reader, KEY, entry) {
                Some(factor) if factor <= 1.0 => {
                    reader.wrong(&format!("{KEY}.factor"), entry.value.at, "a number above 1, such as 2");
                }
                factor => gates.norm_factor = factor,
            },
            _ => reader.unknown(KEY, node, entry, &["min", "max", "factor"]),
        }
    }
    if node.entries().is_empty() {
        reader.wrong(KEY, node.at, "a map with `min`, `max` or `factor`, or it lets everything through");
    }
}

fn bounds(reader: &mut Reader, key: &str, node: &Node) -> Bounds {
    read_bounds(reader, key, node, number)
}

/// Reads bounds on a size, in bytes.
fn sizes(reader: &mut Reader, key: &str, node: &Node) -> Bounds {
    read_bounds(reader, key, node, |reader, key, entry| {
        let size = entry.value.text().and_then(|text| text.parse::<bytesize::ByteSize>().ok());
        if size.is_none() {
            reader.wrong(&format!("{key}.{}", entry.key), entry.value.at, "a size such as 200MB");
        }
        size.map(|size| size.as_u64() as f64)
    })
}

fn read_bounds(
    reader: &mut Reader,
    key: &str,
    node: &Node,
    value: impl Fn(&mut Reader, &str, &Entry) -> Option<f64>,
) -> Bounds {
    let mut bounds = Bounds::default();
    for entry in reader.entries(key, node) {
        match entry.key.as_str() {
            "min" => bounds.min = value(reader, key, entry),
            "max" => bounds.max = value(reader, key, entry),
            _ => reader.unknown(key, node, entry, &["min", "max"]),
        }
    }
    if node.entries().is_empty() {
        reader.wrong(key, node.at, "a map with `min` or `max`, or it lets everything through");
    }
    bounds
}

fn number(reader: &mut Reader, key: &str, entry: &Entry) -> Option<f64> {
    let value = entry.value.text().and_then(|text| text.parse::<f64>().ok()).filter(|value| value.is_finite());
    if value.is_none() {
        reader.wrong(&format!("{key}.{}", entry.key), entry.value.at, "a number");
    }
    value
}
