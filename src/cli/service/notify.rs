//! `trainyard notify --test`: an example of a message to the configured chats, programs and mail server.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::chat::{About, Refusal, Words};
use crate::cli::table::{Table, wants_colours};
use crate::config::Config;
use crate::domain::BuildState;
use crate::mail::{EmailConfig, Mail, Mailer, NotTaken};
use crate::notifier::{Chats, Sender};
use crate::outgoing::SystemNames;
use crate::travis::notifications::Build;

/// Name of the mail server among the receivers.
const EMAIL: &str = "email";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Send an example of a message about a failed build.
    #[arg(long, required = true)]
    test: bool,
    /// The chats and webhooks, by their names in the configuration. Without any: all of them.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Send an example of an email to this address, too.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let sender = Sender::new(&config.notifications.allow, Arc::new(SystemNames))?;
    let (all, hooks) = (&config.notifications.chat, &config.notifications.webhook);
    let names: Vec<&str> =
        all.iter().map(|chat| chat.name.as_str()).chain(hooks.iter().map(|it| it.name.as_str())).collect();
    if let Some(unknown) = arguments.names.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!(
            "trainyard: the configuration has no [[notifications.chat]] and no [[notifications.webhook]] with the name \
             {unknown:?}"
        );
        return Ok(crate::cli::USAGE);
    }
    if names.is_empty() && arguments.to.is_none() {
        eprintln!(
            "trainyard: the configuration has no [[notifications.chat]] and no [[notifications.webhook]], and no --to \
             names the recipient of an email: see docs/usage/notifications.md"
        );
        return Ok(crate::cli::USAGE);
    }
    // An address alone asks for an email alone.
    let are_all = arguments.names.is_empty() && arguments.to.is_none();
    let is_wanted = |name: &String| are_all || arguments.names.contains(name);
    let build = example(config.server.public_url.as_str());
    let status = Some("this is an example of a message: trainyard notify --test");
    let about = About::Build(Words { status, ..Words::default() });
    let (mut table, mut is_good) = (Table::new(["NAME", "KIND", "RESULT"]), true);
    let mut add = |name: &str, kind: String, sent: Result<(), String>| {
        is_good &= sent.is_ok();
        let result = sent.map_or_else(|why| format!("not sent: {why}"), |()| "sent".to_owned());
        table.push(vec![name.to_owned(), kind, result]);
    };
    let chats = Chats::new(all, sender.clone());
    for chat in all.iter().filter(|chat| is_wanted(&chat.name)) {
        let sent = chats.send(chat, &build, about).await;
        add(&chat.name, format!("{:?}", chat.kind), sent.map_err(refused));
    }
    for hook in hooks.iter().filter(|hook| is_wanted(&hook.name)) {
        let event = json!({"type": "test", "timestamp": chrono::Utc::now().to_rfc3339(), "data": {}});
        let sent = sender.post_signed(hook, "notification-test".to_owned(), &event).await;
        add(&hook.name, "Webhook".to_owned(), sent.map_err(refused));
    }
    if let Some(to) = &arguments.to {
        let sent = mail(config.notifications.email.as_ref(), to, &build, about).await?;
        add(EMAIL, "Email".to_owned(), sent);
    }
    crate::cli::print(&table.render(wants_colours(&std::io::stdout()), None))?;
    Ok(if is_good { crate::cli::FINE } else { crate::cli::PROBLEMS })
}

fn refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::Later(why, _) | Refusal::Never(why) => why,
    }
}

/// Sends an example to an address of the operator, who may mail everybody.
async fn mail(
    config: Option<&EmailConfig>,
    to: &str,
    build: &Build,
    about: About<'_>,
) -> anyhow::Result<Result<(), String>> {
    let Some(config) = config else { return Ok(Err("the configuration has no [notifications.email]".to_owned())) };
    let Ok(to) = to.parse() else { return Ok(Err("this is not an email address".to_owned())) };
    let mail = Mail::of("notification-test".to_owned(), build, about, Vec::new())?;
    let sent = Mailer::new(config)?.send(to, &mail).await;
    Ok(sent.map_err(|not_taken| match not_taken {
        NotTaken::Later(why) | NotTaken::Never(why) | NotTaken::Refused(why) => why,
    }))
}

/// Returns a build that never was.
fn example(public_url: &str) -> Build {
    Build {
        repository: "acme/styles".to_owned(),
        number: "1".to_owned(),
        id: 0,
        pull_request: None,
        branch: "main".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        author: "Ada".to_owned(),
        commit_message: "Train a watercolour style".to_owned(),
        state: BuildState::Failed,
        previous: Some(BuildState::Passed),
        duration: 75,
        elapsed: 75,
        compare_url: public_url.to_owned(),
        build_url: public_url.to_owned(),
    }
}
