use std::time::Duration;

use proptest::prelude::*;
use scraper::{Html, Selector};

use super::*;
use crate::domain::{Record, Usage};
use crate::lora::series::LogReader;

/// Returns the series of a training with these losses.
fn series(losses: impl IntoIterator<Item = f64>) -> Series {
    let mut reader = LogReader::new();
    for (step, loss) in losses.into_iter().enumerate() {
        reader.feed(format!("step {} loss={loss}\n", step + 1).as_bytes());
    }
    reader.series().clone()
}

fn html(losses: impl IntoIterator<Item = f64>) -> String {
    chart(&series(losses), &[]).expect("a chart").to_string()
}

/// Returns the text of an element that a person reads.
fn text(html: &str, css: &str) -> String {
    let (page, wanted) = (Html::parse_fragment(html), Selector::parse(css).expect("a selector"));
    page.select(&wanted).map(|element| element.text().collect::<String>()).collect::<Vec<_>>().join("|")
}

fn count(html: &str, css: &str) -> usize {
    Html::parse_fragment(html).select(&Selector::parse(css).expect("a selector")).count()
}

#[test]
fn no_points_no_chart() {
    assert!(chart(&Series::default(), &[]).is_none());
}

#[test]
fn what_the_chart_shows_stands_there_in_words() {
    let html = html((0..100).map(|n| 1.0 - f64::from(n) / 110.0));
    assert_eq!(text(&html, ".mark"), "falling");
    assert_eq!(text(&html, ".head p"), "From 1 at the first step to 0.1 at the last.");
    assert_eq!(text(&html, "dt"), "Last|Lowest|Steps|Read from");
    assert_eq!(text(&html, "dd"), "0.1 at step 100|0.1 at step 100|100|lines of the log");
    assert_eq!(text(&html, ".y"), "0.2|0.4|0.6|0.8|1.0");
    assert_eq!(text(&html, ".x"), "0|20|40|60|80|100");
    assert_eq!(count(&html, "tbody tr"), ROWS);
    assert!(text(&html, "tbody tr:first-child td").starts_with("1|1"), "{html}");
    assert_eq!(text(&html, "tbody tr:last-child td"), "100|0.1");
    assert!(html.contains("aria-label=\"Chart of the loss by step. From 1 at"), "{html}");
}

#[test]
fn the_chart_shows_where_the_training_went_on() {
    let drawn = chart(&series((0..100).map(|n| 1.0 - f64::from(n) / 110.0)), &[41, 61]).expect("a chart").to_string();
    assert_eq!((count(&drawn, "line.resumed"), text(&drawn, "svg > text.x").matches("resumed").count()), (2, 1));
    assert!(drawn.contains("x1=\"41%\""), "{drawn}");
    assert_eq!(text(&drawn, "dt"), "Last|Lowest|Steps|Resumed|Read from");
    assert!(text(&drawn, "dd").contains("at step 41, 61"), "{drawn}");
}

#[test]
fn where_there_is_no_number_the_curve_has_a_gap() {
    let html = html((1..=20).map(|n| if (5..8).contains(&n) || n > 18 { f64::NAN } else { 1.0 / f64::from(n) }));
    assert_eq!(text(&html, ".mark"), "not a number");
    let says = "The loss is not a number from step 19 on. Some values before were not finite, first at step 5.";
    assert_eq!(text(&html, ".head p"), says);
    assert_eq!(count(&html, "rect.broken"), 2);
    let (_, curve) = html.split_once("class=\"course\"").expect("a curve");
    let curve = curve.split('>').next().unwrap_or_default();
    assert_eq!(curve.matches('M').count(), 2, "{curve}");
    assert_eq!(count(&html, "circle.last"), 0, "there is no place for it");
}

#[test]
fn few_values_and_none_that_is_finite() {
    let one = html([1.25]);
    assert_eq!(text(&one, ".head p"), "A single value has no trend.");
    assert_eq!((text(&one, ".x"), count(&one, ".chart circle.last")), ("1".to_owned(), 1));
    let none = html([f64::NAN, f64::INFINITY]);
    assert_eq!(text(&none, ".head p"), "No loss was a finite number.");
    assert_eq!(text(&none, "tbody td"), "1|not a number|2|infinity");
}

#[test]
fn losses_of_many_magnitudes_have_a_logarithmic_axis() {
    let html = html((0..50).map(|n| 1e6 * (-f64::from(n)).exp2()));
    assert_eq!(text(&html, ".axis"), "loss (log)|step");
    assert_eq!(text(&html, ".y"), "1e−9|1e−6|0.001|1|1000|1e6");
}

