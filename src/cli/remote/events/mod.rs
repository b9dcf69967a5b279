//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), over as many connections as it
//! takes: a job's live log, and the changes of a build.

mod builds;
mod log;

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};

pub(super) use self::builds::BuildChanges;
pub(super) use self::log::{LogEvent, LogFollower};
use super::client::{Client, Error};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Maximum length of a line of the stream. A piece of a log has 64 KiB, and some six bytes for each in JSON.
const MAX_LINE: usize = 2 << 20;
/// Maximum length of an id.
const MAX_ID: usize = 100;
/// Pauses before the next connection: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Number of connections in a row that may fail.
const MAX_FAILURES: u32 = 40;

/// A stream of events that continues after a lost connection.
struct EventStream {
    client: Client,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    /// Id of the last event.
    last: Option<HeaderValue>,
    open: Option<(Response, Parser)>,
    failures: u32,
}

enum Received {
    Event(Event),
    /// The connection is lost, for this reason. The next one continues the stream.
    Lost(String),
}

impl EventStream {
    fn new(client: Client, path: &[&str], query: Vec<(&'static str, String)>) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Self { client, path, query, last: None, open: None, failures: 0 }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// Fails when the server refuses the stream, or does not answer for minutes.
    async fn next(&mut self) -> Result<Received, Error> {
        let error = match self.event().await {
            Ok(Some(event)) => {
                self.failures = 0;
                if let Some(id) = &event.id {
                    self.last = HeaderValue::from_str(id).ok();
                }
                return Ok(Received::Event(event));
            }
            // The server has ended the stream, as it does before it stops.
            Ok(None) => Error::Unavailable("the server has closed the connection".to_owned()),
            Err(error) => error,
        };
        self.close();
        self.failures += 1;
        if !error.may_pass() || self.failures > MAX_FAILURES {
            Err(error)
        } else {
            Ok(Received::Lost(error.to_string()))
        }
    }

    /// Returns the next event of the connection; `None` at its end.
    async fn event(&mut self) -> Result<Option<Event>, Error> {
        if self.open.is_none() {
            if self.failures > 0 {
                tokio::time::sleep((FIRST_PAUSE * 2_u32.pow(self.failures.min(6) - 1)).min(LONGEST_PAUSE)).await;
            }
            let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
            headers.extend(self.last.clone().map(|id| (LAST_EVENT_ID, id)));
            let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
            let query: Vec<(&str, &str)> = self.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.open = Some((self.client.open(&path, &query, headers).await?, Parser::default()));
        }
        let Some((response, parser)) = &mut self.open else { return Ok(None) };
        loop {
            if let Some(event) = parser.next().map_err(|why| self.client.strange(why))? {
                return Ok(Some(event));
            }
            match self.client.chunk(response).await? {
                Some(bytes) => parser.feed(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// Ends the connection. The next event needs a new one.
    fn close(&mut self) {
        self.open = None;
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
    id: Option<String>,
}

/// Parser of a stream of events.
#[derive(Default)]
struct Parser {
    bytes: Vec<u8>,
    /// Number of bytes at the start of `bytes` that are read.
    read: usize,
    event: Event,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next event whose end has arrived.
    fn next(&mut self) -> Result<Option<Event>, &'static str> {
        loop {
            let rest = &self.bytes[self.read..];
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
                return if rest.len() > MAX_LINE { Err("an event is too long") } else { Ok(None) };
            };
            let line = String::from_utf8_lossy(&rest[..length]).into_owned();
            self.read += length + 1;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event.name),
                "id" if value.len() <= MAX_ID => self.event.id = Some(value.to_owned()),
                "data" if self.event.data.len() + value.len() > MAX_LINE => return Err("an event is too long"),
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, String, Option<String>)> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in pieces {
            parser.feed(piece);
            while let Some(event) = parser.next().expect("short") {
                found.push((event.name, event.data, event.id));
            }
        }
        found
    }

    #[test]
    fn events_are_read_in_any_pieces() {
        let stream = ": hello\n\nevent: chunk\ndata: {\"text\":\"é\"}\nid: 2@1\n\nretry: 3\r\nevent:end\r\ndata:a\r\ndata: b\r\n\r\nevent: x\n\ndata: cut";
        let expected = [
            ("chunk".to_owned(), "{\"text\":\"é\"}".to_owned(), Some("2@1".to_owned())),
            ("end".to_owned(), "a\nb".to_owned(), None),
        ];
        assert_eq!(events(&[stream.as_bytes()]), expected);
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes), expected);
    }

    #[test]
    fn a_stream_has_bounds() {
        let mut parser = Parser::default();
        parser.feed(&vec![b'x'; MAX_LINE + 1]);
        assert!(parser.next().is_err());
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(MAX_LINE / 2));
        parser.feed(line.as_bytes());
        assert_eq!(parser.next(), Ok(None));
        parser.feed(line.as_bytes());
        assert_eq!(parser.next(), Ok(None));
        parser.feed(line.as_bytes());
        assert!(parser.next().is_err());
    }
}
