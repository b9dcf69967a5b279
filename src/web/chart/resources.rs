//! Charts of the machine's resources that a job used: one for each kind, folded until the reader opens them.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;

use super::axis::{Axes, Kind, short};
use super::{Chart, curve, framed, some};
use crate::domain::{Resource, Resources, Times, in_words};
use crate::lora::series::Point;

/// Units of bytes, and of bytes per second.
const BYTES: [(&str, f64); 5] =
    [("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0), ("TiB", 1_099_511_627_776.0)];
const RATES: [(&str, f64); 5] = [
    ("B/s", 1.0),
    ("KiB/s", 1024.0),
    ("MiB/s", 1_048_576.0),
    ("GiB/s", 1_073_741_824.0),
    ("TiB/s", 1_099_511_627_776.0),
];
/// Units of time, their lengths in milliseconds, and the duration from which each is used.
const TIMES: [(&str, u64, u64); 3] =
    [("hours", 3_600_000, 5 * 3_600_000), ("minutes", 60_000, 3 * 60_000), ("seconds", 1000, 0)];

/// A plot: its name, its lines, the units that it may have, and a description in words.
struct Plot<'a> {
    name: &'static str,
    lines: Vec<(Resource, &'a [(u64, f64)])>,
    units: &'static [(&'static str, f64)],
    says: String,
}

/// Draws the resources that a job used.
pub(in crate::web) fn resources(used: &Resources) -> Chart {
    let length = used.series.iter().filter_map(|(_, times)| times.last()).map(|(at, _)| *at).max().unwrap_or(0);
    let time = TIMES.into_iter().find(|(_, _, from)| length >= *from).map_or(
        TimeUnit { name: "seconds", milliseconds: 1000 },
        |(name, milliseconds, _)| TimeUnit { name, milliseconds },
    );
    let mut html = format!(
        "<details class=\"card config resources\"><summary>Resources <span class=\"dim\">{} of processor time, {} of memory \
         at most</span></summary>\n<div class=\"plots\">\n",
        processor_time(used),
        ByteSize::b(used.memory_peak)
    );
    for plot in plots(used).into_iter().filter(|plot| !plot.lines.is_empty()) {
        html.push_str(&plot.drawn(time));
    }
    html.push_str("</div>\n");
    html.push_str(&table(used, time));
    html.push_str("</details>");
    Chart(html)
}

