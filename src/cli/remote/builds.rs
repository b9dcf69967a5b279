//! `trainyard builds` and `trainyard build`.

use chrono::{DateTime, Utc};

use super::answers::{Build, rough, since};
use super::client::typed;
use super::session::{Builds, Named, Target};
use super::{print_json, print_table};
use crate::cli::problems::{self, counted};
use crate::cli::table::{Colour, Table, cut, inert, paint, wants_colours, width_of};
use crate::cli::{FINE, print};

/// Number of columns from which a table of builds has all columns.
const WIDE: usize = 110;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    target: Target,
    /// Only builds of this branch.
    #[arg(long)]
    branch: Option<String>,
    /// The builds of all repositories.
    #[arg(long, conflicts_with_all = ["repo", "branch"])]
    all: bool,
    /// The number of builds, at most 100.
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    /// Print what the server says, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowArguments {
    /// The number of the build. Without it, the newest one of what is checked out here.
    #[arg(value_name = "BUILD")]
    build: Option<Named>,
    #[command(flatten)]
    target: Target,
    /// Print what the server says, as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(arguments: &ListArguments) -> anyhow::Result<u8> {
    let limit = arguments.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(arguments.branch.as_deref().map(|branch| ("branch", branch)));
    let client = arguments.target.client()?;
    let answer = if arguments.all {
        client.get(&["builds"], &query).await?
    } else {
        arguments.target.session().await?.get(&["builds"], &query).await?
    };
    if arguments.json {
        return print_json(&answer);
    }
    let builds: Builds = typed(&client, answer)?;
    let is_wide = width_of(&std::io::stdout()).is_none_or(|width| width >= WIDE);
    print_table(&table_of(&builds.builds, arguments.all, is_wide, Utc::now()), "There are no builds yet.")
}

/// Returns a table of builds. On a terminal that is not wide, it does without commits and people.
fn table_of(builds: &[Build], with_repo: bool, is_wide: bool, now: DateTime<Utc>) -> Table {
    let mut head = if with_repo { vec!["REPOSITORY"] } else { vec![] };
    head.extend(["BUILD", "STATE", "OF"]);
    head.extend(is_wide.then_some("COMMIT"));
    head.push("WHAT");
    head.extend(is_wide.then_some("BY"));
    head.extend(["TIME", "AGO"]);
    let mut table = Table::new(head).firm(2 + usize::from(with_repo));
    for build in builds {
        let mark = build.mark();
        let mut row = vec![];
        if with_repo {
            row.push((format!("{}/{}", build.owner, build.name), None));
        }
        row.push((build.number.to_string(), None));
        row.push((mark.text(), Some(mark.colour)));
        row.push((build.reference(), None));
        row.extend(is_wide.then(|| (build.short_sha(), Some(Colour::Faint))));
        row.push((build.subject().to_owned(), None));
        row.extend(is_wide.then(|| (build.person().to_owned(), Some(Colour::Faint))));
        row.push((rough(&build.took(now)).to_owned(), None));
        row.push((since(build.created_at, now), Some(Colour::Faint)));
        table.push_painted(row);
    }
    table
}

pub(super) async fn show(arguments: &ShowArguments) -> anyhow::Result<u8> {
    let session = arguments.target.session().await?;
    let number = session.number(arguments.build).await?;
    let answer = session.get(&["builds", &number.to_string()], &[]).await?;
    if arguments.json {
        return print_json(&answer);
    }
    let build: Build = session.typed(answer)?;
    let out = std::io::stdout();
    print(&render(&build, Utc::now(), wants_colours(&out), width_of(&out)))?;
    Ok(FINE)
}

/// Renders a build with its jobs and problems.
fn render(build: &Build, now: DateTime<Utc>, colours: bool, width: Option<usize>) -> String {
    let mark = build.mark();
    let title = paint(&inert(&build.title()), Colour::Bold, colours);
    let mut text = format!("{title}  {}\n", paint(&inert(&mark.text()), mark.colour, colours));
    let facts = [build.subject().to_owned(), facts_of(build, now)];
    for line in facts.iter().filter(|line| !line.is_empty()) {
        text.push_str(&format!("{}\n", cut(&inert(line), width.unwrap_or(usize::MAX))));
    }
    if !build.jobs.is_empty() {
        text.push_str(&format!("\n{}", jobs_table(build, now).render(colours, width)));
        text.push_str(&reasons(build));
    }
    let problems = problems::render(&build.problems, colours);
    if !problems.is_empty() {
        text.push_str(&format!("\n{problems}"));
        text.push_str(&counted(&build.problems).map(|counted| format!("\n{counted}\n")).unwrap_or_default());
    }
    if build.is_unapproved() {
        text.push_str(&format!("\nThe build is of a fork, and waits for: trainyard approve {}\n", build.number));
    }
    text
}

