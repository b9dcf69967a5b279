//! Writer of the transaction log of Weights & Biases, which `wandb sync` uploads: records in the log format of LevelDB,
//! but with the checksum CRC-32, each a `Record` of `wandb_internal.proto`.

use crc::{CRC_32_ISO_HDLC, Crc};
use serde_json::json;

use super::Tracked;
use super::protobuf::Message;

const CHECK: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// First bytes of a file: a word, a number and the version 0.
const HEAD: [u8; 7] = *b":W&B\xe1\xbe\x00";
/// Length of a block, and of the head of a record in it: checksum, length and kind.
const BLOCK: usize = 32 << 10;
const RECORD_HEAD: usize = 7;
/// Kinds of records: a whole one, and the first, a middle and the last part of one.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

pub(super) fn write(tracked: &Tracked<'_>) -> Vec<u8> {
    let mut log = Log { file: HEAD.to_vec(), records: 0 };
    let producer = Message::default().text(1, concat!("trainyard ", env!("CARGO_PKG_VERSION")));
    log.push(21, &Message::default().message(1, &producer));
    log.push(17, &run(tracked));
    for (step, values) in tracked.steps() {
        let own = [item("_step", &step.to_string()), item("_timestamp", &tracked.ended.to_string())].into_iter();
        let items = own.chain(values.into_iter().map(|(name, value)| item(name, &number(value))));
        let history = items.fold(Message::default(), |history, item| history.message(1, &item));
        log.push(2, &history.message(2, &Message::default().number(1, step)));
    }
    let summary = tracked.metrics.iter().map(|(name, value)| item(name, &number(*value)));
    log.push(3, &summary.fold(Message::default(), |summary, item| summary.message(1, &item)));
    let runtime = tracked.ended.saturating_sub(tracked.began);
    log.push(18, &Message::default().number(1, u64::from(!tracked.has_passed)).number(2, runtime));
    log.file
}

/// Makes the `RunRecord`.
fn run(tracked: &Tracked<'_>) -> Message {
    let update = tracked.parameters.iter().map(|(key, value)| item(key, &value.to_string()));
    let config = update.fold(Message::default(), |config, item| config.message(1, &item));
    let links: Vec<String> = tracked.links.iter().map(|(name, url)| format!("{name}: {url}")).collect();
    Message::default()
        .text(1, tracked.id)
        // A project's name must not have a slash.
        .text(3, &tracked.repo.replace('/', "-"))
        .message(4, &config)
        .text(8, tracked.name)
        .text(9, &links.join("\n"))
        .message(17, &Message::default().number(1, tracked.began))
}

/// Makes an item of a history, a summary or a config, which all have the same form.
fn item(key: &str, value: &str) -> Message {
    Message::default().text(1, key).text(16, value)
}

/// Returns a number in Python's JSON, which has words for those that are not finite.
fn number(value: f64) -> String {
    match value {
        value if value.is_finite() => json!(value).to_string(),
        value if value.is_nan() => "NaN".to_owned(),
        value if value > 0.0 => "Infinity".to_owned(),
        _ => "-Infinity".to_owned(),
    }
}

struct Log {
    file: Vec<u8>,
    records: u64,
}

impl Log {
    /// Adds a record with a field of this number.
    fn push(&mut self, field: u32, content: &Message) {
        self.records += 1;
        let record = Message::default().number(1, self.records).message(field, content);
        let mut rest = record.as_bytes();
        let mut is_first = true;
        loop {
            let mut room = BLOCK - self.file.len() % BLOCK;
            if room < RECORD_HEAD {
                self.file.resize(self.file.len() + room, 0);
                room = BLOCK;
            }
            let (part, behind) = rest.split_at(rest.len().min(room - RECORD_HEAD));
            self.part(part, kind(is_first, behind.is_empty()));
            (rest, is_first) = (behind, false);
            if rest.is_empty() {
                return;
            }
        }
    }

    fn part(&mut self, data: &[u8], kind: u8) {
        let mut digest = CHECK.digest();
        digest.update(&[kind]);
        digest.update(data);
        self.file.extend_from_slice(&digest.finalize().to_le_bytes());
        // A part is shorter than a block.
        self.file.extend_from_slice(&(data.len() as u16).to_le_bytes());
        self.file.push(kind);
        self.file.extend_from_slice(data);
    }
}

fn kind(is_first: bool, is_last: bool) -> u8 {
    match (is_first, is_last) {
        (true, true) => FULL,
        (true, false) => FIRST,
        (false, false) => MIDDLE,
        (false, true) => LAST,
    }
}
