//! Memory of the service, without its Postgres.

use std::time::Duration;

use crate::report;
use crate::support::service::Service;
use crate::yard::Yard;

pub async fn idle(yard: &Yard) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let megabytes = of(yard.service.child.id(), "VmRSS:") as f64 * 1024.0 / 1e6;
    report("resident memory, idle", &format!("{megabytes:.1} MB"), "", None, "at most 40 MB");
}

/// Returns the peak memory of a process, in kB.
pub fn peak(process: u32) -> u64 {
    of(process, "VmHWM:")
}

/// Makes [`peak`] count from now on.
pub fn reset_peak(service: &Service) {
    std::fs::write(format!("/proc/{}/clear_refs", service.child.id()), "5").unwrap();
}

fn of(process: u32, fact: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(fact));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
