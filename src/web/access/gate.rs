//! The gate in front of every handler. It leaves what it has found to the handler's extractors.

use std::sync::Arc;

use axum::extract::{FromRequestParts as _, RawPathParams, Request, State as Extract};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::admitted::{Admitted, Replayed, Repo, View};
use super::lookup::{Found, Named, find};
use super::need::{Need, Of};
use super::viewer::{InBrowser, Viewer};
use super::{address, origin};
use crate::domain::{BuildId, JobId, RepoId, Right};
use crate::web::State;
use crate::web::error::{Error, in_form_of};

/// Rule of a route, as the table of routes says it.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct Rule {
    pub(in crate::web) need: Need,
    /// Name of the change for the record; `None` for a route that changes nothing, or records it itself.
    pub(in crate::web) change: Option<&'static str>,
    /// True if a POST takes an idempotency key.
    pub(in crate::web) takes_keys: bool,
}

/// Lets a request in that has what its route needs, or refuses it.
pub(in crate::web) async fn check(
    Extract((state, rule)): Extract<(State, Rule)>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(rule.need, Need::Nothing | Need::Signature) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let admitted = match admit(&state, rule.need, &mut parts).await {
        Ok(admitted) => admitted,
        Err(Refusal::Error(error)) => return in_form_of(parts.uri.path(), error),
        Err(Refusal::LogIn) => return Redirect::to(&login_url(&parts)).into_response(),
    };
    let viewer = Arc::clone(&admitted.view.viewer);
    parts.extensions.insert(admitted);
    let record =
        rule.change.map(|what| (what, parts.uri.path().to_owned(), address(&parts.extensions, &parts.headers)));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if let Some((what, target, from)) = record.filter(|_| is_new_change(&response)) {
        state.access.record(&viewer.name().unwrap_or_default(), what, &target, from).await;
    }
    if let Viewer::Person(InBrowser { new_cookie: Some(value), .. }) = &*viewer {
        response.headers_mut().append(header::SET_COOKIE, state.access.cookies().set_session(value));
    }
    if !matches!(*viewer, Viewer::Anonymous) {
        // What one person may read is in no cache that others use.
        let is_stored = response.headers().get(header::CACHE_CONTROL).is_none_or(|value| value != "no-store");
        if is_stored {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        }
    }
    response
}

/// Returns true if a change was made, and not only an answer given once more.
fn is_new_change(response: &Response) -> bool {
    response.status().is_success() && response.extensions().get::<Replayed>().is_none()
}

