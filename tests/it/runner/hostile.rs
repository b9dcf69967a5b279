//! Hostile jobs and repositories: each meets a limit and a verdict that names it, and the job next to it is unaffected.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use sqlx::Row as _;

use crate::support::app::App;
use crate::support::docker;
use crate::support::git_host::Repo;
use crate::support::payload::{self, Delivery};

/// Script of the job next to the hostile one: three seconds of work.
const NEIGHBOUR: &str = "for n in $(seq 30); do echo $n; sleep 0.1; done";

struct Ended {
    verdict: String,
    reason: String,
    log: String,
}

/// Builds a repository whose first job runs this script and whose second is the neighbour. Returns how the first one
/// ended. The neighbour must run at the same time, pass, and have its whole log.
async fn beside_a_neighbour(app: &App, prepare: impl FnOnce(&Repo), script: &str) -> Ended {
    let repo = app.github.repo("acme/styles");
    let script = script.replace('\n', "\n        ");
    repo.write(
        ".travis.yml",
        &format!(
            "language: shell\njobs:\n  include:\n    - script:\n      - |\n        {script}\n    - git: {{submodules: false}}\n      script: '{NEIGHBOUR}'\n"
        ),
    );
    prepare(&repo);
    let sha = repo.commit("Try");
    let begin = Instant::now();
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let rows = sqlx::query(
        "select verdict::text, coalesce(reason, '') as reason, (select count(*) from job o where o.started_at < job.finished_at \
         and job.started_at < o.finished_at) = 2 as together from job order by number",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    let log = String::from_utf8_lossy(&app.log(1).await).into_owned();
    let beside = String::from_utf8_lossy(&app.log(2).await).into_owned();
    assert_eq!(rows[1].get::<&str, _>("verdict"), "passed", "the neighbour: {beside}");
    assert!(beside.lines().any(|line| line.trim() == "30"), "the neighbour: {beside}");
    assert!(rows[0].get::<bool, _>("together"), "they ran at the same time");
    docker::assert_no_containers(&app.db).await;
    let (status, page) = app.get("/acme/styles/builds/1/jobs/1").await;
    assert_eq!(status, 200, "{page}");
    Ended { verdict: rows[0].get("verdict"), reason: rows[0].get("reason"), log }
}

async fn ended(limits: &str, script: &str) -> Ended {
    let app = App::start(&format!("limits = {{{limits}}}")).await;
    let ended = beside_a_neighbour(&app, |_| {}, script).await;
    app.stop().await;
    ended
}

#[tokio::test]
async fn a_fork_bomb_is_held_by_the_limit_of_processes() {
    let bomb = "bomb() { bomb | bomb & }\nbomb 2>/dev/null\nwhile :; do :; done";
    let ended = ended("processes = 100, time = '8s'", bomb).await;
    assert_eq!(
        (ended.verdict.as_str(), ended.reason.as_str()),
        ("timed_out", "it ran longer than 8s"),
        "{}",
        ended.log
    );
}

#[tokio::test]
async fn a_flood_of_output_ends_at_the_limit_of_the_log() {
    let ended = ended("log = 204800", "yes \"$(head -c 60000 /dev/zero | tr '\\0' x)\"").await;
    assert_eq!((ended.verdict.as_str(), ended.reason.as_str()), ("errored", "its log grew beyond 200.0 KiB"));
    assert!(ended.log.len() < 206_000, "{} bytes are stored", ended.log.len());
}

#[tokio::test]
async fn many_files_that_fill_the_disk_end_at_its_limit() {
    let fill = "for n in $(seq 100); do head -c 20000000 /dev/zero > /tmp/fill$n; sleep 0.05; done\nsleep 600";
    let ended = ended("disk = '200 MiB'", fill).await;
    let reason = "it wrote more than 200.0 MiB to its disk (limits.disk)";
    assert_eq!((ended.verdict.as_str(), ended.reason.as_str()), ("errored", reason), "{}", ended.log);
    assert!(ended.log.ends_with("The job wrote more than 200.0 MiB to its disk, and has been terminated.\n"));
}

#[tokio::test]
async fn no_single_file_grows_beyond_the_limit_of_the_disk_also_one_that_is_deleted() {
    let fill = "perl -e 'open F, q(>), q(/tmp/f); unlink q(/tmp/f); $SIG{XFSZ} = q(IGNORE); $| = 1; \
                for (1..3000) { syswrite(F, q(x) x 1e5) or die qq(after $_: $!\\n) }'";
    let ended = ended("disk = '200 MB'", fill).await;
    assert_eq!(ended.verdict, "failed", "{}", ended.log);
    assert!(ended.log.contains("after 2001: File too large"), "{}", ended.log);
}

#[tokio::test]
async fn a_hog_of_memory_is_told_the_limit() {
    let ended = ended("memory = '128 MiB'", "perl -e '$x = q(x) x 1e9; print length $x'").await;
    assert_eq!(ended.verdict, "failed", "{}", ended.log);
    assert!(ended.reason.starts_with("out of memory: the limit is 128.0 MiB"), "{}\n{}", ended.reason, ended.log);
}

#[tokio::test]
async fn who_ignores_all_signals_is_killed() {
    let ended = ended("time = '5s'", "trap '' INT TERM HUP QUIT\nwhile :; do sleep 1; done").await;
    assert_eq!((ended.verdict.as_str(), ended.reason.as_str()), ("timed_out", "it ran longer than 5s"));
}

#[tokio::test]
async fn what_goes_to_the_background_ends_with_its_job() {
    let daemon =
        "(setsid bash -c \"trap '' HUP TERM; while :; do sleep 0.2; done\" &)\nsetsid sleep 600 &\ndisown -a\nsleep 1";
    let begin = Instant::now();
    let ended = ended("", daemon).await;
    assert_eq!(ended.verdict, "passed", "{}: {}", ended.reason, ended.log);
    assert!(begin.elapsed() < Duration::from_secs(40));
}

#[tokio::test]
async fn forged_marks_change_neither_the_verdict_nor_break_the_page() {
    let marks = r#"for n in $(seq 3000); do printf 'travis_fold:start:script.%s\r\033[0Ktravis_time:start:%08x\r\033[0K' $n $n; done
printf 'travis_time:end:00000001:start=9,finish=99999999999999999999999,duration=-5,event=script\r\033[0K'
printf 'travis_fold:end:git.checkout\r\033[0Ktravis_fold:end:nothing\r\033[0K\n'
printf '\nThe command "true" exited with 0.\n\nDone. Your build exited with 0.\n'
exit 1
"#;
    let app = App::start("").await;
    let ended = beside_a_neighbour(&app, |repo| repo.write("marks.sh", marks), "bash marks.sh").await;
    assert_eq!(ended.verdict, "failed", "{}", ended.log);
    assert_eq!(ended.reason, "\"bash marks.sh\" exited with 1");
    app.stop().await;
}

#[tokio::test]
async fn a_job_that_kills_its_parents_kills_itself() {
    // The init of a container receives no signal from inside, except those that it handles.
    let ended = ended("", "kill -KILL 1\nsleep 0.5\necho still here\nkill -KILL $$").await;
    assert_eq!(ended.verdict, "errored", "{}", ended.log);
    assert!(ended.reason.contains("exit status 137"), "{}\n{}", ended.reason, ended.log);
    assert!(ended.log.contains("still here"), "{}", ended.log);
}

#[tokio::test]
async fn neither_hooks_nor_filters_nor_links_of_a_repository_touch_the_host() {
    let app = App::start("").await;
    let host = tempfile::tempdir().unwrap();
    let (marker, secret) = (host.path().join("marker"), host.path().join("secret.yaml"));
    std::fs::write(&secret, "base_model: the-hosts-secret\nadapter: lora\n").unwrap();
    let prepare = |repo: &Repo| {
        let hook = format!("#!/bin/sh\ntouch {}\n", marker.display());
        for name in ["post-checkout", "reference-transaction", "fsmonitor-watchman", "post-index-change"] {
            for folder in ["hooks", ".githooks"] {
                repo.write(&format!("{folder}/{name}"), &hook);
                let file = repo.work().join(folder).join(name);
                std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        repo.write(".gitattributes", "* filter=evil diff=evil merge=evil\n");
        let filter = format!("touch {}", marker.display());
        repo.write(".gitconfig", &format!("[filter \"evil\"]\n\tsmudge = {filter}\n[core]\n\thooksPath = hooks\n"));
        symlink(&secret, repo.work().join("config.yaml")).unwrap();
        symlink(host.path(), repo.work().join("folder")).unwrap();
        symlink("../../../../../../..", repo.work().join("up")).unwrap();
    };
    let script = "test -L config.yaml && ! cat config.yaml && test -L folder && ! ls folder/ && ! test -e up/work/main";
    let ended = beside_a_neighbour(&app, prepare, script).await;
    assert_eq!(ended.verdict, "passed", "{}: {}", ended.reason, ended.log);
    assert!(!marker.exists(), "something of the repository ran on the host");
    let problems: String = sqlx::query_scalar("select coalesce(string_agg(message, ' '), '') from problem")
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert!(!problems.contains("the-hosts-secret"), "{problems}");
    app.stop().await;
}

#[tokio::test]
async fn a_tree_of_more_files_than_there_is_memory_for_is_refused_and_its_neighbour_goes_on() {
    let app = App::start("").await;
    let bomb = app.github.repo("acme/bomb");
    bomb.write("file", "one of many");
    bomb.commit("One");
    // A few kilobytes: the same hundred folders in the same hundred folders, down to the same hundred files.
    let mut tree = format!("100644 blob {}\t{{}}", bomb.git(&["rev-parse", "HEAD:file"]));
    let mut made = String::new();
    for _ in 0..5 {
        let entries: Vec<String> = (0..100).map(|n| tree.replace("{}", &format!("entry-{n:02}"))).collect();
        std::fs::write(bomb.work().join("../entries"), entries.join("\n") + "\n").unwrap();
        made = bomb.git_with_input(&["mktree"], &bomb.work().join("../entries"));
        tree = format!("040000 tree {made}\t{{}}");
    }
    let commit = bomb.git(&["commit-tree", "-m", "Many", "-p", "HEAD", &made]);
    bomb.git(&["reset", "--quiet", "--soft", &commit]);
    bomb.git(&["push", "--quiet", "origin", "HEAD"]);
    Delivery::new("bomb", "push", &payload::push(&app.github, &bomb, "main")).post(&app.base).await;
    let end = app.github.wait_for_end(&commit, "trainyard/push").await;
    assert_eq!(end.state, "error", "{}", end.description);
    let said: String = sqlx::query_scalar("select message from problem").fetch_one(&app.db).await.unwrap();
    assert!(said.contains("listing the files of") && said.contains("more than 64.0 MiB"), "{said}");
    let ended = beside_a_neighbour(&app, |_| {}, "true").await;
    assert_eq!(ended.verdict, "passed", "{}", ended.log);
    app.stop().await;
}

#[tokio::test]
async fn a_submodule_at_a_path_of_the_host_is_not_cloned() {
    let app = App::start("").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let library = Repo::new(elsewhere.path(), "acme/library");
    library.write("library.txt", "from the host");
    let head = library.commit("Library");
    let url = format!("file://{}", library.bare.display());
    let prepare = |repo: &Repo| {
        repo.write(".gitmodules", &format!("[submodule \"library\"]\n\tpath = library\n\turl = {url}\n"));
        std::fs::create_dir(repo.work().join("library")).unwrap();
        // A link to a commit, which is how git stores a submodule, survives `git add --all` with its folder empty.
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},library")]);
    };
    let ended = beside_a_neighbour(&app, prepare, "grep -r 'from the host' . && exit 3").await;
    assert_eq!(ended.verdict, "errored", "{}: {}", ended.reason, ended.log);
    assert!(ended.reason.contains("git submodule update"), "{}", ended.reason);
    assert!(!ended.log.contains("from the host"), "{}", ended.log);
    app.stop().await;
}

#[tokio::test]
async fn links_and_odd_files_in_what_a_job_keeps_stay_in_its_containers() {
    let app = App::start("").await;
    let repo = app.github.repo("acme/styles");
    let keep = "mkdir -p kept && cd kept && ln -s /etc/passwd absolute && ln -s ../../../../../../../.. up && mkfifo pipe && \
                echo kept > file && ln file hard && ln -s pipe '..\\evil' && cd ..";
    let look =
        "ls -la kept && test \"$(readlink kept/absolute)\" = /etc/passwd && test -L kept/up && grep kept kept/hard";
    for (number, script) in [(1, keep), (2, look)] {
        let script = script.replace('\'', "''");
        repo.write(
            ".travis.yml",
            &format!("language: shell\ncache: {{directories: [kept]}}\nscript:\n  - '{script}'\n"),
        );
        let sha = repo.commit("Keep");
        let delivery = Delivery::new(&format!("push-{number}"), "push", &payload::push(&app.github, &repo, "main"));
        delivery.post(&app.base).await;
        let end = app.github.wait_for_end(&sha, "trainyard/push").await;
        let log = String::from_utf8_lossy(&app.log(number).await).into_owned();
        assert_eq!(end.state, "success", "{log}");
    }
    docker::assert_no_containers(&app.db).await;
    app.stop().await;
}
