//! `trainyard losses`.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::plot::plot;
use super::table::{Colour, Table, paint, wants_colours, width_of};
use crate::lora::series::{self, Measure, Point, Series, Source, Trend, counted, number, sentence, trend};

/// Number of columns when the output is not a terminal, and the largest number that a chart takes of one.
const COLUMNS: usize = 80;
const MOST_COLUMNS: usize = 120;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A training's log, `trainer_state.json`, `trainer_log.jsonl`, `metrics.csv`, or an event file of TensorBoard.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print facts as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let name = arguments.file.display().to_string();
    let file = File::open(&arguments.file).with_context(|| format!("cannot read {name}"))?;
    let series = series::read_any(&name, file).with_context(|| format!("cannot read {name}"))?;
    let trend = trend(&series);
    if arguments.json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&facts(&series, trend)?)?))?;
    } else {
        let stdout = std::io::stdout();
        let width = width_of(&stdout).unwrap_or(COLUMNS).min(MOST_COLUMNS);
        super::print(&render(&series, trend, wants_colours(&stdout), width))?;
    }
    let is_sound = !series.points.is_empty() && tone(trend) != Colour::Red;
    Ok(if is_sound { super::FINE } else { super::PROBLEMS })
}

/// Returns the facts for programs.
fn facts(series: &Series, trend: Trend) -> anyhow::Result<Value> {
    // A value that is not finite is a text.
    let pair = |point: &Point| serde_json::to_value(point).map(|point| json!([point["step"], point["value"]]));
    let pairs = |points: &[Point]| points.iter().map(pair).collect::<Result<Vec<_>, _>>();
    let mut others = serde_json::Map::new();
    for (measure, points) in &series.others {
        let name = serde_json::to_value(measure)?;
        others.insert(name.as_str().unwrap_or_default().to_owned(), pairs(points)?.into());
    }
    let points = pairs(&series.points)?;
    let last = points.last().map(|last| json!({"step": last[0], "loss": last[1]}));
    Ok(json!({
        "source": series.source,
        "averaged": series.averaged,
        "points": points,
        "last": last,
        "steps_seen": series.steps_seen,
        "steps_total": series.steps_wanted,
        "trend": trend,
        "others": others,
    }))
}

/// Returns the colour of a trend.
pub(super) fn tone(trend: Trend) -> Colour {
    match trend {
        Trend::Falling => Colour::Green,
        Trend::Flat => Colour::Yellow,
        Trend::Diverged | Trend::NotANumber | Trend::Zero => Colour::Red,
        Trend::TooShort => Colour::Bold,
    }
}

/// Renders the series for people.
fn render(series: &Series, trend: Trend, colours: bool, width: usize) -> String {
    let source = series.source.unwrap_or(Source::Plain).name();
    if series.points.is_empty() {
        let seen = match series.steps_seen {
            0 => "no step and no loss".to_owned(),
            steps => format!("{} steps and no loss", counted(steps)),
        };
        return format!(
            "{}: progress bars, dicts, JSON lines and lines such as `step 1/3 loss=0.5` are read\n",
            paint(&format!("{seen} in this file"), Colour::Red, colours)
        );
    }
    let steps = counted(series.steps_seen.max(series.last().map_or(0, |last| last.step)));
    let steps = series.steps_wanted.map_or_else(|| steps.clone(), |wanted| format!("{steps} of {}", counted(wanted)));
    let fact = |name: &str, value: &str| format!("{}  {value}\n", paint(&format!("{name:9}"), Colour::Faint, colours));
    let head = [
        fact("trend", &paint(trend.name(), tone(trend), colours)),
        fact("", &sentence(series, trend)),
        fact("steps", &steps),
        fact("read from", source),
    ];
    let sections =
        [head.concat(), plot(&series.points, width, tone(trend), colours), table(series).render(colours, Some(width))];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Returns a table of all that the training reported.
fn table(series: &Series) -> Table {
    let mut table = Table::new(["SERIES", "VALUES", "FIRST", "LAST", "LOWEST", "HIGHEST"]);
    let loss = if series.averaged { "loss (average)" } else { "loss" };
    let others = Measure::ALL.into_iter().map(|measure| (measure.name(), series.other(measure)));
    let all = std::iter::once((loss, series.points.as_slice())).chain(others);
    for (name, points) in all.filter(|(_, points)| !points.is_empty()) {
        let finite = || points.iter().copied().filter(|point| point.value.is_finite());
        let lowest = finite().reduce(|a, b| if b.value < a.value { b } else { a });
        let highest = finite().reduce(|a, b| if b.value > a.value { b } else { a });
        let at = |point: Option<Point>| match point {
            Some(point) => format!("{} at {}", number(point.value), counted(point.step)),
            None => "none".to_owned(),
        };
        let value = |point: Option<&Point>| {
            let colour = point.is_some_and(|point| !point.value.is_finite()).then_some(Colour::Red);
            (point.map_or_else(String::new, |point| number(point.value)), colour)
        };
        table.push_painted(vec![
            (name.to_owned(), None),
            (counted(points.len() as u64), None),
            value(points.first()),
            value(points.last()),
            (at(lowest), None),
            (at(highest), None),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(log: &str) -> String {
        let series = series::read_any("train.log", log.as_bytes()).expect("a log");
        render(&series, trend(&series), false, 72)
    }

    #[test]
    fn a_log_is_a_chart_and_a_table() {
        let line = |n: u32| {
            let loss = 0.4 + 1.6 * (-f64::from(n) / 12.0).exp() + 0.05 * f64::from(n * 7 % 5);
            format!("{{'loss': {loss:.4}, 'grad_norm': 0.{}, 'learning_rate': 1e-05, 'epoch': 0.1}}\n", 9 - n % 9)
        };
        let log: String = (1..=40).map(line).collect();
        insta::assert_snapshot!(rendered(&format!("{log}{{'eval_loss': 0.61, 'epoch': 1.0}}\n")));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let nan = "{'loss': 1.5, 'grad_norm': nan}\n{'loss': 0.0, 'grad_norm': nan}\n";
        assert!(
            rendered(nan).contains("The loss is not a number from step 2 on: the trainer prints 0"),
            "{}",
            rendered(nan)
        );
        assert!(rendered("step 1 loss 0\nstep 2 loss 0\n").contains("Every loss is exactly 0"));
        assert!(rendered("hello\n").starts_with("no step and no loss in this file"));
    }

    #[test]
    fn programs_get_every_number() {
        let series = series::read_any("a.log", &b"step 1/3 loss=0.5 lr=1e-4\nstep 2/3 loss=nan\n"[..]).expect("a log");
        let expected = json!({
            "source": "plain", "averaged": false, "points": [[1, 0.5], [2, "nan"]], "last": {"step": 2, "loss": "nan"},
            "steps_seen": 2, "steps_total": 3, "trend": "not-a-number", "others": {"learning_rate": [[1, 1e-4]]},
        });
        assert_eq!(facts(&series, trend(&series)).expect("facts"), expected);
        let none = facts(&Series::default(), Trend::TooShort).expect("facts");
        assert_eq!((&none["last"], &none["points"], &none["source"]), (&Value::Null, &json!([]), &Value::Null));
    }
}
