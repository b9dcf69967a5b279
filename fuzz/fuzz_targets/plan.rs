//! The whole plan: any bytes result in jobs or in problems, and the same bytes always in the same ones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trainyard_base::domain::Trigger;
use trainyard_travis::plan::{CONFIG, MAX_JOBS, Settings, SourceFile, plan};
use trainyard_travis::travis::import::Imports;

fn trigger() -> Trigger {
    let sha = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
    Trigger {
        message: Some("Train longer".to_owned()),
        sender: Some("alice".to_owned()),
        ..Trigger::push("acme/styles".parse().expect("a name"), "main", sha)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let files = [CONFIG, "configs/a.yaml"].map(|path| SourceFile { path: path.to_owned(), text: bytes.to_vec() });
    let planned = plan(&files, &Imports::new(), &trigger(), &Settings::default());
    assert!(planned.jobs.len() <= MAX_JOBS);
    assert!(!planned.jobs.is_empty() || planned.is_fatal() || planned.skip.is_some(), "no job and no reason");
    assert_eq!(planned, plan(&files, &Imports::new(), &trigger(), &Settings::default()));
});
