//! The verdict on a training that ended. The exit status alone is not enough: trainers exit with 0 when they find no
//! data, when the loss is NaN, and when no weight changed.

use serde::{Deserialize, Serialize};

use super::series::{Measure, Series, Trend, sentence, trend};
use super::weights::{self, Summary};
use crate::domain::{Problem, Severity};

/// The facts about a training that ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The exit status of the job's script.
    pub exit_status: i64,
    /// The number of steps that the training had to take; `None` if any number above 0 is right.
    pub steps: Option<u64>,
    /// The loss, from the log or from a file that the trainer wrote.
    pub series: &'a Series,
    /// The files of weights that the trainer saved.
    pub saved: &'a [Saved],
}

/// A file that a trainer saved in a format for weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The path in the output folder.
    pub path: String,
    /// The result of reading the file.
    pub weights: Weights,
}

/// The content of a saved file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// A readable file of weights.
    Read(Box<Summary>),
    /// A file that cannot be read, with the reason.
    Unreadable(String),
}

impl Saved {
    /// Creates the entry for a file from the result of its inspection.
    pub fn new(path: String, inspected: Result<weights::Report, weights::Error>) -> Self {
        let weights = match inspected {
            Ok(report) => Weights::Read(Box::new(Summary::of(&report))),
            Err(error) => Weights::Unreadable(error.to_string()),
        };
        Self { path, weights }
    }
}

/// A condition that a training has to meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The stable name, in kebab-case.
    pub name: String,
    /// True when the training meets the condition.
    pub holds: bool,
    /// The observation; for a condition that is not met, also what to do.
    pub told: String,
}

/// The rules for weights that report that up and down do not belong together.
const PAIRS: [&str; 2] = ["weights-unpaired", "weights-rank-mismatch"];
/// The rules of the other conditions on weights, by the condition's name.
const OTHERS: [(&str, &str, &str); 2] = [
    ("weights-finite", "weights-nan", "all numbers are finite"),
    ("weights-trained", "weights-untrained", "the weights moved"),
];

/// Returns the conditions that a training has to meet, in the order in which they are worth reading.
pub fn conditions(ended: &Ended<'_>) -> Vec<Condition> {
    let mut conditions = vec![exit(ended), steps(ended), loss(ended)];
    conditions.extend(weights(ended));
    conditions
}

pub(super) fn condition(name: &str, holds: bool, told: impl Into<String>) -> Condition {
    Condition { name: name.to_owned(), holds, told: told.into() }
}

fn exit(ended: &Ended<'_>) -> Condition {
    condition("exit-status", ended.exit_status == 0, format!("exit status {}", ended.exit_status))
}

fn steps(ended: &Ended<'_>) -> Condition {
    let (seen, wanted) = (ended.series.steps_seen, ended.steps);
    if seen == 0 {
        let message = "no step was seen: the trainer found nothing to train on, or it does not print its steps \
                       (`step 1/3 loss=0.5` is read, and progress bars)";
        return condition("steps", false, message);
    }
    let Some(wanted) = wanted else { return condition("steps", true, format!("{seen} steps")) };
    let told = format!("{seen} of {wanted} steps");
    if seen < wanted {
        return condition("steps", false, format!("{told}: the training ended early"));
    }
    condition("steps", true, told)
}

fn loss(ended: &Ended<'_>) -> Condition {
    let series = ended.series;
    let trend = trend(series);
    let norms = series.other(Measure::GradientNorm);
    match series.last() {
        None => condition("loss", false, "no loss was seen in the log or in the trainer's files"),
        Some(last) if last.value.is_finite() && trend == Trend::NotANumber && series.first_not_finite().is_none() => {
            let told = sentence(series, trend);
            condition("loss", false, format!("the last loss is {:.4}, but it cannot be relied on. {told}", last.value))
        }
        // Some methods, such as GRPO, begin with a loss of 0 and learn from its gradients.
        Some(_) if series.is_zero() && !norms.iter().any(|norm| norm.value > 0.0) => {
            let message = "the loss is exactly 0 in every step: check that the data have labels to learn, and that \
                           no mask or length limit removes all of them";
            condition("loss", false, message)
        }
        Some(last) if last.value.is_finite() => condition("loss", true, format!("the last loss is {:.4}", last.value)),
        Some(last) => {
            let first = ended.series.first_not_finite().map_or(last.step, |point| point.step);
            let message = format!(
                "the loss is {} from step {first} on: lower the learning rate, or train in bf16 or f32 instead of fp16",
                last.value
            );
            condition("loss", false, message)
        }
    }
}

fn weights(ended: &Ended<'_>) -> Vec<Condition> {
    let unreadable = ended.saved.iter().find_map(|saved| match &saved.weights {
        Weights::Unreadable(why) => Some((saved, why)),
        Weights::Read(_) => None,
    });
    if let Some((saved, why)) = unreadable {
        return vec![condition("weights-file", false, format!("{} cannot be read: {why}", saved.path))];
    }
    let read = ended.saved.iter().filter_map(|saved| match &saved.weights {
        Weights::Read(summary) if summary.modules > 0 => Some((saved.path.as_str(), summary.as_ref())),
        _ => None,
    });
    let files: Vec<(&str, &Summary)> = read.collect();
    let Some((path, summary)) = files.first() else {
        let told = match ended.saved.first() {
            None => "no weights were saved: no .safetensors file is in the output folder".to_owned(),
            Some(saved) => format!("{} holds no LoRA", saved.path),
        };
        return vec![condition("weights-file", false, told)];
    };
    let more = if files.len() > 1 { format!(" and {} more", files.len() - 1) } else { String::new() };
    let mut conditions = vec![condition("weights-file", true, format!("{path}{more}: {}", summary.in_words()))];
    conditions.push(without(&files, "weights-pairs", &PAIRS, "pairs and ranks agree"));
    conditions.extend(OTHERS.iter().map(|(name, rule, fine)| without(&files, name, &[rule], fine)));
    conditions
}

