//! Steps of the setup: from a fresh server to the first build, each with its state.

use sqlx::PgPool;

use super::State;
use super::error::Error;
use super::show::Mark;
use crate::domain::bounded;

/// Maximum length of the outcome of a delivery, in bytes.
const MAX_OUTCOME: usize = 500;

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) title: &'static str,
    pub(super) mark: Mark,
    /// The thing to do, or that is done.
    pub(super) text: String,
    /// Something that is wrong, with what helps.
    pub(super) problem: Option<String>,
}

/// Facts about builds.
#[derive(Debug, sqlx::FromRow)]
struct Rows {
    has_repo: bool,
    has_build: bool,
    /// Outcome of the newest delivery.
    outcome: Option<String>,
}

async fn rows(db: &PgPool) -> sqlx::Result<Rows> {
    sqlx::query_as(
        "select exists (select from repo) as has_repo, exists (select from build) as has_build,
             (select outcome from delivery order by received_at desc, id desc limit 1) as outcome",
    )
    .fetch_one(db)
    .await
}

/// A step whose place among the others is not known yet.
struct Found {
    title: &'static str,
    is_done: bool,
    text: String,
    problem: Option<String>,
}

/// Returns the steps. It asks nobody but Postgres.
pub(super) async fn steps(state: &State) -> Result<Vec<Step>, Error> {
    let rows = rows(&state.db).await?;
    let found = [login(state).await?, github(state).await?, repository(state, &rows), build(&rows)];
    let mut is_next = true;
    let steps = found.into_iter().map(|Found { title, is_done, text, problem }| {
        let mark = match (is_done, is_next) {
            (true, _) => Mark::DONE,
            (false, true) => Mark::NEXT,
            (false, false) => Mark::LATER,
        };
        is_next &= is_done;
        Step { title, mark, text, problem: problem.filter(|_| !is_done) }
    });
    Ok(steps.collect())
}

async fn login(state: &State) -> Result<Found, Error> {
    let has_login = state.access.has_login().await?;
    let problem = state.setup.closed.map(|wanted| {
        format!(
            "Nobody could log in when the service started. So it listens at the loopback of its machine alone, and not at \
             {wanted} (server.listen). It holds the port, so it cannot open the wider address while it runs: restart it."
        )
    });
    Ok(Found {
        title: "Login",
        is_done: has_login && problem.is_none(),
        text: match has_login {
            true => "People can log in. Private repositories are for those who may read them.".to_owned(),
            false => "Make the first operator, who may do everything here.".to_owned(),
        },
        problem: problem.filter(|_| has_login),
    })
}

async fn github(state: &State) -> Result<Found, Error> {
    let client = state.access.github();
    let (has_app, has_token) = (client.has_app(), client.has_token());
    let is_stored = state.setup.stored.app.id().await?.is_some();
    let has_secret = state.webhook_secrets.any().await?;
    let text = match (has_app, has_token) {
        (true, _) => "The GitHub App is registered.",
        (false, true) => "GitHub is asked with github.token. A GitHub App would do without a person's token.",
        (false, false) => {
            "Register the GitHub App. With it, the service reads commits, hears of pushes, reports statuses, and logs \
             people in."
        }
    };
    let problem = if is_stored && !has_app {
        let text = "The stored App is not in use yet. If that lasts longer than some seconds, the server's log has the \
                    reason.";
        Some(text.to_owned())
    } else {
        let text = "No webhook can be verified: register the App, set github.webhook_secret, or run trainyard \
                    webhook-secret on the server.";
        ((has_app || has_token) && !has_secret).then(|| text.to_owned())
    };
    let is_done = (has_app || has_token) && has_secret;
    Ok(Found { title: "GitHub", is_done, text: text.to_owned(), problem })
}

fn repository(state: &State, rows: &Rows) -> Found {
    let text = match (rows.has_repo, state.access.github().has_app()) {
        (true, _) => "The first repository is here.".to_owned(),
        (false, true) => {
            "Install the App for the owner of a repository, and push a commit. The webhook of the push adds \
                          the repository."
                .to_owned()
        }
        (false, false) => format!(
            "With the App: install it for the owner of a repository, and push a commit. Without: add the webhook {} in \
             the repository's settings first, with the secret of github.webhook_secret.",
            state.public("/webhooks/github")
        ),
    };
    Found { title: "First repository", is_done: rows.has_repo, text, problem: newest(rows) }
}

fn build(rows: &Rows) -> Found {
    let text = match rows.has_build {
        true => "The first build is here.",
        false => "Push a commit with a .travis.yml.",
    };
    let problem = newest(rows).filter(|_| rows.has_repo);
    Found { title: "First build", is_done: rows.has_build, text: text.to_owned(), problem }
}

/// Returns the outcome of the newest delivery, which led to nothing.
fn newest(rows: &Rows) -> Option<String> {
    let outcome = bounded(rows.outcome.clone()?, MAX_OUTCOME);
    Some(format!("The newest webhook: {outcome}. See the deliveries."))
}
