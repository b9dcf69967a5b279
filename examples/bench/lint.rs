//! The lint as a process: over the real and broken configs, compared with other programs that a team could run over
//! them; and over a folder of many files, compared with reading them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::yard::program;
use crate::{Sides, median, report};

const RUNS: usize = 7;
const FILES: usize = 2_000;
/// Other programs that check configs: the first with a schema, the second with its usual rules.
const PEERS: [&str; 2] = ["check-jsonschema", "yamllint"];

pub fn as_a_process() {
    let shared = crate::planning::shared().join("lora");
    let folders = [shared.join("configs")];
    if !folders[0].is_dir() {
        return report("lint of the configs", "absent", "", None, "under 150 ms");
    }
    let files = configs(&folders[0]);
    let peers = peers();
    let (mut ours, mut others) = (Vec::new(), vec![Vec::new(); PEERS.len()]);
    for _ in 0..RUNS {
        ours.push(seconds(Command::new(program()).arg("lint").args(&files).arg("--format=json")));
        for (index, peer) in PEERS.iter().enumerate() {
            let Some(folder) = &peers else { continue };
            let mut command = Command::new(folder.path().join("bin").join(peer));
            match *peer {
                "yamllint" => command.args(files.iter().filter(|file| is_yaml(file))),
                _ => {
                    let schema = shared.join("schema/axolotl.schema.json");
                    command.arg("--schemafile").arg(schema).args(files.iter().filter(|file| is_yaml(file)))
                }
            };
            others[index].push(seconds(&mut command));
        }
    }
    let (ours, spread) = median(&mut ours);
    let what = format!("lint of {} configs as a process, ms ({RUNS} runs, {spread})", files.len());
    report(&what, &format!("{:.0}", ours * 1e3), "", None, "under 150 ms");
    for (peer, times) in PEERS.iter().zip(&mut others) {
        if times.is_empty() {
            report(&format!("  beside it {peer}"), "", "absent", None, "from PyPI");
            continue;
        }
        let (theirs, _) = median(times);
        let what = format!("  beside it {peer}, of the YAML files among them");
        report(&what, "", &format!("{:.0}", theirs * 1e3), Some(ours / theirs), "");
    }
}

/// Measures a folder of as many files as a plan reads: configs, scripts and pages with commands, and others.
pub fn of_many_files() {
    const CONFIG: &str = "base_model: a/b\ndatasets:\n  - {path: x, type: alpaca}\nadapter: lora\nlora_r: 8\n\
                          micro_batch_size: 1\ngradient_accumulation_steps: 1\nlearning_rate: 0.0002\n";
    const ARGUMENTS: &str = "pretrained_model_name_or_path = \"m\"\nnetwork_module = \"networks.lora\"\n\
                             train_data_dir = \"d\"\nresolution = \"512\"\noutput_dir = \"o\"\n";
    const COMMAND: &str = "RANK=32\naccelerate launch sdxl_train_network.py --pretrained_model_name_or_path m \\\n  \
                           --train_data_dir d --resolution 512 --output_dir o --network_module networks.lora \\\n  \
                           --network_dim $RANK --learning_rate 1e-4\n";
    let folder = tempfile::tempdir().unwrap();
    for n in 0..FILES {
        let (kind, text) = match n % 10 {
            0..=2 => ("yaml", CONFIG.to_owned()),
            3 | 4 => ("toml", ARGUMENTS.to_owned()),
            5 => ("json", "{\"a\": [1, 2, 3]}\n".to_owned()),
            6 | 7 => ("sh", COMMAND.to_owned()),
            8 => ("md", format!("# Training\n\n```bash\n{COMMAND}```\n")),
            _ => ("txt", "a photo of a cat\n".to_owned()),
        };
        let place = folder.path().join(format!("run{}", n / 100));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(format!("{n}.{kind}")), text).unwrap();
    }
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(seconds(Command::new(program()).arg("lint").arg(folder.path()).arg("--format=json")));
        limit.push(seconds(Command::new("find").arg(folder.path()).args(["-type", "f", "-exec", "cat", "{}", "+"])));
    }
    let sides = Sides::of(ours, limit);
    let what = format!("lint of {FILES} files as a process, ms ({RUNS} runs, {}); reading them", sides.spread);
    let milliseconds = |seconds: f64| format!("{:.0}", seconds * 1e3);
    report(&what, &milliseconds(sides.ours), &milliseconds(sides.limit), Some(sides.ratio), "at most 150 ms");
}

/// Lists all files of the corpus, in the folder and in `broken` in it, except those that describe the corpus.
fn configs(folder: &Path) -> Vec<PathBuf> {
    let listed =
        [folder.to_owned(), folder.join("broken")].into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let paths = listed.flatten().flatten().map(|entry| entry.path());
    let is_config = |path: &PathBuf| {
        path.extension().is_some_and(|end| ["yaml", "yml", "toml", "json"].iter().any(|known| end == *known))
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_config).collect();
    paths.sort();
    paths
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

/// Installs the other programs into a folder. Returns `None` when that is not possible.
fn peers() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let quietly = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let made = quietly(Command::new("python3").args(["-m", "venv"]).arg(folder.path()));
    let pip = folder.path().join("bin/pip");
    (made && quietly(Command::new(pip).args(["install", "--quiet"]).args(PEERS))).then_some(folder)
}

fn seconds(command: &mut Command) -> f64 {
    let begin = Instant::now();
    // Its findings do not matter: the corpus has broken files on purpose.
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program runs");
    begin.elapsed().as_secs_f64()
}
