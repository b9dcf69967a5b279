//! `trainyard backup` and `trainyard restore`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytesize::ByteSize;
use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, SealKey, Step};
use crate::config::Config;

/// Interval between lines of progress in a terminal.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The file of the backup.
    file: PathBuf,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
}

pub(in crate::cli) async fn backup(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let mut progress = Progress::begin();
    // The backup ends by itself, so that it removes its unfinished file.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let made = app::backup(&config, &arguments.file, |step| {
        progress.show(step);
        ensure!(interrupt.recv().now_or_never().is_none(), "interrupted: nothing was written");
        Ok(())
    });
    let made = made.await?;
    progress.end();
    let objects = match made.objects {
        Some(number) => format!("the database and {number} logs and artifacts"),
        None => {
            format!("the database; logs and artifacts are in {}, which needs a backup of its own", config.storage.url)
        }
    };
    eprintln!("{} has {objects}, {}.", arguments.file.display(), ByteSize(made.size));
    eprintln!(
        "The key of the seal is not in it. Keep a copy of {} at another place: nothing else opens the secrets of the \
         repositories.",
        config.server.data_dir.join("seal.key").display()
    );
    Ok(crate::cli::FINE)
}

pub(in crate::cli) async fn restore(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let mut progress = Progress::begin();
    let seal_key = app::restore(&config, &arguments.file, |step| progress.show(step)).await?;
    progress.end();
    let data = config.server.data_dir;
    eprintln!("{} is restored in {}.", arguments.file.display(), data.display());
    if seal_key == SealKey::Missing {
        eprintln!(
            "Before you start the service, put the key of the seal at {}, for its user alone (mode 600). Without it, \
             every secret must be encrypted again.",
            data.join("seal.key").display()
        );
    }
    Ok(crate::cli::FINE)
}

/// Progress on standard error: a line that changes in a terminal, and a line for each step elsewhere.
struct Progress {
    is_terminal: bool,
    shown: Option<Instant>,
    step: Option<Step>,
}

impl Progress {
    fn begin() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: None, step: None }
    }

    fn show(&mut self, step: Step) {
        let is_new = self.step.is_none_or(|last| std::mem::discriminant(&last) != std::mem::discriminant(&step));
        self.step = Some(step);
        let is_due = self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= PROGRESS_INTERVAL);
        if !is_new && !is_due {
            return;
        }
        if is_new {
            self.end_line();
        }
        self.shown = Some(Instant::now());
        let text = match step {
            Step::Database => "database …".to_owned(),
            Step::Objects(done) if self.is_terminal => format!("logs and artifacts: {done}"),
            Step::Objects(_) => "logs and artifacts …".to_owned(),
        };
        let mut stderr = std::io::stderr();
        // If standard error is closed, then no user reads the progress.
        let _ = if self.is_terminal { write!(stderr, "\r{text}") } else { writeln!(stderr, "{text}") };
    }

    fn end(&mut self) {
        if let (true, Some(Step::Objects(done))) = (self.is_terminal, self.step) {
            eprint!("\rlogs and artifacts: {done}");
        }
        self.end_line();
    }

    fn end_line(&self) {
        if self.is_terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}