/// Returns the condition that no file has an error of these rules.
fn without(files: &[(&str, &Summary)], name: &str, rules: &[&str], fine: &str) -> Condition {
    let is_one = |problem: &&Problem| problem.severity == Severity::Error && rules.contains(&problem.rule.as_str());
    let wrong = files.iter().find_map(|(path, summary)| Some((path, summary.problems.iter().find(is_one)?)));
    match wrong {
        None => condition(name, true, fine),
        Some((path, problem)) => condition(name, false, format!("{path}: {}", problem.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::LogReader;

    fn summary(problems: Vec<Problem>) -> Summary {
        Summary {
            sha256: "0".repeat(64),
            bytes: 1000,
            family: Some("kohya".to_owned()),
            methods: vec!["LoRA".to_owned()],
            ranks: vec![4],
            dtypes: vec!["F32".to_owned()],
            parameters: 64,
            modules: 2,
            untrained: 0,
            median_norm: Some(0.1),
            norms_are_exact: true,
            blocks: Vec::new(),
            problems,
        }
    }

    fn saved(path: &str, problems: &[(Severity, &str)]) -> Saved {
        let problem = |(severity, rule): &(Severity, &str)| Problem {
            severity: *severity,
            rule: (*rule).to_owned(),
            message: format!("because of {rule}"),
            file: None,
            line: None,
            column: None,
            key: None,
            fix: None,
        };
        let summary = summary(problems.iter().map(problem).collect());
        Saved { path: path.to_owned(), weights: Weights::Read(Box::new(summary)) }
    }

    /// Returns the conditions that are not met: name and observation.
    fn failed(exit_status: i64, log: &str, saved: &[Saved]) -> Vec<(String, String)> {
        let mut reader = LogReader::new();
        reader.feed(log.as_bytes());
        let ended = Ended { exit_status, steps: Some(3), series: reader.series(), saved };
        let failed = conditions(&ended).into_iter().filter(|condition| !condition.holds);
        failed.map(|condition| (condition.name, condition.told)).collect()
    }

    const GOOD: &str = "step 1/3 loss=0.5\nstep 2/3 loss=0.4\nstep 3/3 loss=0.3\n";

    const HIDDEN: &str =
        "{'loss': 1.5, 'grad_norm': nan}\n{'loss': 0.0, 'grad_norm': nan}\n{'loss': 0.0, 'grad_norm': nan}\n";
    const ZERO: &str = "step 1/3 loss=0.0\nstep 2/3 loss=0.0\nstep 3/3 loss=0\n";

    #[test]
    fn a_training_that_did_all_of_it() {
        let grpo = "{'loss': 0.0, 'grad_norm': 0.5}\n".repeat(3);
        assert_eq!(failed(0, &grpo, &[saved("a.safetensors", &[])]), [], "its gradients are not zero");
        assert_eq!(failed(0, GOOD, &[saved("a.safetensors", &[])]), []);
        // A few modules without any gradient are not a reason to fail.
        let few = [saved("a.safetensors", &[(Severity::Warning, "weights-untrained")])];
        assert_eq!(failed(0, GOOD, &few), []);
    }

    #[test]
    fn each_condition_fails_by_itself() {
        let good = || saved("a.safetensors", &[]);
        let wrong = |rule| saved("a.safetensors", &[(Severity::Error, rule)]);
        let unreadable = Weights::Unreadable("this file was cut off".to_owned());
        let cut = Saved { path: "b.safetensors".to_owned(), weights: unreadable };
        let nan = "step 1/3 loss=0.5\nstep 2/3 loss=nan\nstep 3/3 loss=nan\n";
        for (exit_status, log, saved, name, told) in [
            (1, GOOD, vec![good()], "exit-status", "exit status 1"),
            (0, "step 1/3 loss=0.5\n", vec![good()], "steps", "1 of 3 steps: the training ended early"),
            (0, nan, vec![good()], "loss", "the loss is NaN from step 2 on"),
            (0, HIDDEN, vec![good()], "loss", "The loss is not a number from step 2 on: the trainer prints 0 for it"),
            (0, ZERO, vec![good()], "loss", "the loss is exactly 0 in every step"),
            (0, GOOD, vec![], "weights-file", "no weights were saved"),
            (0, GOOD, vec![good(), cut], "weights-file", "b.safetensors cannot be read: this file was cut off"),
            (0, GOOD, vec![wrong("weights-unpaired")], "weights-pairs", "a.safetensors: because of weights-unpaired"),
            (0, GOOD, vec![wrong("weights-nan")], "weights-finite", "because of weights-nan"),
            (0, GOOD, vec![wrong("weights-untrained")], "weights-trained", "because of weights-untrained"),
        ] {
            let failed = failed(exit_status, log, &saved);
            assert_eq!(failed.len(), 1, "{name}: {failed:?}");
            assert!(failed[0].0 == name && failed[0].1.contains(told), "{name}: {failed:?}");
        }
    }

    #[test]
    fn a_trainer_that_found_no_data_and_ended_well() {
        let names: Vec<String> = failed(0, "No data found.\n", &[]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["steps", "loss", "weights-file"]);
    }
}
