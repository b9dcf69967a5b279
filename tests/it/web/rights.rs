//! Every route and every role in one table. The routes come from the table of which the router is made, so a route
//! without an entry here fails the test.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use sqlx::PgPool;
use tower::ServiceExt as _;
use trainyard::domain::{BuildId, JobId, JobKind, RepoId, Right, Trigger, Verdict};
use trainyard::github::{Client, GitHubConfig};
use trainyard::web::{self, Need, Of};

use crate::support::github::people::{CLIENT_ID, CLIENT_SECRET};
use crate::support::github::{GitHub, number};
use crate::support::people::{self, CSRF};
use crate::support::{database, web as support};

/// Token of an operator in the configuration.
const OPERATOR: &str = "0123456789abcdef0123456789abcdef";

const READ: Need = Need::Right(Right::Read, Of::Repo);
const WRITE: Need = Need::Right(Right::Write, Of::Repo);
const ADMIN: Need = Need::Right(Right::Admin, Of::Repo);
const SLUG: Need = Need::Right(Right::Read, Of::Slug);
const JOB: Need = Need::Right(Right::Read, Of::Job);
const BUILD: Need = Need::Right(Right::Read, Of::Build);

/// Every route: its method and path, what it needs, and the status of its answer to somebody who has that. The
/// requests are such that nothing changes: forms lack the text of their session, and no job may be restarted again.
const ROUTES: &[(&str, &str, Need, u16)] = &[
    ("GET", "/", Need::Anyone, 200),
    ("GET", "/healthz", Need::Nothing, 200),
    ("GET", "/readyz", Need::Nothing, 200),
    ("GET", "/static/{file}", Need::Nothing, 200),
    ("GET", "/config", Need::Nothing, 200),
    ("GET", "/provenance.pem", Need::Nothing, 200),
    ("GET", "/api", Need::Anyone, 200),
    ("GET", "/api/openapi.json", Need::Nothing, 200),
    ("GET", "/runners", Need::Known, 200),
    ("GET", "/deliveries", Need::Everything, 200),
    ("GET", "/deliveries/{id}", Need::Everything, 404),
    ("GET", "/charts/{job}/{attempt}/{until}/{signature}", Need::Signature, 404),
    ("GET", "/metrics", Need::Operator, 200),
    ("GET", "/api/v1/deliveries", Need::Everything, 200),
    ("GET", "/api/v1/deliveries/{id}", Need::Everything, 404),
    ("POST", "/api/v1/deliveries/{id}/replay", Need::Operator, 404),
    ("GET", "/login", Need::Anyone, 200),
    ("POST", "/login", Need::Anyone, 401),
    ("GET", "/login/github", Need::Anyone, 303),
    ("GET", "/login/github/callback", Need::Anyone, 403),
    ("GET", "/login/oidc", Need::Anyone, 404),
    ("GET", "/login/oidc/callback", Need::Anyone, 404),
    ("POST", "/logout", Need::Person, 403),
    ("GET", "/settings/tokens", Need::Person, 200),
    ("POST", "/settings/tokens", Need::Person, 403),
    ("POST", "/settings/tokens/{token}/revoke", Need::Person, 403),
    ("GET", "/audit", Need::Operator, 200),
    ("GET", "/setup", Need::Operator, 200),
    // Somebody can log in, so there is no link any more.
    ("GET", "/setup/start", Need::Anyone, 404),
    ("POST", "/setup/start", Need::Anyone, 404),
    ("POST", "/setup/github", Need::Operator, 403),
    ("GET", "/setup/github/callback", Need::Operator, 403),
    ("GET", "/{owner}/{repo}", READ, 200),
    ("GET", "/{owner}/{repo}/builds/{number}", READ, 200),
    ("GET", "/{owner}/{repo}/builds/{number}/jobs/{job}", READ, 200),
    ("GET", "/api/v1/me", Need::Known, 200),
    ("GET", "/api/v1/tokens", Need::WholePerson, 200),
    ("POST", "/api/v1/tokens", Need::Person, 400),
    ("DELETE", "/api/v1/tokens/{token}", Need::WholePerson, 404),
    ("GET", "/api/v1/repos", Need::Anyone, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}", READ, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}/variables", ADMIN, 200),
    ("GET", "/api/v1/builds", Need::Anyone, 200),
    ("GET", "/api/v1/queue", Need::Anyone, 200),
    ("GET", "/api/v1/runners", Need::Known, 200),
    ("GET", "/api/v1/budgets", Need::Known, 200),
    ("GET", "/api/v1/audit", Need::Operator, 200),
    ("GET", "/api/v1/alerts", Need::Everything, 200),
    ("GET", "/api/v1/events", Need::Anyone, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}/events", READ, 200),
    ("GET", "/api/v1/jobs/{id}", JOB, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}/builds", READ, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}/builds/{number}", READ, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}/key", READ, 200),
    ("GET", "/api/v1/repos/{owner}/{repo}/requests/{request}", READ, 404),
    ("GET", "/api/v1/repos/{owner}/{repo}/crons", READ, 200),
    ("GET", "/api/v1/jobs/{id}/series", JOB, 200),
    ("GET", "/api/v1/jobs/{id}/resources", JOB, 200),
    ("GET", "/api/v1/jobs/{id}/artifacts", JOB, 200),
    ("GET", "/api/v1/jobs/{id}/publications", JOB, 200),
    ("GET", "/api/v1/jobs/{id}/artifacts/{*path}", JOB, 410),
    ("GET", "/api/v1/jobs/{id}/log", JOB, 200),
    ("GET", "/api/v1/jobs/{id}/log/stream", JOB, 200),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds", WRITE, 400),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/approve", WRITE, 409),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/cancel", WRITE, 200),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/cancel", WRITE, 200),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/restart", WRITE, 409),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/restart", WRITE, 409),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/publish", WRITE, 409),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/publish/approve", WRITE, 409),
    ("POST", "/api/v1/repos/{owner}/{repo}/builds/{number}/jobs/{job}/publish/reject", WRITE, 409),
    ("PUT", "/api/v1/repos/{owner}/{repo}/crons/{*branch}", ADMIN, 400),
    ("DELETE", "/api/v1/repos/{owner}/{repo}/crons/{*branch}", ADMIN, 404),
    ("GET", "/api/travis/config", Need::Nothing, 200),
    ("POST", "/api/travis/repo/{slug}/requests", Need::Right(Right::Write, Of::Slug), 400),
    ("GET", "/api/travis/repo/{slug}/request/{request}", SLUG, 404),
    ("POST", "/api/travis/lint", Need::Known, 200),
    ("POST", "/api/travis/build/{id}/restart", Need::Right(Right::Write, Of::Build), 409),
    ("POST", "/api/travis/build/{id}/cancel", Need::Right(Right::Write, Of::Build), 409),
    ("POST", "/api/travis/job/{id}/restart", Need::Right(Right::Write, Of::Job), 409),
    ("POST", "/api/travis/job/{id}/cancel", Need::Right(Right::Write, Of::Job), 409),
    ("GET", "/api/travis/repo/{slug}", SLUG, 200),
    ("GET", "/api/travis/repo/github/{slug}", SLUG, 200),
    ("GET", "/api/travis/repo/{slug}/builds", SLUG, 200),
    ("GET", "/api/travis/build/{id}", BUILD, 200),
    ("GET", "/api/travis/build/{id}/jobs", BUILD, 200),
    ("GET", "/api/travis/job/{id}", JOB, 200),
    ("GET", "/api/travis/owner/{login}/active", Need::Anyone, 200),
    ("GET", "/api/travis/owner/github/{login}/active", Need::Anyone, 200),
    ("GET", "/api/travis/repos/{owner}/{repo}/cc.xml", READ, 200),
    ("GET", "/api/travis/job/{id}/log", JOB, 200),
    ("GET", "/api/travis/job/{id}/log.txt", JOB, 200),
    ("POST", "/webhooks/github", Need::Signature, 401),
    ("POST", "/webhooks/github/{owner}", Need::Signature, 401),
    ("POST", "/webhooks/github/{owner}/{repo}", Need::Signature, 401),
    ("POST", "/webhooks/forge/{name}", Need::Signature, 401),
    ("POST", "/webhooks/travis", Need::Signature, 404),
];

