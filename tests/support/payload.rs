//! Webhooks as GitHub sends them, for repositories of the stand-in.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::git_host::Repo;
use super::github::{GitHub, SECRET, number};

/// Returns a repository as payloads describe it.
pub fn repository(github: &GitHub, name: &str) -> Value {
    // As on GitHub, no two payloads are the same.
    static PUSHED_AT: AtomicU64 = AtomicU64::new(1_795_000_000);
    let pushed_at = PUSHED_AT.fetch_add(1, Ordering::Relaxed);
    let (owner, short) = name.split_once('/').unwrap();
    json!({
        "id": number(name), "pushed_at": pushed_at, "name": short, "full_name": name, "private": false, "default_branch": "main",
        "owner": {"login": owner}, "clone_url": github.clone_url(name),
        "html_url": format!("http://{}/{name}", github.address),
    })
}

/// Pushes the work tree's head to `branch`. Returns the payload for that.
pub fn push(github: &GitHub, repo: &Repo, branch: &str) -> Value {
    repo.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
    pushed(github, repo, branch)
}

/// Returns the payload for a push of the work tree's head to `branch`, without a push.
pub fn pushed(github: &GitHub, repo: &Repo, branch: &str) -> Value {
    let sha = repo.head();
    let message = repo.git(&["log", "-1", "--format=%B"]);
    json!({
        "ref": format!("refs/heads/{branch}"),
        "before": "0000000000000000000000000000000000000000", "after": sha,
        "created": true, "deleted": false, "forced": false,
        "compare": format!("http://{}/{}/compare/{}", github.address, repo.name, &sha[..12]),
        "commits": [], "head_commit": {
            "id": sha, "message": message.trim_end(), "timestamp": "2026-11-23T12:00:00Z",
            "author": {"name": "Ada", "email": "ada@example.org", "username": "ada"},
        },
        "repository": repository(github, &repo.name),
        "pusher": {"name": "ada"}, "sender": {"login": "ada", "id": 1},
    })
}

/// Returns an opened pull request of `head` into main.
pub fn pull_request(github: &GitHub, repo: &Repo, number: u32, base: &str, head: &str) -> Value {
    json!({
        "action": "opened", "number": number,
        "pull_request": {
            "number": number, "title": "Train a watercolour style", "draft": false, "user": {"login": "bob"},
            "html_url": format!("http://{}/{}/pull/{number}", github.address, repo.name),
            "head": {"ref": "watercolour", "sha": head, "repo": {"full_name": "bob/styles"}},
            "base": {"ref": "main", "sha": base, "repo": repository(github, &repo.name)},
        },
        "repository": repository(github, &repo.name), "sender": {"login": "bob", "id": 2},
    })
}

/// Returns the payload for a comment of a person on a pull request.
pub fn comment(github: &GitHub, repo: &Repo, number: u32, (login, person): (&str, i64), id: i64, body: &str) -> Value {
    let user = json!({"login": login, "id": person, "type": "User"});
    json!({
        "action": "created",
        "issue": {"number": number, "pull_request": {"url": "https://api.github.com/pulls"}, "state": "open"},
        // What a payload says of the author's rights is not asked.
        "comment": {"id": id, "body": body, "user": user, "author_association": "OWNER"},
        "repository": repository(github, &repo.name), "sender": user,
    })
}

/// Returns the payload for a label that a person sets on a pull request.
pub fn labeled(
    github: &GitHub,
    repo: &Repo,
    number: u32,
    (login, person): (&str, i64),
    label: &str,
    head: &str,
) -> Value {
    let mut payload = pull_request(github, repo, number, head, head);
    payload["action"] = json!("labeled");
    payload["label"] = json!({"name": label});
    payload["sender"] = json!({"login": login, "id": person, "type": "User"});
    payload
}

/// Returns the payload for a button of a check run, or for *Re-run* without one.
pub fn check_run(
    github: &GitHub,
    repo: &Repo,
    (login, person): (&str, i64),
    (id, sha): (i64, &str),
    button: Option<&str>,
) -> Value {
    let mut payload = json!({
        "action": "rerequested", "check_run": {"id": id, "head_sha": sha}, "repository": repository(github, &repo.name),
        "sender": {"login": login, "id": person, "type": "User"},
    });
    if let Some(identifier) = button {
        payload["action"] = json!("requested_action");
        payload["requested_action"] = json!({"identifier": identifier});
    }
    payload
}

/// A delivery to send.
#[derive(Debug)]
pub struct Delivery {
    pub id: String,
    pub event: &'static str,
    pub body: Vec<u8>,
    pub signature: String,
}

impl Delivery {
    pub fn new(id: &str, event: &'static str, payload: &Value) -> Self {
        Self::signed(SECRET, id, event, payload)
    }

    /// Returns a delivery that is signed with another secret.
    pub fn signed(secret: &str, id: &str, event: &'static str, payload: &Value) -> Self {
        let body = serde_json::to_vec(payload).unwrap();
        let signature = trainyard::github::signature::sign(secret.as_bytes(), &body);
        Self { id: id.to_owned(), event, body, signature }
    }

    /// Posts it to a Trainyard at `base`. Returns the status code and the body of the response.
    pub async fn post(&self, base: &str) -> (u16, String) {
        self.post_to(base, "").await
    }

    /// Posts it to the webhook of a scope, such as `/acme`.
    pub async fn post_to(&self, base: &str, scope: &str) -> (u16, String) {
        let answer = self.send(base, scope).await.expect("the service answers");
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Posts it to a Trainyard that may be unreachable. Returns the status code.
    pub async fn try_post(&self, base: &str) -> reqwest::Result<u16> {
        Ok(self.send(base, "").await?.status().as_u16())
    }

    async fn send(&self, base: &str, scope: &str) -> reqwest::Result<reqwest::Response> {
        reqwest::Client::new()
            .post(format!("{base}/webhooks/github{scope}"))
            .header("content-type", "application/json")
            .header("user-agent", "GitHub-Hookshot/044aadd")
            .header("x-github-delivery", &self.id)
            .header("x-github-event", self.event)
            .header("x-hub-signature-256", &self.signature)
            .body(self.body.clone())
            .timeout(std::time::Duration::from_secs(20))
            .send()
            .await
    }
}
