//! Text that Postgres takes.

/// Replaces NUL, which Postgres refuses in text; files of a repository may hold it.
pub fn pg_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
