//! Disks: bandwidth, I/Os, slow I/Os, queue.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use procfs_core::DiskStat;
use sched_core::{MonoTime, Scope};

use super::file::{ProcFile, read_once};
use super::settings::Settings;
use crate::probe::ProbeError;
use crate::reading::Reading;
use crate::signal;

/// The kernel counts in sectors of this size, whatever the device has.
const SECTOR_BYTES: u64 = 512;

/// Major and minor number of a block device.
type Device = (u32, u32);

#[derive(Debug)]
pub(super) struct Disks {
    stats: ProcFile,
    /// Whom readings concern, and the devices that they sum up.
    targets: Vec<Target>,
    last: BTreeMap<Device, (MonoTime, Counts)>,
}

#[derive(Debug)]
struct Target {
    scope: Scope,
    devices: BTreeSet<Device>,
    bytes_per_sec: Option<f64>,
    iops: Option<f64>,
}

/// What a device has done since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    bytes: u64,
    /// Reads, writes and flushes that were completed, and the milliseconds that they took.
    ios: [(u64, u64); 3],
    /// Milliseconds that I/Os were under way, times their number.
    weighted_ms: u64,
}

/// What one or more devices did between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Work {
    seconds: f64,
    bytes: f64,
    ios: f64,
    slow: f64,
    queue: f64,
}

impl Disks {
    /// Opens the statistics, and finds the devices; adds what cannot be found to `missing`.
    pub(super) fn open(
        root: &Path,
        settings: &Settings,
        missing: &mut Vec<String>,
    ) -> Result<Self, ProbeError> {
        let stats = ProcFile::open(root.join("proc/diskstats"))?;
        let mut this = Self { stats, targets: Vec::new(), last: BTreeMap::new() };
        this.discover(root, settings, missing);
        Ok(this)
    }

    /// Finds the devices again: disks come and go.
    pub(super) fn discover(&mut self, root: &Path, settings: &Settings, missing: &mut Vec<String>) {
        self.targets.clear();
        let rows = self.stats.read().map(|text| rows(&text)).unwrap_or_default();
        let disks = rows.iter().filter(|row| is_disk(root, &row.name)).filter_map(device);
        self.targets.push(Target {
            scope: Scope::Host(settings.host.clone()),
            devices: disks.collect(),
            bytes_per_sec: settings.disk_bytes_per_sec,
            iops: None,
        });
        for volume in &settings.volumes {
            match volume_device(root, &volume.path) {
                Ok(device) => self.targets.push(Target {
                    scope: Scope::Volume(settings.host.clone(), volume.name.clone()),
                    devices: BTreeSet::from([device]),
                    bytes_per_sec: volume.bytes_per_sec,
                    iops: volume.iops,
                }),
                Err(why) => missing.push(format!("disk of volume {}: {why}", volume.name)),
            }
        }
    }

    pub(super) fn sample(&mut self, at: MonoTime, slow_from: Duration) -> Result<Vec<Reading>, ProbeError> {
        let rows = rows(&self.stats.read()?);
        let wanted = |device: &Device| self.targets.iter().any(|target| target.devices.contains(device));
        let mut work = BTreeMap::new();
        for row in &rows {
            let Some(device) = device(row).filter(wanted) else { continue };
            let now = Counts::of(row);
            if let Some((last_at, last)) = self.last.insert(device, (at, now)) {
                let seconds = at.since(last_at).as_secs_f64();
                work.extend(last.until(&now, seconds, slow_from).map(|work| (device, work)));
            }
        }
        Ok(self.targets.iter().flat_map(|target| target.readings(&work)).collect())
    }
}

impl Target {
    /// Readings once every device has been sampled twice; without any device there are none.
    fn readings(&self, work: &BTreeMap<Device, Work>) -> Vec<Reading> {
        let known: Vec<_> = self.devices.iter().filter_map(|device| work.get(device)).collect();
        let Some(seconds) = known.first().map(|work| work.seconds) else { return vec![] };
        let sum = |of: fn(&Work) -> f64| known.iter().map(|work| of(work)).sum::<f64>();
        let ios = sum(|work| work.ios);
        let slow = if ios > 0.0 { sum(|work| work.slow) / ios } else { 0.0 };
        let with = |reading: Reading, capacity: Option<f64>| match capacity {
            Some(capacity) => reading.of(capacity),
            None => reading,
        };
        let bytes = Reading::new(signal::DISK, sum(|work| work.bytes) / seconds, signal::BYTES_PER_SEC);
        let rate = Reading::new(signal::DISK_IOPS, ios / seconds, signal::OPS_PER_SEC);
        let readings = [
            with(bytes, self.bytes_per_sec),
            with(rate, self.iops),
            Reading::share(signal::DISK_SLOW, slow.min(1.0)),
            Reading::new(signal::DISK_QUEUE, sum(|work| work.queue), "ios"),
        ];
        readings.map(|reading| reading.scope(self.scope.clone())).into()
    }
}

