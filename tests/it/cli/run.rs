//! `trainyard run`: the built program on folders of all kinds, with a real Docker.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::docker;

/// A job that prints the container in which it runs.
const HOSTNAME: &str = "cat /proc/sys/kernel/hostname | sed 's/^/container /'";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(travis: &str) -> Self {
        let folder = Self(tempfile::Builder::new().prefix("styles").tempdir().unwrap());
        folder.write(".travis.yml", travis);
        folder
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        let status = Command::new("git").current_dir(self.path()).args(identity).args(arguments).status().unwrap();
        assert!(status.success(), "git {arguments:?}");
    }

    fn commit(&self) {
        self.git(&["init", "--quiet", "--initial-branch=feature"]);
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "--message=Train longer"]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
        command.arg("run").arg(self.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the command. Returns exit status, standard output and standard error.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Runs the command with `--json`. Returns the facts, the logs and the exit status.
    fn facts(&self, arguments: &[&str]) -> (Value, String, Option<i32>) {
        let (code, out, err) = self.run(&[arguments, &["--json"]].concat());
        (serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}\n{err}")), err, code)
    }
}

/// Lists the containers that a log names.
fn containers(log: &str) -> Vec<String> {
    log.lines().filter_map(|line| line.strip_prefix("container ")).map(str::to_owned).collect()
}

#[test]
fn jobs_that_pass_give_a_table_and_status_0() {
    let folder = Folder::new(&format!(
        "language: shell\nenv: [RANK=8, RANK=16]\ninstall: echo installing\nscript:\n  - echo \"rank $RANK\"\n  - {HOSTNAME}\n"
    ));
    let (code, out, err) = folder.run(&[]);
    assert_eq!(code, Some(0), "{out}{err}");
    for wanted in ["━━ Job 1 · RANK=8\n", "\n── install\n$ echo installing\ninstalling\n", "\n── script\n", "rank 16\n"]
    {
        assert!(out.contains(wanted), "no {wanted:?} in {out}");
    }
    let table = out.rsplit_once("\nJOB  ").expect("a table").1;
    assert!(table.starts_with("WHAT     VERDICT   TIME") && table.contains("\n2    RANK=16  ✔ passed  "), "{out}");
    assert!(table.contains("The build passed: 2 jobs in "), "{out}");
    assert!(!out.contains("travis_") && !out.contains('\u{1b}'), "marks and colours in a file: {out}");
    let containers = containers(&out);
    assert_eq!(containers.len(), 2);
    assert!(!containers.iter().any(|container| docker::is_there(container)), "{containers:?}");
}

#[test]
fn a_job_that_fails_gives_status_1_and_the_reason() {
    let folder = Folder::new("language: shell\nscript: sh -c 'exit 3'\n");
    let (facts, log, code) = folder.facts(&[]);
    assert_eq!((code, &facts["state"]), (Some(1), &json!("failed")));
    let job = &facts["jobs"][0];
    assert_eq!((&job["verdict"], &job["exit_status"]), (&json!("failed"), &json!(1)));
    assert_eq!(job["reason"], json!("\"sh -c 'exit 3'\" exited with 3"));
    assert!(job["seconds"].as_f64().unwrap() > 0.0);
    assert!(log.contains("✘ failed in ") && log.contains("The build failed: 1 job in "), "{log}");
}

