//! Services that the configuration names: the provider of logins, and the mail server.

use super::Findings;
use crate::config::Config;
use crate::mail::Mailer;
use crate::oidc::Provider;

const LOGIN: &str = "OpenID Connect";
const MAIL: &str = "mail server";

/// Asks the provider for its document and keys, and logs in at the mail server. No mail is sent.
pub(super) async fn check(config: &Config, found: &mut Findings) {
    if let Some(oidc) = &config.auth.oidc {
        match Provider::new(oidc.clone()).examine().await {
            Ok(()) => found.ok(LOGIN, format!("{} answers, with its keys", oidc.issuer)),
            Err(error) => found.problem(
                LOGIN,
                format!("{} does not answer as it should: {error}", oidc.issuer),
                "Check auth.oidc.issuer: the document at ISSUER/.well-known/openid-configuration must name it exactly.",
            ),
        }
    }
    if let Some(email) = &config.notifications.email {
        let examined = match Mailer::new(email) {
            Ok(mailer) => mailer.examine().await,
            Err(error) => Err(format!("{error:#}")),
        };
        match examined {
            Ok(()) => found.ok(MAIL, format!("{} takes our login", email.host)),
            Err(why) => found.problem(
                MAIL,
                format!("{}: {why}", email.host),
                "Check host, port, tls, username and password of notifications.email.",
            ),
        }
    }
}
