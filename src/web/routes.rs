//! The table of routes. Each one says what it needs, and has the gate in front of its handler.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::access::{self, Need, Of, Rule};
use super::api::document::{self, Documented};
use super::api::frame::{self, keyed};
use super::api::{budgets, builds, events, jobs, me, operators, publications, queue, repos, runners, series};
use super::changes::{approve, cancel, crons, publish, replay, requests, restart};
use super::people::{audit, github, login, oidc, tokens};
use super::{
    State, api, artifacts, assets, chart, deliveries, health, limits, log_stream, metrics, pages, setup, travis_api,
    webhook,
};
use crate::domain::Right;

/// Beginning of the paths of the JSON API.
pub(super) const API: &str = "/api/v1/";

/// Load of a request while it is answered.
#[derive(Clone, Copy)]
enum Load {
    /// Little.
    Light,
    /// A page: there is a bound on those that are made at once.
    Page,
    /// A stream: there is a bound on those that are open.
    Stream,
}

/// A row of the table.
struct Row {
    method: Method,
    path: String,
    rule: Rule,
    load: Load,
    handler: MethodRouter<State>,
}

/// A route as the tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    pub path: String,
    pub need: Need,
}

impl Row {
    fn new<H, T>(method: Method, path: &str, need: Need, load: Load, handler: H) -> Self
    where
        H: Handler<T, State>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        let rule = Rule { need, change: None, takes_keys: true };
        Self { method, path: path.to_owned(), rule, load, handler: on(filter, handler) }
    }

    fn documented(&self) -> Documented {
        let Rule { need, takes_keys, .. } = self.rule;
        Documented { method: self.method.clone(), path: self.path.clone(), need, takes_keys }
    }

    /// Puts the gate and the bounds in front of the handler.
    fn guarded(self, state: &State) -> (String, MethodRouter<State>) {
        let is_api = self.path.starts_with(API);
        let once = match (is_api && self.method == Method::POST, self.rule.takes_keys) {
            (false, _) => self.handler,
            (true, true) => self.handler.route_layer(from_fn_with_state(state.clone(), keyed::once)),
            (true, false) => self.handler.route_layer(from_fn(keyed::none)),
        };
        let gated = once.route_layer(from_fn_with_state((state.clone(), self.rule), access::check));
        let bounded = match self.load {
            Load::Light => gated,
            Load::Page => gated.route_layer(from_fn_with_state(state.limits.clone(), limits::page)),
            Load::Stream => gated.route_layer(from_fn_with_state(state.limits.clone(), limits::stream)),
        };
        let framed = if is_api { bounded.route_layer(from_fn(frame::frame)) } else { bounded };
        (self.path, framed)
    }
}

fn page<H: Handler<T, State>, T: 'static>(path: &str, need: Need, handler: H) -> Row {
    Row::new(Method::GET, path, need, Load::Page, handler)
}

fn stream<H: Handler<T, State>, T: 'static>(path: &str, need: Need, handler: H) -> Row {
    Row::new(Method::GET, path, need, Load::Stream, handler)
}

fn light<H: Handler<T, State>, T: 'static>(path: &str, handler: H) -> Row {
    Row::new(Method::GET, path, Need::Nothing, Load::Light, handler)
}

/// Returns the row of a form of our pages. It records its changes itself.
fn form<H: Handler<T, State>, T: 'static>(path: &str, need: Need, handler: H) -> Row {
    Row::new(Method::POST, path, need, Load::Page, handler)
}

/// Returns the row of a change, with its name in the record of changes.
fn change<H: Handler<T, State>, T: 'static>(
    method: Method,
    path: &str,
    need: Need,
    name: &'static str,
    handler: H,
) -> Row {
    let row = Row::new(method, path, need, Load::Light, handler);
    Row { rule: Rule { change: Some(name), ..row.rule }, ..row }
}

/// Returns the row of a change whose answer has a secret.
fn secret_change(row: Row) -> Row {
    Row { rule: Rule { takes_keys: false, ..row.rule }, ..row }
}

fn hook<H: Handler<T, State>, T: 'static>(path: &str, handler: H) -> Row {
    Row::new(Method::POST, path, Need::Signature, Load::Light, handler)
}

const READ: Need = Need::Right(Right::Read, Of::Repo);
const WRITE: Need = Need::Right(Right::Write, Of::Repo);
const ADMIN: Need = Need::Right(Right::Admin, Of::Repo);
const READ_JOB: Need = Need::Right(Right::Read, Of::Job);

/// The whole table.
fn table() -> Vec<Row> {
    let mut rows = vec![
        light("/healthz", health::alive),
        light("/readyz", health::ready),
        light("/static/{file}", assets::file),
        light("/config", travis_api::config),
        light("/provenance.pem", artifacts::provenance_key),
        light(document::PATH, document::json),
    ];
    rows.extend(pages_of_people());
    rows.extend(setup());
    rows.extend(api());
    rows.extend(changes());
    rows.extend(["/api/travis", "/api/travis/v3"].into_iter().flat_map(travis));
    rows.extend(webhooks());
    rows
}

