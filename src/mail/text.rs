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
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Page<'a> {
    title: &'a str,
    lines: &'a [String],
    url: &'a str,
    colour: &'static str,
}

impl Mail {
    /// Returns the mail about a build.
    ///
    /// # Errors
    /// Fails when the page cannot be made.
    pub fn of(id: String, build: &Build, words: Words<'_>) -> anyhow::Result<Self> {
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
        let text = format!("{title}\n\n{}\n\n{}\n", lines.join("\n"), build.build_url);
        let html = Page { title: &title, lines: &lines, url: &build.build_url, colour }.render()?;
        Ok(Self { id, subject: bounded(title, MAX_SUBJECT), text, html })
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
        let mail = Mail::of("x".to_owned(), &build("Paint"), words).unwrap();
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
    fn hostile_words_stay_words() {
        let hostile = "x\r\nBcc: eve@evil.example\r\n\r\n<a href=\"https://evil.example\">here</a>\u{202e}\u{7}";
        let build = Build { branch: hostile.to_owned(), ..build(hostile) };
        let mail = Mail::of("x".to_owned(), &build, Words::default()).unwrap();
        assert!(!mail.subject.contains(['\r', '\n', '\u{202e}', '\u{7}']), "{:?}", mail.subject);
        assert!(!mail.html.contains("<a href=\"https://evil"), "{}", mail.html);
        assert!(mail.subject.len() <= MAX_SUBJECT && !mail.text.contains("\nBcc:"), "{}", mail.text);
    }
}
