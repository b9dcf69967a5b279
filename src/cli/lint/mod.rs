//! `trainyard lint`.

mod fix;
mod formats;
mod rules;
mod scope;

use std::path::PathBuf;

use self::scope::{Checked, Scope};
use super::excerpt::pointed_at;
use super::problems::{self, number_of};
use super::table::{Colour, inert, paint, wants_colours, width_of};
use crate::domain::{Problem, Rule, Severity};
use crate::lora;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files, and folders of repositories.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Format of the output.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Mend what is certain: misspelled keys and words, quotes, the form of numbers. Shows the changes as a diff and
    /// asks before it writes them.
    #[arg(long, conflicts_with = "format")]
    fix: bool,
    /// Write the changes of `--fix` without asking.
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Explain a rule: what it finds, why, and examples. Without a name, list all rules.
    #[arg(long, value_name = "RULE", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["fix", "format"])]
    explain: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people: with the line of the file.
    Text,
    /// Facts for programs.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if let Some(name) = &arguments.explain {
        return explain(name);
    }
    if let Some(path) = arguments.paths.iter().find(|path| !path.exists()) {
        eprintln!("trainyard: there is no {}: name files or folders that exist", path.display());
        return Ok(super::USAGE);
    }
    let mut scopes: Vec<Scope> = arguments.paths.iter().map(|path| Scope::of(path)).collect::<Result<_, _>>()?;
    let is_unwritten = arguments.fix && !fix(arguments, &mut scopes)?;
    let checked = scopes.iter().map(Scope::check).collect::<Result<Vec<_>, _>>()?;
    let checked: Vec<Checked> = checked.into_iter().flatten().collect();
    super::print(&output(&checked, arguments.format)?)?;
    let has_errors = checked.iter().any(|file| problems::has_errors(&file.problems));
    Ok(if has_errors || is_unwritten { super::PROBLEMS } else { super::FINE })
}

/// Shows the explanation of a rule, or the list of all rules.
fn explain(name: &str) -> anyhow::Result<u8> {
    let colours = wants_colours(&std::io::stdout());
    let text = match Rule::named(name) {
        Some(rule) => rules::explain(rule, colours),
        None if name.is_empty() => rules::list(colours, width_of(&std::io::stdout())),
        None => {
            let near: Vec<&str> = Rule::nearest(name).into_iter().map(Rule::name).collect();
            let advice = match near.as_slice() {
                [] => "`--explain` alone lists all".to_owned(),
                near => format!("did you mean {}?", near.join(" or ")),
            };
            eprintln!("trainyard: no rule is called {name}: {advice}");
            return Ok(super::USAGE);
        }
    };
    super::print(&text)?;
    Ok(super::FINE)
}

/// Shows what can be mended, and writes it if the user agrees. Returns false if something was not written: the scopes are
/// then as they were.
fn fix(arguments: &Arguments, scopes: &mut Vec<Scope>) -> anyhow::Result<bool> {
    let mut mended = Vec::new();
    for scope in &mut *scopes {
        mended.extend(fix::mend(scope)?);
    }
    // A file may be named twice.
    mended.dedup_by(|a, b| a.path == b.path);
    if mended.is_empty() {
        return Ok(true);
    }
    super::print(&fix::diff(&mended, wants_colours(&std::io::stdout())))?;
    let is_agreed = arguments.yes || fix::is_confirmed(&mended)?;
    if is_agreed {
        mended.iter().try_for_each(fix::Mended::write)?;
    }
    *scopes = arguments.paths.iter().map(|path| Scope::of(path)).collect::<Result<_, _>>()?;
    Ok(is_agreed)
}

fn output(checked: &[Checked], format: Format) -> anyhow::Result<String> {
    let problems: Vec<&Problem> = checked.iter().flat_map(|file| &file.problems).collect();
    Ok(match format {
        Format::Text => render(checked, wants_colours(&std::io::stdout())),
        Format::Json => {
            let facts = serde_json::json!({ "problems": problems, "estimates": estimates(checked) });
            format!("{}\n", serde_json::to_string_pretty(&facts)?)
        }
        Format::Sarif => format!("{}\n", serde_json::to_string_pretty(&formats::sarif(checked))?),
        Format::Github => formats::github(&problems),
    })
}

/// Returns the estimates of the trainings' resources, by file.
fn estimates(checked: &[Checked]) -> Vec<serde_json::Value> {
    let told = |file: &Checked| Some(serde_json::json!({"file": file.path, "message": file.estimate.as_ref()?}));
    checked.iter().filter_map(told).collect()
}

/// Renders the problems with their lines, and the number of files that were checked.
fn render(checked: &[Checked], colours: bool) -> String {
    let mut text = String::new();
    for file in checked {
        let source = String::from_utf8_lossy(&file.text);
        for problem in file.problems.iter().filter(|problem| problem.severity > Severity::Info) {
            text.push_str(&problems::line(problem, 1, colours));
            if problem.file.as_ref() == Some(&file.path) {
                text.push_str(&excerpt(&source, problem).unwrap_or_default());
            }
        }
    }
    let told = |file: &Checked| Some(format!("{}: {}\n", inert(&file.path), inert(file.estimate.as_ref()?)));
    let estimates: String = checked.iter().filter_map(told).collect();
    text.push_str(&paint(&estimates, Colour::Faint, colours));
    let all: Vec<Problem> = checked.iter().flat_map(|file| file.problems.iter().cloned()).collect();
    let counted = problems::counted(&all).unwrap_or_else(|| "no problems".to_owned());
    let fixable = all.iter().filter(|problem| problem.fix.is_some() && problem.severity > Severity::Info).count();
    let counted = if fixable > 0 { format!("{counted} ({fixable} can be mended with --fix)") } else { counted };
    let files = match checked {
        [] => return "no training config, no command of a trainer and no .travis.yml was found\n".to_owned(),
        [one] => inert(&one.path),
        many => number_of(many.len(), "file"),
    };
    text + &format!("{files} checked: {counted}\n")
}

/// Returns the line of a problem with a caret below, without the secrets in it.
fn excerpt(source: &str, problem: &Problem) -> Option<String> {
    let line = source.lines().nth(problem.line?.checked_sub(1)? as usize)?;
    let hidden = lora::hidden(line);
    let column = problem.column.unwrap_or(1).max(1) as usize;
    let at = hidden.char_indices().nth(column - 1).map_or(hidden.len(), |(at, _)| at);
    (!line.trim().is_empty()).then(|| format!("{}\n", pointed_at(&hidden, at)))
}