fn pages_of_people() -> Vec<Row> {
    vec![
        page("/", Need::Anyone, pages::home::page),
        page("/runners", Need::Known, pages::runners::page),
        page("/api", Need::Anyone, document::page::page),
        page("/deliveries", Need::Everything, pages::deliveries::list),
        page("/deliveries/{id}", Need::Everything, pages::deliveries::page),
        // The address of a chart is signed, so it needs no other permission.
        page("/charts/{job}/{attempt}/{until}/{signature}", Need::Signature, chart::image::loss),
        page("/login", Need::Anyone, login::page),
        form("/login", Need::Anyone, login::log_in),
        page("/login/github", Need::Anyone, github::begin),
        page("/login/github/callback", Need::Anyone, github::callback),
        page("/login/oidc", Need::Anyone, oidc::begin),
        page("/login/oidc/callback", Need::Anyone, oidc::callback),
        form("/logout", Need::Person, login::log_out),
        page("/settings/tokens", Need::Person, tokens::page),
        form("/settings/tokens", Need::Person, tokens::make),
        form("/settings/tokens/{token}/revoke", Need::Person, tokens::revoke),
        page("/audit", Need::Operator, audit::page),
        page("/{owner}/{repo}", READ, pages::repo::page_or_badge),
        page("/{owner}/{repo}/builds/{number}", READ, pages::build::page),
        page("/{owner}/{repo}/builds/{number}/jobs/{job}", READ, pages::job::page),
    ]
}

/// The pages with which a service is set up.
fn setup() -> Vec<Row> {
    vec![
        page("/setup", Need::Operator, setup::page),
        // The link has a secret, which the handlers check.
        page("/setup/start", Need::Anyone, setup::start::page),
        form("/setup/start", Need::Anyone, setup::start::make_operator),
        form("/setup/github", Need::Operator, setup::github::begin),
        page("/setup/github/callback", Need::Operator, setup::github::callback),
    ]
}

fn api() -> Vec<Row> {
    vec![
        page("/api/v1/me", Need::Known, me::show),
        page("/api/v1/tokens", Need::WholePerson, api::tokens::list),
        page("/api/v1/repos", Need::Anyone, repos::all),
        page("/api/v1/repos/{owner}/{repo}", READ, repos::one),
        page("/api/v1/repos/{owner}/{repo}/key", READ, repos::key),
        page("/api/v1/repos/{owner}/{repo}/variables", ADMIN, repos::variables),
        page("/api/v1/builds", Need::Anyone, builds::all),
        page("/api/v1/repos/{owner}/{repo}/builds", READ, builds::of_repo),
        page("/api/v1/repos/{owner}/{repo}/builds/{number}", READ, builds::one),
        page("/api/v1/queue", Need::Anyone, queue::show),
        page("/api/v1/runners", Need::Known, runners::list),
        page("/api/v1/budgets", Need::Known, budgets::list),
        page("/api/v1/audit", Need::Operator, operators::audit),
        page("/api/v1/alerts", Need::Everything, operators::alerts),
        page("/api/v1/jobs/{id}", READ_JOB, jobs::one),
        page("/api/v1/repos/{owner}/{repo}/requests/{request}", READ, requests::show),
        page("/api/v1/repos/{owner}/{repo}/crons", READ, crons::list),
        page("/api/v1/jobs/{id}/series", READ_JOB, series::losses),
        page("/api/v1/jobs/{id}/resources", READ_JOB, series::resources),
        page("/api/v1/jobs/{id}/artifacts", READ_JOB, artifacts::list),
        page("/api/v1/jobs/{id}/publications", READ_JOB, publications::of_job),
        page("/api/v1/deliveries", Need::Everything, deliveries::all),
        page("/api/v1/deliveries/{id}", Need::Everything, deliveries::one),
        page("/metrics", Need::Operator, metrics::page),
        stream("/api/v1/events", Need::Anyone, events::all),
        stream("/api/v1/repos/{owner}/{repo}/events", READ, events::of_repo),
        stream("/api/v1/jobs/{id}/artifacts/{*path}", READ_JOB, artifacts::download),
        stream("/api/v1/jobs/{id}/log", READ_JOB, log_stream::raw),
        stream("/api/v1/jobs/{id}/log/stream", READ_JOB, log_stream::live),
    ]
}

