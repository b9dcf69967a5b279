//! Emails about builds, and the way to the mail server.

mod config;
mod text;

use std::time::Duration;

use anyhow::Context as _;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use tracing::warn;

pub use self::config::{EmailConfig, MailTls};
pub use self::text::{Chart, Mail};

/// Time limit for each answer of the server.
const LIMIT: Duration = Duration::from_secs(10);
/// Time limit for a whole mail.
const WHOLE: Duration = Duration::from_secs(40);

/// Reason why a mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// Another try may succeed.
    Later(String),
    /// No other try can succeed.
    Never(String),
    /// The server does not take our mail at all: the operator has to change something.
    Refused(String),
}

/// The way to the mail server.
#[derive(Debug, Clone)]
pub struct Mailer {
    config: EmailConfig,
    sender: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mailer {
    /// Returns the way to a server. No connection is made yet.
    ///
    /// # Errors
    /// Fails when the file of the authority cannot be read.
    pub fn new(config: &EmailConfig) -> anyhow::Result<Self> {
        let sender = config.sender()?;
        let mut parameters = TlsParameters::builder(config.host.clone());
        if let Some(ca) = &config.ca {
            let pem = std::fs::read(ca).with_context(|| format!("reading notifications.email.ca {}", ca.display()))?;
            parameters =
                parameters.add_root_certificate(Certificate::from_pem(&pem).context("notifications.email.ca")?);
        }
        let tls = match config.tls {
            MailTls::StartTls => Tls::Required(parameters.build_rustls().context("notifications.email")?),
            MailTls::Tls => Tls::Wrapper(parameters.build_rustls().context("notifications.email")?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.clone())
            .port(config.port())
            .tls(tls)
            .hello_name(ClientId::Domain(sender.email.domain().to_owned()))
            .timeout(Some(LIMIT));
        if let (Some(username), Some(password)) = (&config.username, &config.password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self { config: config.clone(), sender, transport: builder.build() })
    }

    pub fn config(&self) -> &EmailConfig {
        &self.config
    }

    /// Connects to the server and logs in.
    ///
    /// # Errors
    /// Fails with the reason in words.
    pub async fn examine(&self) -> Result<(), String> {
        match tokio::time::timeout(WHOLE, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("it does not go on after the login".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }

    /// Sends a mail to one person.
    ///
    /// # Errors
    /// Fails in words that name no address.
    pub async fn send(&self, to: Address, mail: &Mail) -> Result<(), NotTaken> {
        let message = self.message(to, mail).map_err(|error| NotTaken::Never(format!("{error:#}")))?;
        match tokio::time::timeout(WHOLE, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(not_taken(&error)),
            Err(_) => Err(NotTaken::Later("the mail server did not answer in time".to_owned())),
        }
    }

    fn message(&self, to: Address, mail: &Mail) -> anyhow::Result<Message> {
        let part = |kind: ContentType, text: &str| SinglePart::builder().header(kind).body(text.to_owned());
        let page = part(ContentType::TEXT_HTML, &mail.html);
        let parts = MultiPart::alternative().singlepart(part(ContentType::TEXT_PLAIN, &mail.text));
        let parts = if mail.pictures.is_empty() {
            parts.singlepart(page)
        } else {
            let png = ContentType::parse("image/png").context("a constant that parses")?;
            let page = mail.pictures.iter().fold(MultiPart::related().singlepart(page), |page, (id, bytes)| {
                page.singlepart(Attachment::new_inline(id.clone()).body(bytes.clone(), png.clone()))
            });
            parts.multipart(page)
        };
        let message = Message::builder()
            .from(self.sender.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject.clone())
            .message_id(Some(format!("<{}@{}>", mail.id, self.sender.email.domain())))
            // Programs that answer by themselves must not answer this (RFC 3834).
            .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .multipart(parts)?;
        Ok(message)
    }
}

/// Returns the consequence of a failure. The server's words may have the recipient's address, so the log alone has them.
fn not_taken(error: &SmtpError) -> NotTaken {
    warn!("the mail server does not take a mail: {error}");
    let code = error.status().map(u16::from);
    match code {
        // Authentication: required, failed, too weak, or needed in an encrypted form.
        Some(code @ (530 | 534 | 535 | 538)) => NotTaken::Refused(format!("the mail server answered {code}")),
        Some(code) if error.is_permanent() => NotTaken::Never(format!("the mail server answered {code}")),
        Some(code) => NotTaken::Later(format!("the mail server answered {code}")),
        None if error.is_tls() => NotTaken::Later("the mail server's TLS is not as expected".to_owned()),
        None if error.is_client() => NotTaken::Refused("the mail server lacks what the settings ask for".to_owned()),
        None => NotTaken::Later("the mail server cannot be reached".to_owned()),
    }
}
