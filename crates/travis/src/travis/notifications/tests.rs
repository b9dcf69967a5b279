use serde_json::json;

use super::*;
use crate::travis::normal::{Options, normalize, read};

fn due_of(text: &str, change: impl FnOnce(&mut Occasion<'_>)) -> Vec<(&'static str, Json)> {
    let document = read(text).expect("YAML");
    let normal = normalize(&document, Options::PRODUCTION).expect("a map");
    let config = normal.config.as_object().cloned().unwrap_or_default();
    let data = json!({"type": "push", "branch": "main"});
    let mut occasion = Occasion {
        event: Event::Finished,
        state: BuildState::Failed,
        previous: Some(BuildState::Passed),
        pull_request: false,
        auto_canceled: false,
        data: &data,
    };
    change(&mut occasion);
    let due = due(&config, &occasion).into_iter();
    due.map(|notification| (notification.channel.key(), Json::Object(notification.entry))).collect()
}

fn channels(text: &str) -> Vec<&'static str> {
    due_of(text, |_| {}).into_iter().map(|(channel, _)| channel).collect()
}

#[test]
fn every_form_of_a_channel() {
    assert_eq!(due_of("script: true\n", |_| {}), [("email", json!({}))]);
    assert_eq!(due_of("notifications: a@b.c\n", |_| {}), [("email", json!({"recipients": ["a@b.c"]}))]);
    assert_eq!(
        due_of("notifications: {email: [a@b.c, d@e.f]}\n", |_| {}),
        [("email", json!({"recipients": ["a@b.c"]})), ("email", json!({"recipients": ["d@e.f"]}))]
    );
    let slack = "notifications:\n  email: false\n  slack: {rooms: [\"a:b#c\"]}\n";
    assert_eq!(due_of(slack, |_| {}), [("slack", json!({"rooms": ["a:b#c"]}))]);
    assert_eq!(channels("notifications: {email: false, webhooks: http://a.b}\n"), ["webhooks"]);
    assert_eq!(channels("notifications: false\n"), Vec::<&str>::new());
    assert_eq!(channels("notifications: {email: {enabled: false}}\n"), Vec::<&str>::new());
    assert_eq!(channels("notifications: {email: {disabled: true}}\n"), Vec::<&str>::new());
}

#[test]
fn the_roots_frequencies_are_handed_down() {
    let text = "notifications:\n  on_failure: never\n  email: a@b.c\n  irc: {channels: [a], on_failure: always}\n";
    assert_eq!(channels(text), ["irc"]);
}

#[test]
fn an_entry_has_its_own_condition() {
    let text = |condition: &str| format!("notifications:\n  email: {{if: \"{condition}\"}}\n");
    assert_eq!(channels(&text("branch = main")), ["email"]);
    assert_eq!(channels(&text("branch = other")), Vec::<&str>::new());
    assert_eq!(channels(&text("branch = (")), Vec::<&str>::new());
}

#[test]
fn pull_requests_and_canceled_builds() {
    let text = "notifications:\n  email: a@b.c\n  slack: {rooms: [\"a:b\"], on_pull_requests: false}\n  webhooks: http://a.b\n";
    let of = |change: fn(&mut Occasion<'_>)| {
        due_of(text, change).into_iter().map(|(channel, _)| channel).collect::<Vec<_>>()
    };
    assert_eq!(of(|occasion| occasion.pull_request = true), ["webhooks"]);
    let cancel = |occasion: &mut Occasion<'_>| {
        (occasion.event, occasion.state) = (Event::Canceled, BuildState::Canceled);
    };
    assert_eq!(of(cancel), ["email", "webhooks"]);
    let replaced = |occasion: &mut Occasion<'_>| {
        (occasion.event, occasion.state, occasion.auto_canceled) = (Event::Canceled, BuildState::Canceled, true);
    };
    assert_eq!(of(replaced), ["webhooks"]);
    let errored = |occasion: &mut Occasion<'_>| {
        (occasion.event, occasion.state) = (Event::Errored, BuildState::Errored);
    };
    assert_eq!(of(errored), ["webhooks"]);
}

