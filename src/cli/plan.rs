//! `trainyard plan`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::table::{Colour, Table, inert, paint};
use crate::domain::{Problem, RepoName, Severity, Sha, Trigger, TriggerKind};
use crate::plan::{self, Plan, PlannedJob, SourceFile};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A repository's folder, or a `.travis.yml` alone.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// What asks for the build.
    #[arg(long, value_enum, default_value_t = Event::Push)]
    event: Event,
    /// The branch; a pull request's base branch.
    #[arg(long, default_value = "main")]
    branch: String,
    /// The tag, for `--event tag`.
    #[arg(long)]
    tag: Option<String>,
    /// The head commit's message, which skip words and conditions look at.
    #[arg(long, default_value = "")]
    message: String,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Event {
    Push,
    PullRequest,
    Tag,
    Cron,
    Api,
}

impl From<Event> for TriggerKind {
    fn from(event: Event) -> Self {
        match event {
            Event::Push => Self::Push,
            Event::PullRequest => Self::PullRequest,
            Event::Tag => Self::Tag,
            Event::Cron => Self::Cron,
            Event::Api => Self::Api,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let files = files_of(&arguments.path)?;
    let plan = plan::plan(&files, &trigger(arguments)?, &plan::Settings::default());
    if arguments.json {
        let json =
            serde_json::json!({"jobs": plan.jobs, "stages": plan.stages, "problems": plan.problems, "skip": plan.skip});
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        print!("{}", shown(&plan, std::io::stdout().is_terminal()));
    }
    let found = plan.problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(if found { super::PROBLEMS } else { super::FINE })
}

fn trigger(arguments: &Arguments) -> anyhow::Result<Trigger> {
    let nobody: RepoName = "local/repository".parse()?;
    let no_commit: Sha = "0000000000000000000000000000000000000000".parse()?;
    let is_tag = matches!(arguments.event, Event::Tag);
    Ok(Trigger {
        kind: arguments.event.into(),
        repo: nobody,
        branch: (!is_tag).then(|| arguments.branch.clone()),
        tag: arguments.tag.clone(),
        sha: no_commit,
        before: None,
        message: Some(arguments.message.clone()),
        author: None,
        sender: None,
        compare_url: None,
        pull_request: None,
    })
}

/// The files that the plan wants to see, of a folder, or a single `.travis.yml` under whatever name.
fn files_of(path: &Path) -> anyhow::Result<Vec<SourceFile>> {
    if path.is_file() {
        return Ok(vec![SourceFile { path: plan::CONFIG.to_owned(), text: read(path)? }]);
    }
    if !path.is_dir() {
        bail!("{} is neither a folder nor a file", path.display());
    }
    let mut files = Vec::new();
    collect(path, path, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && entry.file_name() != ".git" {
            collect(root, &path, files)?;
        } else if kind.is_file()
            && let Some(relative) = path.strip_prefix(root)?.to_str()
            && plan::wants(relative, entry.metadata()?.len())
        {
            files.push(SourceFile { path: relative.to_owned(), text: read(&path)? });
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(plan::READ_AT_MOST as u64).read_to_end(&mut text)?;
    Ok(text)
}

/// The plan as people like to read it.
fn shown(plan: &Plan, colours: bool) -> String {
    let mut text = String::new();
    // Notes tell which defaults were taken: facts for programs, noise for people.
    for problem in plan.problems.iter().filter(|problem| problem.severity > Severity::Info) {
        text.push_str(&problem_line(problem, colours));
    }
    if let Some(reason) = &plan.skip {
        return text + &format!("Nothing to build: {reason}\n");
    }
    if plan.jobs.is_empty() {
        return text;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let staged = !plan.stages.is_empty();
    let mut table = Table::new(if staged { &["JOB", "STAGE", "RUNS", "WITH"] } else { &["JOB", "RUNS", "WITH"] });
    for job in &plan.jobs {
        let mut row = vec![job.number.clone()];
        if staged {
            row.push(job.stage.clone().unwrap_or_default());
        }
        row.push(runs(job));
        row.push(with(job));
        table.push(row);
    }
    text + &table.shown(colours)
}

fn problem_line(problem: &Problem, colours: bool) -> String {
    let (word, colour) = match problem.severity {
        Severity::Error => ("error", Colour::Red),
        Severity::Warning => ("warning", Colour::Yellow),
        Severity::Info => ("note", Colour::Faint),
    };
    let place = problem.place();
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    format!("{}{}: {} [{}]\n", inert(&place), paint(word, colour, colours), inert(&problem.message), problem.rule)
}

/// The language and version, and the job's name.
fn runs(job: &PlannedJob) -> String {
    let text = |key: &str| job.config.get(key).and_then(serde_json::Value::as_str);
    let language = text("language").unwrap_or("?");
    let version = text(language).map(|version| format!(" {version}")).unwrap_or_default();
    let name = job.name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
    let allowed = if job.allow_failure { ", may fail" } else { "" };
    format!("{language}{version}{name}{allowed}")
}

/// The job's variables, as they are written.
fn with(job: &PlannedJob) -> String {
    let Some(env) = job.config.get("env").and_then(serde_json::Value::as_array) else { return String::new() };
    let pairs = env.iter().filter_map(serde_json::Value::as_object).flatten();
    let shown = pairs.map(|(name, value)| match value.as_str() {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}=[secure]"),
    });
    shown.collect::<Vec<_>>().join(" ")
}
