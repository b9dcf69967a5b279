//! `trainyard lint`, as people and programs see it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

const TYPO: &str = "base_model: ./m.safetensors\ntrain_data_dir: ./data\nlora_rnak: 8\nepochs: 2\noutput_dir: ./out\n";

/// Runs the command in a folder with these files. Returns exit status, standard output and standard error.
fn lint(files: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    run(folder_with(files).path(), arguments)
}

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
    let output = command.arg("lint").args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_person_sees_the_line_and_what_to_do() {
    let files = [("configs/a.yaml", TYPO), (".travis.yml", "language: shell\nscirpt: x\n"), ("other.yaml", "a: b\n")];
    let (code, out, _) = lint(&files, &[]);
    let wanted = "\
.travis.yml:2:1: warning: the key `scirpt` is not known and is read as `script`: write `script` [find-key]
    scirpt: x
    ^
configs/a.yaml:3:1: error: train.py ignores the key lora_rnak and trains as if lora_rank were not given: did you mean lora_rank? [unknown-key]
    lora_rnak: 8
    ^
2 files checked: 1 error, 1 warning (2 can be mended with --fix)
";
    assert_eq!((code, out.as_str()), (Some(1), wanted));
}

#[test]
fn single_files_are_checked_as_a_hook_gives_them() {
    let good = TYPO.replace("lora_rnak", "lora_rank");
    let files = [("b.yaml", good.as_str()), ("a.yaml", TYPO), ("other.toml", "a = 1\n")];
    let (code, out, _) = lint(&files, &["b.yaml", "other.toml"]);
    assert_eq!((code, out.as_str()), (Some(0), "b.yaml checked: no problems\n"));
    assert_eq!(
        lint(&files, &["other.toml"]).1,
        "no training config, no command of a trainer and no .travis.yml was found\n"
    );
    assert_eq!(lint(&files, &["a.yaml"]).0, Some(1));
}