/// Returns the entries. Travis's API has two addresses.
fn entries() -> Vec<(String, String, Need, u16)> {
    let own =
        ROUTES.iter().map(|(method, path, need, status)| ((*method).to_owned(), (*path).to_owned(), *need, *status));
    let v3 = own.clone().filter_map(|(method, path, need, status)| {
        let rest = path.strip_prefix("/api/travis/")?;
        Some((method, format!("/api/travis/v3/{rest}"), need, status))
    });
    own.clone().chain(v3.collect::<Vec<_>>()).collect()
}

/// How a role proves itself.
#[derive(Debug, Clone)]
enum Proof {
    Nothing,
    Cookie(String),
    Token(String),
}

/// A role, with its rights in a private and in a public repository.
#[derive(Debug, Clone)]
struct Role {
    name: &'static str,
    proof: Proof,
    private: Option<Right>,
    public: Right,
    is_operator: bool,
    /// True for a person in a browser, and for a token with all rights of its person.
    is_whole_person: bool,
}

/// A repository with a finished build of one job, which has a log and a removed artifact.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: &'static str,
    build: BuildId,
    job: JobId,
}

struct World {
    /// Made once: thousands of requests go through it.
    router: Router,
    roles: Vec<Role>,
    private: Place,
    public: Place,
    github: GitHub,
    _folder: tempfile::TempDir,
}