#[test]
fn in_git_the_job_sees_what_a_commit_would_hold() {
    let script = "[$(cat tracked)][$(cat sub/new)][$(cat ignored 2>&1)][$(ls gone 2>&1)][$(git log --format=%s)]";
    let facts = "[$TRAVIS_REPO_SLUG][$TRAVIS_BRANCH][$TRAVIS_COMMIT_MESSAGE][$(git remote get-url origin)]";
    let folder = Folder::new(&format!("language: shell\nscript: echo \"{script}{facts}\"\n"));
    folder.write(".gitignore", "ignored\n");
    folder.write("tracked", "old");
    folder.write("gone", "x");
    folder.commit();
    folder.git(&["remote", "add", "origin", "https://ada:secret@git.example.org/acme/styles.git"]);
    folder.write("tracked", "edited");
    folder.write("sub/new", "untracked");
    folder.write("ignored", "hidden");
    std::fs::remove_file(folder.path().join("gone")).unwrap();
    let (code, out, err) = folder.run(&[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("[edited][untracked][cat: ignored: No such file"), "{out}");
    assert!(out.contains("'gone': No such file or directory][Train longer]"), "{out}");
    assert!(out.contains("[acme/styles][feature][Train longer][https://git.example.org/acme/styles.git]"), "{out}");
}

#[test]
fn what_a_checkout_would_not_have_is_said() {
    let folder = Folder::new("language: shell\nscript: ls -A sub inner; cat gone/file; git status --short\n");
    folder.write("gone", "a file at first");
    folder.write("sub/.travis.yml", "language: shell\nscript: test ! -e .git\n");
    folder.commit();
    std::fs::remove_file(folder.path().join("gone")).unwrap();
    folder.write("gone/file", "now in a folder");
    folder.write("inner/file", "x");
    let status = Command::new("git").args(["init", "--quiet"]).arg(folder.path().join("inner")).status().unwrap();
    assert!(status.success());
    let (code, out, err) = folder.run(&[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("inner is a separate repository") && !out.contains("gone is a repository"), "{out}");
    assert!(out.contains("now in a folder") && out.contains("inner:\n\nsub:\n.travis.yml\n"), "{out}");
    let mut below = Command::new(env!("CARGO_BIN_EXE_trainyard"));
    let output = below.arg("run").current_dir(folder.path().join("sub")).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && out.contains("not the top of its repository: jobs see no .git"), "{out}");
}

#[test]
fn outside_of_git_the_job_sees_every_file() {
    let folder = Folder::new("language: shell\nscript: ./deep/run\n");
    folder.write("deep/run", "#!/bin/sh\ncat deep/link; echo \" $TRAVIS_REPO_SLUG $TRAVIS_EVENT_TYPE\"\n");
    folder.write("file", "linked");
    std::os::unix::fs::symlink("../file", folder.path().join("deep/link")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("deep/run"), executable).unwrap();
    let (code, out, err) = folder.run(&["--event", "cron"]);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains(&format!("linked local/{name} cron\n")), "{out}");
}

