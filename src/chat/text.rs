//! The words of a message about a build or publications, and their escape for each kind of chat. Names and texts of a repository are
//! hostile: they must not mention people, hide an address behind words, or end the message.

use super::{ChatKind, Publications, Words};
use crate::domain::bounded;
use crate::travis::notifications::{Build, Message, build_word, render};

/// Maximum length of a text that a repository or a job has written, in bytes.
const MAX_TEXT: usize = 300;
/// Maximum length of a whole message, in bytes. WeCom takes 4,096.
const MAX_MESSAGE: usize = 3_000;
/// Maximum length of the lines, in bytes. With the title and the links, Slack takes 3,000 characters.
const MAX_LINES: usize = 1_800;

/// A message, escaped for one kind of chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    /// Result in one line.
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    /// Further pages, with their titles.
    pub(super) links: Vec<(String, String)>,
    /// Page of the build, or of the job.
    pub(super) url: String,
    /// Title of a button that opens the page.
    pub(super) button: &'static str,
    /// True for a good end, false for a bad one; `None` for what goes on.
    pub(super) is_good: Option<bool>,
    /// Address of an image.
    pub(super) image: Option<String>,
}

impl Text {
    /// Returns the message about a build.
    pub(super) fn of(kind: ChatKind, build: &Build, words: Words<'_>) -> Self {
        let escape = |text: &str| escape(kind, text);
        let message = Message::of(build.state, build.previous);
        let (sign, is_good) = match message {
            Message::Passed | Message::Fixed => ("✔", Some(true)),
            Message::Pending => ("…", None),
            Message::Canceled => ("–", Some(false)),
            Message::Failed | Message::Broken | Message::StillFailing | Message::Errored => ("✘", Some(false)),
        };
        let result = match message {
            Message::Fixed => "is fixed",
            Message::StillFailing => "still fails",
            _ => build_word(build.state),
        };
        let title = format!("{sign} {} #{} {result}", escape(&build.repository), build.number);
        let mut lines = lines_of(kind, build, words.pull_request);
        lines.extend(words.status.filter(|_| is_good.is_some()).map(escape));
        // The words of a build that has passed end with its time.
        if build.elapsed > 0 && (is_good == Some(false) || is_good == Some(true) && words.status.is_none()) {
            lines.push(format!("in {} min {} s", build.elapsed / 60, build.elapsed % 60));
        }
        let (links, url) = (Vec::new(), build.build_url.clone());
        let image = words.chart.map(str::to_owned);
        Self { title, lines: fitting(lines), links, url, button: "Open the build", is_good, image }
    }

    /// Returns the message about the publications of a job.
    pub(super) fn of_publications(kind: ChatKind, build: &Build, publications: &Publications) -> Self {
        let is_good = publications.is_good();
        let sign = match is_good {
            Some(true) => "✔",
            Some(false) => "✘",
            None => "…",
        };
        let (repository, result) = (escape(kind, &build.repository), publications.result());
        let title = format!("{sign} {repository} #{}.{} {result}", build.number, publications.job);
        let mut lines = lines_of(kind, build, None);
        lines.extend(publications.lines().iter().map(|line| escape(kind, line)));
        let links = publications.links().into_iter().map(|(title, url)| (escape(kind, &title), url)).collect();
        let url = publications.url.clone();
        Self { title, lines: fitting(lines), links, url, button: "Open the job", is_good, image: None }
    }

    /// Returns the lines, and one for each link in the form of a kind of chat.
    pub(super) fn with_links(&self, link: impl Fn(&str, &str) -> String) -> Vec<String> {
        let links = self.links.iter().map(|(title, url)| link(title, url));
        self.lines.iter().cloned().chain(links).collect()
    }

    /// Replaces the lines by a template of the operator.
    pub(super) fn with_template(mut self, kind: ChatKind, template: &str, build: &Build) -> Self {
        let escape = |text: &str| escape(kind, text);
        let build = Build {
            repository: escape(&build.repository),
            branch: escape(&build.branch),
            author: escape(&build.author),
            commit_message: escape(&build.commit_message),
            ..build.clone()
        };
        let text = bounded(render(template, &build), MAX_MESSAGE);
        self.lines = text.lines().map(str::to_owned).collect();
        self
    }
}

/// Returns the lines that say what was built.
fn lines_of(kind: ChatKind, build: &Build, title_of_pull: Option<&str>) -> Vec<String> {
    let escape = |text: &str| escape(kind, text);
    let of = match &build.pull_request {
        Some((number, _)) => format!("pull request #{number} {}", escape(title_of_pull.unwrap_or_default())),
        None => format!("branch {}", escape(&build.branch)),
    };
    let commit: String = build.commit.chars().take(7).collect();
    let subject = build.commit_message.lines().next().unwrap_or_default();
    vec![of.trim_end().to_owned(), format!("{commit} by {}: {}", escape(&build.author), escape(subject))]
}

