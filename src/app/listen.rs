//! The address where the service listens. Without a login it is one that nobody but this machine reaches.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use sqlx::PgPool;
use tokio::net::TcpListener;
use tracing::error;

use crate::config::Config;
use crate::store::people::persons;

/// Returns the listener if people can log in, if the configuration opens the service to everyone, or if nobody but this
/// machine reaches it. Otherwise the service listens at the loopback instead, so that a first user can be made.
pub(super) async fn reachable(config: &Config, listener: TcpListener, db: &PgPool) -> anyhow::Result<TcpListener> {
    let wanted = listener.local_addr()?;
    let is_configured = config.auth.oidc.is_some() || config.github.oauth()?.is_some();
    if wanted.ip().is_loopback() || config.auth.open || is_configured || has_login(db).await {
        return Ok(listener);
    }
    drop(listener);
    let instead = match wanted {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.port())),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, wanted.port())),
    };
    error!(
        "nobody can log in yet, so the service listens at {instead} and not at {wanted} (server.listen). Make a user with \
         `trainyard user add NAME --admin`, or set github.client_id and github.client_secret, or [auth.oidc], and restart \
         the service. To let everyone who reaches it read everything, set auth.open = true. See docs/operate/login.md"
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