enum Refusal {
    Error(Error),
    /// A page for people who are logged in.
    LogIn,
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

async fn admit(state: &State, need: Need, parts: &mut Parts) -> Result<Admitted, Refusal> {
    let access = state.access.clone();
    let is_open = access.is_open().await?;
    let is_change = !matches!(parts.method, Method::GET | Method::HEAD);
    // A page alone changes the cookie: parts of it, and streams, may be under way at the same time. A login sets its own.
    let path = parts.uri.path();
    let is_page = !is_change && !path.starts_with("/api/") && !path.starts_with("/login");
    let viewer = Viewer::of(&access.0.db, &access.0.config, &access.0.cookies, &parts.headers, is_page).await?;
    if is_change {
        check_origin(&viewer, need, parts)?;
    }
    let view = View { viewer: Arc::new(viewer), is_open, login: login_url(parts), access };
    let viewer = &view.viewer;
    let (wanted, of) = match need {
        Need::Nothing | Need::Anyone | Need::Signature => return Ok(Admitted { view, repo: None, named: None }),
        Need::Known => {
            if !is_open && matches!(**viewer, Viewer::Anonymous) {
                return Err(refused(parts));
            }
            return Ok(Admitted { view, repo: None, named: None });
        }
        Need::Person | Need::WholePerson => {
            let has_it = match need {
                Need::WholePerson => viewer.is_whole_person(),
                _ => matches!(**viewer, Viewer::Person(_)),
            };
            if !has_it {
                return Err(refused_person(viewer, need, parts));
            }
            return Ok(Admitted { view, repo: None, named: None });
        }
        Need::Everything if is_open => return Ok(Admitted { view, repo: None, named: None }),
        Need::Everything | Need::Operator => {
            return match (viewer.is_operator(), &**viewer) {
                (true, _) => Ok(Admitted { view, repo: None, named: None }),
                (false, Viewer::Anonymous) => Err(refused(parts)),
                (false, _) => Err(Error::Forbidden("This is for operators.".to_owned()).into()),
            };
        }
        Need::Right(wanted, of) => (wanted, of),
    };
    // Before the repository is looked for: the answer must not depend on whether there is one.
    if wanted > Right::Read && matches!(**viewer, Viewer::Anonymous) {
        return Err(Error::NoToken.into());
    }
    let not_found = || match viewer.person() {
        None if !is_open && matches!(**viewer, Viewer::Anonymous) => Error::Hidden(of.word()),
        _ => Error::NotFound(of.word()),
    };
    let named = named(of, parts).await.ok_or_else(not_found)?;
    let found = find(&view.access.0.db, viewer.person(), &named).await?.ok_or_else(not_found)?;
    let right = view.access.right(viewer, is_open, &found, wanted).await?.ok_or_else(not_found)?;
    if right < wanted {
        return Err(Error::Forbidden(format!(
            "This needs the right {wanted} in {}/{}. You have the right {right}.",
            found.owner, found.name
        ))
        .into());
    }
    let Found { id, owner, name, default_branch, .. } = found;
    Ok(Admitted { view, repo: Some(Repo { id, owner, name, default_branch, right }), named: Some(named) })
}

/// Refuses a request that a browser sends with its cookie, but not for a page of ours.
fn check_origin(viewer: &Viewer, need: Need, parts: &Parts) -> Result<(), Error> {
    let is_ours = origin::is_ours(&parts.headers);
    match (viewer, need) {
        // Forms bring the session's text in their bodies, which their handlers check.
        (Viewer::Person(_) | Viewer::Anonymous, Need::Anyone | Need::Person | Need::Known | Need::Operator)
            if !parts.uri.path().starts_with("/api/") =>
        {
            if is_ours {
                Ok(())
            } else {
                Err(Error::Foreign)
            }
        }
        (Viewer::Person(InBrowser { csrf, .. }), _) => {
            let is_same = origin::csrf(&parts.headers).is_some_and(|given| super::secret::is_same(given, csrf));
            if is_ours && is_same { Ok(()) } else { Err(Error::Foreign) }
        }
        _ => Ok(()),
    }
}

/// Returns the answer to somebody unknown: the login for a page, a status for programs.
fn refused(parts: &Parts) -> Refusal {
    match parts.method == Method::GET && !parts.uri.path().starts_with("/api/") {
        true => Refusal::LogIn,
        false => Refusal::Error(Error::NoToken),
    }
}

/// Returns the answer to somebody who is not a person with all rights of that person.
fn refused_person(viewer: &Viewer, need: Need, parts: &Parts) -> Refusal {
    if matches!(viewer, Viewer::Anonymous) || !parts.uri.path().starts_with("/api/") {
        return refused(parts);
    }
    let why = match need {
        Need::WholePerson => "This needs a token of a person, for everything of that person.",
        _ => "This is for persons in a browser: no token may do it.",
    };
    Error::Forbidden(why.to_owned()).into()
}

fn login_url(parts: &Parts) -> String {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let path: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    format!("/login?return_to={path}")
}

/// Returns what the path names; `None` if nothing can have that name.
async fn named(of: Of, parts: &mut Parts) -> Option<Named> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    let param = |name: &str| params.iter().find(|(its, _)| *its == name).map(|(_, value)| value);
    let by_name = |name: &str| name.parse().ok().map(Named::Repo);
    match of {
        Of::Repo => {
            let (owner, repo) = (param("owner")?, param("repo")?);
            // A badge's address ends so.
            let is_badge = parts.uri.path().ends_with(".svg");
            by_name(&format!("{owner}/{}", repo.strip_suffix(".svg").filter(|_| is_badge).unwrap_or(repo)))
        }
        Of::Slug => match param("slug")?.parse() {
            Ok(id) => Some(Named::RepoId(RepoId(id))),
            Err(_) => by_name(param("slug")?),
        },
        Of::Build => Some(Named::Build(BuildId(param("id")?.parse().ok()?))),
        Of::Job => Some(Named::Job(JobId(param("id")?.parse().ok()?))),
    }
}
