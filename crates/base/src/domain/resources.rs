//! Resource usage of a job, as a record that stays small however long the job runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Maximum number of samples in a record. In the record of a longer job, neighbouring samples are joined.
const MAX_SAMPLES: usize = 512;

/// Usage of a job since its start, and the memory that it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all processors together.
    pub cpu: Duration,
    /// Bytes of memory, without those that the kernel could reclaim at once, such as cached files.
    pub memory: u64,
    /// Bytes read from disks, without reads that the kernel's cache answered.
    pub disk_read: u64,
    /// Bytes written to disks.
    pub disk_written: u64,
    /// Bytes received; 0 without a network.
    pub network_in: u64,
    /// Bytes sent.
    pub network_out: u64,
    /// Current usage of the job's GPUs; `None` for a job without GPUs, or when the usage is unknown.
    pub gpus: Option<GpuUse>,
}

/// Current usage of all GPUs of a job together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuUse {
    /// Utilization in hundredths of a GPU.
    pub busy: u32,
    /// GPU memory in use, in bytes.
    pub memory: u64,
}

/// The quantity that a series measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Average number of busy processors.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Bytes per second.
    DiskRead,
    /// Bytes per second.
    DiskWrite,
    /// Bytes per second.
    NetworkIn,
    /// Bytes per second.
    NetworkOut,
    /// Average number of busy GPUs.
    Gpu,
    /// Bytes of GPU memory.
    GpuMemory,
}

impl Resource {
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Memory,
        Self::DiskRead,
        Self::DiskWrite,
        Self::NetworkIn,
        Self::NetworkOut,
        Self::Gpu,
        Self::GpuMemory,
    ];

    /// Returns the name that rows and JSON use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::DiskRead => "disk_read",
            Self::DiskWrite => "disk_write",
            Self::NetworkIn => "network_in",
            Self::NetworkOut => "network_out",
            Self::Gpu => "gpu",
            Self::GpuMemory => "gpu_memory",
        }
    }

    /// Returns the unit of the values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "processors",
            Self::Memory | Self::GpuMemory => "bytes",
            Self::Gpu => "GPUs",
            Self::DiskRead | Self::DiskWrite | Self::NetworkIn | Self::NetworkOut => "bytes per second",
        }
    }
}

/// Values over time. The times are in milliseconds since the start.
pub type Times = Vec<(u64, f64)>;

/// Resource usage of a job as it is stored: sums and series. The sums are those of the last sample, so the usage of the
/// last second may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    /// CPU time of all processors together, in seconds.
    pub cpu_seconds: f64,
    /// Maximum memory of all samples, in bytes.
    pub memory_peak: u64,
    /// Bytes.
    pub disk_read: u64,
    /// Bytes.
    pub disk_written: u64,
    /// Bytes.
    pub network_in: u64,
    /// Bytes.
    pub network_out: u64,
    /// Maximum GPU memory of all samples, in bytes; `None` for a job without GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_peak: Option<u64>,
    /// The series of each resource that was measured.
    #[serde(skip)]
    pub series: Vec<(Resource, Times)>,
}

/// A record in progress.
#[derive(Debug, Default)]
pub struct Record {
    samples: Vec<Sample>,
    /// Samples that are at most this many milliseconds apart are joined.
    apart: u64,
}

/// The usage at a time. Its memory and its GPU memory are the maximum since the previous sample.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: u64,
    usage: Usage,
}

impl Sample {
    /// Merges this sample into a later one, which then stands for both.
    fn joined(self, later: Self) -> Self {
        let memory = self.usage.memory.max(later.usage.memory);
        let gpus = match (self.usage.gpus, later.usage.gpus) {
            (Some(a), Some(b)) => Some(GpuUse { busy: a.busy.midpoint(b.busy), memory: a.memory.max(b.memory) }),
            (a, b) => b.or(a),
        };
        Self { at: later.at, usage: Usage { memory, gpus, ..later.usage } }
    }
}