impl Counts {
    fn of(row: &DiskStat) -> Self {
        let sectors = row.sectors_read.saturating_add(row.sectors_written);
        Self {
            bytes: sectors.saturating_mul(SECTOR_BYTES),
            ios: [
                (row.reads, row.time_reading),
                (row.writes, row.time_writing),
                (row.flushes.unwrap_or(0), row.time_flushing.unwrap_or(0)),
            ],
            weighted_ms: row.weighted_time_in_progress,
        }
    }

    /// What was done between two readings; nothing when a counter fell or no time passed.
    ///
    /// The kernel tells only how many I/Os there were and how long they took together. The share of slow ones is
    /// estimated as exp(−target / mean), as if service times were exponential, for reads, writes and flushes apart.
    fn until(&self, now: &Self, seconds: f64, slow_from: Duration) -> Option<Work> {
        if seconds <= 0.0 {
            return None;
        }
        let (mut ios, mut slow) = (0.0, 0.0);
        for ((now, now_ms), (last, last_ms)) in now.ios.iter().zip(self.ios) {
            let (count, ms) = (now.checked_sub(last)? as f64, now_ms.checked_sub(last_ms)? as f64);
            ios += count;
            if count > 0.0 && ms > 0.0 {
                slow += count * (-slow_from.as_secs_f64() * 1e3 * count / ms).exp();
            }
        }
        let bytes = now.bytes.checked_sub(self.bytes)? as f64;
        let queue = now.weighted_ms.checked_sub(self.weighted_ms)? as f64 / 1e3 / seconds;
        Some(Work { seconds, bytes, ios, slow, queue })
    }
}

/// The lines that can be read; kernels before 2.6.25 have shorter ones for partitions.
pub(super) fn rows(text: &str) -> Vec<DiskStat> {
    text.lines().filter_map(|line| DiskStat::from_line(line).ok()).collect()
}

fn device(row: &DiskStat) -> Option<Device> {
    Some((row.major.try_into().ok()?, row.minor.try_into().ok()?))
}

/// Whether a block device is a disk of its own: no partition, and not made of others or of memory.
fn is_disk(root: &Path, name: &str) -> bool {
    let block = root.join("sys/block");
    if block.is_dir() {
        return block.join(name.replace('/', "!")).join("device").exists();
    }
    let made = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "drbd"];
    let numbered = name.ends_with(|last: char| last.is_ascii_digit());
    let is_partition = match name {
        name if name.starts_with("nvme") || name.starts_with("mmcblk") => {
            name.rsplit_once('p').is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()))
        }
        _ => numbered,
    };
    !is_partition && !made.iter().any(|made| name.starts_with(made))
}

