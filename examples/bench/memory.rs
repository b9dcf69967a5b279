//! Resident memory of the idle service, its Postgres apart.

use std::time::Duration;

use crate::report;
use crate::yard::Yard;

pub async fn idle(yard: &Yard) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", yard.service.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    report("resident memory, idle", &format!("{:.1} MB", kib * 1024.0 / 1e6), "", None, "at most 40 MB");
}