#[test]
fn publications_are_told_as_successes_and_failures_are_unless_an_entry_says_otherwise() {
    let publish = [Event::Approval, Event::Published, Event::PublishFailed, Event::Rejected];
    for (channel, entry, told) in [
        (Channel::Slack, json!({}), [true, true, true, true]),
        (Channel::Email, json!({"on_success": "change"}), [true, true, true, true]),
        (Channel::Slack, json!({"on_success": "never"}), [true, false, true, true]),
        (Channel::Slack, json!({"on_failure": "never"}), [true, true, false, false]),
        (Channel::Email, json!({"on_publish": "never"}), [false, false, false, false]),
        (Channel::Slack, json!({"on_success": "never", "on_publish": "always"}), [true, true, true, true]),
        (Channel::Webhooks, json!({"on_success": "always"}), [false, false, false, false]),
        (Channel::Webhooks, json!({"on_publish": "always"}), [true, true, true, true]),
    ] {
        let entry = entry.as_object().expect("a map");
        let asks = publish.map(|event| channel.hears(event) && channel.asks(entry, event, BuildState::Passed, None));
        assert_eq!(asks, told, "{channel:?} {entry:?}");
    }
}

fn build() -> Build {
    Build {
        repository: "acme/styles".to_owned(),
        number: "42".to_owned(),
        id: 4242,
        pull_request: None,
        branch: "main".to_owned(),
        commit: "0123456789abcdef".to_owned(),
        author: "Ada".to_owned(),
        commit_message: "Train longer\n\nMuch longer".to_owned(),
        state: BuildState::Passed,
        previous: Some(BuildState::Failed),
        duration: 605,
        elapsed: 59,
        compare_url: "https://c".to_owned(),
        build_url: "https://b".to_owned(),
    }
}

#[test]
fn chats_are_told_by_a_template() {
    let branch = build();
    assert_eq!(
        render(default_template(&branch), &branch),
        "Build <https://b|#42> (<https://c|0123456>) of acme/styles@main by Ada passed in 10 min 5 sec"
    );
    let pull = Build { pull_request: Some((7, "https://p".to_owned())), state: BuildState::Errored, ..build() };
    assert_eq!(
        render(default_template(&pull), &pull),
        "Build <https://b|#42> (<https://c|0123456>) of acme/styles@main in PR <https://p|#7> by Ada errored in \
         10 min 5 sec"
    );
    assert_eq!(
        render("%{repository_name} %{message} %{commit_subject} %{elapsed_time} %{pull_request}", &branch),
        "styles The build was fixed. Train longer 0 min 59 sec false"
    );
}

#[test]
fn what_is_no_name_in_a_template() {
    let tricky = Build { author: "%{branch}".to_owned(), ..build() };
    assert_eq!(render("%{author} %{nothing}| %{open % 100%", &tricky), "%{branch} | %{open % 100%");
}

fn asked(text: &str) -> Option<Webhooks> {
    let document = read(text).expect("YAML");
    let normal = normalize(&document, Options::PRODUCTION).expect("a map");
    webhooks(normal.config.as_object().expect("a map"), &json!({"type": "push", "branch": "main"}))
}

