//! Attacks on services that a job should not reach: a company's own public networks, and what is outside of a list.

use std::path::Path;

use trainyard::config::Config;

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// Documentation's networks: no machine of the internet has such an address.
const CLOSED: &str = "203.0.113.7";
const OPEN: &str = "198.51.100.7";
const OTHER: &str = "192.0.2.7";

/// Returns a bash command that fails unless a rule rejects a connection to the address, or unless none does.
fn rejected(address: &str, is_rejected: bool) -> String {
    let wanted = if is_rejected { "==" } else { "!=" };
    format!(
        "said=$(timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/80' 2>&1 || true); echo \"{address}: $said\"; \
         [[ $said {wanted} *'Permission denied'* ]]\n"
    )
}

fn script(addresses: &[(&str, bool)]) -> String {
    let checks: String =
        addresses.iter().map(|(address, is_rejected)| format!("    {}", rejected(address, *is_rejected))).collect();
    format!("language: shell\nscript:\n  - |\n    set -e\n{checks}")
}

/// Pushes a job that checks the addresses. Returns whether all are as expected, and the log.
async fn push(app: &App, repo: &Repo, job: i64, addresses: &[(&str, bool)]) -> (bool, String) {
    repo.write(".travis.yml", &script(addresses));
    let sha = repo.commit(&format!("Try {job}"));
    Delivery::new(&format!("d-{job}"), "push", &payload::push(&app.github, repo, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&sha, "trainyard/push").await;
    (end.state == "success", String::from_utf8_lossy(&app.log(job).await).into_owned())
}

/// Opens a pull request of a fork whose job checks the addresses.
async fn fork(app: &App, repo: &Repo, job: i64, addresses: &[(&str, bool)]) -> (bool, String) {
    let base = repo.head();
    repo.git(&["checkout", "-q", "-B", "watercolour"]);
    repo.write(".travis.yml", &script(addresses));
    let head = repo.commit(&format!("Fork {job}"));
    repo.git(&["checkout", "-q", "main"]);
    repo.open_pull_request(7, &base, &head);
    let opened = payload::pull_request(&app.github, repo, 7, &base, &head);
    Delivery::new(&format!("d-{job}"), "pull_request", &opened).post(&app.base).await;
    let end = app.github.wait_for_end(&head, "trainyard/pr").await;
    (end.state == "success", String::from_utf8_lossy(&app.log(job).await).into_owned())
}

#[tokio::test]
async fn a_job_does_not_reach_the_public_networks_that_are_denied() {
    let app = App::start("[limits]\negress_deny = ['203.0.113.0/24']\negress_allow = ['203.0.113.9']\n").await;
    let repo = app.github.repo("acme/styles");
    let addresses =
        [(CLOSED, true), ("203.0.113.255", true), ("203.0.113.9", false), (OPEN, false), ("10.0.0.1", true)];
    let (passed, log) = push(&app, &repo, 1, &addresses).await;
    assert!(passed, "{log}");
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}

#[tokio::test]
async fn a_fork_reaches_the_networks_of_its_list_alone_and_other_jobs_all() {
    // What is closed to all jobs stays closed, whatever the list has.
    let gateway = docker::bridge();
    let rules = format!(
        "[[egress]]\nrepos = ['ACME/*']\nforks_only = true\nonly = ['198.51.100.0/24', '10.0.0.0/8', '{gateway}']\n"
    );
    // Containers and networks are kept for the next job: they must not be those of the other kind of job.
    let app = App::start(&format!("{rules}[[runner]]\nready = 2\n")).await;
    let repo = app.github.repo("acme/styles");
    let (passed, log) = push(&app, &repo, 1, &[(OPEN, false), (CLOSED, false), ("10.0.0.1", true)]).await;
    assert!(passed, "{log}");
    let of_fork = [(OPEN, false), (CLOSED, true), (OTHER, true), ("10.0.0.1", true), (gateway.as_str(), true)];
    let (passed, log) = fork(&app, &repo, 2, &of_fork).await;
    assert!(passed, "{log}");
    let (passed, log) = push(&app, &repo, 3, &[(OTHER, false)]).await;
    assert!(passed, "{log}");
    let (passed, log) = fork(&app, &repo, 4, &[(OTHER, true)]).await;
    assert!(passed, "{log}");
    app.stop().await;
}

#[tokio::test]
async fn the_first_list_that_fits_a_repository_counts_and_an_empty_one_closes_all() {
    let rules =
        format!("[[egress]]\nrepos = ['acme/quiet']\nonly = []\n[[egress]]\nrepos = ['acme/*']\nonly = ['{OPEN}']\n");
    let app = App::start(&rules).await;
    let (quiet, styles, other) =
        (app.github.repo("acme/quiet"), app.github.repo("acme/styles"), app.github.repo("other/styles"));
    let (passed, log) = push(&app, &quiet, 1, &[(OPEN, true), (OTHER, true)]).await;
    assert!(passed, "{log}");
    let (passed, log) = push(&app, &styles, 2, &[(OPEN, false), (OTHER, true)]).await;
    assert!(passed, "{log}");
    let (passed, log) = push(&app, &other, 3, &[(OTHER, false)]).await;
    assert!(passed, "{log}");
    app.stop().await;
}

#[test]
fn rules_that_would_close_nothing_are_refused() {
    let rule = |text: &str| format!("[[egress]]\n{text}\n");
    let refused = [
        ("[limits]\nnetwork = 'full'\negress_deny = ['203.0.113.0/24']\n".to_owned(), "have no effect"),
        (format!("[limits]\nnetwork = 'full'\n{}", rule("repos = ['*']\nonly = []")), "have no effect"),
        (format!("[limits]\nnetwork = 'none'\n{}", rule("repos = ['*']\nonly = []")), "have no effect"),
        ("[limits]\negress_deny = ['203.0.113.0/33']\n".to_owned(), "is not a network"),
        ("[limits]\negress_deny = ['2001:db8::/32']\n".to_owned(), "is not a network"),
        ("[limits]\negress_deny = ['intern.example.org']\n".to_owned(), "is not a network"),
        (rule("repos = ['*']\nonly = ['0.0.0.0/0 10.0.0.0/8']"), "is not a network"),
        (rule("repos = ['[']\nonly = []"), "is not a pattern"),
        (rule("repos = ['*']"), "missing field `only`"),
        (rule("only = []"), "missing field `repos`"),
        (rule("repos = ['*']\nonly = []\nfork_only = true"), "unknown field `fork_only`"),
    ];
    for (text, words) in refused {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let error = Config::load(Some(Path::new(file.path())), std::iter::empty()).unwrap_err();
        assert!(format!("{error:#}").contains(words), "{text}: {error:#}");
    }
}
