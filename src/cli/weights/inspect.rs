//! `trainyard inspect`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytesize::ByteSize;
use serde_json::json;

use crate::cli::problems::{self, number_of};
use crate::cli::table::{Colour, Table, inert, paint, wants_colours, width_of};
use crate::domain::Problem;
use crate::lora::weights::{self, Comparison, Family, Module, Private, Report, median};

/// Size of the read buffer, in bytes.
const BUFFER: usize = 256 << 10;
/// Maximum number of bytes read of a config beside the weights.
const MAX_CONFIG: u64 = 1 << 20;
/// Length of the longest bar, in characters.
const BAR: usize = 20;
/// Maximum number of modules of a comparison that are shown; the JSON has all.
const MOST_CHANGED: usize = 20;
/// Metadata of the trainer that people look for, with a name for each key.
const WORTH: [(&str, &str); 12] = [
    ("modelspec.title", "title"),
    ("ss_sd_model_name", "base model"),
    ("ss_base_model_version", "model version"),
    ("modelspec.architecture", "architecture"),
    ("ss_steps", "steps"),
    ("ss_epoch", "epochs"),
    ("ss_num_train_images", "images"),
    ("ss_resolution", "resolution"),
    ("ss_learning_rate", "learning rate"),
    ("ss_optimizer", "optimizer"),
    ("ss_mixed_precision", "precision"),
    ("modelspec.date", "date"),
];

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The weights, a safetensors file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show the difference to other weights, layer by layer.
    #[arg(long, value_name = "BASE")]
    against: Option<PathBuf>,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

