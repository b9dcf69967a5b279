//! `trainyard mock`, as a person types it.

use std::path::Path;
use std::process::Command;

/// Runs the command. Returns exit status, standard output and standard error.
fn said(kind: &str, folder: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard")).arg("mock").arg(kind).arg(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_made_is_told_and_there() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, path, size) in [
        ("stable-diffusion", "unet/diffusion_pytorch_model.safetensors", "1.2 MiB"),
        ("sdxl", "text_encoder_2/model.safetensors", "KiB"),
        ("flux", "tokenizer_2/tokenizer.json", "KiB"),
        ("llama", "tokenizer.json", "KiB"),
        ("file", "model.safetensors", "192 B"),
        ("images", "1_smoke/image_01.png", "B"),
        ("text", "dataset_info.json", "B"),
    ] {
        let below = folder.path().join("new").join(kind);
        let (code, out, err) = said(kind, &below);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{kind}");
        let line = out.lines().find(|line| line.ends_with(path)).unwrap_or_else(|| panic!("{path}: {out}"));
        assert!(line.contains(size) && below.join(path).is_file(), "{line}");
        assert!(out.lines().last().unwrap().contains(" written, "), "{out}");
    }
}

#[test]
fn what_is_there_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metadata.csv");
    std::fs::write(&file, "mine").unwrap();
    let (code, out, err) = said("images", folder.path());
    assert!(code == Some(1) && out.is_empty() && err.contains("metadata.csv exists already"), "{err}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else was written");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn an_unknown_kind_is_told_with_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = said("flux2", folder.path());
    assert!(code == Some(2) && err.contains("stable-diffusion") && err.contains("llama"), "{err}");
}