#[test]
fn every_form_of_webhooks() {
    let urls = |text: &str| -> Vec<Json> {
        let receivers = asked(text).map(|webhooks| webhooks.receivers).unwrap_or_default();
        receivers.into_iter().map(|receiver| receiver.url).collect()
    };
    let none: Vec<Json> = Vec::new();
    assert_eq!(urls("notifications: {webhooks: http://a.b}\n"), ["http://a.b"]);
    assert_eq!(
        urls("notifications: {webhooks: [http://a.b, {secure: c}]}\n"),
        [json!("http://a.b"), json!({"secure": "c"})]
    );
    assert_eq!(urls("notifications: {webhooks: {urls: [http://a.b, http://c.d]}}\n"), ["http://a.b", "http://c.d"]);
    assert_eq!(urls("notifications: {webhooks: {urls: http://a.b, if: branch = other}}\n"), none);
    assert_eq!(urls("notifications: {webhooks: {urls: http://a.b, enabled: false}}\n"), none);
    assert_eq!(urls("notifications: {email: a@b.c, webhooks: false}\n"), none);
    let many: String = (0..60).map(|n| format!("    - http://a.b/{n}\n")).collect();
    assert_eq!(urls(&format!("notifications:\n  webhooks:\n{many}")).len(), 20);
    let when = asked("notifications: {on_success: never, webhooks: {urls: http://a.b, on_start: always}}\n");
    let when = when.expect("a receiver").receivers.remove(0).when;
    assert_eq!(Json::Object(when), json!({"on_success": "never", "on_start": "always"}));
}

#[test]
fn emails_have_the_recipients_that_the_config_names() {
    let of = |text: &str| -> Vec<Json> {
        let emails = asked(text).map(|webhooks| webhooks.emails).unwrap_or_default();
        emails.into_iter().map(|recipient| recipient.email).collect()
    };
    let none: Vec<Json> = Vec::new();
    assert_eq!(of("notifications: a@b.c\n"), ["a@b.c"]);
    assert_eq!(of("notifications: {email: [a@b.c, d@e.f, a@b.c]}\n"), ["a@b.c", "d@e.f"]);
    assert_eq!(of("notifications: {email: {recipients: {secure: x}}}\n"), [json!({"secure": "x"})]);
    for text in ["script: true\n", "notifications: {email: false}\n", "notifications: {email: true}\n"] {
        assert_eq!(of(text), none, "{text}");
    }
    assert_eq!(of("notifications: {email: {recipients: a@b.c, if: branch = other}}\n"), none);
    let many: String = (0..60).map(|n| format!("    - a{n}@b.c\n")).collect();
    assert_eq!(of(&format!("notifications:\n  email:\n{many}")).len(), 20);
    let recipient = asked("notifications: {email: {recipients: a@b.c, on_success: always}}\n");
    let recipient = recipient.expect("a recipient").emails.remove(0);
    let (passed, failed) = (BuildState::Passed, BuildState::Failed);
    assert!(recipient.asks(Event::Finished, passed, Some(passed)) && recipient.asks(Event::Finished, failed, None));
    assert!(!recipient.asks(Event::Started, BuildState::Running, None));
    let usual = asked("notifications: a@b.c\n").expect("a recipient").emails.remove(0);
    assert!(!usual.asks(Event::Finished, passed, Some(passed)) && usual.asks(Event::Finished, passed, Some(failed)));
    let document = read("notifications: a@b.c\n").expect("YAML");
    let normal = normalize(&document, Options::PRODUCTION).expect("a map");
    let of_pull_request = json!({"type": "pull_request", "branch": "main"});
    assert_eq!(webhooks(normal.config.as_object().expect("a map"), &of_pull_request), None);
}

#[test]
fn a_payload_has_no_secret_and_no_other_receiver() {
    let text = "language: python\nenv:\n  global:\n    - FOO=1 BAR=x\n    - secure: cipher\naddons: {sonarcloud: {token: {secure: \
                other}}}\nnotifications: {webhooks: http://a.b/token}\n";
    let config = asked(text).expect("a receiver").config;
    let whole = config.to_string();
    assert!(!["cipher", "other", "token\":{", "a.b"].iter().any(|hidden| whole.contains(hidden)), "{whole}");
    let job = json!({"env": [{"FOO": "1"}, {"BAR": {"secure": "c"}}, {"secure": "d"}], "language": "python"});
    assert_eq!(shown(job.as_object().expect("a map"))["env"], "FOO=1 BAR=[secure] [secure]");
}
