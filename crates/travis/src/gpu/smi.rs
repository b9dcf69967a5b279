//! Parser for the output of `nvidia-smi`. Cells may contain `[N/A]`, `[Not Supported]` or `[GPU is lost]` instead of a
//! number.

use std::collections::BTreeMap;

use bytesize::ByteSize;

use crate::domain::GpuUse;

/// Query for each GPU. The name comes last, since it is the only cell that might contain a comma.
pub const GPU_QUERY: &str = "--query-gpu=uuid,memory.total,memory.used,mig.mode.current,name";
/// Query for each compute process.
pub const APPS_QUERY: &str = "--query-compute-apps=gpu_uuid,pid,used_memory";
/// Query for each GPU while a job has it.
pub const USE_QUERY: &str = "--query-gpu=uuid,utilization.gpu,memory.used";
/// Query for the version of the driver, which is the same for all GPUs.
pub const DRIVER_QUERY: &str = "--query-gpu=driver_version";
/// Maximum number of GPUs of one machine; further ones are ignored.
const MOST: usize = 1024;

/// A GPU, or one device of a divided GPU (MIG).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub uuid: String,
    /// Model, with the profile of a MIG device.
    pub name: String,
    /// Bytes of memory; 0 when the device has no memory of its own.
    pub memory: u64,
    /// Reason why the device cannot be assigned to a job now; `None` when it is empty.
    pub unusable: Option<String>,
}

/// Reads the usage of these GPUs from the answer to [`USE_QUERY`]. Returns `None` when the answer does not cover all of
/// them, as with MIG devices.
pub fn in_use(answer: &str, uuids: &[String]) -> Option<GpuUse> {
    let of = |uuid: &String| {
        let mut cells = answer
            .lines()
            .map(|line| line.split(',').map(str::trim))
            .find_map(|mut cells| (cells.next() == Some(uuid.as_str())).then_some(cells))?;
        let busy: u32 = cells.next()?.parse().ok()?;
        Some((busy.min(100), cells.next().and_then(mebibytes)?))
    };
    let each: Option<Vec<(u32, ByteSize)>> = uuids.iter().map(of).collect();
    let each = each.filter(|each| !each.is_empty())?;
    let memory = each.iter().map(|(_, memory)| memory.as_u64()).sum();
    Some(GpuUse { busy: each.iter().map(|(busy, _)| busy).sum(), memory })
}

/// Reads the version of the driver from the answer to [`DRIVER_QUERY`].
pub fn driver(answer: &str) -> Option<String> {
    let is_version = |text: &&str| {
        (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.contains('.')
    };
    answer.lines().map(str::trim).find(is_version).map(str::to_owned)
}

struct Whole<'a> {
    uuid: &'a str,
    name: &'a str,
    total: Option<ByteSize>,
    used: Option<ByteSize>,
    is_divided: bool,
}

/// Returns the devices that jobs can get, from the answers to [`GPU_QUERY`], to `-L` and to [`APPS_QUERY`]. A divided
/// GPU is not in the list, but its devices are. A GPU is not empty when more than `idle` of its memory is in use, or
/// when it has a process.
pub fn devices(gpus: &str, list: &str, apps: &str, idle: ByteSize) -> Vec<Device> {
    let processes = processes(apps);
    let on = |uuid: &str| {
        processes.get(uuid).map(|pids| format!("a process that belongs to no job uses it: {}", pids.join(", ")))
    };
    let mut parts = parts(list);
    let mut devices = Vec::new();
    for whole in gpus.lines().filter_map(whole).take(MOST) {
        let divided = parts.remove(whole.uuid).unwrap_or_default();
        if whole.is_divided || !divided.is_empty() {
            // nvidia-smi does not report how the memory in use is divided among the devices, nor the processes of the
            // GPU itself. So the processes of each device decide.
            devices.extend(divided.into_iter().map(|(uuid, profile)| Device {
                unusable: on(uuid),
                uuid: uuid.to_owned(),
                name: format!("{} MIG {profile}", whole.name),
                memory: memory_of(profile).as_u64(),
            }));
            continue;
        }
        let in_use = match (whole.total, whole.used) {
            // The GPU shares the machine's memory.
            (None, _) => None,
            (Some(_), None) => Some("nvidia-smi does not report its memory: the driver may have lost it".to_owned()),
            (Some(_), Some(used)) => (used > idle).then(|| {
                // In whole GiB, so that the problem is not reported again with every byte.
                let gib = used.as_u64().div_ceil(1 << 30);
                format!("{gib} GiB of its memory are in use, but not by a job")
            }),
        };
        devices.push(Device {
            unusable: on(whole.uuid).or(in_use),
            uuid: whole.uuid.to_owned(),
            name: whole.name.to_owned(),
            memory: whole.total.unwrap_or_default().as_u64(),
        });
    }
    devices
}

