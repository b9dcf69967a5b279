use serde_json::json;

use super::*;
use crate::travis::matrix::matrix;
use crate::travis::normal::{Options, normalize, read};
use crate::travis::traps::commands;

/// Returns the lines, rules and messages of the traps in a file.
fn traps_in(text: &str) -> Vec<(u32, &'static str, String)> {
    let document = read(text).expect("YAML");
    let normal = normalize(&document, Options::PRODUCTION).expect("a map");
    let config = normal.config.as_object().cloned().unwrap_or_default();
    let root = document.root.as_ref().expect("a root");
    let traps = impossible_deployments(root, &config, &commands::of_file(root));
    traps.into_iter().map(|trap| (trap.at.line, trap.rule.name(), trap.message)).collect()
}

/// Returns a file with a deployment by script, with these conditions in flow style.
fn deploying(on: &str) -> String {
    format!("deploy:\n- provider: script\n  script: ./publish\n  on: {on}\n")
}

#[test]
fn deployments_that_no_build_fulfils() {
    for (on, told) in [
        ("{condition: $TRAVIS_BRANCH =~ ^release}", "all_branches"),
        ("{condition: '$TRAVIS_BRANCH = develop'}", "`on: branch:`"),
        ("{condition: '\"${TRAVIS_BRANCH}\" == \"develop\" && -n $TOKEN'}", "`on: branch:`"),
        ("{condition: '$TRAVIS_BRANCH != master'}", "`on: branch:`"),
        ("{condition: '$TRAVIS_BRANCH == release/*'}", "`on: branch:`"),
        ("{condition: '($TRAVIS_BRANCH =~ ^(a|b)$) || $TRAVIS_BRANCH = c'}", "`on: branch:`"),
        ("{condition: -n $TRAVIS_TAG}", "`tags: true`"),
        ("{condition: '$TRAVIS_TAG =~ ^v[0-9]+$'}", "`tags: true`"),
        ("{condition: '! -z $TRAVIS_TAG', python: 3.6}", "`tags: true`"),
        ("{branch: main, condition: '$TRAVIS_TAG != \"\"'}", "`tags: true` in place of `branch`"),
        ("{branch: [main, next], condition: '$TRAVIS_BRANCH = dev'}", "main, next"),
        ("{tags: true, condition: '$TRAVIS_BRANCH = master'}", "contradict"),
        ("{tags: false, all_branches: true, condition: '$TRAVIS_TAG =~ ^v'}", "contradict"),
        ("'main, next'", "no branch is called `main, next`"),
        ("{branch: 'main next'}", "or a list"),
        ("{branch: [/^release/, /^v/]}", "no branch is called `/^release/`"),
        ("{branch: main, condition: branch = main}", "`$` before"),
        ("{tags: true, condition: 'TRAVIS_TAG =~ ^v'}", "`$` before"),
        ("{all_branches: true, condition: '$TRAVIS_PULL_REQUEST != false'}", "pull request"),
        ("{all_branches: true, condition: '$TRAVIS_EVENT_TYPE = pull_request'}", "pull request"),
        ("{all_branches: true, condition: ['$TRAVIS_TEST_RESULT = 1', '-n $A']}", "passed"),
        ("{all_branches: true, condition: '$TRAVIS_EVENT_TYPE = cron', tags: true}", "contradict"),
    ] {
        let traps = traps_in(&deploying(on));
        let [(line, rule, message)] = traps.as_slice() else { panic!("{on}: {traps:?}") };
        assert_eq!((*line, *rule), (2, "deployment-never-runs"), "{on}");
        assert!(message.contains(told), "{on}: {message}");
    }
}

