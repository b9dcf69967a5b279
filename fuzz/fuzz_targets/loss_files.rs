//! Files with losses: any bytes result in a series within its bounds, or in a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_lora::series::{MAX_POINTS, from_file};

const NAMES: [&str; 3] = ["trainer_log.jsonl", "trainer_state.json", "events.out.tfevents.1.host"];

/// Computes the masked CRC-32C of TensorBoard, bit by bit.
fn check(bytes: &[u8]) -> [u8; 4] {
    let bit = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)));
    (!sum).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn read(name: &str, bytes: &[u8]) {
    match from_file(name, bytes).expect("a known name") {
        Ok(series) => {
            assert!(series.points.len() <= MAX_POINTS);
            assert!(series.scalars.len() <= 1000 && series.scalars.keys().all(|name| name.len() <= 200));
            assert!(series.points.windows(2).all(|pair| pair[0].step < pair[1].step), "steps do not grow");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    NAMES.iter().for_each(|name| read(name, bytes));
    // Valid checksums, which no mutation would find.
    let length = (bytes.len() as u64).to_le_bytes();
    read(NAMES[2], &[&length[..], &check(&length), bytes, &check(bytes)].concat());
});
