//! The files of a training for experiment trackers, which are kept with its artifacts.

use chrono::DateTime;

use super::Keeping;
use crate::attempt::Examined;
use crate::lora::tracked::Tracked;
use crate::trackers::TrackersConfig;

/// Folders of these files. Those of the job's own trackers have other names.
pub(super) const FOLDERS: [&str; 2] = ["trainyard/tensorboard", "trainyard/wandb"];

/// Makes the files that the settings ask for, with their names. The names are the same at each try.
pub(super) fn files(keeping: &Keeping<'_>, examined: &Examined) -> Vec<(String, Vec<u8>)> {
    let Keeping { run, facts, repo, ended_at, duration, has_passed, .. } = keeping;
    let TrackersConfig { tensorboard, wandb, .. } = &run.handles.settings.trackers;
    let ended = ended_at.timestamp().unsigned_abs();
    let began = ended.saturating_sub(duration.as_secs());
    let base = run.handles.settings.public_url.as_str().trim_end_matches('/');
    let number = format!("{}.{}", facts.number, run.job.number);
    let job = format!("{base}/{repo}/builds/{}/jobs/{}", facts.number, run.job.number);
    let commit = format!("{}/commit/{}", facts.clone_url.trim_end_matches(".git"), facts.built_sha);
    let id = format!("trainyard-{}-{}", run.job.id, run.attempt.number);
    let tracked = Tracked {
        id: &id,
        name: &format!("{repo} {number} {}", run.job.name.as_deref().unwrap_or("training")),
        repo: &repo.to_string(),
        parameters: &examined.parameters,
        links: &[("job", job), ("commit", commit)],
        series: &examined.series,
        metrics: &examined.metrics,
        has_passed: *has_passed,
        began,
        ended,
    };
    let mut files = Vec::new();
    if *tensorboard {
        files.push((format!("{}/events.out.tfevents.{id}", FOLDERS[0]), tracked.event_file()));
    }
    if *wandb {
        // The time in the folder's name is what the program shows of a run.
        let time = DateTime::from_timestamp(began.cast_signed(), 0).unwrap_or_default().format("%Y%m%d_%H%M%S");
        files.push((format!("{}/offline-run-{time}-{id}/run-{id}.wandb", FOLDERS[1]), tracked.wandb_log()));
    }
    files
}
