//! Paths of this server to which a login returns.

use url::{Position, Url};

/// Maximum length of a path, in bytes.
const MAX_PATH: usize = 2000;

/// Returns a path of this server, as a browser understands the text; the first page for anything else.
pub(super) fn own_path(text: &str) -> String {
    let first = || "/".to_owned();
    let is_plain = |c: char| !c.is_control() && c != '\\';
    if text.len() > MAX_PATH || !text.starts_with('/') || text.starts_with("//") || !text.chars().all(is_plain) {
        return first();
    }
    let Ok(base) = Url::parse("https://here.invalid/") else { return first() };
    match base.join(text) {
        Ok(url) if url.origin() == base.origin() && !url.path().starts_with("//") && !is_login(url.path()) => {
            url[Position::BeforePath..Position::AfterQuery].to_owned()
        }
        _ => first(),
    }
}

/// Returns true for a page that would lead a person who has just logged in to the login again.
fn is_login(path: &str) -> bool {
    path == "/logout" || path == "/login" || path.starts_with("/login/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_returns_to_this_server_alone() {
        for ours in ["/", "/logan/login", "/acme/styles/builds/1?x=y", "/a%20b"] {
            assert_eq!(own_path(ours), ours);
        }
        for other in [
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example/",
            "\\\\evil.example",
            "/\t/evil.example/",
            "/\n/evil.example",
            "javascript:alert(1)",
            "evil.example",
            "",
            "/login",
            "/login/github",
            "/logout",
            "/.//evil.example/",
        ] {
            assert_eq!(own_path(other), "/", "{other:?}");
        }
    }
}
