//! The changes of a build.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Event, EventStream, Received};
use crate::cli::remote::session::Session;

/// Time between two questions about a build while its stream is not open.
const POLL: Duration = Duration::from_secs(2);
/// Time between two questions while it is: a proxy may hold events back.
const RARE_POLL: Duration = Duration::from_secs(15);

/// Says when to ask for a build again.
pub(in crate::cli::remote) struct BuildChanges {
    /// True while the stream is open. Sent at each change of the build.
    is_open: watch::Receiver<bool>,
    _reading: JoinSet<()>,
}

impl BuildChanges {
    pub(in crate::cli::remote) fn of(session: &Session, number: i64) -> Self {
        let stream = EventStream::new(session.client.clone(), &session.path(&["events"]), Vec::new());
        let (sender, is_open) = watch::channel(false);
        let mut reading = JoinSet::new();
        reading.spawn(read(stream, number, sender));
        Self { is_open, _reading: reading }
    }

    /// Waits until the build has changed, or may have changed.
    pub(in crate::cli::remote) async fn next(&mut self) {
        let longest = if *self.is_open.borrow() { RARE_POLL } else { POLL };
        if let Ok(Err(_)) = tokio::time::timeout(longest, self.is_open.changed()).await {
            // The server has no such stream.
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn read(mut stream: EventStream, number: i64, sender: watch::Sender<bool>) {
    loop {
        match stream.next().await {
            // What has changed before is not told.
            Ok(Received::Event(event)) if event.name == "begin" || is_of(&event, number) => {
                sender.send_replace(true);
            }
            Ok(Received::Event(_)) => {}
            Ok(Received::Lost(_)) => {
                sender.send_if_modified(std::mem::take);
            }
            Err(_) => break,
        }
    }
    sender.send_replace(false);
}

/// Returns true if the event is about the build of this number.
fn is_of(event: &Event, number: i64) -> bool {
    #[derive(Deserialize)]
    struct Changed {
        build: Build,
    }
    #[derive(Deserialize)]
    struct Build {
        number: i64,
    }
    event.name == "build"
        && serde_json::from_str(&event.data).is_ok_and(|changed: Changed| changed.build.number == number)
}