/// Returns the time of all processors together, in words.
pub(in crate::web) fn processor_time(used: &Resources) -> String {
    match used.cpu_seconds {
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        // A stored number may be anything that JSON allows.
        seconds => in_words(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
    }
}

fn plots(used: &Resources) -> [Plot<'_>; 6] {
    let lines = |wanted: &[Resource]| -> Vec<(Resource, &[(u64, f64)])> {
        let of = |resource: &Resource| used.series.iter().find(|(of, _)| of == resource);
        wanted.iter().filter_map(of).map(|(of, times)| (*of, times.as_slice())).collect()
    };
    let most =
        |resource| lines(&[resource]).iter().flat_map(|(_, times)| *times).map(|(_, value)| *value).fold(0.0, f64::max);
    let both = |word: &str, a: u64, other: &str, b: u64| {
        format!("{} {word} {}, {} {other} {}.", key("course"), ByteSize::b(a), key("second"), ByteSize::b(b))
    };
    let disk = both("read", used.disk_read, "written", used.disk_written);
    let network = both("received", used.network_in, "sent", used.network_out);
    [
        Plot {
            name: "Processors",
            lines: lines(&[Resource::Cpu]),
            units: &[("processors", 1.0)],
            says: format!(
                "{} busy at most, {} of their time in all.",
                short(most(Resource::Cpu)),
                processor_time(used)
            ),
        },
        Plot {
            name: "Memory",
            lines: lines(&[Resource::Memory]),
            units: &BYTES,
            says: format!("{} at most.", ByteSize::b(used.memory_peak)),
        },
        Plot { name: "Disk", lines: lines(&[Resource::DiskRead, Resource::DiskWrite]), units: &RATES, says: disk },
        Plot {
            name: "Network",
            lines: lines(&[Resource::NetworkIn, Resource::NetworkOut]),
            units: &RATES,
            says: network,
        },
        Plot {
            name: "GPUs",
            lines: lines(&[Resource::Gpu]),
            units: &[("GPUs", 1.0)],
            says: format!("{} busy at most.", short(most(Resource::Gpu))),
        },
        Plot {
            name: "GPU memory",
            lines: lines(&[Resource::GpuMemory]),
            units: &BYTES,
            says: format!("{} at most.", ByteSize::b(used.gpu_memory_peak.unwrap_or_default())),
        },
    ]
}

/// Returns a sample of a line, for a legend.
fn key(class: &str) -> String {
    format!(
        "<svg class=\"key\" viewBox=\"0 0 20 12\" aria-hidden=\"true\"><path class=\"{class}\" d=\"M1 6h18\"/></svg>"
    )
}

/// The unit of a chart's time axis.
#[derive(Clone, Copy)]
struct TimeUnit {
    name: &'static str,
    milliseconds: u64,
}

impl Plot<'_> {
    fn drawn(&self, time: TimeUnit) -> String {
        let most = self.lines.iter().flat_map(|(_, times)| *times).map(|(_, value)| *value).fold(0.0, f64::max);
        if most <= 0.0 {
            // An engine that cannot count reports zero; so it is for disks under version 1 of control groups.
            let says = "None, as far as the engine can tell.";
            return format!("<section><h3>{}</h3><p class=\"dim\">{says}</p></section>\n", self.name);
        }
        let (unit, scale) = self.units.iter().rfind(|(_, scale)| most >= *scale).unwrap_or(&self.units[0]);
        let scaled = |times: &[(u64, f64)]| -> Vec<Point> {
            times.iter().map(|(at, value)| Point { step: *at, value: value / scale }).collect()
        };
        let lines: Vec<Vec<Point>> = self.lines.iter().map(|(_, times)| scaled(times)).collect();
        let kind = Kind { value: unit, step: time.name, unit: time.milliseconds, from_zero: true };
        let axes = Axes::of(&lines.concat(), kind);
        let classes = ["course", "second"];
        let drawn: Vec<(&str, &[Point])> = classes.into_iter().zip(lines.iter().map(Vec::as_slice)).collect();
        let of = if self.name.starts_with("GPU") { self.name.to_owned() } else { self.name.to_lowercase() };
        let name = format!("Chart of {of} by time in {}; the text above describes it.", time.name);
        let plot = framed(&name, &axes, |svg| curve::lines(svg, &drawn, &axes));
        format!("<section><h3>{}</h3><p class=\"dim\">{}</p>\n{plot}</section>\n", self.name, self.says)
    }
}

/// Lists some of the samples as a table.
fn table(used: &Resources, time: TimeUnit) -> String {
    let mut html = format!(
        "<details class=\"numbers\"><summary>Numbers</summary>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Time in {}</th>",
        time.name
    );
    for (resource, _) in &used.series {
        // Writing to a String cannot fail.
        let _ = write!(html, "<th scope=\"col\">{}</th>", title(*resource));
    }
    html.push_str("</tr></thead><tbody>\n");
    let empty = Times::new();
    let times = used.series.first().map_or(&empty, |(_, times)| times);
    for place in some(times.len()) {
        #[expect(clippy::cast_precision_loss, reason = "for a cell of a table")]
        let at = times[place].0 as f64 / time.milliseconds as f64;
        let _ = write!(html, "<tr><td>{}</td>", short(at));
        for (resource, times) in &used.series {
            let _ = write!(
                html,
                "<td>{}</td>",
                times.get(place).map_or_else(String::new, |(_, value)| cell(*resource, *value))
            );
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div></details>\n");
    html
}

fn title(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "Processors",
        Resource::Memory => "Memory",
        Resource::DiskRead => "Read /s",
        Resource::DiskWrite => "Written /s",
        Resource::NetworkIn => "Received /s",
        Resource::NetworkOut => "Sent /s",
        Resource::Gpu => "GPUs",
        Resource::GpuMemory => "GPU memory",
    }
}

fn cell(resource: Resource, value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an amount, as people read it")]
    let bytes = value.max(0.0) as u64;
    if matches!(resource, Resource::Cpu | Resource::Gpu) { short(value) } else { ByteSize::b(bytes).to_string() }
}
