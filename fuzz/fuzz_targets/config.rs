//! Training configs and commands: any bytes in any format are linted twice with the same result, or are none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_lora::parameters::{Parameters, parameters};
use trainyard_lora::{Repository, lint};

fuzz_target!(|bytes: &[u8]| {
    for path in
        ["configs/a.yaml", "configs/a.toml", "configs/a.json", "a.sh", "a.bat", "Makefile", "a.md", ".travis.yml"]
    {
        let Some(linted) = lint(path, bytes, &Repository::default()) else { continue };
        let lines = u32::try_from(bytes.split(|byte| matches!(byte, b'\n' | b'\r')).count()).expect("few lines");
        for problem in &linted.problems {
            assert!(!problem.message.is_empty() && problem.file.as_deref() == Some(path));
            assert!(problem.line.is_none_or(|line| line <= lines + 1), "{problem:?} is behind the end");
        }
        assert_eq!(lint(path, bytes, &Repository::default()), Some(linted));
        let Parameters { all, .. } = parameters(path, bytes, &[]);
        assert!(all.len() <= 500 && all.iter().all(|(_, value)| value.to_string().len() <= 500));
    }
});
