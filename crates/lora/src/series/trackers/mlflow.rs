//! Reader for the folders of MLflow: a file for each metric of a run, with a line for each number.

use std::io::{BufRead, Read};

use super::scalars::Scalars;
use crate::series::{Error, Series, Source};

/// Name of the folder with the metrics of a run.
const METRICS: &str = "metrics";
/// Number of characters of a run's id, which is the name of the folder above.
const ID: usize = 32;
/// Maximum number of bytes read of a line. Real lines have 40.
const MAX_LINE: u64 = 256;

/// Returns the name of a metric from the path of its file. A name may have slashes.
pub fn metric_of(path: &str) -> Option<&str> {
    let is_id = |part: &str| part.len() == ID && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut rest = path;
    loop {
        let (folder, inside) = rest.split_once('/')?;
        if let Some(name) = inside.strip_prefix(METRICS).and_then(|inside| inside.strip_prefix('/'))
            && is_id(folder)
        {
            return Some(name);
        }
        rest = inside;
    }
}

/// Reads the file of a metric. Its lines have the time, the number and the step. Others are left out: a training may have
/// been stopped in the middle of one.
pub fn read(name: &str, mut reader: impl BufRead) -> Result<Series, Error> {
    let mut scalars = Scalars::default();
    let mut line = Vec::new();
    while reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Some((number, step)) = std::str::from_utf8(&line).ok().and_then(entry) {
            scalars.take(step, name, number);
        }
        line.clear();
    }
    Ok(scalars.into_series(Source::Mlflow))
}

fn entry(line: &str) -> Option<(f64, u64)> {
    let mut parts = line.split_ascii_whitespace().skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