fn whole(line: &str) -> Option<Whole<'_>> {
    let mut cells = line.splitn(5, ',').map(str::trim);
    let (uuid, total, used, mig, name) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    is_uuid(uuid).then(|| Whole {
        uuid,
        name,
        total: mebibytes(total),
        used: mebibytes(used),
        is_divided: mig == "Enabled",
    })
}

fn is_uuid(text: &str) -> bool {
    let is_plain = text.len() <= 100 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-/".contains(&b));
    is_plain && (text.starts_with("GPU-") || text.starts_with("MIG-"))
}

fn mebibytes(cell: &str) -> Option<ByteSize> {
    let number = cell.strip_suffix("MiB").unwrap_or(cell).trim();
    number.parse().ok().filter(|n: &u64| *n < 1 << 40).map(ByteSize::mib)
}

/// Returns the MIG devices of each divided GPU with their profiles, by the GPU's UUID.
fn parts(list: &str) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut parts: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut gpu = None;
    for line in list.lines() {
        let uuid =
            line.rsplit_once("UUID:").map(|(_, rest)| rest.trim().trim_end_matches(')')).filter(|uuid| is_uuid(uuid));
        match (uuid, line.trim_start().strip_prefix("MIG ")) {
            (Some(uuid), Some(rest)) => {
                let profile = rest.split_whitespace().next().unwrap_or_default();
                let devices = gpu.map(|gpu| parts.entry(gpu).or_default());
                if let Some(devices) = devices.filter(|devices| devices.len() < 64) {
                    devices.push((uuid, profile));
                }
            }
            (uuid, _) => gpu = uuid,
        }
    }
    parts
}

/// Returns the memory of a profile such as `3g.20gb` by its name. The number of gigabytes in the name is a little
/// larger than the device's memory in GiB.
fn memory_of(profile: &str) -> ByteSize {
    let size = profile.rsplit('.').next().and_then(|size| size.split('+').next());
    let number = size.and_then(|size| size.strip_suffix("gb")).and_then(|number| number.parse::<u16>().ok());
    ByteSize::gb(number.unwrap_or(0).into())
}

