//! The server and the repository that a command is about: from its options, the environment, the stored servers and the
//! work tree around the current folder.

use std::env;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::address::Address;
use super::answers::{Build, Job};
use super::client::{Client, Error, typed};
use super::servers::Servers;
use crate::domain::{RepoName, Sha};
use crate::git::{WorkTree, repo_of};

const URL_VARIABLE: &str = "TRAINYARD_URL";
const TOKEN_VARIABLE: &str = "TRAINYARD_TOKEN";
/// Number of builds among which the newest of a branch is looked for.
const LOOKED_AT: &str = "100";

/// The server that a command asks.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ServerArgs {
    /// The server's address. Without it, the default of `trainyard servers`.
    #[arg(long, value_name = "URL", env = URL_VARIABLE)]
    server: Option<Address>,
    /// Let the token go over plain HTTP to another machine, where everyone on the way can read it.
    #[arg(long)]
    insecure_http: bool,
}

impl ServerArgs {
    /// Returns a client of the server, with the token for it if there is one.
    pub(in crate::cli) fn client(&self) -> anyhow::Result<Client> {
        let servers = Servers::load()?;
        let stored = match &self.server {
            Some(address) => servers.find(address),
            None => servers.default(),
        };
        let address = self.server.clone().or_else(|| stored.map(|server| server.address.clone()));
        let address =
            address.ok_or_else(|| usage("no server is known here: trainyard login URL, or set TRAINYARD_URL"))?;
        let from_environment = token_of_environment(&address);
        let insecure_http = self.insecure_http || from_environment.is_none() && stored.is_some_and(|s| s.insecure_http);
        let token = from_environment.or_else(|| stored.map(|server| server.token()));
        if token.is_some() {
            check_exposure(&address, insecure_http)?;
        }
        Client::new(address, token)
    }
}

/// Returns the token of the environment, if the address of the environment is this server's. Alone it is for no server:
/// there may be a variable of that name for something else.
fn token_of_environment(address: &Address) -> Option<SecretString> {
    let is_for = env::var(URL_VARIABLE).ok()?.parse::<Address>().ok()? == *address;
    env::var(TOKEN_VARIABLE).ok().filter(|token| is_for && !token.is_empty()).map(Into::into)
}

/// Refuses to send a token where others can read it, unless the person wants that.
pub(super) fn check_exposure(address: &Address, insecure_http: bool) -> anyhow::Result<()> {
    if address.is_exposed() && !insecure_http {
        return Err(usage(&format!(
            "{address} is plain HTTP: everyone on the way could read the token. Use https://, or --insecure-http"
        )));
    }
    Ok(())
}

/// Error: the command line names something that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::cli) struct Usage(String);

pub(super) fn usage(words: &str) -> anyhow::Error {
    Usage(words.to_owned()).into()
}

/// The server and the repository that a command is about.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    #[command(flatten)]
    server: ServerArgs,
    /// The repository. Without it, the one that the remote `origin` of the current folder names.
    #[arg(long, value_name = "OWNER/NAME")]
    repo: Option<RepoName>,
}

impl Target {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        self.server.client()
    }

    pub(super) async fn session(&self) -> anyhow::Result<Session> {
        let client = self.client()?;
        let here = Here::find().await?;
        let repo = self.repo.clone().or_else(|| here.as_ref().map(|here| here.repo.clone()));
        let repo = repo.ok_or_else(|| {
            usage("the current folder has no remote origin: name the repository with --repo OWNER/NAME")
        })?;
        // The branch of another repository says nothing.
        let here = here.filter(|here| here.repo.to_string().eq_ignore_ascii_case(&repo.to_string()));
        Ok(Session { client, repo, here })
    }
}

/// The work tree around the current folder.
#[derive(Debug, Clone)]
struct Here {
    repo: RepoName,
    branch: Option<String>,
    sha: Option<Sha>,
}

impl Here {
    async fn find() -> anyhow::Result<Option<Self>> {
        let Some(tree) = WorkTree::around(Path::new(".")).await? else { return Ok(None) };
        let Some(repo) = tree.origin().await.as_deref().and_then(repo_of) else { return Ok(None) };
        let head = tree.head().await?;
        let branch = head.as_ref().and_then(|head| head.branch.clone());
        Ok(Some(Self { repo, branch, sha: head.map(|head| head.sha) }))
    }
}

/// A build, or one of its jobs, as people write them: `12`, `12.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) build: u32,
    pub(super) job: Option<u32>,
}

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a build is a number such as 12, and a job of it such as 12.3";
        let (build, job) = text.split_once('.').map_or((text, None), |(build, job)| (build, Some(job)));
        let build = build.trim_start_matches('#').parse().map_err(|_| wrong)?;
        Ok(Self { build, job: job.map(str::parse).transpose().map_err(|_| wrong)? })
    }
}

/// A command's way to its server and repository.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) repo: RepoName,
    here: Option<Here>,
}

