//! The form in which a log is sent to a reader, and the position of that reader.

use std::time::{Duration, Instant};

use axum::response::sse::Event;
use serde_json::{Value, json};

use super::earlier::Earlier;
use super::event;
use crate::log_view::{Checkpoint, Renderer, event_html, line_html};
use crate::lora::series::LogReader;

/// Minimum time between two updates of a progress bar. Programs redraw theirs some twenty times a second; people see no
/// difference at this pace.
const BAR_EVERY: Duration = Duration::from_millis(250);
/// Minimum time between two charts, each of which has some ten thousand bytes.
const CHART_EVERY: Duration = Duration::from_secs(1);

/// Form of the log.
pub(super) enum View {
    /// Unchanged text.
    Text { attempt: i32, offset: i64 },
    /// Lines of a page.
    Html(Box<Html>),
}

/// State of the page.
pub(super) struct Html {
    renderer: Renderer,
    /// The unfinished line as it was last sent.
    unfinished: Option<String>,
    bar: Pace,
    losses: LogReader,
    /// Losses of the attempts with whose training this one goes on.
    earlier: Earlier,
    chart: Pace,
}

/// Something that changes more often than it is sent.
#[derive(Default)]
struct Pace {
    told: Option<Instant>,
    is_owed: bool,
}

impl Pace {
    /// Returns the time at which it must be sent, or `None` if nothing is owed.
    fn due(&self, every: Duration, now: Instant) -> Option<Instant> {
        self.is_owed.then(|| self.told.map_or(now, |told| told + every))
    }

    /// Returns true if it must be sent now, and then counts it as sent.
    fn take(&mut self, every: Duration, now: Instant) -> bool {
        let is_due = self.due(every, now).is_some_and(|due| due <= now);
        if is_due {
            *self = Self { told: Some(now), is_owed: false };
        }
        is_due
    }
}

impl Html {
    /// Makes a page that has the log up to `from`, with the losses of that part.
    pub(super) fn new(from: Checkpoint, losses: LogReader, earlier: Earlier) -> Self {
        Self {
            renderer: Renderer::new(from, line_html),
            unfinished: None,
            bar: Pace::default(),
            losses,
            earlier,
            chart: Pace::default(),
        }
    }

    /// Returns the ops of the last, unfinished line, and the chart of all losses if it has changed.
    pub(super) fn finish(&mut self) -> (Value, Option<Event>) {
        let before = self.losses.version();
        self.losses.finish();
        let is_owed = self.chart.is_owed || self.losses.version() > before;
        let attempt = self.renderer.checkpoint().attempt();
        let renderer = std::mem::replace(&mut self.renderer, Renderer::new(Checkpoint::begin(attempt), line_html));
        (event_html(&renderer.finish()), is_owed.then(|| self.charted()))
    }

    fn render(&mut self, bytes: &[u8]) -> Option<Event> {
        let before = self.losses.version();
        self.losses.feed(bytes);
        self.chart.is_owed |= self.losses.version() > before;
        let ops = self.renderer.feed(bytes);
        self.bar.is_owed = true;
        // Complete lines are sent at once, together with the unfinished line after them.
        (!ops.is_empty()).then(|| {
            self.bar = Pace { told: Some(Instant::now()), is_owed: false };
            self.unfinished = self.renderer.unfinished();
            self.lines(&event_html(&ops))
        })
    }

    fn due(&mut self, now: Instant) -> Option<Event> {
        if self.chart.take(CHART_EVERY, now) {
            return Some(self.charted());
        }
        if self.bar.take(BAR_EVERY, now) {
            let looks = self.renderer.unfinished();
            if looks != self.unfinished {
                self.unfinished = looks;
                return Some(self.lines(&json!([])));
            }
        }
        None
    }

    fn lines(&self, ops: &Value) -> Event {
        let data = json!({ "ops": ops, "unfinished": self.unfinished });
        event("lines", &data).id(self.renderer.checkpoint().to_token())
    }

    /// Returns the chart. Its event has no id: the lines alone decide where a reader continues after a lost connection.
    fn charted(&self) -> Event {
        let html = self.earlier.chart(self.losses.series()).map(|chart| chart.to_string()).unwrap_or_default();
        event("series", &json!({ "html": html }))
    }
}

