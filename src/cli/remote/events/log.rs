//! A job's live log.

use serde::Deserialize;

use super::{Event, EventStream, Received};
use crate::cli::remote::client::{Client, Error, typed};

/// A change of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::remote) enum LogEvent {
    Text(String),
    /// The job runs again: the log begins from its start.
    Restarted,
    /// The job has ended.
    Ended {
        verdict: Option<String>,
        reason: Option<String>,
    },
    /// The connection is lost, for this reason, and will be tried again.
    Lost(String),
}

/// A follower of a job's log.
pub(in crate::cli::remote) struct LogFollower {
    stream: EventStream,
}

impl LogFollower {
    /// Returns a follower that begins at the byte `from`.
    pub(in crate::cli::remote) fn new(client: Client, job: i64, from: i64) -> Self {
        let path = ["jobs", &job.to_string(), "log", "stream"];
        Self { stream: EventStream::new(client, &path, vec![("offset", from.to_string())]) }
    }

    /// Waits for the next change.
    ///
    /// # Errors
    /// Fails when the server refuses the log, or does not answer for minutes.
    pub(in crate::cli::remote) async fn next(&mut self) -> Result<LogEvent, Error> {
        loop {
            match self.stream.next().await? {
                Received::Event(event) => {
                    if let Some(event) = self.read(&event)? {
                        return Ok(event);
                    }
                }
                Received::Lost(why) => return Ok(LogEvent::Lost(why)),
            }
        }
    }

    fn read(&mut self, event: &Event) -> Result<Option<LogEvent>, Error> {
        let client = &self.stream.client;
        let read = || serde_json::from_str(&event.data).map_err(|_| client.strange("an event is not JSON"));
        Ok(match event.name.as_str() {
            // The text is rendered by `log_view`, which drops what could steer the terminal.
            "chunk" => {
                let chunk: Chunk =
                    serde_json::from_value(read()?).map_err(|_| client.strange("an event has no text"))?;
                Some(LogEvent::Text(chunk.text))
            }
            "restart" => Some(LogEvent::Restarted),
            "end" => {
                let End { verdict, reason } = typed(client, read()?)?;
                // Nothing follows, unless the job is restarted.
                self.stream.close();
                Some(LogEvent::Ended { verdict, reason })
            }
            _ => None,
        })
    }
}

#[derive(Deserialize)]
struct Chunk {
    text: String,
}

#[derive(Deserialize)]
struct End {
    verdict: Option<String>,
    reason: Option<String>,
}
