//! Time of the plan of a `.travis.yml`: of all available real ones, and of the worst that were written for tests; and what
//! a child process adds to the plan of a push.

use std::path::{Path, PathBuf};
use std::time::Instant;

use trainyard::domain::Trigger;
use trainyard::plan::{CONFIG, Settings, SourceFile, plan};
use trainyard::planner::{Answer, Planner, Request};
use trainyard::travis::import::Imports;

use crate::support::hostile;
use crate::yard::program;
use crate::{Sides, median, report};

const RUNS: usize = 5;
/// Number of plans in a child, so that it is also replaced.
const PLANS: usize = 250;

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

/// Measures the plan of a push in a child that waits for it, and of a push whose child has to be started first.
pub async fn in_a_child() {
    let planner = Planner::new(program());
    planner.warm_up();
    let (mut ours, mut bare, mut cold) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..PLANS {
        ours.push(planned_by(&planner).await);
        let begin = Instant::now();
        planned(ECHO);
        bare.push(begin.elapsed().as_secs_f64());
        if run < RUNS {
            cold.push(planned_by(&Planner::new(program())).await);
        }
    }
    let Sides { ours, limit, spread, .. } = Sides::of(ours, bare);
    let what = format!("plan of a push in a child that waits ({spread} s), ms");
    report(&what, &millis(ours), &millis(limit), None, "at most 5 ms more than in process");
    report("plan of a push in a child that is started for it, ms", &millis(median(&mut cold).0), "", None, "");
}

const ECHO: &[u8] = b"language: shell\nscript: echo hello\n";

/// Returns the seconds that a planner takes for a small file.
async fn planned_by(planner: &Planner) -> f64 {
    let files = [SourceFile { path: CONFIG.to_owned(), text: ECHO.to_vec() }];
    let (trigger, settings) = (trigger(), Settings::default());
    let request = Request {
        trigger: &trigger,
        settings: &settings,
        files: &files,
        paths: &[CONFIG],
        changed: None,
        imports: Imports::new(),
    };
    let begin = Instant::now();
    let answer = planner.begin().ask(&request).await;
    assert!(matches!(answer, Ok(Answer::Planned(_))), "{answer:?}");
    begin.elapsed().as_secs_f64()
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