fn facts_of(build: &Build, now: DateTime<Utc>) -> String {
    let took = build.took(now);
    let parts = [
        build.kind.replace('_', " "),
        build.reference(),
        build.short_sha(),
        if build.person().is_empty() { String::new() } else { format!("by {}", build.person()) },
        build.created_at.map(|then| format!("{} ago", since(Some(then), now))).unwrap_or_default(),
        if took.is_empty() { took } else { format!("{} {took}", if build.is_finished() { "took" } else { "for" }) },
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// Returns a line for each job whose state has a reason. A reason is not cut: it is what people look for.
fn reasons(build: &Build) -> String {
    let told = build.jobs.iter().filter(|job| !job.why().is_empty());
    let lines: String = told.map(|job| format!("{}.{}: {}\n", build.number, job.number, inert(job.why()))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

fn jobs_table(build: &Build, now: DateTime<Utc>) -> Table {
    let labels = build.jobs.iter().any(|job| !job.label().is_empty());
    let mut head = vec!["JOB", "STATE"];
    head.extend(labels.then_some("WHAT"));
    head.extend(["TIME", "RUNNER"]);
    let mut table = Table::new(head).firm(2);
    for job in &build.jobs {
        let mark = job.mark();
        let mut row = vec![(format!("{}.{}", build.number, job.number), None), (mark.text(), Some(mark.colour))];
        row.extend(labels.then(|| (job.label(), None)));
        row.push((rough(&job.took(now)).to_owned(), None));
        row.push((job.runner.clone().unwrap_or_default(), Some(Colour::Faint)));
        table.push_painted(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build() -> Build {
        let job = |number: i64, name: &str, state: &str, verdict: Option<&str>| {
            json!({ "id": number, "number": number, "name": name, "state": state, "verdict": verdict, "runner": "local",
                "started_at": if state == "queued" { None } else { Some("2026-01-01T10:00:00Z") }, "reason": verdict.filter(|v| *v == "failed").map(|_| "the script ended with status 1") })
        };
        serde_json::from_value(json!({
            "owner": "acme", "name": "styles", "number": 12, "state": "queued", "kind": "pull_request", "branch": "main",
            "sha": "0123456789abcdef0123456789abcdef01234567", "message": "Raise the rank\n\nMore detail.", "author": "anna",
            "pull_request": 7, "pull_request_title": "Raise the rank of the style", "needs_approval": true,
            "created_at": "2026-01-01T09:59:00Z", "started_at": "2026-01-01T10:00:00Z",
            "jobs": [job(1, "lint", "finished", Some("failed")), job(2, "train", "running", None), job(3, "", "queued", None)],
            "problems": [{ "severity": "warning", "rule": "unused-key", "message": "the key has no effect", "file": ".travis.yml", "line": 3, "column": 1, "key": null }],
        }))
        .expect("a build")
    }

    #[test]
    fn a_build_has_its_jobs_and_problems() {
        let now = "2026-01-01T10:01:15Z".parse().expect("a time");
        insta::assert_snapshot!(render(&build(), now, false, Some(80)));
        insta::assert_snapshot!(render(&Build { jobs: vec![], problems: vec![], ..build() }, now, false, Some(40)));
    }

    #[test]
    fn builds_are_rows() {
        let now = "2026-01-02T10:01:15Z".parse().expect("a time");
        let passed = Build {
            state: "passed".to_owned(),
            number: 11,
            pull_request: None,
            pull_request_title: None,
            kind: "push".to_owned(),
            message: Some("A long message of a commit that says more than fits into one line of a terminal".to_owned()),
            finished_at: "2026-01-01T10:59:00Z".parse().ok(),
            ..build()
        };
        let narrow = table_of(&[build(), passed.clone()], false, false, now);
        insta::assert_snapshot!(narrow.render(false, Some(80)));
        insta::assert_snapshot!(table_of(&[build(), passed], true, true, now).render(false, Some(100)));
    }
}