#[test]
fn programs_get_facts_in_their_formats() {
    let files = [("my configs/a.yaml", TYPO)];
    let (code, out, _) = lint(&files, &["--format", "json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    let wanted = json!({"severity": "error", "rule": "unknown-key", "file": "my configs/a.yaml", "line": 3, "column": 1,
        "key": "lora_rnak", "message": "train.py ignores the key lora_rnak and trains as if lora_rank were not given: did you mean lora_rank?",
        "fix": {"start": 51, "end": 60, "replacement": "lora_rank"}});
    assert_eq!((code, &found), (Some(1), &json!({"problems": [wanted], "estimates": []})));

    let sarif: Value = serde_json::from_str(&lint(&files, &["--format", "sarif"]).1).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "my%20configs/a.yaml");
    assert_eq!(place["region"], json!({"startLine": 3, "startColumn": 1}));
    let rule = &sarif["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(
        (&rule["id"], &rule["shortDescription"]["text"]),
        (&json!("unknown-key"), &json!("The trainer does not know a key."))
    );
    assert!(rule["help"]["markdown"].as_str().is_some_and(|help| help.contains("lora_rank: 8")), "{rule}");
    let change = &sarif["runs"][0]["results"][0]["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["artifactLocation"]["uri"], "my%20configs/a.yaml");
    let region = json!({"startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 10});
    assert_eq!(change["replacements"], json!([{"deletedRegion": region, "insertedContent": {"text": "lora_rank"}}]));

    let (_, github, _) = lint(&files, &["--format", "github"]);
    assert_eq!(
        github,
        "::error file=my configs/a.yaml,line=3,col=1,title=unknown-key::train.py ignores the key lora_rnak and trains as if lora_rank were not given: did you mean lora_rank?\n"
    );
}

#[test]
fn a_secret_is_in_no_output() {
    let token = format!("hf_{}", "a1B2".repeat(9));
    let config = format!("{TYPO}logging_dir: {token}\nseed: {token}\n");
    for format in ["text", "json", "sarif", "github"] {
        let (code, out, _) = lint(&[("a.yaml", &config)], &["--format", format]);
        assert!(code == Some(1) && out.contains("secret") && !out.contains(&token), "{format}: {out}");
    }
}

#[test]
fn a_path_that_is_not_there_is_a_wrong_command_line() {
    let (code, out, err) = lint(&[], &["nowhere"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err, "trainyard: there is no nowhere: name files or folders that exist\n");
}

#[test]
fn data_that_is_not_in_its_folder_is_told() {
    let config = TYPO.replace("lora_rnak", "lora_rank").replace("./data", "./data/20_style");
    let files = [("a.yaml", config.as_str()), ("data/10_style/1.txt", "x")];
    let (code, out, _) = lint(&files, &[]);
    assert!(
        code == Some(0)
            && out.contains("a.yaml:2:17: warning: train.py finds no 20_style in data, which train_data_dir names"),
        "{out}"
    );
}

#[test]
fn commands_that_start_trainers_are_told_on_their_lines() {
    let good = TYPO.replace("lora_rnak", "lora_rank");
    let files = [
        ("configs/a.yaml", good.as_str()),
        ("train.sh", "python sdxl_train_network.py \\\n  --netwrok_dim 8 \"$@\"\n"),
        (
            ".travis.yml",
            "language: shell\nscript:\n  - |\n    sh train.sh\n    llamafactory-cli train configs/b.yaml\n",
        ),
    ];
    let (code, out, _) = lint(&files, &["--format", "github"]);
    let places: Vec<&str> = out.lines().filter_map(|line| line.split("::").nth(1)).collect();
    let wanted = [
        "error file=.travis.yml,line=5,col=28,title=missing-file",
        "error file=train.sh,line=2,col=3,title=unknown-key",
    ];
    assert_eq!((code, places.as_slice()), (Some(1), wanted.as_slice()), "{out}");
}

#[test]
fn images_that_do_not_suit_the_resolution_are_told_by_their_beginnings() {
    let config = "pretrained_model_name_or_path = \"m\"\nnetwork_module = \"networks.lora\"\ntrain_data_dir = \"data\"\n\
                  output_dir = \"out\"\nmax_train_epochs = 3\ncaption_extension = \".txt\"\nresolution = 512\n";
    // A GIF of 32x32 pixels, one of 512x512, and a text, all larger than the beginnings that are read.
    let [small, large, text] =
        ["GIF89a \0 \0", "GIF89a\0\x02\0\x02", "<html>"].map(|begin| format!("{begin}{}", "x".repeat(100_000)));
    let images = [("data/9_ink/1.bmp", &small), ("data/9_ink/2.bmp", &large), ("data/9_ink/3.bmp", &text)];
    let captions = ["data/9_ink/1.txt", "data/9_ink/2.txt", "data/9_ink/3.txt"].map(|path| (path, "ink"));
    let files: Vec<(&str, &str)> = images.iter().map(|(path, bytes)| (*path, bytes.as_str())).chain(captions).collect();
    let (code, out, _) = lint(&[files.as_slice(), &[("a.toml", config)]].concat(), &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("cannot open files in data that are not images: 9_ink/3.bmp"), "{out}");
    assert!(out.contains("for the resolution 512x512: 9_ink/1.bmp (32x32, 16 times); replace"), "{out}");
}

#[test]
fn without_an_answer_the_mends_are_shown_and_nothing_is_written() {
    let folder = folder_with(&[("a.yaml", TYPO), ("b.yaml", &TYPO.replace("rnak", "rank"))]);
    let (code, out, err) = run(folder.path(), &["--fix"]);
    let wanted = "--- a.yaml\n+++ a.yaml\n@@ -1,5 +1,5 @@\n base_model: ./m.safetensors\n train_data_dir: ./data\n\
                  -lora_rnak: 8\n+lora_rank: 8\n epochs: 2\n output_dir: ./out\na.yaml:3:1: error: ";
    assert!(code == Some(1) && out.starts_with(wanted), "{out}");
    assert!(err.contains("nothing was written") && err.contains("--yes"), "{err}");
    assert_eq!(std::fs::read_to_string(folder.path().join("a.yaml")).unwrap(), TYPO);
}

#[test]
fn mends_are_written_with_all_other_bytes_as_they_were() {
    let text = "# Style\r\nbase_model:  './m' # ours\ntrain_data_dir: ./data\n\nlora_rnak: 8\nmixed_precisoin: BF16 # fast\n\
                epochs: 2\noutput_dir: ./out";
    let travis = "language: pyhton\n# first\nbefore-script: ls\nscirpt: make\n";
    let folder = folder_with(&[("configs/a.yaml", text), (".travis.yml", travis), ("other.yaml", "lora_rnak: 1\n")]);
    let path = folder.path().join("configs/a.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (code, out, err) = run(folder.path(), &["--fix", "--yes"]);
    assert!(code == Some(0) && out.ends_with("2 files checked: no problems\n"), "{out}{err}");
    let right = text.replace("rnak", "rank").replace("precisoin: BF16", "precision: bf16");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), right);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let travis = std::fs::read_to_string(folder.path().join(".travis.yml")).unwrap();
    assert_eq!(travis, "language: python\n# first\nbefore_script: ls\nscript: make\n");
    assert_eq!(std::fs::read_to_string(folder.path().join("other.yaml")).unwrap(), "lora_rnak: 1\n");
    // A second time there is nothing to do.
    let (code, out, _) = run(folder.path(), &["--fix"]);
    assert_eq!((code, out.as_str()), (Some(0), "2 files checked: no problems\n"));
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a file was left behind");
}

#[test]
fn a_link_out_of_the_folder_is_not_written_through() {
    let folder = folder_with(&[("out/a.yaml", TYPO), ("in/b.txt", "")]);
    symlink("../out/a.yaml", folder.path().join("in/a.yaml")).unwrap();
    let (code, _, err) = run(folder.path(), &["--fix", "--yes", "in/a.yaml"]);
    assert!(code == Some(1) && err.contains("is a link to"), "{err}");
    assert_eq!(std::fs::read_to_string(folder.path().join("out/a.yaml")).unwrap(), TYPO);
}

#[test]
fn a_secret_beside_a_mend_is_not_shown() {
    let token = format!("hf_{}", "a1B2".repeat(9));
    let (_, out, _) = lint(&[("a.yaml", &format!("{TYPO}logging_dir: {token}\n"))], &["--fix"]);
    assert!(out.contains("+lora_rank: 8") && !out.contains(&token), "{out}");
}

#[test]
fn a_rule_is_explained_by_its_name() {
    let (code, out, _) = lint(&[], &["--explain", "camel-case"]);
    assert!(code == Some(0) && out.starts_with("camel-case\n") && out.contains("trainDataDir"), "{out}");
    let (code, out, _) = lint(&[], &["--explain"]);
    assert!(code == Some(0) && out.lines().count() > 80 && out.contains("find-key"), "{out}");
    let (code, _, err) = lint(&[], &["--explain", "unknwon-key"]);
    assert!(code == Some(2) && err.contains("did you mean unknown-key"), "{err}");
}
