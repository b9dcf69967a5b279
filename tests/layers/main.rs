//! The order of the modules, who may name what, and the form of the source tree. The order is that of the crates, and in
//! a crate that of its `lib.rs`.
#![allow(missing_docs, reason = "tests say what they are by their names")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod rings;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use rings::rings;
use source::{CRATES, Source, code, files, order, paths, sources};

/// Modules that name fewer layers than their place in the order lets them, with those that they may name.
const NARROW: [(&str, &[&str]); 5] = [
    ("lora", &["domain", "yaml"]),
    ("travis", &["domain", "yaml"]),
    ("gpu", &["domain"]),
    ("log_view", &["domain"]),
    ("git", &["child", "domain", "storage"]),
];
const PURE: [&str; 7] = ["domain", "yaml", "log_view", "lora", "travis", "plan", "gpu"];
/// Paths that pure code must not name.
const OUTSIDE: [&str; 9] =
    ["std::fs", "std::net", "std::env", "std::process", "tokio::", "Utc::now", "SystemTime", "Instant::now", "PgPool"];
/// The most source files in one folder.
const MAX_FILES: usize = 15;
/// The number of doc comments that may begin with a word of [`VAGUE`].
const MAX_VAGUE: usize = 10;
/// Words that a doc comment should not begin with: they put the subject at the end of the sentence, or into another one.
const VAGUE: [&str; 9] = ["What", "Who", "Which", "Whether", "Of", "That", "One", "It", "Those"];

#[test]
fn a_module_names_only_modules_before_it() {
    let order = order();
    let place =
        |module: &str| order.iter().position(|m| m == module).unwrap_or_else(|| panic!("{module} is in no lib.rs"));
    let mut seen = 0;
    for source in sources() {
        let Some(layer) = source.layer() else { continue };
        for name in source.layers(&order) {
            seen += 1;
            assert!(
                place(&name) <= place(layer),
                "{} is in the layer {layer} and names the later layer {name}",
                source.file.display()
            );
        }
    }
    assert!(seen > 500, "only {seen} paths were found: does the test still read them?");
}

#[test]
fn some_layers_name_only_a_few_others() {
    let order = order();
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let sources = sources();
    for source in &sources {
        let Some(layer) = source.layer() else { continue };
        named.entry(layer).or_default().extend(source.layers(&order).into_iter().filter(|name| name != layer));
    }
    for (layer, allowed) in NARROW {
        let more: Vec<_> = named[layer].iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(more.is_empty(), "{layer} names {more:?}");
    }
}

#[test]
fn paths_are_found_in_any_form() {
    let module = ["a".to_owned(), "b".to_owned()];
    let found = |code: &str| {
        let mut found: Vec<_> = paths(code, &module).into_iter().map(|path| path.join("::")).collect();
        found.sort();
        found
    };
    assert_eq!(found("use crate::{c::{self, D as E}, f::*};\nlet x = crate::g::h::<T>();"), ["c", "c::D", "f", "g::h"]);
    assert_eq!(
        found("use super::c;\npub(super) fn f(x: self::d::E, y: super::super::g::H) {}"),
        ["a::b::d::E", "a::c", "g::H"]
    );
    assert_eq!(found("use supercrate::x; $crate::y; other::self::z"), Vec::<String>::new());
    assert_eq!(found(&code("// crate::x\n#[cfg(test)]\nmod tests { use crate::y; }")), Vec::<String>::new());
}

#[test]
fn files_beside_each_other_form_no_ring() {
    let sources: Vec<Source> = sources().into_iter().filter(|source| !source.is_test()).collect();
    for root in CRATES {
        let of_root = sources.iter().filter(|source| source.root == root);
        let modules: Vec<_> = of_root.map(|source| (source.module.clone(), source.code())).collect();
        assert_eq!(rings(&modules), [], "in {root}, these modules of one folder name each other");
    }
}

#[test]
fn rings_are_found() {
    let found = |modules: &[(&str, &str)]| {
        let module = |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        rings(&modules.iter().map(|(path, code)| (module(path), (*code).to_owned())).collect::<Vec<_>>())
    };
    let ring = |folder: &str, names: &[&str]| (folder.to_owned(), names.iter().map(|n| (*n).to_owned()).collect());
    let long = [("m", ""), ("m::a", "use super::b::X;"), ("m::b", "crate::m::c::y()"), ("m::c", "use super::a;")];
    assert_eq!(found(&long), [ring("m", &["a", "b", "c"])]);
    let deep = [("a", ""), ("a::x", "use crate::b::Y;"), ("b", ""), ("b::y", "use crate::a::X;")];
    assert_eq!(found(&deep), [ring("", &["a", "b"])]);
    let parent = [("m", "use a::X;"), ("m::a", "use super::{Y, b};"), ("m::b", "use crate::m::Z;")];
    assert_eq!(found(&parent), []);
}

