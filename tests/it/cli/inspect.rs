//! `trainyard inspect`, as a person types it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Runs the command. Returns exit status, standard output and standard error.
fn said(arguments: &[&Path]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard")).arg("inspect").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Writes a file with one pair of rank 1 into a folder.
fn weights(folder: &Path, name: &str, up: [f32; 2], metadata: &Value) -> PathBuf {
    let header = json!({
        "__metadata__": metadata,
        "unet.mid_block.to_k.lora_A.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        "unet.mid_block.to_k.lora_B.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [8, 16]},
    });
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    [3.0, 4.0].iter().chain(&up).for_each(|number: &f32| bytes.extend(number.to_le_bytes()));
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn sound_weights_are_told_in_short() {
    let folder = tempfile::tempdir().unwrap();
    let file = weights(folder.path(), "a.safetensors", [1.0, 0.0], &json!({"modelspec.title": "ink \u{1b}[31m style"}));
    let (code, out, err) = said(&[&file]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for told in ["diffusers (PEFT), LoRA", "alpha     none in the file", "title     ink [31m style", "5.0000"] {
        assert!(out.contains(told), "{told}: {out}");
    }
    assert!(out.ends_with("1 module of U-Net, no problems\n") && !out.contains('\u{1b}'), "{out}");
}

#[test]
fn weights_without_training_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = weights(folder.path(), "a.safetensors", [0.0, 0.0], &json!({"ss_output_name": "/home/ada/out"}));
    let (code, out, _) = said(&[&file]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("nothing was learned") && out.contains("home folder of ada"), "{out}");
    assert!(out.ends_with("1 module of U-Net, 1 error, 1 warning\n"), "{out}");
    let (code, out, _) = said(&[&file, "--json".as_ref()]);
    let facts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &facts["problems"][0]["rule"]), (Some(1), &json!("weights-untrained")));
    assert_eq!(facts["problems"][0]["file"], json!(file));
    assert_eq!(facts["report"]["tensors"][0]["stats"]["norm"], json!(5.0));
}

#[test]
fn an_adapter_is_compared_with_the_config_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = weights(folder.path(), "adapter_model.safetensors", [1.0, 0.0], &json!({}));
    std::fs::write(folder.path().join("adapter_config.json"), r#"{"r": 16, "target_modules": ["to_k"]}"#).unwrap();
    let (code, out, _) = said(&[&file]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("adapter_config.json says r 16") && !out.contains("loads in"), "{out}");
    let other = weights(folder.path(), "other.safetensors", [1.0, 0.0], &json!({}));
    let (code, out, _) = said(&[&other]);
    assert!(code == Some(0) && out.contains("loads in  diffusers, ComfyUI"), "the config is of another file: {out}");
}

#[test]
fn two_files_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = weights(folder.path(), "a.safetensors", [1.0, 0.0], &json!({}));
    let base = weights(folder.path(), "b.safetensors", [1.0, 1.0], &json!({}));
    let (code, out, _) = said(&[&file, "--against".as_ref(), &base]);
    assert_eq!(code, Some(0));
    assert!(out.contains("Against the base, 1 of 1 module differ"), "{out}");
    let (_, out, _) = said(&[&file, "--against".as_ref(), &base, "--json".as_ref()]);
    let facts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(facts["against"]["modules"][0]["difference"], json!(1.0));
    let (code, out, _) = said(&[&file, "--against".as_ref(), &file]);
    assert!(code == Some(0) && out.contains("Against the base, 0 of 1 module differ"), "{out}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.safetensors");
    std::fs::write(&page, "<!DOCTYPE html><html>404</html>").unwrap();
    let (code, out, _) = said(&[&page]);
    assert!(code == Some(1) && out.contains("page.safetensors: error: this is a web page"), "{out}");
    let file = weights(folder.path(), "a.safetensors", [1.0, 0.0], &json!({}));
    let (code, out, _) = said(&[&file, "--against".as_ref(), &page]);
    assert!(code == Some(1) && out.contains("page.safetensors: error: this is a web page"), "{out}");
    let (code, _, err) = said(&["/nowhere/a.safetensors".as_ref()]);
    assert!(code == Some(1) && err.contains("cannot read /nowhere/a.safetensors"), "{err}");
    let (code, _, err) = said(&[folder.path()]);
    assert!(code == Some(1) && err.contains("cannot read"), "{err}");
    assert_eq!(said(&[]).0, Some(2), "a file must be given");
}