/// Leaves out the lines that are too much for a message: signs that are escaped make them longer.
fn fitting(lines: Vec<String>) -> Vec<String> {
    let mut left = MAX_LINES;
    let fits = |line: &String| match left.checked_sub(line.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    lines.into_iter().filter(fits).collect()
}

/// Returns a text in one line, without anything that the kind of chat would take for more than words.
fn escape(kind: ChatKind, text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = bounded(line, MAX_TEXT).chars().filter(|c| !c.is_control()).collect();
    match kind {
        ChatKind::Slack | ChatKind::Telegram => line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        // It knows `\` before each of its signs.
        ChatKind::Discord => {
            let is_sign = |c: char| "\\*_~`|>[]()<#@:-".contains(c);
            line.chars().flat_map(|c| is_sign(c).then_some('\\').into_iter().chain([c])).collect()
        }
        // Their Markdown has no escape, so its signs become others that look alike.
        ChatKind::DingTalk | ChatKind::WeCom => line.chars().map(look_alike).collect(),
        // Their cards have fields of plain text.
        ChatKind::Feishu | ChatKind::Teams => line,
    }
}

fn look_alike(sign: char) -> char {
    match sign {
        '[' => '［',
        ']' => '］',
        '<' => '‹',
        '>' => '›',
        '*' => '∗',
        '_' => '＿',
        '`' => '\'',
        '#' => '＃',
        '@' => '＠',
        '!' => '！',
        '~' => '∼',
        '|' => '¦',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BuildState;
    use crate::store::publications::{Place, Publication, PublicationState};
    use crate::travis::notifications::Event;

    fn status(words: &str) -> Words<'_> {
        Words { status: Some(words), ..Words::default() }
    }

    fn build() -> Build {
        Build {
            repository: "acme/styles".to_owned(),
            number: "12".to_owned(),
            id: 40,
            pull_request: None,
            branch: "main".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            author: "Ada".to_owned(),
            commit_message: "Paint\n\nmore".to_owned(),
            state: BuildState::Failed,
            previous: Some(BuildState::Passed),
            duration: 70,
            elapsed: 65,
            compare_url: String::new(),
            build_url: "https://ci.example.org/acme/styles/builds/12".to_owned(),
        }
    }

    /// Returns a publication that has failed with these words at a place of this name.
    fn refused(words: &str) -> Publications {
        let place = Publication {
            place: Place::S3,
            target: words.to_owned(),
            state: PublicationState::Failed,
            tries: 1,
            error: Some(words.to_owned()),
            commit_id: None,
            url: None,
            environment: None,
            decided_by: None,
            decided_at: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            done_at: None,
        };
        let url = "https://ci.example.org/acme/styles/builds/12/jobs/3".to_owned();
        Publications { event: Event::PublishFailed, job: 3, url, places: vec![place], environment: None }
    }

    #[test]
    fn a_message_says_what_happened_to_what_and_why() {
        let text = Text::of(ChatKind::Feishu, &build(), status("failed: configs/style.yaml:4 base_model is missing"));
        assert_eq!(text.title, "✘ acme/styles #12 failed");
        assert_eq!(
            text.lines,
            [
                "branch main",
                "0123456 by Ada: Paint",
                "failed: configs/style.yaml:4 base_model is missing",
                "in 1 min 5 s"
            ]
        );
        let fixed = Build { state: BuildState::Passed, previous: Some(BuildState::Failed), ..build() };
        assert_eq!(Text::of(ChatKind::Slack, &fixed, Words::default()).title, "✔ acme/styles #12 is fixed");
        let told = Text::of(ChatKind::Slack, &fixed, status("passed: 4 jobs in 1 min 5 s"));
        assert_eq!(told.lines[2..], ["passed: 4 jobs in 1 min 5 s"]);
        let pull = Build { pull_request: Some((5, String::new())), ..build() };
        assert_eq!(
            Text::of(ChatKind::Slack, &pull, Words { pull_request: Some("Oil"), ..Words::default() }).lines[0],
            "pull request #5 Oil"
        );
        let failed = Text::of_publications(ChatKind::Slack, &build(), &refused("acme"));
        assert_eq!((failed.title.as_str(), failed.lines.len()), ("✘ acme/styles #12.3 is not published", 3));
        assert_eq!((failed.button, failed.lines[2].as_str()), ("Open the job", "Bucket acme: acme"));
        let template = Text::of(ChatKind::Slack, &build(), Words::default()).with_template(
            ChatKind::Slack,
            "%{repository}: %{message}\n%{commit_subject}",
            &Build { commit_message: "<!channel>".to_owned(), ..build() },
        );
        assert_eq!(template.lines, ["acme/styles: The build was broken.", "&lt;!channel&gt;"]);
    }

    #[test]
    fn hostile_words_mention_nobody_and_hide_no_address() {
        let hostile = "<!channel> @everyone [here](https://evil.example) `x` ![p](http://q)\n\n# <@all>\u{7}";
        for (kind, banned) in [
            (ChatKind::Slack, &["<", ">"][..]),
            (ChatKind::Telegram, &["<", ">"]),
            (ChatKind::DingTalk, &["[", "]", "@", "<", "#", "!"]),
            (ChatKind::WeCom, &["[", "]", "@", "<", "#", "!"]),
            (ChatKind::Discord, &[" @", " [", "](", "<!", "<@"]),
        ] {
            let build = Build { commit_message: hostile.to_owned(), author: hostile.to_owned(), ..build() };
            let text = Text::of(kind, &build, status(hostile));
            let publications = refused(hostile);
            let published = Text::of_publications(kind, &build, &publications);
            for line in text.lines.iter().chain(&published.lines) {
                let said = line.replace("\\@", "").replace("\\[", "").replace("\\<", "");
                assert!(banned.iter().all(|sign| !said.contains(sign)), "{kind:?}: {line}");
                assert!(!line.contains(['\n', '\u{7}']), "{line:?}");
            }
        }
    }
}
