//! The words about the publications of a job, for chats and mails. They are plain: each kind of message escapes them.

use url::Url;

use crate::domain::bounded;
use crate::store::publications::{Place, Publication, PublicationState};
use crate::travis::notifications::Event;

/// Maximum length of an address that a message links to, in bytes.
const MAX_URL: usize = 250;
/// Maximum length of the name of a place, in bytes.
const MAX_TARGET: usize = 100;

/// The publications of a job, as a message tells of them.
#[derive(Debug, Clone)]
pub struct Publications {
    /// Their event.
    pub event: Event,
    /// Number of the job in its build.
    pub job: i32,
    /// Page of the job, where people decide.
    pub url: String,
    pub places: Vec<Publication>,
    /// Environment whose people decide, and these people as the configuration names them.
    pub environment: Option<(String, Vec<String>)>,
}

impl Publications {
    /// Returns the event in words that follow the name of the job.
    pub fn result(&self) -> &'static str {
        match self.event {
            Event::Published => "is published",
            Event::PublishFailed if self.has_some() => "is not published everywhere",
            Event::PublishFailed => "is not published",
            Event::Rejected => "was rejected",
            _ => "waits for approval",
        }
    }

    /// Returns true for a good end, false for a bad one, and `None` before the end.
    pub fn is_good(&self) -> Option<bool> {
        match self.event {
            Event::Published => Some(true),
            Event::PublishFailed | Event::Rejected => Some(false),
            _ => None,
        }
    }

    fn has_some(&self) -> bool {
        self.places.iter().any(|it| it.state == PublicationState::Published)
    }

    /// Returns the lines about the places that [`Self::links`] does not have, and about the people who decide.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.places.iter().filter(|publication| link(publication).is_none()).map(line).collect();
        if let (Event::Approval, Some((environment, people))) = (self.event, &self.environment) {
            lines.push(match &people[..] {
                [] => format!("The environment {environment} is not in the configuration, so nobody can approve"),
                people => format!("The people of {environment} decide: {}", people.join(", ")),
            });
        }
        lines
    }

    /// Returns the places that people can open, with their addresses.
    pub fn links(&self) -> Vec<(String, String)> {
        self.places.iter().filter_map(|publication| Some((place(publication), link(publication)?))).collect()
    }
}

fn line(publication: &Publication) -> String {
    let place = place(publication);
    match (publication.state, &publication.error) {
        (PublicationState::Published, _) => format!("{place}: published"),
        (PublicationState::Failed | PublicationState::Rejected, Some(why)) => format!("{place}: {why}"),
        _ => place,
    }
}

fn place(publication: &Publication) -> String {
    let target = bounded(publication.target.clone(), MAX_TARGET);
    match publication.place {
        Place::HuggingFace => format!("Hugging Face {target}"),
        Place::Release => format!("GitHub release of {target}"),
        Place::S3 => format!("Bucket {target}"),
    }
}

/// Returns the address of a publication in the web, in which no sign ends a link of Markdown or of Slack.
fn link(publication: &Publication) -> Option<String> {
    let url = publication.url.as_deref().filter(|_| publication.state == PublicationState::Published)?;
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let mut text = String::from(url);
    for sign in ['(', ')', '[', ']', '<', '>', '|', '*', '`', '"', '\''] {
        text = text.replace(sign, &format!("%{:02X}", u32::from(sign)));
    }
    (text.len() <= MAX_URL).then_some(text)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn publication(place: Place, target: &str, state: PublicationState) -> Publication {
        let (error, url) = match state {
            PublicationState::Published if place == Place::S3 => (None, Some(target.to_owned())),
            PublicationState::Published => (None, Some(format!("https://hub.example/{target}/tree/v(1)"))),
            PublicationState::Failed => (Some("it answered 403".to_owned()), None),
            PublicationState::Rejected => (Some("rejected by anna".to_owned()), None),
            _ => (None, None),
        };
        let (environment, commit_id, decided_by, decided_at, done_at) = (None, None, None, None, None);
        let (target, created_at) = (target.to_owned(), Utc::now());
        Publication {
            place,
            target,
            state,
            tries: 1,
            error,
            commit_id,
            url,
            environment,
            decided_by,
            decided_at,
            created_at,
            done_at,
        }
    }

    fn told(event: Event, states: [PublicationState; 2], people: &[&str]) -> Publications {
        let places = vec![
            publication(Place::HuggingFace, "acme/ink", states[0]),
            publication(Place::S3, "s3://models/ink/12", states[1]),
        ];
        let people = people.iter().map(|name| (*name).to_owned()).collect();
        let environment = Some(("production".to_owned(), people));
        Publications { event, job: 3, url: "https://ci.example.org/j".to_owned(), places, environment }
    }

    #[test]
    fn a_message_says_what_waits_for_whom_and_where_it_is() {
        use PublicationState::{Failed, Published, Rejected, Unapproved};
        let waits = told(Event::Approval, [Unapproved, Unapproved], &["anna", "user:ben"]);
        assert_eq!((waits.result(), waits.is_good()), ("waits for approval", None));
        let lines =
            ["Hugging Face acme/ink", "Bucket s3://models/ink/12", "The people of production decide: anna, user:ben"];
        assert_eq!(waits.lines(), lines);
        assert_eq!(waits.links(), []);
        let nobody = told(Event::Approval, [Unapproved, Unapproved], &[]);
        assert!(nobody.lines()[2].ends_with("so nobody can approve"));

        let done = told(Event::Published, [Published, Published], &["anna"]);
        assert_eq!((done.result(), done.is_good()), ("is published", Some(true)));
        assert_eq!(done.lines(), ["Bucket s3://models/ink/12: published"]);
        let link = ("Hugging Face acme/ink".to_owned(), "https://hub.example/acme/ink/tree/v%281%29".to_owned());
        assert_eq!(done.links(), [link]);

        let part = told(Event::PublishFailed, [Failed, Published], &[]);
        assert_eq!((part.result(), part.is_good()), ("is not published everywhere", Some(false)));
        let lines = ["Hugging Face acme/ink: it answered 403", "Bucket s3://models/ink/12: published"];
        assert_eq!(part.lines(), lines);
        assert_eq!(told(Event::PublishFailed, [Failed, Failed], &[]).result(), "is not published");

        let rejected = told(Event::Rejected, [Rejected, Rejected], &["anna"]);
        assert_eq!((rejected.result(), rejected.is_good()), ("was rejected", Some(false)));
        let lines = ["Hugging Face acme/ink: rejected by anna", "Bucket s3://models/ink/12: rejected by anna"];
        assert_eq!(rejected.lines(), lines);
    }
}