#[test]
fn deployments_that_may_happen() {
    for on in [
        "develop",
        "{branch: develop}",
        "{tags: true}",
        "{branch: master, tags: true}",
        "{all_branches: true, condition: $TRAVIS_BRANCH =~ ^release}",
        "{branch: develop, condition: $TRAVIS_BRANCH =~ ^dev}",
        "{condition: '$TRAVIS_BRANCH =~ ^master|develop|release-[0-9\\.]+$'}",
        "{condition: '$TRAVIS_BRANCH == m*'}",
        "{condition: $TRAVIS_EVENT_TYPE = cron}",
        "{condition: '$TRAVIS_PULL_REQUEST = false && $TRAVIS_TAG = \"\"'}",
        "{condition: '$TRAVIS_TEST_RESULT -eq 0'}",
        "{condition: '$DEPLOY = True', repo: a/b}",
        "{condition: '$TRAVIS_BRANCH = master || -n $TRAVIS_TAG'}",
        "{condition: '$TRAVIS_BRANCH = $OTHER'}",
        "{condition: '$TRAVIS_BRANCH =~ $PATTERN'}",
        "{condition: '$(git describe) = x'}",
        "{condition: '-f file || a -nt b'}",
        "{condition: '[ $TRAVIS_BRANCH = develop ]'}",
        "{tags: true, condition: '$TRAVIS_TAG =~ ^v && $TRAVIS_BRANCH =~ ^v'}",
        "{tags: true, condition: '$TRAVIS_BRANCH = v1.0'}",
        "{branch: 'release/*', condition: $TRAVIS_BRANCH =~ ^release}",
        "{branch: {master: a}, condition: $TRAVIS_BRANCH = master}",
        "[a, b]",
        "{tags: $TAG, condition: -n $TRAVIS_TAG}",
    ] {
        assert_eq!(traps_in(&deploying(on)), [], "{on}");
    }
    let sets = format!("before_deploy: export TRAVIS_TAG=nightly\n{}", deploying("{condition: -n $TRAVIS_TAG}"));
    assert_eq!(traps_in(&sets), []);
}

#[test]
fn conditions_of_the_job_its_stage_and_the_file_count() {
    let job =
        "jobs:\n  include:\n  - stage: release\n    if: tag IS present\n    deploy: {provider: script, script: x}\n";
    let stage = "stages: [{name: release, if: type = api AND branch = next}]\njobs:\n  include:\n  \
                 - stage: release\n    \
                 deploy: {provider: script, script: x}\n";
    let file = "branches:\n  only: [main]\nif: type = push\nlanguage: shell\ndeploy: {provider: script, script: x}\n";
    let tags = "branches: {only: [main]}\nlanguage: shell\nos: linux\ndist: focal\n\
                deploy: {provider: script, script: x, on: {tags: true}}\n";
    for (text, told) in [
        (job, "`tags: true`"),
        (stage, "all_branches"),
        (file, "all_branches"),
        (tags, "`branches: only:`"),
        (&job.replace("script: x}", "script: x, on: {branch: main}}"), "branch main"),
        (&job.replace("if: tag IS present", "if: branch = next"), "all_branches"),
        (&job.replace("if: tag IS present", "if: type = pull_request"), "pull request"),
    ] {
        let traps = traps_in(text);
        let [(line, rule, message)] = traps.as_slice() else { panic!("{text}: {traps:?}") };
        assert_eq!((*line, *rule), (5, "deployment-never-runs"), "{text}");
        assert!(message.contains(told), "{text}: {message}");
    }
    for text in [
        job.replace("script: x}", "script: x, on: {tags: true}}"),
        job.replace("tag IS present", "branch = main AND tag IS present"),
        job.replace("tag IS present", "tag IS present OR branch = master"),
        file.replace("[main]", "[master]"),
        file.replace("[main]", "[/^m/]"),
        tags.replace("[main]", "[main, /^v/]"),
        tags.replace("{only: [main]}", "{except: [main]}"),
    ] {
        assert_eq!(traps_in(&text), [], "{text}");
    }
}

#[test]
fn entries_that_are_cut_in_two() {
    for (text, line, told) in [
        ("deploy:\n- provider: script\n- script: x\n  on: {branch: main}\n", 2, "without `script` it deploys nothing"),
        ("deploy:\n- provider: releases\n- token: {secure: x}\n", 2, "`- ` of line 3"),
        ("jobs:\n  include:\n  - deploy:\n    - provider: script\n    - script: x\n", 4, "`- ` of line 5"),
    ] {
        let traps = traps_in(text);
        let [(at, rule, message)] = traps.as_slice() else { panic!("{text}: {traps:?}") };
        assert_eq!((*at, *rule), (line, "incomplete-deployment"), "{text}");
        assert!(message.contains(told), "{text}: {message}");
        assert_eq!(missing_in(text, &push("master")), [], "one problem is enough");
    }
    for text in ["deploy: releases\n", "deploy:\n- provider: releases\n- provider: script\n  script: x\n"] {
        assert_eq!(traps_in(text), [], "{text}");
    }
}

