//! Parser for the payloads of Travis's webhooks. The structs name only the fields that are used.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use url::Url;

use crate::domain::{RepoName, Sha, TravisBuild, Trigger, TriggerKind, bounded, pg_text};

/// A payload that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Travis's number of the build, over all repositories.
    pub id: i64,
    /// State of the build, in Travis's word.
    pub state: String,
    pub request: Request,
}

/// Request of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A build of the commit that has passed on Travis.
    Build {
        trigger: Box<Trigger>,
        /// Time at which the build on Travis ended.
        finished_at: DateTime<Utc>,
    },
    /// No build, for this reason.
    Nothing(String),
}

#[derive(Deserialize)]
struct Fields {
    id: i64,
    number: String,
    #[serde(rename = "type")]
    kind: String,
    state: String,
    finished_at: Option<DateTime<Utc>>,
    build_url: Option<String>,
    commit: String,
    branch: Option<String>,
    message: Option<String>,
    compare_url: Option<String>,
    author_name: Option<String>,
    #[serde(default)]
    pull_request: bool,
    pull_request_number: Option<i64>,
    tag: Option<String>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    name: String,
    owner_name: String,
}

/// Parses a payload.
///
/// # Errors
/// Fails when the body is not what Travis sends.
pub fn parse(body: &[u8]) -> anyhow::Result<Payload> {
    let fields: Fields = serde_json::from_slice(body).context("the body is not a payload of Travis")?;
    let (id, state) = (fields.id, word(&fields.state));
    let request = match ignored(&fields) {
        Some(reason) => Request::Nothing(bounded(pg_text(&reason), 300)),
        None => build(fields)?,
    };
    Ok(Payload { id, state, request })
}

/// Returns the reason why a payload requests nothing, if so.
fn ignored(fields: &Fields) -> Option<String> {
    let Repository { owner_name, name } = &fields.repository;
    let of = format!("Travis's build {} of {owner_name}/{name}", fields.number);
    if fields.pull_request || fields.kind == "pull_request" {
        // A fork's pull request must not look like a push.
        let number = fields.pull_request_number.unwrap_or_default();
        return Some(format!(
            "{of} is of pull request #{number}: Travis's webhook does not say whose commits these are, so they are not \
             built"
        ));
    }
    (fields.state != "passed").then(|| format!("{of} is {}: only passed builds ask for anything", word(&fields.state)))
}

fn build(fields: Fields) -> anyhow::Result<Request> {
    let repo: RepoName = format!("{}/{}", fields.repository.owner_name, fields.repository.name).parse()?;
    // On Travis, the branch of a tag's build is the tag.
    let tag = fields.tag.filter(|tag| !tag.is_empty());
    let branch = if tag.is_some() { None } else { fields.branch };
    anyhow::ensure!(branch.is_some() || tag.is_some(), "the payload has neither a branch nor a tag");
    let finished_at = fields.finished_at.context("a passed build has no finished_at")?;
    let trigger = Trigger {
        kind: TriggerKind::Travis,
        repo,
        branch,
        tag,
        sha: fields.commit.parse::<Sha>()?,
        before: None,
        message: fields.message,
        author: fields.author_name,
        sender: None,
        compare_url: fields.compare_url,
        pull_request: None,
        travis: Some(TravisBuild { number: fields.number, url: fields.build_url.filter(|url| is_web(url)) }),
    };
    Ok(Request::Build { trigger: Box::new(trigger.storable()), finished_at })
}

/// Returns true for an address that a page may link to.
fn is_web(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// Returns a word that is fit for ids and sentences, whatever the payload has.
fn word(state: &str) -> String {
    let is_word = (1..=20).contains(&state.len()) && state.bytes().all(|byte| byte.is_ascii_lowercase());
    if is_word { state.to_owned() } else { "unknown".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn passed() -> Value {
        json!({
            "id": 4242, "number": "42", "type": "push", "state": "passed", "finished_at": "2026-01-02T03:09:05Z",
            "build_url": "https://ci.example.com/acme/styles/builds/4242", "commit": "a".repeat(40), "branch": "main",
            "message": "Train longer", "compare_url": "https://github.com/acme/styles/compare/a...b",
            "author_name": "Ada", "pull_request": false, "pull_request_number": null, "tag": null,
            "repository": {"id": 7, "name": "styles", "owner_name": "acme", "url": null},
        })
    }

    fn request(change: impl FnOnce(&mut Value)) -> anyhow::Result<Request> {
        let mut payload = passed();
        change(&mut payload);
        Ok(parse(payload.to_string().as_bytes())?.request)
    }

    #[test]
    fn a_passed_build_asks_for_a_build_of_its_commit() {
        let Request::Build { trigger, finished_at } = request(|_| {}).expect("Travis's payload") else {
            panic!("it asks for a build");
        };
        assert_eq!(finished_at.to_rfc3339(), "2026-01-02T03:09:05+00:00");
        assert_eq!((trigger.kind, trigger.branch.as_deref(), trigger.tag), (TriggerKind::Travis, Some("main"), None));
        let travis = trigger.travis.expect("its build on Travis");
        assert_eq!(travis.number, "42");
        assert_eq!(travis.url.as_deref(), Some("https://ci.example.com/acme/styles/builds/4242"));
    }

    #[test]
    fn a_tag_is_not_a_branch() {
        let tagged = request(|payload| (payload["tag"], payload["branch"]) = ("v1".into(), "v1".into()));
        let Request::Build { trigger, .. } = tagged.expect("Travis's payload") else { panic!("it asks for a build") };
        assert_eq!((trigger.branch, trigger.tag.as_deref()), (None, Some("v1")));
    }

    #[test]
    fn all_else_asks_for_nothing() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 5] = [
            (|payload| payload["state"] = "failed".into(), "is failed"),
            (|payload| payload["state"] = "started".into(), "is started"),
            (|payload| payload["state"] = "<b>".into(), "is unknown"),
            (|payload| payload["type"] = "pull_request".into(), "pull request #0"),
            (
                |payload| (payload["pull_request"], payload["pull_request_number"]) = (true.into(), 12.into()),
                "pull request #12",
            ),
        ];
        for (change, told) in cases {
            let Request::Nothing(reason) = request(change).expect("Travis's payload") else { panic!("{told}") };
            assert!(reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn what_travis_does_not_send_is_an_error_and_no_link_leads_to_a_script() {
        for change in [
            |payload: &mut Value| payload["commit"] = "HEAD".into(),
            |payload: &mut Value| payload["repository"]["name"] = "../styles".into(),
            |payload: &mut Value| payload["finished_at"] = Value::Null,
            |payload: &mut Value| payload["branch"] = Value::Null,
            |payload: &mut Value| payload["id"] = "4242".into(),
        ] {
            assert!(request(change).is_err());
        }
        let script = request(|payload| payload["build_url"] = "javascript:alert(1)".into());
        let Request::Build { trigger, .. } = script.expect("Travis's payload") else { panic!("it asks for a build") };
        assert_eq!(trigger.travis.expect("its build on Travis").url, None);
    }
}
