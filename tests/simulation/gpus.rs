//! The GPUs of the model's runner. The choice among them is the service's own pure code.

use chrono::{DateTime, TimeDelta};
use trainyard::domain::{AttemptId, GpuRequest, GpuState, JobId, JobState};
use trainyard::gpu::{self, Candidate, Choice, Held, choose};

use crate::model::Model;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpu {
    Free,
    /// An attempt has ended, and no check has seen the GPU empty since.
    Settling,
    Held {
        job: usize,
        attempt: i32,
    },
}

/// Returns the UUID of a GPU of the runner.
pub fn uuid(place: usize) -> String {
    format!("GPU-{place}")
}

impl Model {
    /// Records a check that found every GPU empty that no attempt holds.
    pub fn look(&mut self) {
        self.gpus.iter_mut().filter(|gpu| **gpu == Gpu::Settling).for_each(|gpu| *gpu = Gpu::Free);
    }

    pub fn release(&mut self, id: usize) {
        let is_held = |gpu: &&mut Gpu| matches!(gpu, Gpu::Held { job, .. } if *job == id);
        self.gpus.iter_mut().filter(is_held).for_each(|gpu| *gpu = Gpu::Settling);
    }

    /// Claims a job with requirements. Returns its number.
    pub fn claim_gpu(&mut self) -> Option<usize> {
        let waiting = self.candidates();
        let (place, uuids) = self.choose(&waiting).begins?;
        let id = waiting[place];
        self.begin(id);
        let attempt = self.jobs[id].attempt;
        for (place, gpu) in self.gpus.iter_mut().enumerate() {
            if uuids.contains(&uuid(place)) {
                *gpu = Gpu::Held { job: id, attempt };
            }
        }
        self.refresh(self.jobs[id].build);
        Some(id)
    }

    /// Marks the jobs that a waiting job preempts.
    pub fn mark_preemptions(&mut self) {
        let waiting = self.candidates();
        if waiting.iter().any(|id| !self.jobs[*id].preemptible) {
            self.choose(&waiting);
        }
    }

    fn choose(&mut self, waiting: &[usize]) -> Choice {
        let gpus: Vec<gpu::Gpu> = self.gpus.iter().enumerate().map(|(place, gpu)| self.shown(place, *gpu)).collect();
        let count = |id: &usize| i32::try_from(self.jobs[*id].gpus).unwrap();
        let requests: Vec<GpuRequest> =
            waiting.iter().map(|id| GpuRequest { count: count(id), memory: 0, class: None }).collect();
        let candidates: Vec<Candidate<'_>> = waiting
            .iter()
            .zip(&requests)
            .map(|(id, request)| Candidate { request: Some(request), preemptible: self.jobs[*id].preemptible })
            .collect();
        let choice = choose(&gpus, &candidates);
        for (holder, place) in &choice.preempt {
            let job = &mut self.jobs[usize::try_from(holder.job.0).unwrap() - 1];
            if job.state == JobState::Running && job.preempted_by.is_none() {
                job.preempted_by = Some(waiting[*place]);
            }
        }
        choice
    }

    fn shown(&self, place: usize, gpu: Gpu) -> gpu::Gpu {
        let (state, is_settling, held) = match gpu {
            Gpu::Free => (GpuState::Free, false, None),
            Gpu::Settling => (GpuState::Quarantined, true, None),
            Gpu::Held { job, attempt } => {
                let holder = &self.jobs[job];
                let since = DateTime::UNIX_EPOCH + TimeDelta::seconds(i64::try_from(holder.since).unwrap());
                let held = Held {
                    by: String::new(),
                    attempt: AttemptId { job: JobId(i64::try_from(job).unwrap() + 1), number: attempt },
                    since,
                    preemptible: holder.preemptible,
                    is_preempted: holder.preempted_by.is_some(),
                };
                (GpuState::Held, false, Some(held))
            }
        };
        let (uuid, class) = (uuid(place), "t4".to_owned());
        gpu::Gpu { uuid, memory: 16, class, state, reason: None, is_settling, held }
    }
}
