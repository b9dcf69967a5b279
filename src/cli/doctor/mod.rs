//! `trainyard doctor`.

mod database;
mod github;
mod github_app;
mod machine;
mod objects;
mod runner;
mod services;
mod tls;

use std::path::PathBuf;

use chrono::TimeDelta;
use serde::Serialize;
use serde_json::json;

use super::problems::number_of;
use super::table::{Colour, Table, paint, wants_colours};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The service's configuration.
    #[arg(long, value_name = "FILE", env = "TRAINYARD_CONFIG")]
    config: Option<PathBuf>,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// Maximum difference of this machine's clock to GitHub's.
const MOST_APART: TimeDelta = TimeDelta::seconds(60);

/// State of a part of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// The service works, except for a part of it.
    Warning,
    /// The service, or jobs, cannot work.
    Problem,
}

/// A result of a check.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// Name of the part that was checked.
    what: String,
    /// State of that part, in one sentence.
    told: String,
    /// Action that mends it.
    advice: Option<String>,
}

/// All results.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, what: &str, told: impl Into<String>) {
        self.push(Level::Ok, what, told.into(), None);
    }

    fn warning(&mut self, what: &str, told: impl Into<String>, advice: &str) {
        self.push(Level::Warning, what, told.into(), Some(advice));
    }

    fn problem(&mut self, what: &str, told: impl Into<String>, advice: &str) {
        self.push(Level::Problem, what, told.into(), Some(advice));
    }

    /// Adds a problem whose message already says what to do.
    fn failure(&mut self, what: &str, error: &anyhow::Error) {
        self.push(Level::Problem, what, format!("{error:#}"), None);
    }

    fn push(&mut self, level: Level, what: &str, told: String, advice: Option<&str>) {
        // An error may have several lines, but a row has one.
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.push(Finding { level, what: what.to_owned(), told, advice: advice.map(str::to_owned) });
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut found = Findings::default();
    let name = arguments.config.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    match Config::load(arguments.config.as_deref(), std::env::vars()) {
        Err(error) => found.failure("configuration", &error),
        Ok(config) => {
            found.ok("configuration", format!("{name}, with {} in the environment", set_there()));
            machine::check(&config, &mut found).await;
            database::check(&config, &mut found).await;
            objects::check(&config, &mut found).await;
            github::check(&config, &mut found).await;
            services::check(&config, &mut found).await;
            runner::check(&config, &mut found).await;
        }
    }
    if arguments.json {
        let json = json!({
            "problems": found.count(Level::Problem), "warnings": found.count(Level::Warning), "findings": found.0,
        });
        super::print(&format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    } else {
        super::print(&render(&found, wants_colours(&std::io::stdout())))?;
    }
    Ok(if found.count(Level::Problem) > 0 { super::PROBLEMS } else { super::FINE })
}

/// Counts the values that the environment sets.
fn set_there() -> String {
    match std::env::vars().filter(|(name, _)| name.starts_with("TRAINYARD__")).count() {
        0 => "nothing".to_owned(),
        count => number_of(count, "value"),
    }
}

/// Renders the findings as a table, with the advice below each of them. Nothing is cut: the reader needs all of it.
fn render(found: &Findings, colours: bool) -> String {
    let mut table = Table::new(["", "WHAT", "HOW IT IS"]);
    for Finding { level, what, told, advice } in &found.0 {
        let (sign, colour) = match level {
            Level::Ok => ("✔ ok", Colour::Green),
            Level::Warning => ("! warning", Colour::Yellow),
            Level::Problem => ("✘ problem", Colour::Red),
        };
        let cells = [(sign.to_owned(), Some(colour)), (what.clone(), None), (told.clone(), None)];
        table.push_painted(cells.into());
        if let Some(advice) = advice {
            let cells = [(String::new(), None), (String::new(), None), (format!("→ {advice}"), Some(Colour::Faint))];
            table.push_painted(cells.into());
        }
    }
    let (problems, warnings) = (found.count(Level::Problem), found.count(Level::Warning));
    let (sum, colour) = match (problems, warnings) {
        (0, 0) => ("Everything is fine".to_owned(), Colour::Green),
        (0, _) => (format!("No problems, {}", number_of(warnings, "warning")), Colour::Yellow),
        (_, 0) => (number_of(problems, "problem"), Colour::Red),
        _ => (format!("{}, {}", number_of(problems, "problem"), number_of(warnings, "warning")), Colour::Red),
    };
    format!("{}\n{}\n", table.render(colours, None), paint(&sum, colour, colours))
}
