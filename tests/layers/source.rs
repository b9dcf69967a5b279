//! The source files, and the modules that they name.

use std::path::{Path, PathBuf};

/// The crates in the order of their layers.
pub const CRATES: [&str; 4] = ["crates/base/src", "crates/lora/src", "crates/travis/src", "src"];

/// A module, as it stands in a file.
pub struct Source {
    /// The folder of its crate, one of [`CRATES`].
    pub root: &'static str,
    /// The names that lead to it from the root of its crate.
    pub module: Vec<String>,
    pub file: PathBuf,
    pub text: String,
}

impl Source {
    /// Returns the layer that the module is in; `None` for the root of a crate that has several.
    pub fn layer(&self) -> Option<&str> {
        if self.root == "crates/lora/src" { Some("lora") } else { self.module.first().map(String::as_str) }
    }

    /// Returns the text without comments and unit tests.
    pub fn code(&self) -> String {
        code(&self.text)
    }

    /// Returns the layers that the module names, its own among them.
    pub fn layers(&self, order: &[String]) -> Vec<String> {
        let named = paths(&self.code(), &self.module).into_iter().filter_map(|path| path.into_iter().next());
        // A crate that is one layer names its own files, too.
        let is_file = |name: &String| self.root == "crates/lora/src" && !order.contains(name);
        named.filter(|name| !is_file(name)).collect()
    }

    pub fn is_test(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }
}

/// Returns all files with the extension `rs` in a folder of the repository.
pub fn files(folder: &str) -> Vec<PathBuf> {
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
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    found.sort();
    found
}

/// Returns the modules of all crates.
pub fn sources() -> Vec<Source> {
    let of_root = |root: &'static str| {
        let start = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        files(root).into_iter().filter(|file| !file.ends_with("src/main.rs")).map(move |file| {
            let module = module(file.strip_prefix(&start).unwrap());
            Source { root, module, text: std::fs::read_to_string(&file).unwrap(), file }
        })
    };
    CRATES.into_iter().flat_map(of_root).collect()
}

/// Returns the names that lead to the module in a file, from the root of its crate.
pub fn module(file: &Path) -> Vec<String> {
    let mut names: Vec<String> = file.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if matches!(names.last().map(String::as_str), Some("mod" | "lib")) {
        names.pop();
    }
    names
}

/// Returns the layers in order: the modules of all crates, each crate before those that depend on it.
pub fn order() -> Vec<String> {
    let modules = |root: &str| -> Vec<String> {
        let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join("lib.rs");
        let lib = std::fs::read_to_string(lib).unwrap();
        lib.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned())).collect()
    };
    let of_root = |root| if root == "crates/lora/src" { vec!["lora".to_owned()] } else { modules(root) };
    CRATES.into_iter().flat_map(of_root).collect()
}

/// Returns a text without comments and unit tests.
pub fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod ").next().unwrap();
    production.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Returns the paths in the code of `module` that begin with `crate`, `self` or `super`, as names from the root of the
/// crate.
pub fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            // The end of a longer name or path, or `$crate` of a macro.
            if code[..at].ends_with(|c: char| is_word(c) || c == ':' || c == '$') {
                continue;
            }
            let base = match start {
                "crate::" => &[],
                "self::" => module,
                _ => &module[..module.len().saturating_sub(1)],
            };
            collect(&code[at + start.len()..], base.to_vec(), &mut found);
        }
    }
    found
}

/// Adds the paths that a text begins with, below `base`: one, or those of a tree in braces. Returns their length.
fn collect(text: &str, mut base: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            while !text[at..].starts_with('}') {
                at += collect(&text[at..], base.clone(), found);
                // The rest of an item: `as other`.
                at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
                at += usize::from(text[at..].starts_with(','));
                at += text[at..].len() - text[at..].trim_start().len();
            }
            return at + 1;
        }
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += name.len();
        match name.as_str() {
            "self" => {}
            "super" => drop(base.pop()),
            _ => base.push(name),
        }
        match text[at..].strip_prefix("::") {
            Some(next) if next.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '{') => at += 2,
            _ => {
                found.push(base);
                return at;
            }
        }
    }
}
