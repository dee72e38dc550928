//! What one control group uses, and may use.

use std::path::{Path, PathBuf};

use sched_core::MonoTime;

use super::cgroup::{GroupDir, Hierarchies, Membership};
use super::file::ProcFile;
use super::parse;
use crate::counter::Counter;
use crate::probe::ProbeError;

/// CPU time and its limit.
#[derive(Debug)]
pub(crate) struct GroupCpu {
    dir: GroupDir,
    /// Whether it is the group itself and no ancestor.
    own: bool,
    usage: ProcFile,
    stat: Option<ProcFile>,
    limit: Option<CpuLimit>,
    nanos: Counter,
    periods: Counter,
    throttled: Counter,
}

#[derive(Debug)]
enum CpuLimit {
    V1 { quota: ProcFile, period: ProcFile },
    V2(ProcFile),
}

/// What a group did with CPUs between two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CpuUse {
    /// CPUs in use on average.
    pub(crate) cpus: f64,
    /// CPUs that it may use.
    pub(crate) limit: Option<f64>,
    /// Share of its periods in which it was throttled.
    pub(crate) throttled: Option<f64>,
}

impl GroupCpu {
    /// `usage` is where its CPU time is told, which version 1 does in a hierarchy of its own.
    fn open(dir: GroupDir, usage: &GroupDir, own: bool) -> Result<Self, ProbeError> {
        let usage = match usage {
            GroupDir::V1(path) => ProcFile::open(path.join("cpuacct.usage"))?,
            GroupDir::V2(path) => ProcFile::open(path.join("cpu.stat"))?,
        };
        let (stat, limit) = match &dir {
            GroupDir::V1(path) => {
                let files = (
                    ProcFile::open(path.join("cpu.cfs_quota_us")),
                    ProcFile::open(path.join("cpu.cfs_period_us")),
                );
                let limit = match files {
                    (Ok(quota), Ok(period)) => Some(CpuLimit::V1 { quota, period }),
                    _ => None,
                };
                (ProcFile::open(path.join("cpu.stat")).ok(), limit)
            }
            GroupDir::V2(path) => (
                ProcFile::open(path.join("cpu.stat")).ok(),
                ProcFile::open(path.join("cpu.max")).ok().map(CpuLimit::V2),
            ),
        };
        let (nanos, periods, throttled) = Default::default();
        Ok(Self { dir, own, usage, stat, limit, nanos, periods, throttled })
    }

    /// CPUs that it may use.
    fn limit(&mut self) -> Result<Option<f64>, ProbeError> {
        match &mut self.limit {
            None => Ok(None),
            Some(CpuLimit::V2(max)) => max.parse(parse::cpu_max),
            Some(CpuLimit::V1 { quota, period }) => {
                let period = period.read()?.into_owned();
                quota.parse(|quota| parse::cfs_quota(quota, &period))
            }
        }
    }

    pub(crate) fn sample(&mut self, at: MonoTime) -> Result<Option<CpuUse>, ProbeError> {
        let limit = self.limit()?;
        let nanos = match &self.dir {
            GroupDir::V1(_) => self.usage.parse(parse::number)?,
            GroupDir::V2(_) => self.usage.parse(|text| {
                let micros = parse::keyed(text, "usage_usec").ok_or("it should hold usage_usec")?;
                Ok(micros.saturating_mul(1000))
            })?,
        };
        let throttled = if limit.is_some() { self.throttled(at)? } else { None };
        let cpus = self.nanos.per_sec(at, nanos).map(|rate| rate / 1e9);
        Ok(cpus.map(|cpus| CpuUse { cpus, limit, throttled }))
    }

