//! The state of the view, and how messages change it. Pure: what has to be done is returned.

use chrono::{DateTime, Utc};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::log::LogEnd;
use crate::cli::remote::answers::{Build, Job};
use crate::cli::remote::events::LogEvent;
use crate::cli::table::inert;
use crate::lora::series::{MAX_POINTS, Series};

/// Number of lines by which a page of the log moves.
const PAGE: usize = 10;

/// Something that has happened.
pub(super) enum Message {
    Build(Box<Build>),
    /// A change of the log of the job with this id.
    Log(i64, LogEvent),
    /// The losses of the job with this id.
    Series(i64, Box<Series>),
    /// The server does not answer, or does not allow something.
    Trouble(String),
    /// A change that the person wanted is done, or was refused.
    Done(String),
    Key(KeyEvent),
    Tick(DateTime<Utc>),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    /// Follow the log of this job, from the byte at which its end begins.
    Follow(Followed),
    /// Change this job, or the build.
    Change {
        job: Option<i64>,
        verb: &'static str,
    },
    /// Open the page of this job, or of the build.
    Open(Option<i64>),
}

/// A job whose log is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) id: i64,
    pub(super) from: i64,
}

/// A change that waits for the person's yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    job: Option<i64>,
    verb: &'static str,
}

/// The state of the view.
pub(super) struct State {
    build: Build,
    /// Index of the chosen job.
    chosen: usize,
    log: LogEnd,
    /// Number of lines below the shown ones.
    below: usize,
    series: Series,
    question: Option<Question>,
    notice: String,
    trouble: Option<String>,
    now: DateTime<Utc>,
}

/// Number of bytes at the end of a log that are shown.
const SHOWN_LOG: i64 = 256 << 10;

impl State {
    /// Returns the state at the start. Of several jobs, the first that runs is chosen, unless one is asked for.
    pub(super) fn new(build: Build, job: Option<i64>, now: DateTime<Utc>) -> Self {
        let place = |is: &dyn Fn(&Job) -> bool| build.jobs.iter().position(is);
        let chosen = match job {
            Some(number) => place(&|job| job.number == number),
            None => place(&|job| job.state == "running").or_else(|| place(&|job| job.exit_status() != 0)),
        };
        let mut state = Self {
            chosen: chosen.unwrap_or(0),
            build,
            log: LogEnd::new(false),
            below: 0,
            series: Series::default(),
            question: None,
            notice: String::new(),
            trouble: None,
            now,
        };
        state.begin_log();
        state
    }

    pub(super) fn build(&self) -> &Build {
        &self.build
    }

    pub(super) fn chosen(&self) -> usize {
        self.chosen
    }

    pub(super) fn chosen_job(&self) -> Option<&Job> {
        self.build.jobs.get(self.chosen)
    }

    pub(super) fn series(&self) -> &Series {
        &self.series
    }

    pub(super) fn log(&self, count: usize) -> Vec<String> {
        self.log.lines(count, self.below)
    }

    pub(super) fn is_scrolled(&self) -> bool {
        self.below > 0
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Returns the line for the person: a question, a trouble, or what was said last.
    pub(super) fn words(&self) -> (String, bool) {
        if let Some(Question { job, verb }) = self.question {
            let what =
                job.map_or_else(|| "the whole build".to_owned(), |job| format!("job {}.{job}", self.build.number));
            return (format!("{verb} {what}? y/n"), true);
        }
        match &self.trouble {
            Some(trouble) => (trouble.clone(), true),
            None => (self.notice.clone(), false),
        }
    }

    /// Returns the chosen job as one whose log is followed.
    pub(super) fn job(&self) -> Option<Followed> {
        let job = self.chosen_job()?;
        Some(Followed { id: job.id, from: (job.log_length - SHOWN_LOG).max(0) })
    }

    pub(super) fn say(&mut self, words: &str) {
        self.notice = inert(words);
    }

    /// Changes the state. Returns what has to be done.
    pub(super) fn update(&mut self, message: Message) -> Option<Effect> {
        let chosen = self.chosen_job().map(|job| job.id);
        match message {
            Message::Tick(now) => self.now = now,
            Message::Key(key) if key.kind != KeyEventKind::Release => return self.key(key),
            Message::Key(_) => {}
            Message::Build(build) => {
                (self.build, self.trouble) = (*build, None);
                self.chosen = self.chosen.min(self.build.jobs.len().saturating_sub(1));
            }
            Message::Series(job, series) if chosen == Some(job) => {
                self.series = *series;
                // A server keeps no more.
                self.series.points.truncate(MAX_POINTS);
            }
            Message::Log(job, event) if chosen == Some(job) => self.log_event(event),
            // Of the job that was chosen before.
            Message::Series(..) | Message::Log(..) => {}
            Message::Trouble(words) => self.trouble = Some(inert(&words)),
            Message::Done(words) => self.say(&words),
        }
        None
    }

    fn log_event(&mut self, event: LogEvent) {
        match event {
            LogEvent::Text(text) => {
                let before = self.log.len();
                self.log.feed(&text);
                // What the person reads stays where it is.
                if self.below > 0 {
                    self.below += self.log.len() - before.min(self.log.len());
                }
            }
            LogEvent::Restarted => {
                self.log = LogEnd::new(false);
                self.series = Series::default();
                self.below = 0;
            }
            LogEvent::Lost(why) => self.trouble = Some(inert(&why)),
            LogEvent::Ended { .. } => {}
        }
    }

    fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Effect::Quit);
        }
        if let Some(Question { job, verb }) = self.question.take() {
            return (key.code == KeyCode::Char('y')).then_some(Effect::Change { job, verb });
        }
        self.notice.clear();
        let job = self.chosen_job().map(|job| job.number);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Effect::Quit),
            KeyCode::Down | KeyCode::Char('j') => return self.choose(self.chosen + 1),
            KeyCode::Up | KeyCode::Char('k') => return self.choose(self.chosen.checked_sub(1)?),
            KeyCode::PageUp => self.below = (self.below + PAGE).min(self.log.len().saturating_sub(1)),
            KeyCode::PageDown => self.below = self.below.saturating_sub(PAGE),
            KeyCode::End => self.below = 0,
            KeyCode::Char('o') => return Some(Effect::Open(job)),
            KeyCode::Char('r') => self.question = job.map(|job| Question { job: Some(job), verb: "restart" }),
            KeyCode::Char('c') => self.question = job.map(|job| Question { job: Some(job), verb: "cancel" }),
            KeyCode::Char('R') => self.question = Some(Question { job: None, verb: "restart" }),
            KeyCode::Char('C') => self.question = Some(Question { job: None, verb: "cancel" }),
            KeyCode::Char('a') if self.build.is_unapproved() => {
                self.question = Some(Question { job: None, verb: "approve" });
            }
            _ => {}
        }
        None
    }

    /// Chooses a job, if there is one at this index.
    fn choose(&mut self, index: usize) -> Option<Effect> {
        if index >= self.build.jobs.len() || index == self.chosen {
            return None;
        }
        self.chosen = index;
        self.begin_log();
        self.job().map(Effect::Follow)
    }

    fn begin_log(&mut self) {
        self.log = LogEnd::new(self.job().is_some_and(|job| job.from > 0));
        self.series = Series::default();
        self.below = 0;
    }
}
