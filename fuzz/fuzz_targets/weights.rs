//! The reader of weights: any bytes result in facts that fit them, or in a message.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use trainyard_lora::weights::{self, MAX_TENSORS};

fuzz_target!(|bytes: &[u8]| {
    match weights::inspect(bytes) {
        Ok(report) => {
            assert_eq!(report.bytes, bytes.len() as u64, "all of a file is hashed");
            assert!(report.tensors.len() <= MAX_TENSORS && report.modules.len() <= report.tensors.len());
            assert!(report.problems().iter().all(|problem| !problem.message.is_empty()));
            let itself = weights::compare(Cursor::new(bytes), Cursor::new(bytes)).expect("a file that could be read");
            assert!(itself.only_here.is_empty() && itself.only_in_base.is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
