//! The addon `artifacts`: which files of a job are kept (travis-build addons/artifacts).

use serde_json::Value as Json;

use super::matrix::Config;

/// Keys of the addon that mean something here.
pub const KEYS: [&str; 3] = ["enabled", "paths", "working_dir"];
/// What is kept without `paths`, as on Travis: what git does not know.
const UNTRACKED: &str = r#"$(git ls-files -o | tr "\n" ":")"#;

/// What a job wants kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Lists of paths with colons between them, as bash shall expand them.
    pub paths: Vec<String>,
    /// Where relative ones start, below the checkout.
    pub working_dir: Option<String>,
}

/// What a job's config wants kept; None when that is nothing.
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