/// Results. For a file that cannot be parsed, there are only problems.
#[derive(Debug, Default)]
struct Facts {
    report: Option<Report>,
    /// The programs that are certain to load the file.
    programs: Vec<String>,
    base: Option<Report>,
    comparison: Option<Comparison>,
    problems: Vec<Problem>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut facts = Facts::default();
    facts.report = inspected(&arguments.file, &mut facts.problems, Report::problems)?;
    if let Some(report) = &facts.report {
        let found = of_config(&arguments.file, report)?;
        facts.programs = if problems::has_errors(&found) { Vec::new() } else { report.programs() };
        facts.problems.extend(found);
    }
    if let Some(base) = &arguments.against {
        // The base itself is not inspected; it only has to be readable.
        facts.base = inspected(base, &mut facts.problems, |_| Vec::new())?;
        if facts.report.is_some() && facts.base.is_some() {
            facts.comparison = Some(weights::compare(opened(&arguments.file)?, opened(base)?)?);
        }
    }
    if arguments.json {
        let Facts { report, programs, comparison, problems, .. } = &facts;
        let json = json!({"report": report, "programs": programs, "against": comparison, "problems": problems});
        crate::cli::print(&format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    } else {
        let stdout = std::io::stdout();
        crate::cli::print(&render(&facts, wants_colours(&stdout), width_of(&stdout)))?;
    }
    Ok(if problems::has_errors(&facts.problems) { crate::cli::PROBLEMS } else { crate::cli::FINE })
}

fn opened(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Inspects a file and records its problems. Returns `None` for a file that does not hold weights, which is a problem
/// too.
fn inspected(
    path: &Path,
    noted: &mut Vec<Problem>,
    problems: impl FnOnce(&Report) -> Vec<Problem>,
) -> anyhow::Result<Option<Report>> {
    let result = weights::inspect(BufReader::with_capacity(BUFFER, opened(path)?));
    let (report, found) = match result {
        Ok(report) => {
            let found = problems(&report);
            (Some(report), found)
        }
        Err(weights::Error::Read(error)) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
        Err(error) => (None, vec![error.problem()]),
    };
    let file = Some(path.display().to_string());
    noted.extend(found.into_iter().map(|problem| Problem { file: file.clone(), ..problem }));
    Ok(report)
}

/// Compares an adapter with the config of PEFT beside it.
fn of_config(path: &Path, report: &Report) -> anyhow::Result<Vec<Problem>> {
    let is_adapter = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("adapter_model"));
    let config = path.with_file_name(weights::ADAPTER_CONFIG);
    if !(is_adapter || report.family == Some(Family::Peft)) || !config.is_file() {
        return Ok(Vec::new());
    }
    let mut text = Vec::new();
    opened(&config)?
        .take(MAX_CONFIG)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {}", config.display()))?;
    let file = Some(path.display().to_string());
    let problems = report.problems_with(&text).into_iter();
    Ok(problems.map(|problem| Problem { file: file.clone(), ..problem }).collect())
}

/// Renders the facts for people.
fn render(facts: &Facts, colours: bool, width: Option<usize>) -> String {
    let Some(report) = &facts.report else {
        return problems::render(&facts.problems, colours);
    };
    let mut sections = vec![head(report, &facts.programs, colours)];
    if !report.modules.is_empty() {
        sections.push(blocks(report, colours).render(colours, width));
    }
    if report.modules.iter().any(|module| module.is_dora) {
        sections.push(
            "The norms of DoRA are those of the products alone: the effect of its magnitudes depends on the base model.\n"
                .to_owned(),
        );
    }
    if let Some(comparison) = &facts.comparison {
        sections.push(compared(comparison, colours, width));
    }
    sections.push(problems::render(&facts.problems, colours));
    sections.push(summary(report, &facts.problems, colours));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// Renders the kind of the file and the metadata of its trainer, as names and values.
fn head(report: &Report, programs: &[String], colours: bool) -> String {
    let mut facts: Vec<(&str, String)> = Vec::new();
    let methods = counted(report.modules.iter().map(Module::method_name));
    facts.extend(report.family.map(|family| ("family", format!("{}, {methods}", family.name()))));
    let ranks = counted(report.modules.iter().filter_map(|module| module.rank));
    facts.push(("rank", if ranks.is_empty() { "none".to_owned() } else { ranks }));
    let alphas = counted(report.modules.iter().filter_map(|module| module.alpha).map(|alpha| alpha.to_string()));
    facts.push(("alpha", if alphas.is_empty() { "none in the file".to_owned() } else { alphas }));
    let dtypes: Vec<&str> = report.dtypes.keys().map(|dtype| dtype.name()).collect();
    let tensors = number_of(report.tensors.len(), "tensor");
    facts.push(("numbers", format!("{} in {tensors}, {}", report.parameters, dtypes.join(" and "))));
    facts.push(("size", ByteSize(report.bytes).to_string()));
    facts.push(("sha256", report.sha256.clone()));
    if !programs.is_empty() {
        facts.push(("loads in", programs.join(", ")));
    }
    let noted = |(key, name): &(&'static str, &'static str)| Some((*name, report.metadata.get(*key)?.clone()));
    facts.extend(WORTH.iter().filter_map(noted).filter(|(_, value)| value != "None"));
    let of_data_set = report.private.iter().filter_map(|fact| match fact {
        Private::DataSet { key } => Some(key.as_str()),
        _ => None,
    });
    let published: Vec<&str> = of_data_set.collect();
    if !published.is_empty() {
        facts.push(("publishes", format!("captions or folders of the data set, in {}", published.join(" and "))));
    }
    let widest = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let value: String = inert(value).chars().take(100).collect();
        format!("{}  {value}\n", paint(&format!("{name:widest$}"), Colour::Faint, colours))
    };
    facts.iter().map(line).collect()
}

/// Returns `4`, or `4 (200), 8 (4)` when there are several values.
fn counted<T: Ord + ToString>(values: impl Iterator<Item = T>) -> String {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    let several = counts.len() > 1;
    let told = counts.iter().take(8).map(|(value, count)| match several {
        true => format!("{} ({count})", value.to_string()),
        false => value.to_string(),
    });
    told.collect::<Vec<_>>().join(", ") + if counts.len() > 8 { " and more" } else { "" }
}

/// Returns a table of the model's blocks with the norms of their changes. Bars are drawn only with colours: they repeat
/// the numbers.
fn blocks(report: &Report, colours: bool) -> Table {
    let mut blocks: BTreeMap<(&str, Vec<Piece<'_>>), Vec<&Module>> = BTreeMap::new();
    for module in &report.modules {
        blocks.entry((module.part, pieces(&module.block))).or_default().push(module);
    }
    let largest = report.modules.iter().filter_map(|module| module.norm).fold(0.0, f64::max);
    let norm = if report.norms_are_exact { "MEDIAN NORM" } else { "MEDIAN NORM, AT MOST" };
    let mut table = Table::new(["PART", "BLOCK", "MODULES", "RANK", norm, "LARGEST"]);
    for ((part, _), modules) in &blocks {
        let norms = || modules.iter().filter_map(|module| module.norm);
        let greatest = norms().reduce(f64::max);
        let is_broken = norms().count() < modules.len();
        let bar = greatest
            .filter(|_| colours && largest > 0.0)
            .map_or(0, |norm| (norm / largest * BAR as f64).ceil() as usize);
        let in_words = |norm: Option<f64>| norm.map_or_else(|| "none".to_owned(), short);
        let red = is_broken.then_some(Colour::Red);
        table.push_painted(vec![
            ((*part).to_owned(), None),
            (modules[0].block.clone(), None),
            (modules.len().to_string(), None),
            (counted(modules.iter().filter_map(|module| module.rank)), None),
            (in_words(median(norms().collect())), red),
            (
                format!("{} {}", in_words(greatest), "▇".repeat(bar.min(BAR))).trim_end().to_owned(),
                red.or(Some(Colour::Green)),
            ),
        ]);
    }
    table
}

/// A piece of a name. Numbers sort as numbers, so that block 10 comes after block 9.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Number(u64),
    Word(&'a str),
}

fn pieces(name: &str) -> Vec<Piece<'_>> {
    let piece = |word| str::parse(word).map_or(Piece::Word(word), Piece::Number);
    name.split(['.', '_']).map(piece).collect()
}

/// Formats a norm in few characters.
fn short(norm: f64) -> String {
    if norm == 0.0 || (0.001..1e6).contains(&norm) { format!("{norm:.4}") } else { format!("{norm:.2e}") }
}

/// Lists the modules that differ most, and the tensors that cannot be compared.
fn compared(comparison: &Comparison, colours: bool, width: Option<usize>) -> String {
    let mut modules: Vec<_> = comparison.modules.iter().collect();
    modules.sort_by(|a, b| b.difference.total_cmp(&a.difference));
    let changed = modules.iter().filter(|module| module.difference != 0.0).count();
    let mut text = format!("Against the base, {changed} of {} differ:\n", number_of(modules.len(), "module"));
    let mut table = Table::new(["MODULE", "DIFFERENCE", "NORM", "IN BASE", "COSINE"]);
    for module in modules.iter().take(changed.min(MOST_CHANGED)) {
        let cosine = module.cosine.map_or_else(|| "none".to_owned(), |cosine| format!("{cosine:.4}"));
        let norms = [module.difference, module.norm, module.norm_in_base].map(short);
        table.push([vec![module.module.clone()], norms.to_vec(), vec![cosine]].concat());
    }
    if changed > 0 {
        text.push_str(&table.render(colours, width));
    }
    if changed > MOST_CHANGED {
        text.push_str(&format!("and {} more, which --json lists\n", changed - MOST_CHANGED));
    }
    for (names, what) in [
        (&comparison.only_here, "only in this file"),
        (&comparison.only_in_base, "only in the base"),
        (&comparison.not_comparable, "of another shape, or without weights"),
        (&comparison.other_alpha, "with another alpha"),
    ] {
        if let Some(first) = names.first() {
            text.push_str(&format!("{} {what}, such as {}\n", number_of(names.len(), "tensor"), inert(first)));
        }
    }
    text
}

/// Returns the number of modules and of problems, in one line.
fn summary(report: &Report, noted: &[Problem], colours: bool) -> String {
    let modules = counted(report.modules.iter().map(|module| module.part));
    let mut text = number_of(report.modules.len(), "module");
    if !modules.is_empty() {
        text.push_str(&format!(" of {modules}"));
    }
    let is_error = problems::has_errors(noted);
    let colour = if is_error { Colour::Red } else { Colour::Yellow };
    let told = problems::counted(noted).map(|told| paint(&told, colour, colours));
    format!("{text}, {}\n", told.unwrap_or_else(|| paint("no problems", Colour::Green, colours)))
}
