//! The whole plan: any bytes end in jobs or in problems, and the same bytes always in the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard::domain::{Trigger, TriggerKind};
use trainyard::plan::{CONFIG, MAX_JOBS, Settings, SourceFile, plan};
use trainyard::travis::import::Imports;

fn trigger() -> Trigger {
    Trigger {
        kind: TriggerKind::Push,
        repo: "acme/styles".parse().expect("a name"),
        branch: Some("main".to_owned()),
        tag: None,
        sha: "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit"),
        before: None,
        message: Some("Train longer".to_owned()),
        author: None,
        sender: Some("alice".to_owned()),
        compare_url: None,
        pull_request: None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let files = [CONFIG, "configs/a.yaml"].map(|path| SourceFile { path: path.to_owned(), text: bytes.to_vec() });
    let planned = plan(&files, &Imports::new(), &trigger(), &Settings::default());
    assert!(planned.jobs.len() <= MAX_JOBS);
    assert!(!planned.jobs.is_empty() || planned.is_fatal() || planned.skip.is_some(), "no job and no reason");
    assert_eq!(planned, plan(&files, &Imports::new(), &trigger(), &Settings::default()));
});