    fn throttled(&mut self, at: MonoTime) -> Result<Option<f64>, ProbeError> {
        let Some(stat) = &mut self.stat else { return Ok(None) };
        let counts =
            stat.parse(|text| Ok(parse::keyed(text, "nr_periods").zip(parse::keyed(text, "nr_throttled"))))?;
        let Some((periods, throttled)) = counts else { return Ok(None) };
        let (periods, throttled) = (self.periods.grown(at, periods), self.throttled.grown(at, throttled));
        let share =
            |part: u64, whole: u64| if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) };
        Ok(periods.zip(throttled).map(|((periods, _), (throttled, _))| share(throttled, periods)))
    }
}

/// Memory and its limit.
#[derive(Debug)]
pub(crate) struct GroupMemory {
    dir: GroupDir,
    /// Whether it is the group itself and no ancestor.
    own: bool,
    usage: ProcFile,
    stat: Option<ProcFile>,
    limit: Option<ProcFile>,
}

/// Bytes of memory that a group holds and may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryUse {
    /// Without what can be reclaimed at once: file cache and slab.
    pub(crate) held: u64,
    pub(crate) limit: Option<u64>,
}

impl GroupMemory {
    fn open(dir: GroupDir, own: bool) -> Result<Self, ProbeError> {
        let (path, usage, limit) = match &dir {
            GroupDir::V1(path) => (path, "memory.usage_in_bytes", "memory.limit_in_bytes"),
            GroupDir::V2(path) => (path, "memory.current", "memory.max"),
        };
        let usage = ProcFile::open(path.join(usage))?;
        let (stat, limit) =
            (ProcFile::open(path.join("memory.stat")).ok(), ProcFile::open(path.join(limit)).ok());
        Ok(Self { dir, own, usage, stat, limit })
    }

    /// Bytes that it may hold.
    fn limit(&mut self) -> Result<Option<u64>, ProbeError> {
        self.limit.as_mut().map_or(Ok(None), |file| file.parse(parse::memory_limit))
    }

    pub(crate) fn sample(&mut self) -> Result<MemoryUse, ProbeError> {
        let used = self.usage.parse(parse::number)?;
        // As `MemAvailable` counts the file cache of the whole machine.
        let keys: &[&str] = match self.dir {
            GroupDir::V1(_) => &["total_inactive_file", "total_active_file"],
            GroupDir::V2(_) => &["inactive_file", "active_file", "slab_reclaimable"],
        };
        let mut reclaimable = 0_u64;
        if let Some(stat) = &mut self.stat {
            let text = stat.read()?;
            let found = keys.iter().filter_map(|key| parse::keyed(&text, key));
            reclaimable = found.fold(0, u64::saturating_add);
        }
        Ok(MemoryUse { held: used.saturating_sub(reclaimable), limit: self.limit()? })
    }
}

/// Bytes read from and written to disks.
#[derive(Debug)]
pub(crate) struct GroupIo {
    dir: GroupDir,
    file: ProcFile,
    bytes: Counter,
}

impl GroupIo {
    fn open(dir: GroupDir) -> Result<Self, ProbeError> {
        let file = match &dir {
            GroupDir::V1(path) => {
                let recursive = ProcFile::open(path.join("blkio.throttle.io_service_bytes_recursive"));
                recursive.or_else(|_| ProcFile::open(path.join("blkio.throttle.io_service_bytes")))?
            }
            GroupDir::V2(path) => ProcFile::open(path.join("io.stat"))?,
        };
        Ok(Self { dir, file, bytes: Counter::default() })
    }

    /// Bytes a second since the previous sample.
    pub(crate) fn sample(&mut self, at: MonoTime) -> Result<Option<f64>, ProbeError> {
        let bytes = match self.dir {
            GroupDir::V1(_) => self.file.parse(parse::blkio_bytes)?,
            GroupDir::V2(_) => self.file.parse(parse::io_stat)?,
        };
        Ok(self.bytes.per_sec(at, bytes))
    }
}