/// Returns the process ids on each GPU.
fn processes(apps: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in apps.lines() {
        let mut cells = line.split(',').map(str::trim);
        let (Some(uuid), Some(pid)) = (cells.next().filter(|uuid| is_uuid(uuid)), cells.next()) else { continue };
        let pids = found.entry(uuid).or_default();
        // An unknown pid still stands for a process.
        if pids.len() < 8 {
            pids.push(if pid.bytes().all(|b| b.is_ascii_digit()) { pid } else { "?" });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: ByteSize = ByteSize::mib(512);

    fn devices_in(gpus: &str, list: &str, apps: &str) -> Vec<(String, Option<String>)> {
        devices(gpus, list, apps, IDLE).into_iter().map(|device| (device.uuid, device.unusable)).collect()
    }

    #[test]
    fn what_gpus_do_is_told_of_all_of_them_or_not_at_all() {
        let answer = "GPU-1, 37, 1024\nGPU-2, 80, 2048\nGPU-3, [N/A], 10\n";
        let of = |uuids: &[&str]| in_use(answer, &uuids.iter().map(|&uuid| uuid.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["GPU-1", "GPU-2"]), Some(GpuUse { busy: 117, memory: 3 << 30 }));
        assert_eq!(of(&["GPU-1", "GPU-3"]), None);
        assert_eq!((of(&["MIG-1"]), of(&[])), (None, None));
    }

    #[test]
    fn the_version_of_the_driver_is_a_number_with_points() {
        assert_eq!(driver("570.124.06\n570.124.06\n").as_deref(), Some("570.124.06"));
        assert_eq!(driver("warning: infoROM is corrupted\n535.54.03\n").as_deref(), Some("535.54.03"));
        for nonsense in ["", "[N/A]\n", "No devices were found\n", "570\n", "<b>1.2</b>"] {
            assert_eq!(driver(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn whole_gpus_with_what_is_on_them() {
        let gpus = "GPU-1, 15360, 4, [N/A], Tesla T4\nGPU-2, 81920, 70000, Disabled, NVIDIA A100-SXM4-80GB\n\
                    GPU-3, 15360, 0, [N/A], Tesla T4\nGPU-4, [N/A], [N/A], [N/A], NVIDIA GB10\n\
                    GPU-5, 24576, [GPU is lost], [GPU is lost], NVIDIA A10\n\nwarning: infoROM is corrupted\n";
        let found = devices(gpus, "", "GPU-3, 4242, [N/A]\nGPU-3, [N/A], 100 MiB\nno more\n", IDLE);
        let read: Vec<_> = found.iter().map(|d| (d.uuid.as_str(), d.memory, d.unusable.as_deref())).collect();
        assert_eq!(
            read,
            [
                ("GPU-1", 15360 << 20, None),
                ("GPU-2", 81920 << 20, Some("69 GiB of its memory are in use, but not by a job")),
                ("GPU-3", 15360 << 20, Some("a process that belongs to no job uses it: 4242, ?")),
                ("GPU-4", 0, None),
                ("GPU-5", 24576 << 20, Some("nvidia-smi does not report its memory: the driver may have lost it")),
            ]
        );
        assert_eq!(found[1].name, "NVIDIA A100-SXM4-80GB");
    }

    #[test]
    fn a_divided_gpu_is_its_devices() {
        let gpus =
            "GPU-a, 40960, 30, Enabled, NVIDIA A100-SXM4-40GB\nGPU-b, 40960, 30, Enabled, NVIDIA A100-SXM4-40GB\n";
        let list = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-a)\n  MIG 3g.20gb     Device  0: (UUID: MIG-1)\n\
                    \x20 MIG 1g.5gb+me   Device  1: (UUID: MIG-GPU-a/7/0)\nGPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-b)\n";
        let found = devices(gpus, list, "MIG-1, 7, 10\n", IDLE);
        let read: Vec<_> =
            found.iter().map(|d| (d.uuid.as_str(), d.memory, d.name.as_str(), d.unusable.is_some())).collect();
        assert_eq!(
            read,
            [
                ("MIG-1", 20_000_000_000, "NVIDIA A100-SXM4-40GB MIG 3g.20gb", true),
                ("MIG-GPU-a/7/0", 5_000_000_000, "NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", false),
            ]
        );
    }

    #[test]
    fn nonsense_is_no_gpu() {
        for nonsense in ["", "No devices were found\n", "GPU-1\n", "../../etc, 1, 1, 1, x\n", "GPU-1;rm, 1, 1, 1, x\n"]
        {
            assert_eq!(devices_in(nonsense, nonsense, nonsense), [], "{nonsense:?}");
        }
        assert_eq!(devices_in("GPU-1, 99999999999999999999, 1, , x\n", "", "").len(), 1);
    }
}
