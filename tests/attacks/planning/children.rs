//! Children of the planner that fail, in every way.

use std::time::Duration;

use trainyard::plan::Settings;
use trainyard::planner::{Answer, MEMORY, PlanError, Planner, Request, TIME_LIMIT};
use trainyard::travis::import::Imports;

use super::{Watched, ask, different, fact, file, trigger};

/// The end of a plan by a child that fails.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The commit is at fault, and its author gets this reason.
    Commit(&'static str),
    /// The delivery is tried again.
    Again(&'static str),
}

#[tokio::test]
async fn a_child_that_fails_is_not_the_end_of_the_service() {
    let cases: [(&str, &str, End); 9] = [
        ("it runs out of memory", "echo 'memory allocation of 99 bytes failed' >&2; kill -ABRT $$", End::Commit("256")),
        ("it is out of processor time", "kill -XCPU $$", End::Commit("longer than 20s")),
        (
            "its stack overflows",
            "echo 'thread main has overflowed its stack' >&2; kill -ABRT $$",
            End::Commit("crashed"),
        ),
        ("it reads where nothing is", "kill -SEGV $$", End::Commit("crashed")),
        ("it panics", "exit 101", End::Commit("crashed")),
        ("the machine has no memory left", "kill -KILL $$", End::Again("signal: 9")),
        ("it ends without an answer", "exit 0", End::Again("status: 0")),
        (
            "it announces four gigabytes",
            "printf '\\377\\377\\377\\377'; exec cat > /dev/null",
            End::Again("4294967295 bytes"),
        ),
        ("it answers with anything", "printf '\\0\\0\\0\\3abc'; exec cat > /dev/null", End::Again("expected value")),
    ];
    for (name, commands, end) in cases {
        // `cat` and `printf` are found without a PATH.
        let watched = Watched::running(&format!("PATH=/usr/bin:/bin\n{commands}"));
        let error = ask(&watched.planner, &[file(".travis.yml", "script: true")], Imports::new()).await.unwrap_err();
        let told = format!("{:#}", anyhow::Error::from(error));
        match end {
            End::Commit(words) => assert!(told.contains(words) && !told.contains("no child"), "{name}: {told}"),
            End::Again(words) => {
                assert!(told.starts_with("no child process could plan") && told.contains(words), "{name}: {told}");
            }
        }
    }
    let missing = Planner::new("/nowhere/trainyard");
    missing.warm_up();
    let error = ask(&missing, &[], Imports::new()).await.unwrap_err();
    assert!(matches!(&error, PlanError::Away(cause) if cause.to_string().contains("/nowhere")), "{error:?}");
}

#[tokio::test]
async fn a_child_that_does_not_answer_is_killed() {
    let watched = Watched::running("exec /bin/sleep 1000");
    let begin = std::time::Instant::now();
    let error = ask(&watched.planner, &[], Imports::new()).await.unwrap_err();
    assert!(matches!(&error, PlanError::Commit(why) if why.contains("longer than 20s")), "{error:?}");
    assert!(begin.elapsed() >= TIME_LIMIT);
    let pid = watched.pids()[0];
    gone(pid).await;
}

/// Waits until a process has ended.
async fn gone(pid: u32) {
    for _ in 0..600 {
        // A zombie has no memory.
        if fact(pid, "VmSize:").is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the process {pid} does not end");
}

#[tokio::test]
async fn a_child_has_limits_and_no_environment() {
    let watched = Watched::new();
    watched.plan_hello().await;
    let pid = watched.pids()[0];
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let limit = |name: &str| -> u64 {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let now = fact(pid, "VmSize:").unwrap() * 1024;
    assert!(limit("Max address space") <= now + MEMORY, "{limits}");
    assert_eq!(limit("Max core file size"), 0);
    assert!(limit("Max cpu time") <= 2 * TIME_LIMIT.as_secs(), "{limits}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    // The shell of this test sets its folder.
    assert!(environment.split_terminator('\0').all(|variable| variable == "PWD=/"), "{environment:?}");
}

#[tokio::test]
async fn a_child_is_used_again_but_not_without_end() {
    let watched = Watched::new();
    watched.planner.warm_up();
    for _ in 0..20 {
        watched.plan_hello().await;
    }
    assert_eq!(watched.pids().len(), 1);
    for _ in 20..210 {
        watched.plan_hello().await;
    }
    assert_eq!(different(watched.pids()), 3, "a child plans a hundred times");
}

#[tokio::test]
async fn an_idle_child_that_was_killed_is_replaced() {
    let watched = Watched::new();
    watched.plan_hello().await;
    let pid = watched.pids()[0];
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    gone(pid).await;
    watched.plan_hello().await;
    assert_eq!(different(watched.pids()), 2);
}

#[tokio::test]
async fn a_child_ends_with_its_planner() {
    let watched = Watched::new();
    watched.plan_hello().await;
    let pid = watched.pids()[0];
    drop(watched);
    gone(pid).await;
}

#[tokio::test]
async fn a_large_repository_fits() {
    let watched = Watched::new();
    watched.plan_hello().await;
    let pid = watched.pids()[0];
    println!("a small commit: {:?} kB of address space", fact(pid, "VmPeak:"));
    let paths: Vec<String> = (0..300_000).map(|n| format!("data/{}/image-{n:08}-of-00300000.png", n % 500)).collect();
    let changed = paths.iter().cloned().collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let list = format!("[{}1]", "1,".repeat(50_000));
    let travis = file(".travis.yml", "language: shell\nscript: true\n");
    let files: Vec<_> = std::iter::once(travis).chain((0..100).map(|n| file(format!("{n}.json"), &*list))).collect();
    let (trigger, settings) = (trigger(), Settings::default());
    let request = Request {
        trigger: &trigger,
        settings: &settings,
        files: &files,
        paths: &paths,
        changed: Some(&changed),
        imports: Imports::new(),
    };
    let answer = watched.planner.begin().ask(&request).await;
    assert!(matches!(&answer, Ok(Answer::Planned(plan)) if plan.jobs.len() == 1), "{answer:?}");
    println!("300,000 files: {:?} kB of address space", fact(pid, "VmPeak:"));
}

#[tokio::test]
async fn a_commit_that_does_not_fit_into_the_memory_is_refused() {
    let watched = Watched::new();
    let path = "data/".repeat(800);
    let paths = vec![path.as_str(); MEMORY as usize / path.len() + 1];
    let (trigger, settings) = (trigger(), Settings::default());
    let request = Request {
        trigger: &trigger,
        settings: &settings,
        files: &[],
        paths: &paths,
        changed: None,
        imports: Imports::new(),
    };
    let error = watched.planner.begin().ask(&request).await.unwrap_err();
    assert!(matches!(&error, PlanError::Commit(why) if why.contains("more than 256.0 MiB of memory")), "{error:?}");
    // The next child is there.
    watched.plan_hello().await;
}
