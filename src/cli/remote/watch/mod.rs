//! `trainyard watch`: a build in the terminal, live. Without a terminal, lines for its changes.
//!
//! Messages change the [`State`], and the view is a function of it. Everything else is around them: tasks that ask the
//! server, and the terminal.

mod chart;
mod feed;
mod log;
mod screen;
mod state;
mod view;

use std::io::IsTerminal as _;
use std::time::Duration;

use chrono::Utc;
use crossterm::event::{Event, EventStream};
use futures::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::follow;
use super::open::in_browser;
use super::session::{Named, Session, Target};
use feed::Feed;
use screen::Screen;
use state::{Effect, Message, State};

/// Time between two drawings when nothing happens: the times of running jobs go on.
const TICK: Duration = Duration::from_secs(1);
/// Number of messages that wait to be drawn.
const MAX_WAITING: usize = 64;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: arrows or j and k choose a job; PageUp, PageDown and End move in the log; r restarts and c \
    cancels the job, R and C the build, after a question; o opens its page; q quits.\n\n\
    The exit status is 0 if the build passed or still runs, and 1 if it did not pass."
)]
pub(in crate::cli) struct Arguments {
    /// The build, such as 12, or one of its jobs, such as 12.3. Without it, the newest build of what is checked out here.
    #[arg(value_name = "BUILD")]
    named: Option<Named>,
    #[command(flatten)]
    target: Target,
    /// Print a line for each change, as without a terminal.
    #[arg(long)]
    plain: bool,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let number = session.number(arguments.named).await?;
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    let has_screen = std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !is_dumb;
    if arguments.plain || !has_screen {
        return follow::follow(&session, number).await;
    }
    let job = arguments.named.and_then(|named| named.job).map(i64::from);
    show(&session, number, job).await
}

/// Shows the build until the person quits.
async fn show(session: &Session, number: i64, job: Option<i64>) -> anyhow::Result<u8> {
    // An error of the first answer is for the plain terminal: there may be no such build.
    let build = session.build(number).await?;
    let mut state = State::new(build, job, Utc::now());
    let (sender, mut messages) = mpsc::channel(MAX_WAITING);
    let mut feed = Feed::start(session.clone(), number, sender);
    if let Some(job) = state.job() {
        feed.follow(job);
    }
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [interrupt, terminate, hangup] = &mut ends;
    let (Ok(interrupt), Ok(terminate), Ok(hangup)) = (interrupt, terminate, hangup) else {
        anyhow::bail!("signals cannot be heard");
    };
    let mut screen = Screen::open()?;
    let mut keys = EventStream::new();
    let mut tick = tokio::time::interval(TICK);
    loop {
        screen.draw(&state)?;
        let message = tokio::select! {
            Some(message) = messages.recv() => message,
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => Message::Key(key),
                Some(Ok(_)) => continue,
                // The terminal is gone.
                Some(Err(_)) | None => break,
            },
            error = feed.panicked() => return Err(error.into()),
            _ = tick.tick() => Message::Tick(Utc::now()),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        };
        match state.update(message) {
            None => {}
            Some(Effect::Quit) => break,
            Some(Effect::Follow(job)) => feed.follow(job),
            Some(Effect::Change { job, verb }) => feed.change(job, verb),
            Some(Effect::Open(job)) => {
                let page = session.page(number, job);
                if !in_browser(&page).await {
                    state.say(page.as_str());
                }
            }
        }
    }
    drop(screen);
    Ok(state.build().exit_status())
}

#[cfg(test)]
mod tests;
