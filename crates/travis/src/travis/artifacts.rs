//! The addon `artifacts`: the files of a job that are kept (travis-build addons/artifacts).

use serde_json::Value as Json;

use super::matrix::Config;

/// Keys of the addon that have an effect here.
pub const KEYS: [&str; 3] = ["enabled", "paths", "working_dir"];
/// Paths to keep without `paths`, as on Travis: the files that git does not track.
const UNTRACKED: &str = r#"$(git ls-files -o | tr "\n" ":")"#;

/// The files that a job asks to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Lists of paths with colons between them, which bash expands.
    pub paths: Vec<String>,
    /// Folder, below the checkout, where relative paths start.
    pub working_dir: Option<String>,
}

/// Returns the files that a job's config asks to keep, or `None` when there are none.
pub fn wanted(config: &Config) -> Option<Wanted> {
    let addon = config.get("addons")?.get("artifacts")?;
    if addon == &Json::Bool(true) {
        return Some(Wanted { paths: vec![UNTRACKED.to_owned()], working_dir: None });
    }
    let addon = addon.as_object()?;
    if addon.get("enabled") == Some(&Json::Bool(false)) {
        return None;
    }
    let named: Vec<String> = match addon.get("paths") {
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        Some(Json::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    let named: Vec<String> = named.into_iter().filter(|path| !path.trim().is_empty()).collect();
    let paths = if named.is_empty() { vec![UNTRACKED.to_owned()] } else { named };
    let working_dir = addon.get("working_dir").and_then(Json::as_str).filter(|folder| !folder.trim().is_empty());
    Some(Wanted { paths, working_dir: working_dir.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(addon: &Json) -> Option<Wanted> {
        wanted(json!({ "addons": { "artifacts": addon } }).as_object().unwrap())
    }

    #[test]
    fn paths_are_what_is_named_and_else_what_git_does_not_know() {
        let found = of(&json!({"paths": ["out/*.safetensors", " "], "working_dir": "train", "bucket": "x"})).unwrap();
        assert_eq!(
            found,
            Wanted { paths: vec!["out/*.safetensors".to_owned()], working_dir: Some("train".to_owned()) }
        );
        for untracked in [json!(true), json!({}), json!({"enabled": true}), json!({"paths": []})] {
            assert_eq!(of(&untracked).unwrap().paths, [UNTRACKED], "{untracked}");
        }
        for nothing in [json!(false), json!(null), json!({"enabled": false, "paths": ["x"]})] {
            assert_eq!(of(&nothing), None, "{nothing}");
        }
    }
}
