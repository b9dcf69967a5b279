//! Recipients and texts of notifications.

use serde_json::Value;
use trainyard::domain::BuildState;
use trainyard::travis::notifications::{Channel, Event, Message};

use crate::support::{Score, corpus, list};

/// Converts Travis's word for a state into ours.
fn state(word: &Value) -> Option<BuildState> {
    Some(match word.as_str()? {
        "created" | "queued" => BuildState::Queued,
        "started" => BuildState::Running,
        "passed" => BuildState::Passed,
        "failed" => BuildState::Failed,
        "errored" => BuildState::Errored,
        "canceled" => BuildState::Canceled,
        word => panic!("an unknown state {word}"),
    })
}

fn event(word: &Value) -> Event {
    match word.as_str() {
        Some("started") => Event::Started,
        Some("finished") => Event::Finished,
        Some("canceled") => Event::Canceled,
        word => panic!("an unknown event {word:?}"),
    }
}

pub fn scores() -> Vec<Score> {
    let mut decisions = Score::new("notify", 100.0);
    for (index, case) in list("notify.json").iter().enumerate() {
        let named = |channel: &Channel| case["channel"] == channel.key();
        let channel = Channel::ALL.into_iter().find(named).expect("a known channel");
        let config = case["config"].as_object().expect("a map");
        let now = state(&case["state"]).expect("a state");
        let got = channel.asks(config, event(&case["event"]), now, state(&case["previous_state"]));
        let heard = channel.hears(event(&case["event"]));
        let equal = case["send"] == got && case["event_subscribed"] == heard;
        decisions.count(index, equal, || format!("{case}\n  got {got}, heard {heard}"));
    }
    let mut words = Score::new("notify, messages", 100.0);
    let corpus = corpus("webhook.json").unwrap_or_default();
    for (index, case) in corpus["result_messages"].as_array().into_iter().flatten().enumerate() {
        let got = Message::of(state(&case["state"]).expect("a state"), state(&case["previous_state"]));
        let equal = case["short"] == got.short() && case["full"] == got.sentence();
        words.count(index, equal, || format!("{case}\n  got {got:?}"));
    }
    vec![decisions, words]
}
