//! The words of a mail about a build. Names and texts of a repository are hostile: they must neither add a header nor
//! hide an address.

use askama::Template;

use crate::chat::Words;
use crate::domain::bounded;
use crate::travis::notifications::{Build, Message};

/// Maximum length of a text that a repository or a job has written, in bytes.
const MAX_TEXT: usize = 300;
/// Maximum length of the subject, in bytes.
const MAX_SUBJECT: usize = 200;

/// A mail, without its sender and recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Left side of its id.
    pub id: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// Pictures of the page, each a PNG, with the ids by which the page names them.
    pub pictures: Vec<(String, Vec<u8>)>,
}

/// The chart of a training's loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Name of the job, and the loss in words.
    pub title: String,
    pub png: Vec<u8>,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Page<'a> {
    title: &'a str,
    lines: &'a [String],
    charts: &'a [(String, String)],
    url: &'a str,
    colour: &'static str,
}

impl Mail {
    /// Returns the mail about a build.
    ///
    /// # Errors
    /// Fails when the page cannot be made.
    pub fn of(id: String, build: &Build, words: Words<'_>, charts: Vec<Chart>) -> anyhow::Result<Self> {
        let message = Message::of(build.state, build.previous);
        let (repository, branch) = (line(&build.repository), line(&build.branch));
        let commit: String = build.commit.chars().take(7).collect();
        let commit = line(&commit);
        let title = format!("{}: {repository}#{} ({branch} - {commit})", message.short(), build.number);
        let subject = build.commit_message.lines().next().unwrap_or_default();
        let mut lines = vec![
            message.sentence().to_owned(),
            format!("Repository: {repository}"),
            format!("Branch: {branch}"),
            format!("Commit: {commit} by {}: {}", line(&build.author), line(subject)),
        ];
        lines.extend(words.status.map(line));
        if build.elapsed > 0 {
            lines.push(format!("Duration: {} min {} s", build.elapsed / 60, build.elapsed % 60));
        }
        let colour = match message {
            Message::Passed | Message::Fixed => "#1a7f37",
            Message::Pending | Message::Canceled => "#59636e",
            Message::Failed | Message::Broken | Message::StillFailing | Message::Errored => "#d1242f",
        };
        let named: Vec<_> =
            charts.iter().zip(1..).map(|(chart, n)| (format!("loss-{n}"), line(&chart.title))).collect();
        let in_words = lines.iter().chain(named.iter().map(|(_, title)| title));
        let in_words: Vec<&str> = in_words.map(String::as_str).collect();
        let text = format!("{title}\n\n{}\n\n{}\n", in_words.join("\n"), build.build_url);
        let html = Page { title: &title, lines: &lines, charts: &named, url: &build.build_url, colour }.render()?;
        let pictures = named.into_iter().zip(charts).map(|((id, _), chart)| (id, chart.png)).collect();
        Ok(Self { id, subject: bounded(title, MAX_SUBJECT), text, html, pictures })
    }
}

/// Returns a text in one line, without signs that steer a reader's program.
fn line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_plain = |c: &char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    bounded(text, MAX_TEXT).chars().filter(is_plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BuildState;

    fn build(message: &str) -> Build {
        Build {
            repository: "acme/styles".to_owned(),
            number: "12".to_owned(),
            id: 40,
            pull_request: None,
            branch: "main".to_owned(),
            commit: "0123456789abcdef".to_owned(),
            author: message.to_owned(),
            commit_message: message.to_owned(),
            state: BuildState::Failed,
            previous: Some(BuildState::Passed),
            duration: 70,
            elapsed: 65,
            compare_url: String::new(),
            build_url: "https://ci.example.org/acme/styles/builds/12".to_owned(),
        }
    }

    #[test]
    fn a_mail_says_what_happened_as_travis_does() {
        let words = Words { pull_request: None, status: Some("exited with 1") };
        let mail = Mail::of("x".to_owned(), &build("Paint"), words, Vec::new()).unwrap();
        assert_eq!(mail.subject, "Broken: acme/styles#12 (main - 0123456)");
        assert_eq!(
            mail.text,
            "Broken: acme/styles#12 (main - 0123456)\n\nThe build was broken.\nRepository: acme/styles\nBranch: main\n\
             Commit: 0123456 by Paint: Paint\nexited with 1\nDuration: 1 min 5 s\n\n\
             https://ci.example.org/acme/styles/builds/12\n"
        );
        assert!(mail.html.contains("<a href=\"https://ci.example.org/acme/styles/builds/12\""), "{}", mail.html);
    }

    #[test]
    fn a_chart_is_in_the_page_and_its_title_in_the_text() {
        let chart = |title: &str| Chart { title: title.to_owned(), png: vec![1] };
        let charts = vec![chart("train ink: 0.5 to 0.1"), chart("<b>\n\"x\"")];
        let mail = Mail::of("x".to_owned(), &build("Paint"), Words::default(), charts).unwrap();
        assert!(mail.html.contains("src=\"cid:loss-1\"") && mail.html.contains("src=\"cid:loss-2\""), "{}", mail.html);
        assert!(!mail.html.contains("<b>") && mail.text.contains("\ntrain ink: 0.5 to 0.1\n"), "{}", mail.text);
        assert_eq!(mail.pictures.len(), 2);
    }

    #[test]
    fn hostile_words_stay_words() {
        let hostile = "x\r\nBcc: eve@evil.example\r\n\r\n<a href=\"https://evil.example\">here</a>\u{202e}\u{7}";
        let build = Build { branch: hostile.to_owned(), ..build(hostile) };
        let mail = Mail::of("x".to_owned(), &build, Words::default(), Vec::new()).unwrap();
        assert!(!mail.subject.contains(['\r', '\n', '\u{202e}', '\u{7}']), "{:?}", mail.subject);
        assert!(!mail.html.contains("<a href=\"https://evil"), "{}", mail.html);
        assert!(mail.subject.len() <= MAX_SUBJECT && !mail.text.contains("\nBcc:"), "{}", mail.text);
    }
}