/// A group and those of its ancestors that can be seen, from itself up. What a kernel does not tell is absent.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) cpu: Vec<GroupCpu>,
    pub(crate) memory: Vec<GroupMemory>,
    /// Of the group itself.
    pub(crate) io: Option<GroupIo>,
    /// Where version 2 tells the group's own pressure; the root has none but the machine's.
    pub(crate) pressure: Option<PathBuf>,
}

impl Groups {
    pub(crate) fn open(hierarchies: &Hierarchies, of: &Membership) -> Self {
        let usage = hierarchies.chain("cpuacct", of);
        let cpu = hierarchies.chain("cpu", of).into_iter().zip(&usage).enumerate();
        let cpu =
            cpu.filter_map(|(level, (dir, usage))| GroupCpu::open(dir, usage, level == 0).ok()).collect();
        let memory = hierarchies.chain("memory", of).into_iter().enumerate();
        let memory = memory.filter_map(|(level, dir)| GroupMemory::open(dir, level == 0).ok()).collect();
        let io = ["blkio", "io"]
            .into_iter()
            .flat_map(|controller| hierarchies.chain(controller, of).into_iter().next());
        let io = io.filter_map(|dir| GroupIo::open(dir).ok()).next();
        let pressure = hierarchies.chain("pressure", of).into_iter().next().and_then(|dir| match dir {
            // The root of the whole machine has no type.
            GroupDir::V2(path) if path.join("cgroup.type").exists() => Some(path),
            _ => None,
        });
        Self { cpu, memory, io, pressure }
    }

    /// Takes over the counters of the groups that are the same as before.
    pub(crate) fn continuing(mut self, before: Self) -> Self {
        let mut known = before.cpu;
        for group in &mut self.cpu {
            if let Some(at) = known.iter().position(|old| old.dir == group.dir) {
                let old = known.swap_remove(at);
                (group.nanos, group.periods, group.throttled) = (old.nanos, old.periods, old.throttled);
            }
        }
        if let (Some(io), Some(old)) = (&mut self.io, before.io)
            && io.dir == old.dir
        {
            io.bytes = old.bytes;
        }
        self
    }

    /// The CPU use that is nearest to its limit, of the group and its ancestors, with the share of the limit. Groups
    /// without a limit are not looked at: adding up what they use costs the kernel more than all the rest.
    pub(crate) fn tightest_cpu(&mut self, at: MonoTime) -> Result<Option<(f64, CpuUse)>, ProbeError> {
        let mut tightest = None;
        for group in &mut self.cpu {
            if group.limit()?.is_some()
                && let Some(used) = group.sample(at)?
                && let Some(limit) = used.limit
            {
                keep_greater(&mut tightest, used.cpus / limit, used);
            }
        }
        Ok(tightest)
    }

    /// The memory use that is nearest to its limit, of the group and its ancestors, with the share of the limit.
    pub(crate) fn tightest_memory(&mut self) -> Result<Option<(f64, MemoryUse)>, ProbeError> {
        let mut tightest = None;
        for group in &mut self.memory {
            if group.limit()?.is_some() {
                let used = group.sample()?;
                if let Some(limit) = used.limit {
                    keep_greater(&mut tightest, used.held as f64 / limit as f64, used);
                }
            }
        }
        Ok(tightest)
    }

    /// Forgets the ancestors: what matters is what the group itself uses.
    pub(crate) fn keep_own(&mut self) {
        self.cpu.retain(|group| group.own);
        self.memory.retain(|group| group.own);
    }

    /// Whether there is anything to be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.cpu.is_empty() && self.memory.is_empty() && self.io.is_none()
    }
}

fn keep_greater<T>(kept: &mut Option<(f64, T)>, share: f64, used: T) {
    if kept.as_ref().is_none_or(|(greatest, _)| share > *greatest) {
        *kept = Some((share, used));
    }
}

/// A group's name as the kernel writes it, of one that may be given as a path.
pub(crate) fn group_name(path: &Path) -> PathBuf {
    let below = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path);
    Path::new("/").join(below.strip_prefix("/").unwrap_or(below))
}
