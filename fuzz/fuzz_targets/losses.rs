//! Losses of a log: any bytes result in the same series, within its bounds, wherever the pieces are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_lora::series::{LogReader, MAX_POINTS, Series, trend};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Series {
    let mut reader = LogReader::new();
    pieces.for_each(|piece| reader.feed(piece));
    reader.finish();
    reader.series().clone()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, log) = input;
    let series = read(std::iter::once(log));
    assert!(series.points.len() <= MAX_POINTS);
    assert!(series.points.windows(2).all(|pair| pair[0].step < pair[1].step), "steps do not grow");
    assert!(series.points.is_empty() || series.source.is_some());
    let _ = trend(&series);
    let json = serde_json::to_string(&series).expect("JSON has a form for each value");
    let in_pieces = read(log.chunks(usize::from(size).max(1)));
    assert_eq!(serde_json::to_string(&in_pieces).expect("JSON"), json);
    let back: Series = serde_json::from_str(&json).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&back).expect("JSON"), json);
});
