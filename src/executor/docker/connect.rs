//! The connection to an engine: a socket, TCP with mutual TLS, or ssh.
//!
//! A network that drops packets reports no error. So a connection is given up when the other side does not answer for
//! some seconds, even while nothing is to be sent: then a stream of a log breaks, and does not wait for ever. The
//! kernel does this check for TCP, and ssh does it for its own connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bollard::BollardRequest;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::endpoint::bracketed;
use super::{Docker, Endpoint, TlsFiles, Tunnel};

/// The time that bollard waits for the head of an answer, in seconds. Creating a container on a busy disk is slow.
const ANSWER_TIMEOUT: u64 = 120;
/// The time that making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The time after which a connection ends when the other side sends nothing, not even an acknowledgement.
const SILENCE: Duration = Duration::from_secs(12);
/// The time after which the other side is asked if it is there, and the interval at which it is asked again.
const ASK_AFTER: Duration = Duration::from_secs(4);
const ASK_AGAIN: Duration = Duration::from_secs(2);
const ASK_TIMES: u32 = 3;
/// The time for which a connection is kept for the next request.
const KEPT: Duration = Duration::from_secs(30);

/// Makes a client of the engine at `endpoint`. Sends nothing yet.
pub(super) fn client(endpoint: &Endpoint, tunnel: Option<&Tunnel>) -> anyhow::Result<bollard::Docker> {
    match (endpoint, tunnel) {
        (Endpoint::Unix(socket), _) => {
            let socket = socket.to_string_lossy();
            Ok(bollard::Docker::connect_with_unix(&socket, ANSWER_TIMEOUT, bollard::API_DEFAULT_VERSION)?)
        }
        (Endpoint::Tls { host, port, files }, _) => {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            tcp.set_connect_timeout(Some(CONNECT));
            tcp.set_keepalive(Some(ASK_AFTER));
            tcp.set_keepalive_interval(Some(ASK_AGAIN));
            tcp.set_keepalive_retries(Some(ASK_TIMES));
            tcp.set_tcp_user_timeout(Some(SILENCE));
            let tls = HttpsConnectorBuilder::new().with_tls_config(tls(files)?).https_only().enable_http1();
            over(tls.wrap_connector(tcp), &format!("https://{}:{port}", bracketed(host)))
        }
        (Endpoint::Ssh(_), Some(tunnel)) => over(tunnel.clone(), "http://engine"),
        (Endpoint::Ssh(_), None) => bail!("an engine over ssh without a tunnel"),
    }
}

fn over<C>(connector: C, address: &str) -> anyhow::Result<bollard::Docker>
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    let mut builder = Client::builder(TokioExecutor::new());
    let client = builder.pool_timer(TokioTimer::new()).pool_idle_timeout(KEPT).build(connector);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(bollard::errors::Error::from) }
    };
    Ok(bollard::Docker::connect_with_custom_transport(
        transport,
        Some(address),
        ANSWER_TIMEOUT,
        bollard::API_DEFAULT_VERSION,
    )?)
}

/// Makes a configuration of mutual TLS with these files. Only the configured authority is trusted.
pub(super) fn tls(files: &TlsFiles) -> anyhow::Result<ClientConfig> {
    let certificates = |(setting, path): (&str, &std::path::PathBuf)| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let what = || format!("tls.{setting}, {}", path.display());
        let text = std::fs::read(path).with_context(what)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let read = read.with_context(what)?;
        if read.is_empty() {
            bail!("{}: there is no certificate in it", what());
        }
        Ok(read)
    };
    let [ca, certificate, (_, key)] = files.all();
    let mut authorities = RootCertStore::empty();
    for authority in certificates(ca)? {
        authorities.add(authority).with_context(|| format!("tls.ca, {}", ca.1.display()))?;
    }
    let what = || format!("tls.key, {}", key.display());
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(key).with_context(what)?).with_context(what)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_client_auth_cert(certificates(certificate)?, key)
        .context("tls.certificate and tls.key do not go together")
}

/// Returns the error for an engine that does not answer, with advice on what to do.
pub(super) async fn unreachable(docker: &Docker, error: anyhow::Error) -> anyhow::Error {
    let advice = match docker.endpoint() {
        Endpoint::Unix(_) => "is dockerd running, and may this user open the socket?",
        Endpoint::Tls { .. } => {
            "is the machine up, does dockerd listen there with --tlsverify, and do the certificates belong together?"
        }
        Endpoint::Ssh(_) => "",
    };
    let said = match &docker.tunnel {
        Some(tunnel) => tunnel.said().await,
        None => None,
    };
    // The cause of a failed connection is at the end of an error chain, of which hyper shows only the beginning.
    let cause = said.unwrap_or_else(|| match root_cause(&error) {
        Some(cause) => format!("{error:#}: {cause}"),
        None => format!("{error:#}"),
    });
    let advice = if advice.is_empty() { String::new() } else { format!(": {advice}") };
    anyhow!("Docker is not reachable at {}{advice}: {cause}", docker.endpoint())
}

/// Returns the last cause of an error, if the error's text does not contain it already.
fn root_cause(error: &anyhow::Error) -> Option<String> {
    let cause = error.root_cause().to_string();
    (!format!("{error:#}").contains(&cause)).then_some(cause)
}
