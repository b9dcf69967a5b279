//! Writer of TensorBoard's event files: records with checksums, each an `Event` in protocol buffers.

use super::Tracked;
use super::protobuf::Message;
use crate::series::event_checksum;

/// Number of a `DataType` that holds texts, and of a `DataClass` for tensors.
const STRING: u64 = 7;
const TENSOR: u64 = 2;

/// Writes a training. A log says no times, so each event has that of the training's end.
pub(super) fn write(tracked: &Tracked<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    let event = |step| Message::default().double(1, tracked.ended as f64).number(2, step);
    record(&mut file, &event(0).text(3, "brain.Event:2"));
    let summary = [("job", page(tracked)), ("config", config(tracked))].into_iter();
    let summary = summary.fold(Message::default(), |summary, (tag, words)| summary.message(1, &text(tag, &words)));
    record(&mut file, &event(0).message(5, &summary));
    for (step, values) in tracked.steps() {
        let values = values.into_iter();
        let summary = values.fold(Message::default(), |summary, (tag, value)| summary.message(1, &scalar(tag, value)));
        record(&mut file, &event(step).message(5, &summary));
    }
    if !tracked.metrics.is_empty() {
        let metrics = tracked.metrics.iter();
        let summary = metrics.fold(Message::default(), |summary, (name, value)| {
            summary.message(1, &scalar(&format!("metrics/{name}"), *value))
        });
        record(&mut file, &event(tracked.last_step()).message(5, &summary));
    }
    file
}

fn record(file: &mut Vec<u8>, event: &Message) {
    let data = event.as_bytes();
    let length = (data.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&event_checksum(&length).to_le_bytes());
    file.extend_from_slice(data);
    file.extend_from_slice(&event_checksum(data).to_le_bytes());
}

/// Makes a `Summary.Value` with a number.
fn scalar(tag: &str, value: f64) -> Message {
    Message::default().text(1, tag).float(2, value as f32)
}

/// Makes a `Summary.Value` for the page of texts, which shows Markdown.
fn text(tag: &str, words: &str) -> Message {
    let plugin = Message::default().text(1, "text");
    let metadata = Message::default().message(1, &plugin).number(4, TENSOR);
    let shape = Message::default().message(2, &Message::default().number(1, 1));
    let tensor = Message::default().number(1, STRING).message(2, &shape).text(8, words);
    Message::default().text(1, tag).message(8, &tensor).message(9, &metadata)
}

fn page(tracked: &Tracked<'_>) -> String {
    let links: Vec<String> = tracked.links.iter().map(|(name, url)| format!("- [{name}]({url})")).collect();
    let result = if tracked.has_passed { "passed" } else { "failed" };
    format!("{}\n\n    {} has {result}.\n", links.join("\n"), one_line(tracked.name))
}

/// Returns the config as a block of code: a key of a repository's config is no markup.
fn config(tracked: &Tracked<'_>) -> String {
    let lines = tracked.parameters.iter().map(|(key, value)| format!("    {}: {value}\n", one_line(key)));
    lines.collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
