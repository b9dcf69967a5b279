//! The state under messages, and snapshots of what it looks like.

use chrono::{DateTime, Utc};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::state::{Effect, Followed, Message, State};
use super::view::view;
use crate::cli::remote::answers::Build;
use crate::cli::remote::events::LogEvent;
use crate::lora::series::{Point, Series};

fn now() -> DateTime<Utc> {
    "2026-01-01T10:01:15Z".parse().expect("a time")
}

fn build() -> Build {
    let job = |number: i64, name: &str, state: &str, verdict: Option<&str>| {
        json!({
            "id": 100 + number, "number": number, "name": name, "state": state, "verdict": verdict, "runner": "local",
            "started_at": if state == "queued" { None } else { Some("2026-01-01T10:00:00Z") },
            "finished_at": verdict.map(|_| "2026-01-01T10:00:12Z"), "log_length": (256 << 10) + 1000 * (number - 1),
            "wait_reason": if state == "queued" { Some("waits for a GPU") } else { None },
        })
    };
    serde_json::from_value(json!({
        "owner": "acme", "name": "styles", "number": 12, "state": "running", "kind": "push", "branch": "main",
        "sha": "0123456789abcdef0123456789abcdef01234567", "message": "Raise the rank of the style\n\nMore detail.",
        "author": "anna", "started_at": "2026-01-01T10:00:00Z",
        "jobs": [
            job(1, "lint", "finished", Some("passed")),
            job(2, "train with rank 16", "running", None),
            job(3, "训练风格模型", "queued", None),
        ],
    }))
    .expect("a build")
}

fn drawn(state: &State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| view(frame, state)).expect("drawn");
    terminal.backend().to_string()
}

/// A state with a log and losses.
fn full() -> State {
    let mut state = State::new(build(), None, now());
    let value = |n: u32| if (30..34).contains(&n) { f64::NAN } else { 2.0 * (-f64::from(n) / 25.0).exp() + 0.25 };
    let points = (0..100).map(|n| Point { step: u64::from(n) + 1, value: value(n) }).collect();
    state.update(Message::Series(
        102,
        Box::new(Series { points, steps_wanted: Some(200), steps_seen: 100, ..Series::default() }),
    ));
    state.update(Message::Log(
        102,
        LogEvent::Text("cut\n$ python train.py --rank 16\n\x1b[32mloading\x1b[0m the base model\n".to_owned()),
    ));
    for step in 1..=40 {
        state.update(Message::Log(102, LogEvent::Text(format!("step {step}/200 loss=0.{}\n", 900 - step))));
    }
    state
}

#[test]
fn a_build_fits_any_terminal() {
    let state = full();
    insta::assert_snapshot!("wide", drawn(&state, 120, 32));
    insta::assert_snapshot!("usual", drawn(&state, 80, 24));
    insta::assert_snapshot!("narrow", drawn(&state, 44, 24));
    for (width, height) in [(1, 1), (2, 3), (10, 5), (300, 4), (20, 100)] {
        drawn(&state, width, height);
    }
}

#[test]
fn a_build_without_losses_shows_its_log_and_a_question() {
    let mut state = State::new(build(), Some(3), now());
    press(&mut state, KeyCode::Char('c'));
    insta::assert_snapshot!("question", drawn(&state, 80, 16));
    let unapproved = Build { jobs: vec![], state: "queued".to_owned(), needs_approval: true, ..build() };
    let mut state = State::new(unapproved, None, now());
    state.update(Message::Trouble("http://127.0.0.1:1/ does not answer: connection refused".to_owned()));
    insta::assert_snapshot!("unapproved", drawn(&state, 80, 12));
}

#[test]
fn any_losses_can_be_drawn() {
    let extremes = [f64::MAX, f64::MIN, 0.0, f64::NAN, f64::INFINITY, 1e-300];
    for values in [&extremes[..], &[0.0], &[0.0, 0.0], &[f64::MAX], &[1e-320, 1e-320], &[1e-9, 1.0, 1e9], &[f64::NAN]] {
        let mut state = State::new(build(), None, now());
        let points =
            (1..).zip(values).map(|(step, value)| Point { step: step * (u64::MAX / 8), value: *value }).collect();
        state.update(Message::Series(102, Box::new(Series { points, ..Series::default() })));
        let text = drawn(&state, 80, 24);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{values:?}:\n{text}");
    }
}

fn press(state: &mut State, code: KeyCode) -> Option<Effect> {
    state.update(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn state() -> State {
    State::new(build(), None, now())
}

#[test]
fn keys_choose_a_job_and_its_log_is_followed() {
    let mut state = state();
    assert_eq!(state.chosen(), 1, "the one that runs");
    assert_eq!(press(&mut state, KeyCode::Up), Some(Effect::Follow(Followed { id: 101, from: 0 })));
    assert_eq!(press(&mut state, KeyCode::Up), None);
    assert_eq!(press(&mut state, KeyCode::Char('j')), Some(Effect::Follow(Followed { id: 102, from: 1000 })));
    // What arrives for the job before is for nothing.
    state.update(Message::Log(101, LogEvent::Text("old\n".to_owned())));
    assert!(state.log(9).is_empty());
    assert_eq!(press(&mut state, KeyCode::Char('o')), Some(Effect::Open(Some(2))));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Some(Effect::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.update(Message::Key(control_c)), Some(Effect::Quit));
}

#[test]
fn a_change_needs_a_yes() {
    let mut state = state();
    for (key, no) in [(KeyCode::Char('c'), KeyCode::Char('n')), (KeyCode::Char('R'), KeyCode::Enter)] {
        assert_eq!(press(&mut state, key), None);
        assert!(state.words().0.ends_with("? y/n"), "{:?}", state.words());
        assert_eq!(press(&mut state, no), None);
        assert_eq!(state.words().0, "");
    }
    press(&mut state, KeyCode::Char('c'));
    assert_eq!(press(&mut state, KeyCode::Char('y')), Some(Effect::Change { job: Some(2), verb: "cancel" }));
    press(&mut state, KeyCode::Char('R'));
    assert_eq!(press(&mut state, KeyCode::Char('y')), Some(Effect::Change { job: None, verb: "restart" }));
    press(&mut state, KeyCode::Char('a'));
    assert_eq!(state.words().0, "", "nothing to approve");
}

#[test]
fn a_reader_of_the_log_is_not_moved() {
    let mut state = state();
    press(&mut state, KeyCode::Up);
    for n in 0..30 {
        state.update(Message::Log(101, LogEvent::Text(format!("line {n}\n"))));
    }
    assert_eq!(state.log(2), ["line 28", "line 29"]);
    press(&mut state, KeyCode::PageUp);
    assert_eq!(state.log(2), ["line 18", "line 19"]);
    state.update(Message::Log(101, LogEvent::Text("line 30\n".to_owned())));
    assert_eq!(state.log(2), ["line 18", "line 19"]);
    press(&mut state, KeyCode::End);
    assert_eq!(state.log(1), ["line 30"]);
    state.update(Message::Log(101, LogEvent::Restarted));
    assert!(state.log(9).is_empty());
}

#[test]
fn a_lost_connection_is_told_until_the_next_answer() {
    let mut state = state();
    state.update(Message::Trouble("no\u{1b}[2J answer".to_owned()));
    assert_eq!(state.words(), ("no[2J answer".to_owned(), true));
    let fewer = Build { jobs: build().jobs[..1].to_vec(), ..build() };
    state.update(Message::Build(Box::new(fewer)));
    assert_eq!((state.words(), state.chosen()), ((String::new(), false), 0));
}
