//! Traps in real files.

use trainyard::travis::normal::{Options, read};
use trainyard::travis::traps;

use crate::real::config;
use crate::support::corpus_dir;

/// A trap that is told of where none is, is worse than none: few real files have one.
#[test]
fn traps_in_real_files() {
    let Some(dir) = corpus_dir() else { return };
    let mut told = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.join("real")).expect("a folder") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a file of the corpus");
        let document = read(&text).expect("YAML");
        let (config, _) = config(&text, Options::PRODUCTION);
        files += 1;
        if let Some(root) = &document.root {
            told.extend(traps::traps(root, &config).into_iter().map(|trap| format!("{path:?} {}", trap.message)));
        }
    }
    println!("traps: {} in {files} real files: {told:#?}", told.len());
    assert!(told.len() * 50 <= files, "{told:#?}");
}