impl Session {
    /// Returns the parts of a path below the repository's.
    pub(super) fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        ["repos", self.repo.owner(), self.repo.name()].iter().chain(rest).copied().collect()
    }

    pub(super) async fn get(&self, rest: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        self.client.get(&self.path(rest), query).await
    }

    pub(super) async fn post(&self, rest: &[&str], body: &Value) -> Result<Value, Error> {
        self.client.post(&self.path(rest), body).await
    }

    pub(super) fn typed<T: DeserializeOwned>(&self, answer: Value) -> Result<T, Error> {
        typed(&self.client, answer)
    }

    /// Asks for a change of a build, or of one of its jobs.
    pub(super) async fn change(&self, build: i64, job: Option<i64>, verb: &str) -> Result<Value, Error> {
        let (build, job) = (build.to_string(), job.map(|job| job.to_string()));
        let path: Vec<&str> = match &job {
            Some(job) => vec!["builds", &build, "jobs", job, verb],
            None => vec!["builds", &build, verb],
        };
        self.post(&path, &json!({})).await
    }

    /// Returns the address of the page of a build or job. It is on our server, whatever the server says.
    pub(super) fn page(&self, build: i64, job: Option<i64>) -> Url {
        let (build, job) = (build.to_string(), job.map(|job| job.to_string()));
        let mut parts = vec![self.repo.owner(), self.repo.name(), "builds", &build];
        parts.extend(job.iter().flat_map(|job| ["jobs", job.as_str()]));
        self.client.address().at(&parts)
    }

    /// Returns the branch that is checked out here.
    pub(super) fn branch(&self) -> Option<&str> {
        self.here.as_ref()?.branch.as_deref()
    }

    /// Returns a build with its jobs and problems.
    pub(super) async fn build(&self, number: i64) -> Result<Build, Error> {
        self.typed(self.get(&["builds", &number.to_string()], &[]).await?)
    }

    /// Returns the number of the build that a command names, or of the newest one of what is checked out here.
    pub(super) async fn number(&self, named: Option<Named>) -> anyhow::Result<i64> {
        match named {
            Some(named) => Ok(named.build.into()),
            None => self.newest().await,
        }
    }

    /// Returns the job that a command names. If it names none: the one that runs, else the first that did not pass,
    /// else the first.
    pub(super) async fn job(&self, named: Option<Named>) -> anyhow::Result<(Build, Job)> {
        let build = self.build(self.number(named).await?).await?;
        let job = match named.and_then(|named| named.job) {
            Some(number) => build.jobs.iter().find(|job| job.number == i64::from(number)),
            None => most_telling(&build.jobs),
        };
        let job = job.cloned().ok_or_else(|| usage(&format!("{} has no such job", build.title())))?;
        Ok((build, job))
    }

    async fn newest(&self) -> anyhow::Result<i64> {
        let answer = self.get(&["builds"], &[("limit", LOOKED_AT)]).await?;
        let mut builds: Builds = self.typed(answer)?;
        let here = self.here.as_ref();
        if let Some(branch) = self.branch()
            && !builds.builds.iter().any(|build| build.is_of(branch))
        {
            let answer = self.get(&["builds"], &[("limit", "1"), ("branch", branch)]).await?;
            builds.builds.extend(self.typed::<Builds>(answer)?.builds);
        }
        let sha = here.and_then(|here| here.sha.as_ref());
        let of_commit = || builds.builds.iter().find(|build| sha.is_some_and(|sha| build.sha == sha.as_str()));
        let of_branch = || builds.builds.iter().find(|build| self.branch().is_some_and(|branch| build.is_of(branch)));
        let found = match here {
            None => builds.builds.first(),
            Some(_) => of_commit().or_else(of_branch),
        };
        let found = found.map(|build| build.number).with_context(|| match self.branch() {
            Some(branch) => format!("{} has no build of {branch} yet: push, or trainyard trigger", self.repo),
            None => format!("{} has no build of this commit yet: name one, as trainyard builds lists them", self.repo),
        });
        found.map_err(|error| usage(&format!("{error:#}")))
    }
}

/// A list of builds.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Builds {
    pub(super) builds: Vec<Build>,
}

impl Build {
    /// Returns true if the build is of a branch, or of a pull request from one of that name.
    fn is_of(&self, branch: &str) -> bool {
        match self.pull_request {
            Some(_) => self.head_branch.as_deref() == Some(branch),
            None => self.branch.as_deref() == Some(branch),
        }
    }
}

fn most_telling(jobs: &[Job]) -> Option<&Job> {
    let is_bad = |job: &&Job| job.is_finished() && job.verdict.as_deref() != Some("passed");
    let running = jobs.iter().find(|job| job.state == "running");
    running.or_else(|| jobs.iter().find(is_bad)).or_else(|| jobs.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_and_jobs_have_numbers() {
        let named = |text: &str| text.parse::<Named>().map(|named| (named.build, named.job)).ok();
        assert_eq!(
            [named("12"), named("#12"), named("12.3")],
            [Some((12, None)), Some((12, None)), Some((12, Some(3)))]
        );
        for wrong in ["", ".", "12.", "a", "-1", "12.3.4", "main"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_job_that_people_want_to_see_comes_first() {
        let job = |number, state: &str, verdict: Option<&str>| Job {
            number,
            state: state.to_owned(),
            verdict: verdict.map(str::to_owned),
            ..Job::default()
        };
        let (passed, failed, running) =
            (job(1, "finished", Some("passed")), job(2, "finished", Some("failed")), job(3, "running", None));
        let chosen = |jobs: &[Job]| most_telling(jobs).map(|job| job.number);
        assert_eq!(chosen(&[passed.clone(), failed.clone(), running]), Some(3));
        assert_eq!(chosen(&[passed.clone(), failed]), Some(2));
        assert_eq!(chosen(&[passed]), Some(1));
        assert_eq!(chosen(&[]), None);
    }
}
