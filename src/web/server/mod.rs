//! The web server: connections in, within bounds of number and time, and answers of the router out.

mod patience;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::{debug, warn};

use patience::Patient;

use super::access::Peer;

/// Pause after the system refused to accept a connection, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Bounds on what clients may take up.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Number of open connections. Further ones wait in the system's queue.
    pub connections: usize,
    /// Time for the headers of a request. It begins when the connection is idle, so it also ends idle connections.
    pub headers: Duration,
    /// Time for which a client may not read while there is more for it.
    pub stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 1024, headers: Duration::from_secs(30), stall: Duration::from_secs(30) }
    }
}

/// Serves until `shutdown`, and then until the requests that are under way have been answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.headers);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        tokio::select! {
            (stream, peer) = accept(&listener), if connections.len() < bounds.connections => {
                let stream = Patient::new(stream, bounds.stall);
                connections.spawn(serve_connection(http.clone(), stream, router.clone(), peer, shutdown.clone()));
            }
            Some(_) = connections.join_next() => {}
            () = shutdown.cancelled() => break,
        }
    }
    // Further connections are refused from here on.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers and events are small. Without this, the system holds them back to send more at once.
                let _ = stream.set_nodelay(true);
                return (stream, peer.ip());
            }
            // The client has gone already.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    http: http1::Builder,
    stream: Patient,
    router: Router,
    peer: IpAddr,
    shutdown: CancellationToken,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("a connection broke: {error}");
    }
}