impl Record {
    /// Adds the sample that was taken `at` this time since the job's start. A sample that is not later than the last is
    /// ignored.
    pub fn push(&mut self, at: Duration, usage: Usage) {
        let sample = Sample { at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX), usage };
        match self.samples.as_mut_slice() {
            [.., last] if sample.at <= last.at => return,
            [.., before, last] if sample.at - before.at <= self.apart => *last = last.joined(sample),
            _ => self.samples.push(sample),
        }
        if self.samples.len() >= MAX_SAMPLES {
            self.thin();
        }
    }

    fn thin(&mut self) {
        let Some((first, rest)) = self.samples.split_first() else { return };
        let joined = rest.chunks(2).map(|pair| pair.iter().copied().reduce(Sample::joined).unwrap_or(pair[0]));
        let kept: Vec<Sample> = std::iter::once(*first).chain(joined).collect();
        let span = kept.last().map_or(0, |last| last.at - first.at);
        self.apart = span / (kept.len() as u64 - 1).max(1);
        self.samples = kept;
    }

    /// Returns the usage to store, or `None` without a sample.
    pub fn resources(&self) -> Option<Resources> {
        let Usage { cpu, disk_read, disk_written, network_in, network_out, .. } = self.samples.last()?.usage;
        Some(Resources {
            cpu_seconds: cpu.as_secs_f64(),
            memory_peak: self.samples.iter().map(|sample| sample.usage.memory).max()?,
            disk_read,
            disk_written,
            network_in,
            network_out,
            gpu_memory_peak: self.gpus().map(|(_, gpus)| gpus.memory).max(),
            series: self.series(),
        })
    }

    /// Returns the GPU usage with its times, for the samples that have it.
    fn gpus(&self) -> impl Iterator<Item = (u64, GpuUse)> + '_ {
        self.samples.iter().filter_map(|sample| Some((sample.at, sample.usage.gpus?)))
    }

    fn series(&self) -> Vec<(Resource, Times)> {
        let all = Resource::ALL.into_iter().map(|resource| (resource, self.times(resource)));
        // A job without GPUs has no series for them.
        all.filter(|(_, times)| !times.is_empty()).collect()
    }

    /// Returns the series of a resource. The first rate of a record is the mean since the start of the job, also for a
    /// record that began late, after an adoption.
    fn times(&self, resource: Resource) -> Times {
        let rate = |sum: fn(&Usage) -> f64| {
            let begin = (0, 0.0);
            let sums = || self.samples.iter().map(move |sample| (sample.at, sum(&sample.usage)));
            let before = std::iter::once(begin).chain(sums());
            let rates = before.zip(sums()).map(|((from, less), (at, more))| (at, mean(at - from, more - less)));
            rates.collect()
        };
        match resource {
            Resource::Cpu => rate(|usage| usage.cpu.as_secs_f64()),
            Resource::Memory => self.samples.iter().map(|sample| (sample.at, float(sample.usage.memory))).collect(),
            Resource::DiskRead => rate(|usage| float(usage.disk_read)),
            Resource::DiskWrite => rate(|usage| float(usage.disk_written)),
            Resource::NetworkIn => rate(|usage| float(usage.network_in)),
            Resource::NetworkOut => rate(|usage| float(usage.network_out)),
            Resource::Gpu => self.gpus().map(|(at, gpus)| (at, f64::from(gpus.busy) / 100.0)).collect(),
            Resource::GpuMemory => self.gpus().map(|(at, gpus)| (at, float(gpus.memory))).collect(),
        }
    }
}

/// Returns the rate per second. After a restart, an engine may count from 0 again: such a negative difference is not
/// usage and gives 0.
fn mean(milliseconds: u64, much: f64) -> f64 {
    if milliseconds == 0 { 0.0 } else { much.max(0.0) * 1000.0 / float(milliseconds) }
}

#[expect(clippy::cast_precision_loss, reason = "fifteen digits are enough for a chart")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(seconds: u64, memory: u64) -> Usage {
        Usage { cpu: Duration::from_secs(seconds), memory, network_in: 100 * seconds, ..Usage::default() }
    }

    fn times(record: &Record, resource: Resource) -> Times {
        record.resources().expect("samples").series.into_iter().find(|(of, _)| *of == resource).expect("a series").1
    }

    #[test]
    fn sums_become_rates() {
        let mut record = Record::default();
        assert_eq!(record.resources(), None);
        for (at, cpu, memory) in [(500, 1, 10), (1500, 3, 30), (1500, 9, 90), (3500, 3, 20)] {
            record.push(Duration::from_millis(at), usage(cpu, memory));
        }
        assert_eq!(times(&record, Resource::Cpu), [(500, 2.0), (1500, 2.0), (3500, 0.0)]);
        assert_eq!(times(&record, Resource::Memory), [(500, 10.0), (1500, 30.0), (3500, 20.0)]);
        assert_eq!(times(&record, Resource::NetworkIn)[1], (1500, 200.0));
        let Resources { cpu_seconds, memory_peak, network_in, .. } = record.resources().expect("samples");
        assert_eq!((cpu_seconds, memory_peak, network_in), (3.0, 30, 300));
    }

    #[test]
    fn what_gpus_do_is_there_when_somebody_could_tell() {
        let mut record = Record::default();
        record.push(Duration::from_secs(1), usage(1, 1));
        assert!(record.resources().expect("samples").series.iter().all(|(of, _)| *of != Resource::Gpu));
        for (at, busy, memory) in [(2, 50, 10), (3, 150, 30), (4, 0, 20)] {
            let gpus = Some(GpuUse { busy, memory });
            record.push(Duration::from_secs(at), Usage { gpus, ..usage(at, 1) });
        }
        assert_eq!(times(&record, Resource::Gpu), [(2000, 0.5), (3000, 1.5), (4000, 0.0)]);
        assert_eq!(times(&record, Resource::GpuMemory)[2], (4000, 20.0));
        assert_eq!(record.resources().expect("samples").gpu_memory_peak, Some(30));
    }

    #[test]
    fn a_record_of_days_stays_small_and_keeps_peaks_and_sums() {
        let mut record = Record::default();
        for second in 1..=200_000 {
            record.push(Duration::from_secs(second), usage(2 * second, if second == 77_777 { 5000 } else { 7 }));
        }
        let (cpu, memory) = (times(&record, Resource::Cpu), times(&record, Resource::Memory));
        assert!((MAX_SAMPLES / 4..MAX_SAMPLES).contains(&cpu.len()), "{}", cpu.len());
        assert!(cpu.iter().all(|(_, processors)| (processors - 2.0).abs() < 1e-9));
        assert_eq!(memory.iter().filter(|(_, bytes)| *bytes > 7.0).count(), 1);
        assert_eq!(record.resources().expect("samples").memory_peak, 5000);
        assert_eq!((cpu[0].0, cpu[cpu.len() - 1].0), (1000, 200_000_000));
        assert!(cpu.windows(2).all(|pair| pair[1].0 - pair[0].0 < 2_000_000), "no gaps");
    }
}
