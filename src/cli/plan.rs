//! `trainyard plan`.

use std::path::PathBuf;

use super::asked::{Asked, Known};
use super::files::plan_of;
use super::jobs;
use super::problems;
use super::table::{Table, wants_colours, width_of};
use crate::plan::Plan;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A repository's folder, or a `.travis.yml` alone.
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let trigger = arguments.asked.trigger(&Known::nothing("repository")?);
    let plan = plan_of(&arguments.path, &trigger)?;
    if arguments.json {
        let json =
            serde_json::json!({"jobs": plan.jobs, "stages": plan.stages, "problems": plan.problems, "skip": plan.skip});
        super::print(&format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    } else {
        let stdout = std::io::stdout();
        super::print(&shown(&plan, wants_colours(&stdout), width_of(&stdout)))?;
    }
    Ok(if problems::has_errors(&plan.problems) { super::PROBLEMS } else { super::FINE })
}

/// The plan as people like to read it.
fn shown(plan: &Plan, colours: bool, width: Option<usize>) -> String {
    let mut text = problems::shown(&plan.problems, colours);
    if let Some(reason) = &plan.skip {
        return text + &format!("Nothing to build: {reason}\n");
    }
    if plan.jobs.is_empty() {
        return text;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text + &table(plan).shown(colours, width)
}

fn table(plan: &Plan) -> Table {
    let columns = jobs::columns(&plan.jobs);
    let staged = !plan.stages.is_empty();
    let may_fail = plan.jobs.iter().any(|job| job.allow_failure);
    let mut head = vec!["JOB"];
    head.extend(staged.then_some("STAGE"));
    head.extend(columns.iter().map(|column| column.head.as_str()));
    head.extend(may_fail.then_some("MAY FAIL"));
    let mut table = Table::new(head);
    for (index, job) in plan.jobs.iter().enumerate() {
        let mut row = vec![job.number.clone()];
        row.extend(staged.then(|| job.stage.clone().unwrap_or_default()));
        row.extend(columns.iter().map(|column| column.cells[index].clone()));
        row.extend(job.allow_failure.then(|| "yes".to_owned()));
        table.push(row);
    }
    table
}