/// Returns the lines, severities and messages about keys that the deployments of a build lack.
fn missing_in(text: &str, data: &Json) -> Vec<(u32, Severity, String)> {
    let document = read(text).expect("YAML");
    let normal = normalize(&document, Options::PRODUCTION).expect("a map");
    let config = normal.config.as_object().cloned().unwrap_or_default();
    let jobs = matrix(&config, data).jobs;
    let traps = missing_keys(document.root.as_ref().expect("a root"), &config, &jobs, data);
    assert!(traps.iter().all(|trap| trap.rule == Rule::IncompleteDeployment));
    traps.into_iter().map(|trap| (trap.at.line, trap.severity, trap.message)).collect()
}

fn push(branch: &str) -> Json {
    json!({"type": "push", "repo": "acme/styles", "branch": branch, "tag": null, "env": [{}]})
}

#[test]
fn each_provider_says_which_keys_it_cannot_do_without() {
    for (entry, keys) in [
        ("script", &["script"][..]),
        ("releases", &["token"]),
        ("s3", &["access_key_id", "secret_access_key", "bucket"]),
        ("pages", &["token"]),
        ("pypi", &["password"]),
        ("huggingface", &["token", "repo"]),
        ("npm", &[]),
        ("{provider: s3, access_key_id: a, secret_access_key: \"\", bucket: }", &["secret_access_key", "bucket"]),
        ("{provider: s3, access_key_id: a, secret_access_key: $KEY, bucket: b}", &[]),
        ("{provider: releases, api_key: {secure: x}}", &[]),
        ("{provider: pages, github-token: $GITHUB_TOKEN}", &[]),
        ("{provider: pypi, user: me, password: {secure: x}}", &[]),
        ("{provider: huggingface, token: $HF_TOKEN, repo: acme/site}", &[]),
        ("{provider: script, script: [x, y]}", &[]),
        ("{provider: script, script: }", &["script"]),
    ] {
        let found = missing_in(&format!("language: shell\nscript: x\ndeploy:\n- {entry}\n"), &push("master"));
        let provider = entry.trim_start_matches("{provider: ").split(',').next().unwrap_or_default();
        assert_eq!(found.len(), keys.len(), "{entry}: {found:?}");
        for ((line, severity, message), key) in found.iter().zip(keys) {
            assert_eq!((*line, *severity), (4, Severity::Error), "{entry}");
            let told = format!("the provider `{provider}` deploys nothing without `{key}`: add `{key}:` with ");
            assert!(message.starts_with(&told), "{message}");
        }
    }
}

#[test]
fn a_missing_key_stops_only_a_build_that_surely_deploys() {
    let pull = json!({"type": "pull_request", "repo": "acme/styles", "branch": "master", "tag": null, "env": [{}]});
    let tag = json!({"type": "push", "repo": "acme/styles", "branch": "v1", "tag": "v1", "env": [{}]});
    let (error, warning) = (Severity::Error, Severity::Warning);
    for (on, data, severity) in [
        ("master", push("master"), error),
        ("master", push("next"), warning),
        ("master", pull, warning),
        ("{branch: [next, main]}", push("main"), error),
        ("{all_branches: true}", push("next"), error),
        ("{all_branches: true, repo: acme/styles}", push("next"), error),
        ("{all_branches: true, repo: acme/other}", push("next"), warning),
        ("{all_branches: true, condition: $A = b}", push("next"), warning),
        ("{all_branches: true, python: 3.6}", push("next"), warning),
        ("{tags: true}", push("master"), warning),
        ("{tags: true}", tag, error),
    ] {
        let text = format!("language: shell\nscript: x\ndeploy: {{provider: pages, on: {on}}}\n");
        let found = missing_in(&text, &data);
        assert!(matches!(&found[..], [(3, found, _)] if *found == severity), "{on} {data}: {found:?}");
    }
    let allowed = "language: shell\nscript: x\ndeploy: {provider: pages, allow_failure: true}\n";
    assert_eq!(missing_in(allowed, &push("master"))[0].1, warning);
    let job = "language: shell\nscript: x\njobs:\n  include:\n  - script: y\n  - if: branch = next\n    \
               deploy: {provider: pages, on: {all_branches: true}}\n";
    let place = |branch: &str| missing_in(job, &push(branch)).first().map(|(line, severity, _)| (*line, *severity));
    assert_eq!(place("next"), Some((7, error)));
    assert_eq!(place("master"), Some((7, warning)), "this build does not have the job");
}
