//! `trainyard notify --test`: an example of a message to the configured chats.

use std::path::PathBuf;
use std::sync::Arc;

use crate::chat::{ChatConfig, Refusal, Words};
use crate::cli::table::{Table, wants_colours};
use crate::config::Config;
use crate::domain::BuildState;
use crate::notifier::{Chats, Sender, SystemNames};
use crate::travis::notifications::Build;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Send an example of a message about a failed build.
    #[arg(long, required = true)]
    test: bool,
    /// The chats, by their names in the configuration. Without any: all of them.
    #[arg(value_name = "CHAT")]
    chats: Vec<String>,
    /// The configuration file of the service.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(in crate::cli) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let sender = Sender::new(&config.notifications.allow, Arc::new(SystemNames))?;
    let all = &config.notifications.chat;
    if let Some(unknown) = arguments.chats.iter().find(|name| all.iter().all(|chat| chat.name != **name)) {
        eprintln!("trainyard: the configuration has no [[notifications.chat]] with the name {unknown:?}");
        return Ok(crate::cli::USAGE);
    }
    if all.is_empty() {
        eprintln!("trainyard: the configuration has no [[notifications.chat]]: see docs/usage/notifications.md");
        return Ok(crate::cli::USAGE);
    }
    let is_wanted = |chat: &&ChatConfig| arguments.chats.is_empty() || arguments.chats.contains(&chat.name);
    let (chats, build) = (Chats::new(all, sender), example(config.server.public_url.as_str()));
    let status = Some("this is an example of a message: trainyard notify --test");
    let (mut table, mut is_good) = (Table::new(["CHAT", "KIND", "RESULT"]), true);
    for chat in all.iter().filter(is_wanted) {
        let result = match chats.send(chat, &build, Words { pull_request: None, status }).await {
            Ok(()) => "sent".to_owned(),
            Err(Refusal::Later(why, _) | Refusal::Never(why)) => {
                is_good = false;
                format!("not sent: {why}")
            }
        };
        table.push(vec![chat.name.clone(), format!("{:?}", chat.kind), result]);
    }
    crate::cli::print(&table.render(wants_colours(&std::io::stdout()), None))?;
    Ok(if is_good { crate::cli::FINE } else { crate::cli::PROBLEMS })
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