#[test]
fn a_terminal_gets_colours_and_nothing_that_steers_it() {
    let folder = Folder::new(
        "language: shell\nscript:\n  - printf '\\033[32mgreen\\033[0m \\033]0;evil\\007\\033[2Jplain\\n10%%\\r99%%\\n'\n",
    );
    let run = format!("stty cols 80; {} run {}", env!("CARGO_BIN_EXE_trainyard"), folder.path().display());
    let output = Command::new("script").args(["-qec", &run, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{out}");
    assert!(out.contains("\x1b[32mgreen\x1b[0m plain\r\n") && out.contains("\x1b[32;1m✔ passed"), "{out:?}");
    assert!(out.contains("\n99%\r\n"), "a progress bar shows its last state: {out:?}");
    assert!(!out.contains("\x1b]0;") && !out.contains("\x1b[2J"), "{out:?}");
}

#[test]
fn one_job_can_be_run_alone() {
    let folder = Folder::new("language: shell\nenv: [A=1, A=2, A=3]\nscript: test $A = 2\n");
    let (facts, _, code) = folder.facts(&["--job", "2"]);
    assert_eq!((code, facts["jobs"].as_array().unwrap().len()), (Some(0), 1));
    assert_eq!(facts["jobs"][0]["number"], json!("2"));
    let (code, _, err) = folder.run(&["--job", "4"]);
    assert!(code == Some(2) && err.contains("there is no job 4") && err.contains("1, 2, 3"), "{err}");
}

#[test]
fn a_stage_that_fails_stops_the_later_ones_and_an_allowed_failure_does_not() {
    let folder = Folder::new(
        "language: shell\njobs:\n  allow_failures: [{name: Shaky}]\n  include:\n\
         \x20 - {stage: lint, name: Shaky, script: \"false\"}\n\
         \x20 - {stage: lint, name: Sound, script: \"true\"}\n\
         \x20 - {stage: train, name: Broken, script: \"false\"}\n\
         \x20 - {stage: ship, name: Ship, script: echo shipped}\n",
    );
    let (facts, log, code) = folder.facts(&[]);
    assert_eq!((code, &facts["state"]), (Some(1), &json!("failed")), "{log}");
    let verdicts: Vec<(&str, &str)> = facts["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["name"].as_str().unwrap(), job["verdict"].as_str().unwrap()))
        .collect();
    let wanted = [("Sound", "passed"), ("Shaky", "failed"), ("Broken", "failed"), ("Ship", "canceled")];
    assert_eq!(verdicts, wanted, "{log}");
    assert_eq!(facts["jobs"][3]["reason"], json!("an earlier stage did not pass"));
    assert!(!log.contains("shipped") && log.contains("✘ failed (allowed)"), "{log}");
}

#[test]
fn problems_are_said_first_and_an_error_stops_everything() {
    let folder = Folder::new("language: shell\nscript: echo never\nscirpt: x\n");
    folder.write("configs/style.yaml", "train_data_dir: data\noutput_dir: out\nlora_rank: 8\nlearning_rate: 1e-4\n");
    let (code, out, err) = folder.run(&[]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains(".travis.yml:3:1: warning: ") && out.contains("needs base_model"), "{out}");
    assert!(out.contains("Nothing was run") && !out.contains("━━"), "{out}");
    let nothing = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard")).arg("run").arg(nothing.path()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && out.contains("there is no .travis.yml: add one"), "{out}");
}

#[test]
fn a_config_that_git_ignores_is_not_mistaken_for_none() {
    let folder = Folder::new("language: shell\nscript: echo never\n");
    folder.write(".gitignore", ".travis.yml\n");
    folder.commit();
    let (code, out, err) = folder.run(&[]);
    assert!(code == Some(1) && err.contains("git ignores") && err.contains(".gitignore"), "{out}{err}");
}

#[test]
fn an_image_that_is_not_there_is_named_with_what_to_do() {
    let folder = Folder::new("language: shell\nscript: echo never\n");
    let (code, out, err) = folder.run(&["--image", "trainyard/none:1"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("the image trainyard/none:1 is not on this runner") && out.contains("docker images"), "{out}");
}

#[test]
fn a_version_of_python_without_an_image_is_named_with_those_that_there_are() {
    let tag = docker::Tag::new("trainyard/cpu:3.11", "run", "3.11");
    let (older, other) =
        (docker::Tag::new("trainyard/cpu:3.11", "run", "3.6"), docker::Tag::new("trainyard/cpu:3.11", "run", "3.11-x"));
    let folder = Folder::new("language: python\npython: '3.9'\ninstall: skip\nscript: python --version\n");
    let config = folder.path().join("config.toml");
    let run = |travis: &str, missing: &str| {
        folder.write(".travis.yml", travis);
        let images = format!("[images]\npython = \"{}:{{version}}\"\n{missing}", tag.repository);
        std::fs::write(&config, images).unwrap();
        folder.run(&["--config", config.to_str().unwrap()])
    };
    let travis = |python: &str| format!("language: python\n{python}\ninstall: skip\nscript: python --version\n");
    let (code, out, err) = run(&travis("python: '3.9'"), "");
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("Python 3.9, which this job asks for, has no image on this runner"), "{out}");
    assert!(out.contains("which has Python 3.11, 3.6: choose another version, or build or pull"), "{out}");
    let nearest = "python_missing = \"nearest\"\n";
    for python in ["python: '3.9'", "python: 3.10-dev", "python: '3'", "python: 3.x", "python: nightly"] {
        let (code, out, err) = run(&travis(python), nearest);
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(out.contains("the job runs with Python 3.11.") && out.contains("\nPython 3.11."), "{out}");
    }
    let (code, out, _) = run(&travis("python: pypy3"), nearest);
    assert!(code == Some(1) && out.contains("and none of it can stand in"), "{out}");
    let named = format!("image: {}:3.11-x\npython: '3.11'", tag.repository);
    let (code, out, _) = run(&travis(&named), "");
    assert!(code == Some(0) && out.contains("\nPython 3.11."), "an image of the configuration may be named: {out}");
    drop((older, other));
}

#[test]
fn without_docker_it_says_where_it_looked() {
    let folder = Folder::new("language: shell\nscript: echo never\n");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[[runner]]\nendpoint = \"unix:///nowhere/docker.sock\"\n").unwrap();
    let (code, out, err) = folder.run(&["--config", config.to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("Docker is not reachable at unix:///nowhere/docker.sock"), "{out}{err}");
}

#[test]
fn the_limits_of_the_configuration_hold_here_too() {
    let folder = Folder::new("language: shell\nscript: sleep 100\n");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\nsilence = \"2s\"\ngrace = \"1s\"\n").unwrap();
    let (facts, log, code) = folder.facts(&["--config", config.to_str().unwrap()]);
    assert_eq!((code, &facts["jobs"][0]["verdict"]), (Some(1), &json!("timed_out")), "{log}");
    assert_eq!(facts["jobs"][0]["reason"], json!("no output for 2s"));
    assert!(log.contains("No output has been received in the last 2s"), "{log}");
}

/// A run whose job has printed something.
struct Begun {
    child: Child,
    log: std::path::PathBuf,
    container: String,
}

impl Begun {
    fn new(folder: &Folder, arguments: &[&str]) -> Self {
        let log = folder.path().join("log.txt");
        let file = std::fs::File::create(&log).unwrap();
        let child = folder.command(arguments).stdout(file).stderr(Stdio::null()).spawn().unwrap();
        let mut begun = Self { child, log, container: String::new() };
        begun.wait_for("container ");
        begun.container = containers(&begun.said()).pop().unwrap();
        begun
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a line that begins with this text.
    fn wait_for(&self, line: &str) {
        let begin = Instant::now();
        while !self.said().contains(&format!("\n{line}")) {
            assert!(begin.elapsed() < Duration::from_secs(60), "no {line:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for the end. Returns the exit status.
    fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // Runs also when the test panicked. A process that was waited for already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn ctrl_c_stops_the_job_properly_and_leaves_no_container() {
    let folder = Folder::new(&format!(
        "language: shell\nenv: [A=1, A=2]\nscript: {HOSTNAME}; trap 'echo tidied up; exit' INT; sleep 100 & wait\n"
    ));
    let mut run = Begun::new(&folder, &[]);
    run.interrupt();
    assert_eq!(run.end(), Some(130));
    let said = run.said();
    assert!(said.contains("tidied up") && said.contains("The build was canceled: 2 jobs"), "{said}");
    assert_eq!(said.matches("– canceled").count(), 3, "one under the log, two in the table: {said}");
    assert!(!docker::is_there(&run.container));
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    let folder = Folder::new(&format!(
        "language: shell\nscript: {HOSTNAME}; trap 'echo ignored' INT TERM; while true; do sleep 0.1; done\n"
    ));
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[limits]\ngrace = \"10m\"\n").unwrap();
    let mut run = Begun::new(&folder, &["--config", config.to_str().unwrap()]);
    run.interrupt();
    run.wait_for("ignored");
    run.interrupt();
    assert_eq!(run.end(), Some(130));
    assert!(!docker::is_there(&run.container));
}
