//! The words of a mail about a build or publications. Names and texts of a repository are hostile: they must neither add a header nor
//! hide an address.

use askama::Template;

use crate::chat::{About, Publications, Words};
use crate::domain::bounded;
use crate::travis::notifications::{Build, Event, Message};

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
    links: &'a [(String, String)],
    charts: &'a [(String, String)],
    url: &'a str,
    button: &'static str,
    colour: &'static str,
}

const GOOD: &str = "#1a7f37";
const BAD: &str = "#d1242f";
const OPEN: &str = "#59636e";

/// The parts of a mail that depend on its subject.
struct Content<'a> {
    /// Result, and the job if it is about one.
    title: String,
    lines: Vec<String>,
    /// Further pages, with their titles.
    links: Vec<(String, String)>,
    url: &'a str,
    button: &'static str,
    colour: &'static str,
}

impl Mail {
    /// Returns the mail about a build.
    ///
    /// # Errors
    /// Fails when the page cannot be made.
    pub fn of(id: String, build: &Build, about: About<'_>, charts: Vec<Chart>) -> anyhow::Result<Self> {
        let Content { title, lines, links, url, button, colour } = match about {
            About::Build(words) => of_build(build, words),
            About::Publications(publications) => of_publications(build, publications),
        };
        let named: Vec<_> =
            charts.iter().zip(1..).map(|(chart, n)| (format!("loss-{n}"), line(&chart.title))).collect();
        let linked = links.iter().map(|(title, url)| format!("{title}: {url}"));
        let in_words: Vec<String> =
            lines.iter().cloned().chain(linked).chain(named.iter().map(|(_, title)| title.clone())).collect();
        let text = format!("{title}\n\n{}\n\n{url}\n", in_words.join("\n"));
        let html =
            Page { title: &title, lines: &lines, links: &links, charts: &named, url, button, colour }.render()?;
        let pictures = named.into_iter().zip(charts).map(|((id, _), chart)| (id, chart.png)).collect();
        Ok(Self { id, subject: bounded(title, MAX_SUBJECT), text, html, pictures })
    }
}

fn of_build<'a>(build: &'a Build, words: Words<'_>) -> Content<'a> {
    let message = Message::of(build.state, build.previous);
    let mut lines = vec![message.sentence().to_owned()];
    lines.extend(lines_of(build));
    lines.extend(words.status.map(line));
    if build.elapsed > 0 {
        lines.push(format!("Duration: {} min {} s", build.elapsed / 60, build.elapsed % 60));
    }
    let colour = match message {
        Message::Passed | Message::Fixed => GOOD,
        Message::Pending | Message::Canceled => OPEN,
        Message::Failed | Message::Broken | Message::StillFailing | Message::Errored => BAD,
    };
    let title = title(message.short(), build, &build.number);
    Content { title, lines, links: Vec::new(), url: &build.build_url, button: "Open the build", colour }
}

fn of_publications<'a>(build: &Build, publications: &'a Publications) -> Content<'a> {
    let (short, colour) = match publications.event {
        Event::Published => ("Published", GOOD),
        Event::PublishFailed => ("Not published", BAD),
        Event::Rejected => ("Rejected", BAD),
        _ => ("Waits for approval", OPEN),
    };
    let job = format!("{}.{}", build.number, publications.job);
    let mut lines = vec![format!("The training {job} {}.", publications.result())];
    lines.extend(lines_of(build));
    lines.extend(publications.lines().iter().map(|text| line(text)));
    let links = publications.links().into_iter().map(|(title, url)| (line(&title), url)).collect();
    Content { title: title(short, build, &job), lines, links, url: &publications.url, button: "Open the job", colour }
}

/// Returns the first line of a mail, with the number of the build or of a job.
fn title(short: &str, build: &Build, number: &str) -> String {
    let (repository, branch, commit) = (line(&build.repository), line(&build.branch), commit(build));
    format!("{short}: {repository}#{number} ({branch} - {commit})")
}

/// Returns the lines that say what was built.
fn lines_of(build: &Build) -> [String; 3] {
    let subject = build.commit_message.lines().next().unwrap_or_default();
    [
        format!("Repository: {}", line(&build.repository)),
        format!("Branch: {}", line(&build.branch)),
        format!("Commit: {} by {}: {}", commit(build), line(&build.author), line(subject)),
    ]
}

fn commit(build: &Build) -> String {
    let commit: String = build.commit.chars().take(7).collect();
    line(&commit)
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
        let about = About::Build(Words { status: Some("exited with 1"), ..Words::default() });
        let mail = Mail::of("x".to_owned(), &build("Paint"), about, Vec::new()).unwrap();
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
        let about = About::Build(Words::default());
        let mail = Mail::of("x".to_owned(), &build("Paint"), about, charts).unwrap();
        assert!(mail.html.contains("src=\"cid:loss-1\"") && mail.html.contains("src=\"cid:loss-2\""), "{}", mail.html);
        assert!(!mail.html.contains("<b>") && mail.text.contains("\ntrain ink: 0.5 to 0.1\n"), "{}", mail.text);
        assert_eq!(mail.pictures.len(), 2);
    }

    #[test]
    fn hostile_words_stay_words() {
        let hostile = "x\r\nBcc: eve@evil.example\r\n\r\n<a href=\"https://evil.example\">here</a>\u{202e}\u{7}";
        let build = Build { branch: hostile.to_owned(), ..build(hostile) };
        let mail = Mail::of("x".to_owned(), &build, About::Build(Words::default()), Vec::new()).unwrap();
        assert!(!mail.subject.contains(['\r', '\n', '\u{202e}', '\u{7}']), "{:?}", mail.subject);
        assert!(!mail.html.contains("<a href=\"https://evil"), "{}", mail.html);
        assert!(mail.subject.len() <= MAX_SUBJECT && !mail.text.contains("\nBcc:"), "{}", mail.text);
    }
}