#[test]
fn paths_out_of_a_module_start_at_the_crate() {
    for source in sources().iter().filter(|source| !source.module.is_empty()) {
        for hidden in ["super::super", "trainyard_base::", "trainyard_lora::", "trainyard_travis::"] {
            assert!(!source.text.contains(hidden), "{} uses {hidden}, which hides a layer", source.file.display());
        }
    }
}

#[test]
fn each_outside_thing_has_one_module_that_names_it() {
    let kept = [
        ("octocrab::", "github"),
        ("bollard::", "executor"),
        ("object_store::", "storage"),
        ("Command::new(", "child"),
        ("child::command(\"git\"", "git"),
    ];
    let sources = sources();
    for (outside, keeper) in kept {
        let users: BTreeSet<_> = sources
            .iter()
            .filter(|source| !source.is_test() && source.text.contains(outside))
            .map(|source| source.layer())
            .collect();
        assert_eq!(users, BTreeSet::from([Some(keeper)]), "{outside} is named by {users:?}, not by {keeper} alone");
    }
}

#[test]
fn only_store_writes_rows() {
    let writes = |text: &str| {
        let write = r"(?i)\b(insert\s+into|delete\s+from|truncate\s+\w+|update\s+\w+\s+(as\s+\w+\s+|\w+\s+)?set)\b";
        Regex::new(write).unwrap().is_match(&code(text))
    };
    for sql in
        ["insert into job (id)", "UPDATE job\n   set state", "update job j set", "delete from log", "truncate log"]
    {
        assert!(writes(sql), "{sql}");
    }
    assert!(!writes("select id from job for update skip locked // insert into job"));
    let writers: BTreeSet<_> = sources()
        .iter()
        .filter(|source| writes(&source.text))
        .map(|source| source.layer().map(str::to_owned))
        .collect();
    assert_eq!(writers, BTreeSet::from([Some("store".to_owned())]));
}

#[test]
fn the_pure_layers_reach_for_nothing() {
    let reaches = |text: &str| OUTSIDE.into_iter().find(|outside| code(text).contains(outside));
    assert_eq!(reaches("let now = Utc::now();"), Some("Utc::now"));
    assert_eq!(reaches("// std::fs\n#[cfg(test)]\nmod tests { use std::env; }"), None);
    let sources = sources();
    for layer in PURE {
        assert!(sources.iter().any(|source| source.layer() == Some(layer)), "there is no {layer}");
    }
    for source in sources.iter().filter(|source| !source.is_test()) {
        if source.layer().is_none_or(|layer| PURE.contains(&layer)) {
            let reached = reaches(&source.text);
            assert!(reached.is_none(), "{} is pure and names {reached:?}", source.file.display());
        }
    }
}

#[test]
fn folders_are_small_and_modules_have_one_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for file in ["src", "crates", "tests"].into_iter().flat_map(files) {
        let folder = file.parent().unwrap().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        *folders.entry(folder).or_default() += 1;
        // `x.rs` beside `x/`: a module with others in it is `x/mod.rs`. Each test in `tests` is a crate of its own.
        let is_test = file.starts_with(root.join("tests"));
        assert!(is_test || !file.with_extension("").is_dir(), "{} belongs into its folder, as mod.rs", file.display());
    }
    folders.retain(|_, files| *files > MAX_FILES);
    assert!(folders.is_empty(), "more than {MAX_FILES} files: {folders:?}");
}

#[test]
fn doc_comments_begin_with_their_subject() {
    /// Returns the first line of each doc comment, without its marks.
    fn heads(text: &str) -> impl Iterator<Item = &str> {
        let doc = |line: &'_ str| line.trim_start().starts_with("///") || line.trim_start().starts_with("//!");
        let before = std::iter::once("").chain(text.lines());
        let first = text.lines().zip(before).filter(move |(line, before)| doc(line) && !doc(before));
        first.map(|(line, _)| line.trim_start().trim_start_matches(['/', '!', ' ']))
    }
    let is_vague = |head: &&str| VAGUE.contains(&head.split(|c: char| !c.is_alphanumeric()).next().unwrap());
    let vague = |text: &str| heads(text).filter(is_vague).count();
    assert_eq!(vague("//! What it is.\n\n/// Which one.\n/// Of a kind.\nfn f() {}\n    /// It.\n"), 3);
    assert_eq!(vague("//! The bell.\n// What for?\n/// Whatever\n"), 0);
    let found: usize = sources().iter().map(|source| vague(&source.text)).sum();
    assert!(found <= MAX_VAGUE, "{found} doc comments begin with one of {VAGUE:?}, more than {MAX_VAGUE}");
}
