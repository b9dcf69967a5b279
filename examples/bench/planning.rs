//! Time of the plan of a `.travis.yml`: of all available real ones, and of the worst that were written for tests.

use std::path::{Path, PathBuf};
use std::time::Instant;

use trainyard::domain::Trigger;
use trainyard::plan::{CONFIG, Settings, SourceFile, plan};
use trainyard::travis::import::Imports;

use crate::hostile;
use crate::{median, report};

const RUNS: usize = 5;

pub fn real_and_hostile() {
    let real = real();
    if real.is_empty() {
        report("planning all real files", "absent", "", None, "at most 1 s");
    } else {
        let took = seconds(|| real.iter().for_each(|text| planned(text)));
        report(&format!("planning all {} real files, ms", real.len()), &millis(took), "", None, "at most 1000");
    }
    let hostile = hostile::all().into_iter().map(|file| (seconds(|| planned(file.text.as_bytes())), file));
    if let Some((took, file)) = hostile.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        let end = file.rule.unwrap_or("planned");
        let what = format!("planning the worst hostile file ({}: {end}), ms", file.name);
        report(&what, &millis(took), "", None, "at most 50");
    }
}

fn millis(seconds: f64) -> String {
    format!("{:.1}", seconds * 1e3)
}

/// Returns the median time of some runs. One run before them loads the table.
fn seconds(work: impl Fn()) -> f64 {
    work();
    let mut took: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begin = Instant::now();
            work();
            begin.elapsed().as_secs_f64()
        })
        .collect();
    median(&mut took).0
}

/// Returns the folder with data that is not part of the project.
pub fn shared() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("TRAINYARD_SHARED").map_or(beside, PathBuf::from)
}

fn real() -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(shared().join("travis/corpus/real")).into_iter().flatten().flatten();
    files.map(|file| std::fs::read(file.path()).unwrap()).collect()
}

fn planned(text: &[u8]) {
    let files = [SourceFile { path: CONFIG.to_owned(), text: text.to_vec() }];
    std::hint::black_box(plan(&files, &Imports::new(), &trigger(), &Settings::default()));
}

fn trigger() -> Trigger {
    let sha = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    Trigger {
        message: Some("Train longer".to_owned()),
        sender: Some("alice".to_owned()),
        ..Trigger::push("acme/styles".parse().unwrap(), "main", sha)
    }
}