/// The disk that a path lies on; of a partition, the disk that it is a part of.
fn volume_device(root: &Path, path: &Path) -> Result<Device, String> {
    use std::os::unix::fs::MetadataExt;
    let about = fs::metadata(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    let mut device = split(about.dev());
    if device.0 == 0 {
        // Some file systems have a number of their own: their mount says which device is below.
        device = mounted_device(root, device)
            .ok_or_else(|| format!("{} lies on no block device", path.display()))?;
    }
    let of = root.join(format!("sys/dev/block/{}:{}", device.0, device.1));
    if of.join("partition").exists() {
        let whole = read_once(of.join("../dev")).ok();
        return Ok(whole.and_then(|text| numbers(text.trim())).unwrap_or(device));
    }
    Ok(device)
}

fn mounted_device(root: &Path, device: Device) -> Option<Device> {
    use procfs_core::{FromBufRead, process::MountInfos};
    use std::os::unix::fs::MetadataExt;
    let text = read_once(root.join("proc/self/mountinfo")).ok()?;
    let mounts = MountInfos::from_buf_read(text.as_bytes()).ok()?;
    let mount = mounts.iter().find(|mount| numbers(&mount.majmin) == Some(device))?;
    let source = mount.mount_source.as_ref().filter(|source| source.starts_with('/'))?;
    let below = split(fs::metadata(source).ok()?.rdev());
    (below.0 != 0).then_some(below)
}

fn numbers(text: &str) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn split(device: u64) -> Device {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> MonoTime {
        MonoTime::from_nanos(seconds * 1_000_000_000)
    }

    /// Reads, sectors and ms; writes, sectors and ms; ms under way times their number; flushes and ms.
    fn line(name: &str, reads: [u64; 3], writes: [u64; 3], weighted: u64, flushes: [u64; 2]) -> String {
        let ([r, rs, rt], [w, ws, wt], [f, ft]) = (reads, writes, flushes);
        format!("   8  0 {name} {r} 7 {rs} {rt} {w} 7 {ws} {wt} 3 99 {weighted} 0 0 0 0 {f} {ft}\n")
    }

    fn disks(text: &str) -> (tempfile::TempDir, Disks) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc")).unwrap();
        fs::create_dir_all(dir.path().join("sys/block/sda/device")).unwrap();
        fs::write(dir.path().join("proc/diskstats"), text).unwrap();
        let settings = Settings { disk_bytes_per_sec: Some(1e6), ..Settings::new("db".into()) };
        let disks = Disks::open(dir.path(), &settings, &mut Vec::new()).unwrap();
        (dir, disks)
    }

    fn values(readings: &[Reading]) -> Vec<(&str, f64)> {
        readings.iter().map(|reading| (reading.signal.as_str(), reading.value)).collect()
    }

    #[test]
    fn rates_queue_and_slow_ios_are_of_the_time_between() {
        let (dir, mut disks) = disks(&line("sda", [10, 100, 5], [20, 200, 5], 1000, [0, 0]));
        assert_eq!(disks.sample(at(1), 10 * MS).unwrap(), []);
        let later = line("sda", [110, 1100, 105], [120, 2200, 1005], 7000, [50, 1000]);
        fs::write(dir.path().join("proc/diskstats"), later).unwrap();
        let readings = disks.sample(at(3), 10 * MS).unwrap();
        // 100 reads of 1 ms, 100 writes of 10 ms, 50 flushes of 20 ms.
        let slow = (100.0 * (-10.0_f64).exp() + 100.0 * (-1.0_f64).exp() + 50.0 * (-0.5_f64).exp()) / 250.0;
        let expected = [("disk", 768_000.0), ("disk.iops", 125.0), ("disk.slow", slow), ("disk.queue", 3.0)];
        for (found, right) in values(&readings).into_iter().zip(expected) {
            assert_eq!(found.0, right.0);
            assert!((found.1 - right.1).abs() < 1e-9, "{found:?} {right:?}");
        }
        assert_eq!(readings[0].utilization(), Some(0.768));
        assert!(readings.iter().all(|r| r.scope == Scope::Host("db".into()) && r.check().is_ok()));
    }

    #[test]
    fn a_counter_that_fell_gives_no_reading_once() {
        let (dir, mut disks) = disks(&line("sda", [10, 100, 5], [20, 200, 5], 1000, [9, 9]));
        disks.sample(at(1), MS).unwrap();
        fs::write(dir.path().join("proc/diskstats"), line("sda", [11, 100, 5], [20, 200, 5], 900, [9, 9]))
            .unwrap();
        assert_eq!(disks.sample(at(2), MS).unwrap(), []);
        assert_eq!(disks.sample(at(2), MS).unwrap(), [], "no time has passed");
        let readings = disks.sample(at(3), MS).unwrap();
        assert_eq!(values(&readings)[..2], [("disk", 0.0), ("disk.iops", 0.0)]);
    }

    #[test]
    fn garbage_old_lines_and_a_disk_that_is_gone_are_no_readings() {
        let (dir, mut disks) = disks("garbage\n8 0 sda 1 2 3 4\n");
        assert_eq!(disks.sample(at(1), MS).unwrap(), []);
        fs::write(dir.path().join("proc/diskstats"), "").unwrap();
        assert_eq!(disks.sample(at(2), MS).unwrap(), []);
    }

    #[test]
    fn disks_are_told_from_what_is_made_of_them() {
        let nowhere = Path::new("/nonexistent");
        let disk = ["sda", "vdb", "nvme0n1", "mmcblk0", "xvda"];
        let other = ["sda1", "nvme0n1p2", "mmcblk0p1", "loop0", "zram0", "dm-3", "md0"];
        assert!(disk.iter().all(|name| is_disk(nowhere, name)));
        assert!(!other.iter().any(|name| is_disk(nowhere, name)));
    }

    #[test]
    fn a_volume_that_is_not_there_is_missing_and_no_error() {
        assert!(
            volume_device(Path::new("/"), Path::new("/nonexistent/data"))
                .unwrap_err()
                .contains("/nonexistent")
        );
        assert!(volume_device(Path::new("/"), Path::new("/proc")).unwrap_err().contains("no block device"));
    }
}
