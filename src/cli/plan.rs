//! `trainyard plan`.

use std::path::PathBuf;

use super::files::plan_of;
use super::jobs;
use super::problems::{self, number_of};
use super::table::{Colour, Table, inert, paint, wants_colours, width_of};
use super::trigger_args::{CheckedOut, TriggerArgs};
use crate::plan::Plan;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A repository's folder, or a single `.travis.yml`.
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    asked: TriggerArgs,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let trigger = arguments.asked.trigger(&CheckedOut::nothing("repository")?);
    let plan = plan_of(&arguments.path, &trigger, None)?;
    if arguments.json {
        let json =
            serde_json::json!({"jobs": plan.jobs, "stages": plan.stages, "problems": plan.problems, "skip": plan.skip});
        super::print(&format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    } else {
        let stdout = std::io::stdout();
        super::print(&render(&plan, wants_colours(&stdout), width_of(&stdout)))?;
    }
    Ok(if problems::has_errors(&plan.problems) { super::PROBLEMS } else { super::FINE })
}

/// Renders the plan for people.
fn render(plan: &Plan, colours: bool, width: Option<usize>) -> String {
    let mut text = problems::render(&plan.problems, colours);
    if !text.is_empty() {
        text.push('\n');
    }
    if let Some(reason) = &plan.skip {
        let hint = paint("--event, --branch, --tag and --message ask for another build.", Colour::Faint, colours);
        return text + &format!("Nothing to build: {reason}\n{hint}\n");
    }
    if !plan.jobs.is_empty() {
        text.push_str(&table(plan).render(colours, width));
        text.push('\n');
    }
    text + &summary(plan, colours)
}

fn table(plan: &Plan) -> Table {
    let columns = jobs::columns(&plan.jobs);
    let staged = !plan.stages.is_empty();
    let may_fail = plan.jobs.iter().any(|job| job.allow_failure);
    let mut head = Vec::new();
    head.extend(staged.then_some("STAGE"));
    head.push("JOB");
    head.extend(columns.iter().map(|column| column.head.as_str()));
    head.extend(may_fail.then_some("MAY FAIL"));
    let mut table = Table::new(head);
    let mut stage_above = None;
    for (index, job) in plan.jobs.iter().enumerate() {
        let mut row = Vec::new();
        if staged {
            // The stage is named once, in the row of its first job.
            let is_new = stage_above.replace(&job.stage) != Some(&job.stage);
            row.push(if is_new { job.stage.clone().unwrap_or_default() } else { String::new() });
        }
        row.push(job.number.clone());
        row.extend(columns.iter().map(|column| column.cells[index].clone()));
        row.extend(job.allow_failure.then(|| "yes".to_owned()));
        table.push(row);
    }
    table
}

/// Returns the number of jobs and problems, in one line.
fn summary(plan: &Plan, colours: bool) -> String {
    let mut parts = vec![number_of(plan.jobs.len(), "job")];
    if let Some(job) = plan.jobs.first() {
        let runs = jobs::runs(job);
        if plan.jobs.len() > 1 && plan.jobs.iter().all(|other| jobs::runs(other) == runs) {
            parts[0].push_str(&format!(" of {}", inert(&runs)));
        }
        if plan.stages.len() > 1 {
            parts[0].push_str(&format!(" in {}", number_of(plan.stages.len(), "stage")));
        }
    }
    let may_fail = plan.jobs.iter().filter(|job| job.allow_failure).count();
    if may_fail > 0 {
        parts.push(format!("{may_fail} may fail"));
    }
    let problems = problems::counted(&plan.problems);
    let is_error = problems::has_errors(&plan.problems);
    let colour = if is_error { Colour::Red } else { Colour::Yellow };
    parts.extend(problems.map(|problems| paint(&problems, colour, colours)));
    let end = if is_error { ": nothing would be run" } else { "" };
    format!("{}{end}\n", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Trigger;
    use crate::plan::{CONFIG, Settings, SourceFile, plan};
    use crate::travis::import::Imports;

    fn rendered(travis: &str) -> String {
        let files = [SourceFile { path: CONFIG.to_owned(), text: travis.as_bytes().to_vec() }];
        let sha = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
        let trigger = Trigger::push("acme/styles".parse().expect("a name"), "main", sha);
        render(&plan(&files, &Imports::new(), &trigger, &Settings::default()), false, Some(100))
    }

    #[test]
    fn a_matrix_is_a_table_of_what_differs() {
        let travis = "language: python\npython: ['3.11', '3.12']\nenv: [RANK=8, RANK=16]\nscript: pytest\n\
                      jobs: {allow_failures: [{python: '3.12'}]}\n";
        insta::assert_snapshot!(rendered(travis));
    }

    #[test]
    fn stages_and_problems_are_shown() {
        let travis = "language: shell\nscritp: make\njobs:\n  include:\n    - {stage: test, name: unit, script: make test}\n\
                      \x20   - {stage: publish, script: make publish}\n";
        insta::assert_snapshot!(rendered(travis));
    }
}