async fn place(state: &web::State, name: &'static str, private: bool) -> (RepoId, Place) {
    let db = &state.db;
    let repo = support::repo_named(db, number(name).into(), name, private).await;
    let trigger = Trigger { repo: name.parse().unwrap(), ..support::push("main") };
    let build = support::build(db, repo, &trigger, &[support::job(JobKind::Script, None, "unit")], &[]).await;
    let job = support::claim(db).await;
    support::write(state, &job, 0, "hello\n").await;
    support::finish(state, &job, 6, Verdict::Passed, None).await;
    sqlx::query(
        "insert into artifact (repo_id, job_id, attempt, path, removed, size, sha256)
         values ($1, $2, 1, 'out.bin', 'it was removed', 1, sha256(''))",
    )
    .bind(repo)
    .bind(job.id)
    .execute(db)
    .await
    .unwrap();
    sqlx::query(
        "insert into restart (job_id, verdict, finished_at, requested_by, log_length)
         select $1, 'passed', now(), 'somebody', 0 from generate_series(1, 100)",
    )
    .bind(job.id)
    .execute(db)
    .await
    .unwrap();
    (repo, Place { name, build, job: job.id })
}

impl World {
    async fn new() -> Self {
        let db = database::pool().await;
        let folder = tempfile::tempdir().unwrap();
        let github = GitHub::start(folder.path().join("github")).await;
        let config: GitHubConfig = toml::from_str(&format!(
            "api_url = {:?}\ntoken = {:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}",
            github.api_url(),
            crate::support::github::TOKEN
        ))
        .unwrap();
        let auth = format!("admins = ['Olga']\ntokens = {{ ops = {OPERATOR:?} }}");
        let access = support::access_through(&db, &auth, Client::new(&config).unwrap(), true);
        let state = web::State { access, ..support::state(&db) };
        let (secret, private) = place(&state, "acme/secret", true).await;
        let (open, public) = place(&state, "acme/open", false).await;
        let roles = roles(&db, secret, open).await;
        Self { router: web::router(state), roles, private, public, github, _folder: folder }
    }

