//! States, times and links as a page shows them. A state has a colour, a shape and a word, so that it can be read
//! without any one of them.

use std::fmt;
use std::time::Duration;

use askama::filters::HtmlSafe;
use chrono::{DateTime, SecondsFormat, Utc};
use url::Url;

use crate::domain::{BuildState, GpuState, JobState, Severity, Verdict, in_words};

/// Mark of a state. Its `Display` is HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Class in the stylesheet, which gives the colour.
    pub class: &'static str,
    pub word: &'static str,
    /// SVG path in a box of 16 × 16.
    path: &'static str,
}

const CHECK: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M4.9 8.2l2.2 2.2l4-4.6";
const CROSS: &str = "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3zM5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8";
const WARNING: &str = "M8 1.8l6.7 12H1.3zM8 6.2v3.6M8 11.6v.4";
const BARRED: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M3.6 12.4l8.8-8.8";
const CLOCK: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M8 4.4V8l2.6 1.8";
const ARC: &str = "M8 1.5a6.5 6.5 0 1 1-6.5 6.5";
const DOTS: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M4.9 8h.2M7.9 8h.2M10.9 8h.2";
const PAUSE: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M6.3 5.6v4.8M9.7 5.6v4.8";
const ARROW: &str = "M3 8h10M9 4l4 4l-4 4";
const INFO: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M8 7.4v3.8M8 4.8v.2";

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, word, path } = self;
        write!(
            f,
            "<span class=\"mark {class}\"><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path d=\"{path}\"/></svg>{word}</span>"
        )
    }
}

// HTML-safe because it is made of constants only.
impl HtmlSafe for Mark {}

const fn mark(class: &'static str, word: &'static str, path: &'static str) -> Mark {
    Mark { class, word, path }
}

impl Mark {
    /// The marks of deliveries.
    pub(super) const OPEN: Self = mark("running", "open", DOTS);
    pub(super) const BUILT: Self = mark("passed", "built", CHECK);
    pub(super) const REFUSED: Self = mark("failed", "refused", BARRED);
    pub(super) const GIVEN_UP: Self = mark("errored", "given up", WARNING);
    pub(super) const NO_BUILD: Self = mark("canceled", "no build", INFO);
    /// The marks of the steps of the setup, and of permissions that are tried in it.
    pub(super) const DONE: Self = mark("passed", "done", CHECK);
    pub(super) const NEXT: Self = mark("next", "next", ARROW);
    pub(super) const LATER: Self = mark("queued", "waiting", DOTS);
    pub(super) const GIVEN: Self = mark("passed", "given", CHECK);
    pub(super) const MISSING: Self = mark("failed", "missing", CROSS);
    /// The mark of a build that waits for its approval.
    pub(super) const UNAPPROVED: Self = mark("queued", "needs approval", PAUSE);
}

impl From<BuildState> for Mark {
    fn from(state: BuildState) -> Self {
        match state {
            BuildState::Queued => mark("queued", "queued", DOTS),
            BuildState::Running => mark("running", "running", ARC),
            BuildState::Passed => mark("passed", "passed", CHECK),
            BuildState::Failed => mark("failed", "failed", CROSS),
            BuildState::Errored => mark("errored", "errored", WARNING),
            BuildState::Canceled => mark("canceled", "canceled", BARRED),
        }
    }
}

impl From<(JobState, Option<Verdict>)> for Mark {
    fn from(job: (JobState, Option<Verdict>)) -> Self {
        match job {
            (_, Some(Verdict::Passed)) => BuildState::Passed.into(),
            (_, Some(Verdict::Failed)) => BuildState::Failed.into(),
            (_, Some(Verdict::Errored)) => BuildState::Errored.into(),
            (_, Some(Verdict::Canceled)) => BuildState::Canceled.into(),
            (_, Some(Verdict::TimedOut)) => mark("failed", "timed out", CLOCK),
            (JobState::Waiting, None) => mark("queued", "waiting", PAUSE),
            (JobState::Running, None) => BuildState::Running.into(),
            (JobState::Queued | JobState::Finished, None) => BuildState::Queued.into(),
        }
    }
}

impl From<GpuState> for Mark {
    fn from(state: GpuState) -> Self {
        match state {
            GpuState::Free => mark("passed", "free", CHECK),
            GpuState::Held => mark("running", "held", ARC),
            GpuState::Quarantined => mark("errored", "quarantined", WARNING),
        }
    }
}

impl From<Severity> for Mark {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => mark("queued", "info", INFO),
            Severity::Warning => mark("errored", "warning", WARNING),
            Severity::Error => mark("failed", "error", CROSS),
        }
    }
}

/// A sentence with names in backticks, as in problems. Its `Display` is HTML with the names as code.
#[derive(Debug, Clone)]
pub(super) struct Prose(pub String);

