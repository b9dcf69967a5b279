use super::*;
use crate::travis::normal::read;

/// Returns the lines, keys, rules and messages of the traps in a file.
fn traps_in(text: &str) -> Vec<(u32, String, &'static str, String)> {
    let document = read(text).expect("YAML");
    let traps = constant_conditions(document.root.as_ref().expect("a root"));
    traps.into_iter().map(|trap| (trap.at.line, trap.key, trap.rule.name(), trap.message)).collect()
}

#[test]
fn conditions_are_found_wherever_they_stand() {
    let never = "branch = main AND tag IS present";
    for (text, line, key, outcome) in [
        ("if: IF\n", 1, "if", "nothing is ever built"),
        ("stages:\n- name: a\n  if: IF\n", 3, "stages.if", "the stage is left out"),
        ("jobs:\n  include:\n  - if: IF\n", 3, "jobs.include.if", "the job is left out"),
        ("matrix:\n- if: IF\n", 2, "jobs.include.if", "the job is left out"),
        ("jobs:\n  exclude:\n  - os: osx\n    if: IF\n", 4, "jobs.exclude.if", "excludes no job"),
        ("jobs:\n  allow_failures:\n  - if: IF\n", 3, "jobs.allow_failures.if", "no job may fail"),
        ("notifications:\n  slack:\n  - rooms: a\n    if: IF\n", 4, "notifications.slack.if", "never sent"),
        ("notifications:\n  email: {if: IF}\n", 2, "notifications.email.if", "never sent"),
    ] {
        let traps = traps_in(&text.replace("IF", never));
        let [(at, found, rule, message)] = traps.as_slice() else { panic!("{text}: {traps:?}") };
        assert_eq!((*at, found.as_str(), *rule), (line, key, "condition-never-holds"), "{text}");
        assert!(message.contains(outcome), "{message}");
    }
    let repeated = format!("stages:\n- &a {{name: a, if: {never}}}\n- *a\n");
    assert_eq!(traps_in(&repeated).len(), 1);
}

#[test]
fn messages_say_why_and_what_to_write() {
    for (condition, rule, told) in [
        ("tag IS present AND branch IN (main, develop)", "condition-never-holds", "`branch` is the tag's name"),
        ("type = pull_request AND tag IS present", "condition-never-holds", "only a push"),
        ("type = push AND head_branch = x", "condition-never-holds", "only pull requests"),
        ("type = release", "constant-condition", "type `release`"),
        ("type IN (push, tags) AND branch = main", "constant-condition", "type `tags`"),
        ("branch = main OR branch = feature/*", "constant-condition", "write `=~`"),
        ("branch IN (\"main develop\")", "constant-condition", "with commas"),
        ("NOT tag = ^v", "constant-condition", "write `=~`"),
        ("os = linux AND os = osx", "condition-never-holds", "contradict"),
        ("branch != main OR branch != develop", "condition-always-holds", "no effect"),
        ("master AND tag IS present", "constant-condition", "`branch = master`"),
        ("branch = main OR develop", "constant-condition", "`branch = develop`"),
        ("NIGHTLY AND type = cron", "constant-condition", "`env(NIGHTLY)`"),
        ("BRANCH = main", "constant-condition", "write `branch`"),
        ("brunch = main", "constant-condition", "write `branch`"),
        ("branch!=main", "constant-condition", "blanks around"),
        ("\"$TRAVIS_BRANCH\" = main", "constant-condition", "write `branch`"),
        ("TRAVIS_EVENT_TYPE = cron", "constant-condition", "write `type`"),
        ("TRAVIS_TAG =~ ^v", "constant-condition", "write `tag`"),
        ("NOT pull_request", "constant-condition", "`type = pull_request`"),
        ("no", "constant-condition", "`no` stands alone"),
    ] {
        let traps = traps_in(&format!("stages: [{{name: a, if: '{condition}'}}]\n"));
        let [(_, _, found, message)] = traps.as_slice() else { panic!("{condition}: {traps:?}") };
        assert_eq!(*found, rule, "{condition}");
        assert!(message.contains(told), "{condition}: {message}");
    }
}

#[test]
fn conditions_that_are_fine() {
    for condition in [
        "branch = main",
        "tag IS present OR branch = main",
        "type = cron AND branch = main",
        "tag =~ ^v AND repo = acme/styles",
        "false",
        "true",
        "1 = 2",
        "branch = main AND false",
        "NOT (branch = main",
        "env(NIGHTLY) = yes OR type = api",
    ] {
        assert_eq!(traps_in(&format!("if: {condition}\n")), [], "{condition}");
    }
}
