//! The order of the modules, and the dependencies that it allows. The order is that of `src/lib.rs`.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::path::{Path, PathBuf};

/// Lists every source file with the name of its top-level module.
fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut sources = Vec::new();
    for root in ["crates/base/src", "crates/lora/src", "crates/travis/src", "src"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut files = Vec::new();
        walk(&root, &mut files);
        for file in files {
            let relative = file.strip_prefix(&root).unwrap();
            let module = match relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs") {
                _ if root.ends_with("lora/src") => "lora",
                "lib" | "main" => continue,
                module => module,
            };
            let text = std::fs::read_to_string(&file).unwrap();
            sources.push((module.to_owned(), file, text));
        }
    }
    sources
}

/// The modules of all crates, each crate before those that depend on it.
fn order() -> Vec<String> {
    let modules = |lib: &str| -> Vec<String> {
        let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(lib)).unwrap();
        lib.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned())).collect()
    };
    let lora = vec!["lora".to_owned()];
    [modules("crates/base/src/lib.rs"), lora, modules("crates/travis/src/lib.rs"), modules("src/lib.rs")].concat()
}

/// Lists the top-level modules that a text names by `crate::`, also in `use crate::{a, b::c}`.
fn named(text: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    names.push(word(&list[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn a_module_names_only_modules_below_it() {
    let order = order();
    let place =
        |module: &str| order.iter().position(|m| m == module).unwrap_or_else(|| panic!("{module} is in no lib.rs"));
    let mut seen = 0;
    for (module, file, text) in sources() {
        for name in named(&text) {
            // A crate that is one module names its own files, too.
            if module == "lora" && !order.contains(&name) {
                continue;
            }
            seen += 1;
            assert!(
                place(&name) <= place(&module),
                "{} is in the layer {module} and names the higher layer {name}",
                file.display()
            );
        }
    }
    assert!(seen > 50, "only {seen} paths were found: does the test still read them?");
}

#[test]
fn paths_out_of_a_module_start_at_the_crate() {
    for (_, file, text) in sources() {
        assert!(!text.contains("super::super"), "{} uses super::super, which hides a layer", file.display());
    }
}

#[test]
fn each_outside_thing_has_one_module_that_names_it() {
    let kept = [
        ("octocrab::", "github"),
        ("bollard::", "executor"),
        ("object_store::", "storage"),
        ("Command::new(\"git\")", "git"),
    ];
    for (outside, archiver) in kept {
        let users: Vec<String> =
            sources().into_iter().filter(|(_, _, text)| text.contains(outside)).map(|(module, ..)| module).collect();
        assert!(!users.is_empty(), "nobody names {outside}");
        assert!(
            users.iter().all(|module| module == archiver),
            "{outside} is named by {users:?}, not by {archiver} alone"
        );
    }
}

#[test]
fn the_pure_layers_reach_for_nothing() {
    for (module, file, text) in sources() {
        if !["domain", "yaml", "lora", "travis", "plan", "gpu", "log_view"].contains(&module.as_str()) {
            continue;
        }
        let production = text.split("#[cfg(test)]").next().unwrap();
        if file.ends_with("tests.rs") {
            continue;
        }
        for reach in ["std::fs", "std::net", "std::env", "tokio::", "Utc::now", "SystemTime", "Instant::now", "PgPool"]
        {
            assert!(!production.contains(reach), "{} is pure and names {reach}", file.display());
        }
    }
}