#[test]
fn a_long_series_is_a_small_chart() {
    let html = html((0..20_000).map(|n| if n % 3 == 0 { f64::NAN } else { f64::from(n * 7919 % 1000) }));
    assert!(html.len() < 100_000, "{} bytes", html.len());
}

#[test]
fn numbers_are_short() {
    let shown = [0.0, 0.123_456, 5.7288, 1234.5, 999_999.9, 1e30, -0.5, 2.5e-5, f64::INFINITY].map(number);
    assert_eq!(shown, ["0", "0.1235", "5.729", "1234", "1000000", "1e30", "−0.5", "2.5e−5", "infinity"]);
    assert_eq!([0, 999, 1000, 1_234_567].map(counted), ["0", "999", "1,000", "1,234,567"]);
}

/// Draws the resources of a job that took `seconds`.
fn used(seconds: u64) -> String {
    let mut record = Record::default();
    for second in 1..=seconds {
        let cpu = Duration::from_millis(1500 * second);
        let usage =
            Usage { cpu, memory: second << 28, disk_read: second << 21, network_out: 1 << 11, ..Usage::default() };
        record.push(Duration::from_secs(second), usage);
    }
    resources(&record.resources().expect("samples")).to_string()
}

#[test]
fn what_a_job_used_has_axes_of_its_size() {
    let html = used(8);
    assert_eq!(text(&html, "summary"), "Resources 12 s of processor time, 2.0 GiB of memory at most|Numbers");
    assert_eq!(text(&html, "h3"), "Processors|Memory|Disk|Network");
    let says = "1.5 busy at most, 12 s of their time in all.|2.0 GiB at most.| read 16.0 MiB,  written 0 B.| received 0 B,  sent 2.0 KiB.";
    assert_eq!(text(&html, ".plots p"), says);
    assert_eq!(text(&html, ".axis:not(.end)"), "processors|GiB|MiB/s|KiB/s");
    assert_eq!(text(&html, ".axis.end"), "seconds|seconds|seconds|seconds");
    assert_eq!(text(&html, "section:nth-child(2) .y"), "0|0.5|1.0|1.5|2.0");
    assert_eq!(text(&html, "section:nth-child(2) .x"), "0|2|4|6|8");
    assert_eq!((count(&html, "path.course"), count(&html, ".chart path.second")), (6, 2));
    assert_eq!(text(&html, "tbody tr:last-child td"), "8|1.5|2.0 GiB|2.0 MiB|0 B|0 B|0 B");
}

#[test]
fn a_long_job_counts_minutes_or_hours() {
    assert!(text(&used(1200), ".axis.end").starts_with("minutes|"));
    let html = used(100_000);
    assert!(text(&html, ".axis.end").starts_with("hours|"));
    assert_eq!(text(&html, "section:first-child .x"), "0|10|20");
    assert!(html.len() < 100_000, "{} bytes", html.len());
    assert_eq!(text(&used(1), "section:first-child .x"), "0|1");
    let mut idle = Record::default();
    idle.push(Duration::from_secs(1), Usage { memory: 1, ..Usage::default() });
    let html = resources(&idle.resources().expect("samples")).to_string();
    assert_eq!((count(&html, ".chart"), html.matches("as far as the engine can tell").count()), (1, 3));
}

#[test]
fn an_image_stands_alone() {
    let losses = (1..200).map(|n| if (90..110).contains(&n) { f64::NAN } else { 1.0 / f64::from(n) });
    let svg = image::draw(&series(losses));
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{svg}");
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count(), "{svg}");
    // The style sheet of the pages is not there.
    assert!(!svg.contains("var(") && !svg.contains("NaN") && svg.len() < 100_000, "{svg}");
    assert_eq!((count(&svg, "path.course"), count(&svg, "rect.broken"), count(&svg, "circle")), (1, 1, 2), "{svg}");
}

proptest! {
    #[test]
    fn every_place_is_in_the_plot(losses in prop::collection::vec((any::<u64>(), any::<f64>()), 1..60)) {
        let mut points: Vec<Point> = losses.into_iter().map(|(step, value)| Point { step, value }).collect();
        points.sort_by_key(|point| point.step);
        points.dedup_by_key(|point| point.step);
        let html = chart(&Series { points, ..Series::default() }, &[]).expect("a chart").to_string();
        prop_assert!(!html.contains("NaN") && !html.contains("inf%") && !html.contains("-inf"), "{}", html);
    }
}
