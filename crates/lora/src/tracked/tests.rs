use serde_json::json;

use super::*;
use crate::series::{LogReader, from_file};

fn series(steps: u32) -> Series {
    let mut log = LogReader::new();
    for step in 1..=steps {
        log.feed(
            format!("{{'loss': {}, 'learning_rate': 0.0001, 'step': {step}}}\n", 1.0 / f64::from(step)).as_bytes(),
        );
    }
    log.series().clone()
}

fn with<T>(series: &Series, see: impl FnOnce(&Tracked<'_>) -> T) -> T {
    let metrics = BTreeMap::from([("eval/clip".to_owned(), 0.25)]);
    let parameters = [("lora_r".to_owned(), json!(16)), ("model\n# x".to_owned(), json!("a\nb"))];
    see(&Tracked {
        id: "abc-12-1",
        name: "acme/styles 12.2",
        repo: "acme/styles",
        parameters: &parameters,
        links: &[("job", "https://ci.example.org/acme/styles/builds/12/jobs/2".to_owned())],
        series,
        metrics: &metrics,
        has_passed: true,
        began: 1_800_000_000,
        ended: 1_800_000_600,
    })
}

#[test]
fn an_event_file_is_read_back_with_all_its_curves() {
    let series = series(40);
    let file = with(&series, |tracked| tracked.event_file());
    let read = from_file("events.out.tfevents.1.x", file.as_slice()).expect("an event file").expect("readable");
    assert_eq!((read.points.len(), read.steps_seen), (40, 40));
    assert!((read.points[39].value - 0.025).abs() < 1e-6);
    assert_eq!(read.other(Measure::LearningRate).len(), series.other(Measure::LearningRate).len());
    assert!((read.scalars["metrics/eval/clip"] - 0.25).abs() < 1e-9, "{:?}", read.scalars);
}

#[test]
fn a_transaction_log_is_read_back_with_all_its_curves() {
    let series = series(3000);
    let file = with(&series, |tracked| tracked.wandb_log());
    let read = from_file("wandb/run-1/run-abc.wandb", file.as_slice()).expect("a log").expect("readable");
    assert_eq!((read.steps_seen, read.points.len()), (3000, series.points.len()));
    assert_eq!(read.points, series.points);
    assert_eq!(read.scalars["train/learning_rate"], 0.0001);
    // A run that was killed leaves a part of a record, and a damaged disk anything.
    let cut = from_file("a.wandb", &file[..file.len() / 2]).expect("a log").expect("readable");
    assert!(cut.steps_seen > 1000 && cut.steps_seen < 2000, "{}", cut.steps_seen);
    let mut damaged = file.clone();
    damaged[40_000] ^= 1;
    assert!(from_file("a.wandb", damaged.as_slice()).expect("a log").is_ok());
    assert!(from_file("a.wandb", &file[1..]).expect("a name of a log").is_err());
}

#[test]
fn a_hostile_config_is_a_block_of_code_in_the_texts() {
    let text = with(&Series::default(), |tracked| String::from_utf8_lossy(&tracked.event_file()).into_owned());
    assert!(text.contains("    lora_r: 16\n    model # x: \"a\\nb\"\n"), "{text}");
}

/// Reads the parts of a transaction log, as LevelDB's description says. Returns the records.
fn records(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut records, mut open) = (7, Vec::new(), Vec::new());
    while at < file.len() {
        let room = (32 << 10) - at % (32 << 10);
        if room < 7 {
            assert!(file[at..at + room].iter().all(|byte| *byte == 0));
            at += room;
        }
        let length = usize::from(u16::from_le_bytes([file[at + 4], file[at + 5]]));
        let (kind, data) = (file[at + 6], &file[at + 7..at + 7 + length]);
        assert!(at % (32 << 10) + 7 + length <= 32 << 10, "a part lies in one block");
        open.extend_from_slice(data);
        if matches!(kind, 1 | 4) {
            records.push(std::mem::take(&mut open));
        }
        at += 7 + length;
    }
    assert!(open.is_empty());
    records
}

#[test]
fn a_transaction_log_has_a_record_for_each_step_and_long_ones_span_blocks() {
    let series = series(3000);
    let file = with(&series, |tracked| tracked.wandb_log());
    assert!(file.starts_with(b":W&B"));
    assert_eq!(records(&file).len(), 1 + 1 + series.points.len() + 1 + 1);
    let long = [("text".to_owned(), json!("x".repeat(100_000)))];
    let file = with(&series, |tracked| Tracked { parameters: &long, ..tracked.clone() }.wandb_log());
    assert!(records(&file)[1].len() > 100_000);
}

#[test]
fn numbers_that_are_not_finite_have_words() {
    let points = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let points = points.iter().zip(1..).map(|(value, step)| Point { step, value: *value }).collect();
    let file = with(&Series { points, ..Series::default() }, |tracked| tracked.wandb_log());
    let text = String::from_utf8_lossy(&file);
    assert!(["NaN", "Infinity", "-Infinity"].iter().all(|word| text.contains(word)));
}
