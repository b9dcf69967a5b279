use super::*;
use crate::travis::condition::parse;

fn never(text: &str) -> bool {
    never_holds(&parse(text).expect("a condition"), &mut Budget::default())
}

fn always(text: &str) -> bool {
    always_holds(&parse(text).expect("a condition"), &mut Budget::default())
}

#[test]
fn conditions_that_no_event_makes_true() {
    for text in [
        "branch = master AND tag IS present",
        "tag IS present AND branch IN (main, develop)",
        "(type = push AND tag IS present) AND NOT branch != master",
        "branch = master AND tag =~ ^v",
        "branch =~ ^(main|master)$ AND tag IS NOT blank",
        "type = pull_request AND tag IS present",
        "type = cron AND tag =~ ^v",
        "type = push AND type = cron",
        "type = tag",
        "type IN (tag, release)",
        "type = PUSH",
        "branch = master AND branch = develop",
        "branch = release/*",
        "branch IN (^v1, feature/*)",
        "branch IN",
        "branch =~",
        "tag IS blank AND tag =~ ^v",
        "type = push AND head_branch = x",
        "type != pull_request AND draft IS true",
        "os = linux AND os = osx",
        "env(A) = x AND env(A) = y",
        "env(A) IS present AND env(A) IS blank",
        "fork IS true AND fork = false",
        "branch = a AND NOT branch = a",
        "NOT branch IS present",
        "branch = a AND tag =~ ^v AND env(A) =~ ^x AND env(B) =~ ^y AND env(C) =~ ^z",
    ] {
        assert!(never(text), "{text}");
        assert!(!always(text), "{text}");
    }
}

#[test]
fn conditions_that_every_event_makes_true() {
    for text in [
        "branch != master OR branch != develop",
        "type != push OR type != cron",
        "NOT (branch = master AND tag IS present)",
        "tag IS present OR tag IS blank",
        "branch != release/*",
        "env(A) != x OR env(A) != y",
        "branch = master OR NOT branch = master",
    ] {
        assert!(always(text), "{text}");
        assert!(!never(text), "{text}");
    }
}

#[test]
fn conditions_that_depend_on_the_event() {
    for text in [
        "branch = master",
        "branch = master OR tag IS present",
        "branch = master AND tag IS blank",
        "branch = v1.2 AND tag IS present",
        "branch = tag",
        "tag = v1 AND branch = v1",
        "tag = release AND branch = release",
        "branch =~ ^release AND tag IS present",
        "type = api AND tag IS present",
        "type IN (push, pull_request)",
        "type = pull_request AND head_branch =~ ^x AND branch = master",
        "branch =~ ^a AND NOT branch =~ ^a",
        "branch =~ ^a|b$ AND branch = b",
        "sender = branch",
        "head_repo = repo",
        "repo = a/b AND branch = master",
        "commit_message =~ /x/ AND commit_message !~ /y/",
        "env(A) = x AND env(B) = y",
        "env(A) = true AND tag IS blank",
        "env(A)",
        "concat(branch, 'x') = masterx AND tag IS present",
        "branch =~ concat('^', env(A)) AND tag IS present",
        "fork = false",
        "sudo = false AND os = linux AND dist = xenial AND group = edge AND language = python",
    ] {
        assert!(!never(text), "{text}");
        assert!(!always(text), "{text}");
    }
}

#[test]
fn a_search_that_takes_too_long_may_end_either_way() {
    let all: Vec<String> = (0..12).map(|n| format!("env(A{n}) = x")).collect();
    let text = format!("{} AND branch = a AND branch = b", all.join(" AND "));
    assert!(!never(&text));
    let mut budget = Budget::default();
    let condition = parse("branch = a AND branch = b").expect("a condition");
    let found = (0..100_000).take_while(|_| never_holds(&condition, &mut budget)).count();
    assert!((1_000..100_000).contains(&found), "{found}");
}