    /// Sends a request as a role. Returns the status and the body.
    async fn ask(&self, role: &Role, method: &str, path: &str) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path).header("sec-fetch-site", "same-origin");
        request = match &role.proof {
            Proof::Nothing => request,
            Proof::Cookie(value) => {
                request.header(header::COOKIE, format!("__Host-trainyard={value}")).header("x-csrf-token", CSRF)
            }
            Proof::Token(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        };
        let response = self.router.clone().oneshot(request.body(Body::from("x")).unwrap()).await.unwrap();
        let status = response.status();
        if status.is_success() && path.ends_with("/events") {
            return (status, "a stream without an end".to_owned());
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        // A problem of the API says the path of the request, which its sender knows.
        (status, String::from_utf8_lossy(&body).replace(&format!("\"instance\":{path:?}"), ""))
    }
}

async fn roles(db: &PgPool, secret: RepoId, open: RepoId) -> Vec<Role> {
    let role = |name, proof, private, public| {
        let is_whole_person = matches!(proof, Proof::Cookie(_));
        Role { name, proof, private, public, is_operator: false, is_whole_person }
    };
    let mut roles = vec![role("stranger", Proof::Nothing, None, Right::Read)];
    let people = [
        ("somebody", None, None),
        ("author of a fork", None, Some(Right::Read)),
        ("reader", Some(Right::Read), Some(Right::Read)),
        ("writer", Some(Right::Write), Some(Right::Write)),
        ("admin", Some(Right::Admin), Some(Right::Admin)),
    ];
    for (github_id, (name, private, public)) in (100..).zip(people) {
        let person = people::person(db, github_id, &name.replace(' ', "-")).await;
        people::allow(db, person.id, secret, private).await;
        people::allow(db, person.id, open, public).await;
        let cookie = Proof::Cookie(people::session(db, person.id).await);
        roles.push(role(name, cookie, private, public.unwrap_or(Right::Read)));
        if name != "admin" {
            continue;
        }
        for (name, scope) in [("token to read", Right::Read), ("token to write", Right::Write), ("token", Right::Admin)]
        {
            let token = Proof::Token(people::token(db, person.id, &format!("{scope}"), scope, None).await);
            let is_whole_person = scope == Right::Admin;
            roles.push(Role { is_whole_person, ..role(name, token, Some(scope), scope) });
        }
        let token = people::token(db, person.id, "other", Right::Admin, Some(&[open])).await;
        roles.push(role("token for another repository", Proof::Token(token), None, Right::Admin));
    }
    // A token cannot do more than its person.
    let person = people::person(db, 200, "modest").await;
    people::allow(db, person.id, secret, Some(Right::Read)).await;
    people::allow(db, person.id, open, None).await;
    let token = Proof::Token(people::token(db, person.id, "all", Right::Admin, None).await);
    roles.push(Role { is_whole_person: true, ..role("token of a reader", token, Some(Right::Read), Right::Read) });
    // Operators: by their row, by the configuration, and by a token of the configuration.
    let person = people::operator(db, 300, "oscar").await;
    let cookie = Proof::Cookie(people::session(db, person.id).await);
    let all = |name, proof| Role { is_operator: true, ..role(name, proof, Some(Right::Admin), Right::Admin) };
    roles.push(all("operator", cookie));
    let token = Proof::Token(people::token(db, person.id, "all", Right::Admin, None).await);
    roles.push(Role { is_whole_person: true, ..all("token of an operator", token) });
    let token = Proof::Token(people::token(db, person.id, "some", Right::Read, Some(&[secret])).await);
    roles.push(role("bounded token of an operator", token, Some(Right::Read), Right::Read));
    let person = people::person(db, 301, "olga").await;
    roles.push(all("operator of the configuration", Proof::Cookie(people::session(db, person.id).await)));
    roles.push(all("token of the configuration", Proof::Token(OPERATOR.to_owned())));
    roles
}

