//! The key `branches` (travis-core request/branches.rb; the current code is not public).

use serde_json::Value as Json;

use super::condition;

/// Branches from which pages are published. They hold nothing to build.
const PAGES: [&str; 2] = ["gh-pages", "gh_pages"];

/// Maximum number of branches and patterns that may be named: each pattern is compiled.
const MAX_PATTERNS: usize = 200;

/// Checks that a branch or tag is built.
///
/// # Errors
/// The reason, when the branch or tag is not built.
pub fn builds(branches: Option<&Json>, name: &str) -> Result<(), String> {
    let list = |key: &str| branches.and_then(|branches| branches.get(key)).and_then(Json::as_array);
    let names = |list: &Vec<Json>| list.iter().filter_map(Json::as_str).any(|pattern| is_named(pattern, name));
    let patterns = ["only", "except"].iter().filter_map(|key| list(key)).map(Vec::len).sum::<usize>();
    if patterns > MAX_PATTERNS {
        return Err(format!(
            "`branches` names {patterns} branches, but at most {MAX_PATTERNS} are checked: name fewer"
        ));
    }
    let only = list("only").filter(|only| !only.is_empty());
    if only.is_some_and(|only| !names(only)) {
        return Err(format!("`branches: only:` does not name {name}"));
    }
    if list("except").is_some_and(names) {
        return Err(format!("`branches: except:` names {name}"));
    }
    if only.is_none() && PAGES.contains(&name) {
        return Err(format!("{name} is built only when `branches: only:` names it"));
    }
    Ok(())
}

/// Returns true if an item names the branch: `/…/` is a regular expression, any other item must equal the name.
fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('/').and_then(|inner| inner.strip_suffix('/')) {
        Some(regex) => condition::is_match(regex, name).unwrap_or(false),
        None => pattern.split(',').any(|pattern| pattern.trim() == name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_except_and_pages() {
        let only = json!({"only": ["main", "/^v\\d/"]});
        assert_eq!(builds(Some(&only), "main"), Ok(()));
        assert_eq!(builds(Some(&only), "v1.2"), Ok(()));
        assert!(builds(Some(&only), "mainline").is_err());
        let except = json!({"except": ["/^tmp/"]});
        assert!(builds(Some(&except), "tmp-1").is_err());
        assert_eq!(builds(Some(&except), "main"), Ok(()));
        let many = json!({"only": vec!["/a/"; MAX_PATTERNS + 1]});
        assert!(builds(Some(&many), "a").is_err_and(|why| why.contains("name fewer")));
        assert!(builds(None, "gh-pages").is_err());
        assert_eq!(builds(Some(&json!({"only": ["gh-pages"]})), "gh-pages"), Ok(()));
    }
}
