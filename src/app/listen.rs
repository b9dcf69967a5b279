//! The address where the service listens. Without a login it is one that nobody but this machine reaches, and there is a
//! link for the first operator.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tracing::{error, warn};

use crate::config::Config;
use crate::store::people::{persons, setup_link};
use crate::web;

/// Returns true if somebody can log in, or if Postgres does not answer: it may know somebody.
///
/// # Errors
/// Fails when the configuration cannot be used.
pub async fn can_log_in(config: &Config, db: &PgPool) -> anyhow::Result<bool> {
    Ok(config.github.oauth()?.is_some() || has_login(db).await)
}

/// Prints a link for the first operator, if nobody can log in yet; otherwise ends the last one.
pub(super) async fn offer_link(config: &Config, address: SocketAddr, db: &PgPool) {
    match link(config, db).await {
        Ok(Some(path)) => warn!(
            "nobody can log in yet: make the first operator at http://{address}{path} on this machine, or through a tunnel \
             by ssh -L. The link is good once, for a day; trainyard setup link prints another"
        ),
        Ok(None) => {}
        Err(error) => warn!("no setup link was made, but trainyard setup link makes one: {error:#}"),
    }
}

async fn link(config: &Config, db: &PgPool) -> anyhow::Result<Option<String>> {
    if can_log_in(config, db).await? {
        setup_link::end(db).await.context("ending the setup link")?;
        return Ok(None);
    }
    web::make_link(db).await.map(Some)
}

/// Returns the listener if people can log in, if the configuration opens the service to everyone, or if nobody but this
/// machine reaches it. Otherwise the service listens at the loopback instead, so that a first user can be made.
pub(super) async fn reachable(config: &Config, listener: TcpListener, db: &PgPool) -> anyhow::Result<TcpListener> {
    let wanted = listener.local_addr()?;
    if wanted.ip().is_loopback() || config.auth.open || can_log_in(config, db).await? {
        return Ok(listener);
    }
    drop(listener);
    let instead = match wanted {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.port())),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, wanted.port())),
    };
    error!(
        "nobody can log in yet, so the service listens at {instead} and not at {wanted} (server.listen). Open the setup \
         link, make a user with `trainyard user add NAME --admin`, or set github.client_id and github.client_secret, and restart the service. To \
         let everyone who reaches it read everything, set auth.open = true. See docs/operate/login.md"
    );
    TcpListener::bind(instead).await.map_err(|error| explain_bind(instead, error))
}

/// Returns true if there is a local user or a stored App that logs people in, or if Postgres does not answer: it may know
/// one, and at an address that others reach, the service shows no private repository without a login.
async fn has_login(db: &PgPool) -> bool {
    match persons::logins(db).await {
        Ok(logins) => logins.any(),
        // A database without these tables knows nobody.
        Err(sqlx::Error::Database(error)) => error.code().as_deref() != Some("42P01"),
        Err(_) => true,
    }
}

pub(super) fn explain_bind(listen: SocketAddr, error: std::io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; stop it or set server.listen",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need root; choose a higher one in server.listen",
        _ => "check server.listen",
    };
    anyhow::Error::from(error).context(format!("cannot listen at {listen}: {advice}"))
}