/// Fills in the parameters of a path, with what is in a place; with nothing that exists for `None`.
fn fill(path: &str, need: Need, place: Option<Place>) -> String {
    let (name, build, job) = place.map_or(("acme/nothing", 9999, 9999), |it| (it.name, it.build.0, it.job.0));
    let (owner, repo) = name.split_once('/').unwrap();
    let id = if matches!(need, Need::Right(_, Of::Build)) { build } else { job };
    let values = BTreeMap::from([
        ("{owner}", owner.to_owned()),
        ("{repo}", repo.to_owned()),
        ("{slug}", format!("{owner}%2F{repo}")),
        ("{login}", owner.to_owned()),
        ("{id}", id.to_string()),
        ("{number}", "1".to_owned()),
        ("{job}", "1".to_owned()),
        ("{request}", "none".to_owned()),
        ("{token}", "0".to_owned()),
        ("{name}", "git".to_owned()),
        ("{attempt}", "1".to_owned()),
        ("{until}", "1".to_owned()),
        ("{signature}", "none.svg".to_owned()),
        ("{file}", "app.css".to_owned()),
        ("{*branch}", "main".to_owned()),
        ("{*path}", "out.bin".to_owned()),
    ]);
    let filled = values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    assert!(!filled.contains('{'), "{path} has a parameter without a value");
    filled
}

/// Returns the status that a role gets instead of the route's own; `None` if it is admitted.
fn refusal(role: &Role, (method, path): (&str, &str), need: Need, right: Option<Right>) -> Option<u16> {
    let is_anonymous = matches!(role.proof, Proof::Nothing);
    let unknown = if method == "GET" && !path.starts_with("/api/") { 303 } else { 401 };
    match need {
        Need::Nothing | Need::Anyone | Need::Signature => None,
        Need::Known => is_anonymous.then_some(unknown),
        Need::Person | Need::WholePerson if is_anonymous => Some(unknown),
        Need::Person if matches!(role.proof, Proof::Cookie(_)) => None,
        Need::Person if path.starts_with("/api/") => Some(403),
        Need::Person => Some(unknown),
        Need::WholePerson => (!role.is_whole_person).then_some(403),
        // There is a login, so reading is not open.
        Need::Everything | Need::Operator if role.is_operator => None,
        Need::Everything | Need::Operator => Some(if is_anonymous { unknown } else { 403 }),
        Need::Right(wanted, _) if wanted > Right::Read && is_anonymous => Some(401),
        Need::Right(wanted, _) => match right {
            None => Some(404),
            Some(right) if right < wanted => Some(403),
            Some(_) => None,
        },
    }
}

#[test]
fn every_route_has_an_entry() {
    let entries: Vec<_> = entries().into_iter().map(|(method, path, need, _)| (method, path, need)).collect();
    let routes: Vec<_> = web::routes().into_iter().map(|it| (it.method.to_string(), it.path, it.need)).collect();
    for route in &routes {
        assert!(entries.contains(route), "no entry, or another need: {route:?}");
    }
    assert_eq!(entries.len(), routes.len(), "an entry has no route");
}

#[tokio::test]
async fn every_role_gets_what_it_has_a_right_to() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for (method, path, need, own) in entries() {
        for role in &world.roles {
            for (place, right) in [(world.private, role.private), (world.public, Some(role.public))] {
                let (status, body) = world.ask(role, &method, &fill(&path, need, Some(place))).await;
                let expected = refusal(role, (&method, &path), need, right).unwrap_or(own);
                if status.as_u16() != expected {
                    wrong.push(format!("{} {method} {path} in {}: {status}, not {expected}", role.name, place.name));
                }
                // To somebody without a right there is no difference to a repository that does not exist.
                if right.is_none() && matches!(need, Need::Right(..)) {
                    let nothing = world.ask(role, &method, &fill(&path, need, None)).await;
                    if nothing != (status, body) {
                        wrong.push(format!("{} {method} {path}: there is a trace of {}", role.name, place.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(world.github.people.asked(), [], "all rights are stored");
}