fn changes() -> Vec<Row> {
    let builds = "/api/v1/repos/{owner}/{repo}/builds";
    let build = |path: &str| format!("{builds}/{{number}}{path}");
    let cron = "/api/v1/repos/{owner}/{repo}/crons/{*branch}";
    vec![
        change(Method::POST, builds, WRITE, "request a build", requests::create),
        change(Method::POST, &build("/approve"), WRITE, "approve", approve::approve),
        change(Method::POST, &build("/cancel"), WRITE, "cancel", cancel::build),
        change(Method::POST, &build("/jobs/{job}/cancel"), WRITE, "cancel", cancel::job),
        change(Method::POST, &build("/restart"), WRITE, "restart", restart::build),
        change(Method::POST, &build("/jobs/{job}/restart"), WRITE, "restart", restart::job),
        change(Method::POST, &build("/jobs/{job}/publish"), WRITE, "publish again", publish::again),
        change(Method::POST, &build("/jobs/{job}/publish/approve"), WRITE, "approve a publication", publish::approve),
        change(Method::POST, &build("/jobs/{job}/publish/reject"), WRITE, "reject a publication", publish::reject),
        change(Method::POST, "/api/v1/deliveries/{id}/replay", Need::Operator, "replay a delivery", replay::replay),
        change(Method::PUT, cron, ADMIN, "set a cron", crons::set),
        change(Method::DELETE, cron, ADMIN, "remove a cron", crons::remove),
        secret_change(change(Method::POST, "/api/v1/tokens", Need::Person, "make a token", api::tokens::make)),
        change(Method::DELETE, "/api/v1/tokens/{token}", Need::WholePerson, "revoke a token", api::tokens::revoke),
    ]
}

/// The part of Travis's API that its clients use, at one of its addresses.
fn travis(base: &str) -> Vec<Row> {
    let at = |path: &str| format!("{base}{path}");
    let slug = Need::Right(Right::Read, Of::Slug);
    let build = Need::Right(Right::Read, Of::Build);
    let (write_build, write_job) = (Need::Right(Right::Write, Of::Build), Need::Right(Right::Write, Of::Job));
    let (requests, write_repo) = (at("/repo/{slug}/requests"), Need::Right(Right::Write, Of::Slug));
    vec![
        change(Method::POST, &requests, write_repo, "request a build", travis_api::request_build),
        change(Method::POST, &at("/build/{id}/restart"), write_build, "restart", travis_api::restart_build),
        change(Method::POST, &at("/build/{id}/cancel"), write_build, "cancel", travis_api::cancel_build),
        change(Method::POST, &at("/job/{id}/restart"), write_job, "restart", travis_api::restart_job),
        change(Method::POST, &at("/job/{id}/cancel"), write_job, "cancel", travis_api::cancel_job),
        page(&at("/repo/{slug}/request/{request}"), slug, travis_api::request),
        form(&at("/lint"), Need::Known, travis_api::lint),
        Row::new(Method::GET, &at("/config"), Need::Nothing, Load::Page, travis_api::config),
        page(&at("/repo/{slug}"), slug, travis_api::repo),
        page(&at("/repo/github/{slug}"), slug, travis_api::repo),
        page(&at("/repo/{slug}/builds"), slug, travis_api::builds),
        page(&at("/build/{id}"), build, travis_api::build),
        page(&at("/build/{id}/jobs"), build, travis_api::jobs),
        page(&at("/job/{id}"), READ_JOB, travis_api::job),
        page(&at("/owner/{login}/active"), Need::Anyone, travis_api::active),
        page(&at("/owner/github/{login}/active"), Need::Anyone, travis_api::active),
        page(&at("/repos/{owner}/{repo}/cc.xml"), READ, travis_api::cctray),
        stream(&at("/job/{id}/log"), READ_JOB, travis_api::log),
        stream(&at("/job/{id}/log.txt"), READ_JOB, log_stream::raw),
    ]
}

fn webhooks() -> Vec<Row> {
    vec![
        hook("/webhooks/github", webhook::of_all),
        hook("/webhooks/github/{owner}", webhook::of_owner),
        hook("/webhooks/github/{owner}/{repo}", webhook::of_repo),
        hook("/webhooks/forge/{name}", webhook::forge::receive),
        hook("/webhooks/travis", webhook::travis::receive),
    ]
}

/// Lists all routes with what they need.
pub fn routes() -> Vec<Route> {
    let route = |row: Row| Route { method: row.method, path: row.path, need: row.rule.need };
    table().into_iter().map(route).collect()
}

/// Returns a router of the whole table, and describes the API.
pub(super) fn router(state: &State) -> Router<State> {
    let rows = table();
    let described: Vec<Documented> = rows.iter().filter(|row| row.path.starts_with(API)).map(Row::documented).collect();
    state.api.describe(&described, &state.public(""));
    rows.into_iter()
        .map(|row| row.guarded(state))
        .fold(Router::new(), |router, (path, handler)| router.route(&path, handler))
}
