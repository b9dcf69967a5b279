//! `trainyard inspect` of a large file: its speed against `sha256sum`, and its memory.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::memory::peak;
use crate::yard::program;
use crate::{median, report};

const RUNS: usize = 5;
/// Number of modules in the file, each with two matrices of 16 x 32768 numbers in f16: 2 MiB.
const MODULES: usize = 512;
const RANK: usize = 16;
const SIDE: usize = 32_768;

pub fn inspected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.safetensors");
    write(&file);
    let megabytes = std::fs::metadata(&file).unwrap().len() as f64 / 1e6;
    let (mut ours, mut limit, mut most) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let begin = Instant::now();
        let mut inspect = Command::new(program());
        let mut inspect = inspect.arg("inspect").arg(&file).stdout(Stdio::null()).spawn().unwrap();
        let status = loop {
            most = most.max(peak(inspect.id()));
            if let Some(status) = inspect.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(status.success(), "the file is sound");
        ours.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        assert!(Command::new("sha256sum").arg(&file).stdout(Stdio::null()).status().unwrap().success());
        limit.push(begin.elapsed().as_secs_f64());
    }
    let mut ratios: Vec<f64> = ours.iter().zip(&limit).map(|(ours, limit)| limit / ours).collect();
    let ((ours, spread), (limit, _), (ratio, _)) = (median(&mut ours), median(&mut limit), median(&mut ratios));
    let what = format!("inspect of {megabytes:.0} MB, s ({RUNS} runs, {spread}); speed");
    report(&what, &format!("{ours:.2}"), &format!("{limit:.2}"), Some(ratio), "at least 0.8 of sha256sum");
    report("  its memory at most, MB", &format!("{:.0}", most as f64 / 1e3), "", None, "under 64");
}

fn write(path: &Path) {
    let bytes = RANK * SIDE * 2;
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for module in 0..MODULES {
        for (part, shape) in [("down", [RANK, SIDE]), ("up", [SIDE, RANK])] {
            let name = format!("unet.down_blocks.{module}.attn1.to_k.lora.{part}.weight");
            let tensor = serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [at, at + bytes]});
            header.insert(name, tensor);
            at += bytes;
        }
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    // Numbers near 0.01 with a counter as the mantissa: valid weights, and nothing that a disk could compress away.
    let mut seed = 1_u32;
    let mut tensor = vec![0_u8; bytes];
    for _ in 0..MODULES * 2 {
        for number in tensor.chunks_exact_mut(2) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number.copy_from_slice(&(0x2000 | (seed >> 22) as u16).to_le_bytes());
        }
        file.write_all(&tensor).unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
}