impl View {
    /// Returns the attempt and the offset of the next byte.
    pub(super) fn position(&self) -> (i32, i64) {
        match self {
            Self::Text { attempt, offset } => (*attempt, *offset),
            Self::Html(html) => {
                let offset = i64::try_from(html.renderer.offset()).unwrap_or(i64::MAX);
                (html.renderer.checkpoint().attempt(), offset)
            }
        }
    }

    /// Starts again with another attempt, which goes on with the training of earlier ones.
    pub(super) fn restart(&mut self, attempt: i32, earlier: Earlier) {
        *self = match self {
            Self::Text { .. } => Self::Text { attempt, offset: 0 },
            Self::Html(_) => Self::Html(Box::new(Html::new(Checkpoint::begin(attempt), LogReader::new(), earlier))),
        };
    }

    /// Returns the event for the next bytes, or `None` when they make no difference yet. `last` means that no bytes
    /// follow.
    pub(super) fn render(&mut self, bytes: &[u8], last: bool) -> Option<Event> {
        match self {
            Self::Text { attempt, offset } => {
                let whole = if last { bytes } else { &bytes[..whole_characters(bytes)] };
                if whole.is_empty() {
                    return None;
                }
                let data = json!({ "offset": *offset, "text": String::from_utf8_lossy(whole) });
                *offset += i64::try_from(whole.len()).unwrap_or(0);
                Some(event("chunk", &data).id(format!("{offset}@{attempt}")))
            }
            Self::Html(html) => html.render(bytes),
        }
    }

    /// Returns an event that is sent at its own pace, if its time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Event> {
        match self {
            Self::Text { .. } => None,
            Self::Html(html) => html.due(now),
        }
    }

    /// Returns the time at which [`View::due`] has an event, or `None` if nothing is owed.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let Self::Html(html) = self else { return None };
        let now = Instant::now();
        [html.bar.due(BAR_EVERY, now), html.chart.due(CHART_EVERY, now)].into_iter().flatten().min()
    }
}

/// Returns the length of `bytes` without a character that is cut off at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let last_chunk = bytes.utf8_chunks().last();
    let cut_off = last_chunk.map_or(0, |chunk| match std::str::from_utf8(chunk.invalid()) {
        Err(error) if error.error_len().is_none() => chunk.invalid().len(),
        _ => 0,
    });
    bytes.len() - cut_off
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut() {
        assert_eq!(whole_characters("é".as_bytes()), 2);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"a😀".as_bytes()[..4]), 1);
        assert_eq!(whole_characters(b"a\xff"), 2, "broken, not cut");
        assert_eq!(whole_characters(b""), 0);
    }

    fn page() -> View {
        View::Html(Box::new(Html::new(Checkpoint::begin(1), LogReader::new(), Earlier::default())))
    }

    #[test]
    fn a_progress_bar_is_told_at_a_pace_that_people_see() {
        let mut view = page();
        let (mut told, begin) = (0, Instant::now());
        // A minute of twenty updates a second.
        for tick in 0..1200_u32 {
            assert!(view.render(format!("\rstep: {tick}").as_bytes(), false).is_none());
            told += u32::from(view.due(begin + tick * Duration::from_millis(50)).is_some());
        }
        assert_eq!(told, 240);
        assert!(view.render(b"\n", false).is_some(), "a line is told at once");
        assert_eq!(view.next_due(), None);
    }

    #[test]
    fn a_chart_is_told_once_a_second_and_at_the_end() {
        let mut view = page();
        let (mut charts, begin) = (0, Instant::now());
        for tick in 0..100_u32 {
            assert!(view.render(format!("step {tick}/100 loss=0.5\n").as_bytes(), false).is_some());
            charts += u32::from(view.due(begin + tick * Duration::from_millis(100)).is_some());
        }
        assert_eq!(charts, 10);
        assert!(view.render(b"nothing new\n", false).is_some());
        view.due(begin + Duration::from_secs(60));
        assert!(view.next_due().is_none());
        assert!(view.render(b"step 100/100 loss=0.4", false).is_none(), "not a whole line");
        let View::Html(mut html) = view else { unreachable!() };
        assert!(html.finish().1.is_some(), "the last line counts at the end");
    }
}
