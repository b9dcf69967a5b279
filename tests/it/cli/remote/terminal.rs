//! The live view on a real pseudo-terminal, which `script` of util-linux makes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{PROGRAM, Person};
use crate::support::app::App;
use crate::support::payload::{self, Delivery};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A command on a terminal of 80 columns and 24 lines.
struct OnTerminal {
    child: Child,
    screen: vt100::Parser,
    /// All that was printed.
    said: String,
}

impl OnTerminal {
    fn start(person: &Person, command: &str) -> Self {
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--echo", "never", "--command"]);
        script.arg(format!("stty cols 80 rows 24; exec {PROGRAM} {command}")).arg("/dev/null");
        script.current_dir(&person.folder).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("TERM", "xterm");
        script.env("HOME", person.home.path()).envs(person.environment.iter().map(|(name, value)| (name, value)));
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Self { child: script.spawn().unwrap(), screen: vt100::Parser::default(), said: String::new() }
    }

    /// Waits until the screen shows these words.
    async fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.screen.screen().contents().contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            let goes_on = timeout(left, self.read()).await.unwrap_or(false);
            assert!(goes_on, "{words:?} is not on the screen:\n{}", self.screen.screen().contents());
        }
    }

    /// Reads what comes next. Returns false at the end.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // Linux ends the reading of a terminal that is gone with an error.
        let count = self.child.stdout.as_mut().unwrap().read(&mut bytes).await.unwrap_or(0);
        self.screen.process(&bytes[..count]);
        self.said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    /// Panics unless the terminal is as it was before the command.
    fn assert_given_back(&self) {
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{:?}", self.said);
    }

    async fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).await.unwrap();
    }

    /// Waits for the end. Returns the exit status.
    async fn end(&mut self) -> Option<i32> {
        let end = async { while self.read().await {} };
        timeout(Duration::from_secs(20), end).await.unwrap();
        self.child.wait().await.unwrap().code()
    }
}

#[tokio::test]
async fn the_view_shows_a_build_and_gives_the_terminal_back() {
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n")).await;
    let repo = app.github.repo("acme/styles");
    let script = "for n in 1 2 3 4 5 6 7 8 9; do echo \"step $n/9 loss=0.$((10 - n))\"; done; sleep 60";
    repo.write(".travis.yml", &format!("language: shell\nscript: {script:?}\n"));
    repo.commit("Watch me");
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    let anna = Person::with_token(repo.work(), &app.base, TOKEN);
    super::until("there is a build", || async { anna.says(&["build", "1"]).await.code == 0 }).await;

    let mut terminal = OnTerminal::start(&anna, "watch 1");
    terminal.wait_for("Loss of 1.1: falling").await;
    terminal.wait_for("step 9/9").await;
    assert!(terminal.screen.screen().alternate_screen());
    terminal.press("c").await;
    terminal.wait_for("cancel job 1.1? y/n").await;
    terminal.press("y").await;
    terminal.wait_for("– canceled").await;
    terminal.press("q").await;
    assert_eq!(terminal.end().await, Some(1));
    terminal.assert_given_back();

    // A signal ends the view in order, too.
    let mut terminal = OnTerminal::start(&anna, "watch 1");
    terminal.wait_for("Watch me").await;
    let of = terminal.child.id().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    let child: i32 = children.split_whitespace().next().unwrap().parse().unwrap();
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    assert!(terminal.screen.screen().alternate_screen());
    terminal.end().await;
    terminal.assert_given_back();
    app.stop().await;
}

#[tokio::test]
async fn lists_fit_the_terminal_and_colours_can_be_turned_off() {
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n")).await;
    let repo = app.github.repo("acme/styles");
    repo.write(".travis.yml", "language: shell\nscript: true\n");
    let sha = repo.commit(&"A long message ".repeat(20));
    Delivery::new("d-1", "push", &payload::push(&app.github, &repo, "main")).post(&app.base).await;
    app.github.wait_for_end(&sha, "trainyard/push").await;
    let mut anna = Person::with_token(repo.work(), &app.base, TOKEN);
    for command in ["builds", "build", "runners"] {
        let mut terminal = OnTerminal::start(&anna, command);
        let (code, said) = (terminal.end().await, &terminal.said);
        assert!(code == Some(0) && said.contains("\u{1b}["), "{command}: {code:?} {said:?}");
    }
    anna.environment.push(("NO_COLOR", "1".to_owned()));
    for command in ["builds", "build", "runners", "logs"] {
        let mut terminal = OnTerminal::start(&anna, command);
        let (code, said) = (terminal.end().await, &terminal.said);
        assert!(code == Some(0) && !said.contains('\u{1b}'), "{command}: {code:?} {said:?}");
        let widest = said.lines().map(|line| line.trim_end().chars().count()).max();
        assert!(command == "logs" || widest <= Some(80), "{command}: {widest:?} {said}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_token_is_not_shown_while_it_is_typed() {
    let app = App::start(&format!("[auth]\ntokens = {{ anna = \"{TOKEN}\" }}\n")).await;
    let folder = tempfile::tempdir().unwrap();
    let anna = Person::new(folder.path());
    let mut terminal = OnTerminal::start(&anna, &format!("login {}", app.base));
    terminal.wait_for("Token: ").await;
    assert!(terminal.said.contains("/settings/tokens"), "{}", terminal.said);
    terminal.press(&format!("{TOKEN}\n")).await;
    let (code, said) = (terminal.end().await, &terminal.said);
    assert!(code == Some(0) && said.contains("You are anna") && !said.contains(TOKEN), "{code:?} {said:?}");
    app.stop().await;
}