impl fmt::Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.matches('`').count() / 2;
        let mut rest = self.0.as_str();
        for _ in 0..pairs {
            let (before, after) = rest.split_once('`').unwrap_or((rest, ""));
            let (name, after) = after.split_once('`').unwrap_or((after, ""));
            write!(f, "{}<code>{}</code>", escaped(before), escaped(name))?;
            rest = after;
        }
        write!(f, "{}", escaped(rest))
    }
}

// HTML-safe because each piece is escaped.
impl HtmlSafe for Prose {}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A moment, shown as the time since then. Its `Display` is HTML, with the exact time in the title.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    at: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl When {
    /// Shows `at` as seen from now.
    pub(super) fn new(at: DateTime<Utc>) -> Self {
        Self { at, now: Utc::now() }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let exact = self.at.format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "<time datetime=\"{machine}\" title=\"{exact}\">{}</time>", ago(self.now - self.at))
    }
}

// HTML-safe because it is made of a time only.
impl HtmlSafe for When {}

fn ago(past: chrono::TimeDelta) -> String {
    match past.num_seconds() {
        ..10 => "just now".to_owned(),
        seconds @ 10..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds @ 86_400..172_800 => format!("{} day ago", seconds / 86_400),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

/// Returns how long something took, or has taken until now.
pub(super) fn took(started: Option<DateTime<Utc>>, finished: Option<DateTime<Utc>>) -> Option<String> {
    let took = (finished.unwrap_or_else(Utc::now) - started?).to_std().ok()?;
    let whole = Duration::from_secs(took.as_secs());
    Some(if whole.is_zero() { "< 1 s".to_owned() } else { in_words(whole) })
}

/// Pages of a repository at its forge, derived from the address that git fetches from.
#[derive(Debug, Clone)]
pub(super) struct Forge(Option<Url>);

impl Forge {
    /// Returns the forge of a repository. It has no pages if git does not fetch from a web server.
    pub(super) fn of(clone_url: &str) -> Self {
        let url = Url::parse(clone_url.trim_end_matches(".git")).ok();
        Self(url.filter(|url| matches!(url.scheme(), "http" | "https")).and_then(|mut url| {
            url.set_username("").ok()?;
            url.set_password(None).ok()?;
            url.set_query(None);
            Some(url)
        }))
    }

    fn under(&self, parts: &[&str]) -> Option<Url> {
        let mut url = self.0.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(parts.iter().flat_map(|part| part.split('/')));
        Some(url)
    }

    /// Links to a commit.
    pub(super) fn commit(&self, sha: &str) -> Option<String> {
        self.under(&["commit", sha]).map(String::from)
    }

    /// Links to a branch or tag.
    pub(super) fn tree(&self, name: &str) -> Option<String> {
        self.under(&["tree", name]).map(String::from)
    }

    /// Links to a pull request.
    pub(super) fn pull(&self, number: i32) -> Option<String> {
        self.under(&["pull", &number.to_string()]).map(String::from)
    }

    /// Links to a line of a file. Returns `None` for a file of another commit: that is an imported file with a `:` in
    /// its name.
    pub(super) fn line(&self, sha: &str, file: &str, line: Option<u32>) -> Option<String> {
        if file.contains(':') {
            return None;
        }
        let mut url = self.under(&["blob", sha, file])?;
        url.set_fragment(line.map(|line| format!("L{line}")).as_deref());
        Some(url.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_forge_are_clean() {
        let forge = Forge::of("https://token:x@github.example/acme/lora.git");
        let link = forge.line("abc", "configs/a b#c.yaml", Some(4));
        assert_eq!(link.as_deref(), Some("https://github.example/acme/lora/blob/abc/configs/a%20b%23c.yaml#L4"));
        assert_eq!(forge.tree("feature/x?y").as_deref(), Some("https://github.example/acme/lora/tree/feature/x%3Fy"));
        assert_eq!(Forge::of("javascript:alert(1)").commit("abc"), None);
        assert_eq!(Forge::of("/srv/git/lora.git").commit("abc"), None);
    }

    #[test]
    fn names_in_prose_are_code() {
        let shown = |text: &str| Prose(text.to_owned()).to_string();
        assert_eq!(shown("`a<b>` & `c`: it`s"), "<code>a&lt;b&gt;</code> &amp; <code>c</code>: it`s");
        assert_eq!(shown("`<i>"), "`&lt;i&gt;");
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let words = |seconds| ago(chrono::TimeDelta::seconds(seconds));
        assert_eq!(words(-5), "just now", "clocks differ");
        assert_eq!(
            [words(59), words(3599), words(7200), words(90_000)],
            ["59 s ago", "59 min ago", "2 h ago", "1 day ago"]
        );
    }
}
