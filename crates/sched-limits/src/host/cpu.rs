//! CPU: in use, stolen, waited for.

use std::path::Path;

use sched_core::MonoTime;

use super::file::ProcFile;
use super::parse::{self, CpuTimes};
use crate::counter::Counter;
use crate::probe::ProbeError;
use crate::reading::Reading;
use crate::signal;

#[derive(Debug)]
pub(super) struct Cpu {
    stat: ProcFile,
    last: Option<CpuTimes>,
}

impl Cpu {
    pub(super) fn open(root: &Path) -> Result<Self, ProbeError> {
        Ok(Self { stat: ProcFile::open(root.join("proc/stat"))?, last: None })
    }

    pub(super) fn sample(&mut self) -> Result<Vec<Reading>, ProbeError> {
        let now = self.stat.parse(parse::cpu_times)?;
        Ok(self.last.replace(now).map(|last| shares(last, now)).unwrap_or_default())
    }
}

/// Shares of the ticks between two readings. Counters that fell, as after a CPU was taken away, and ticks that stand
/// still give nothing.
fn shares(last: CpuTimes, now: CpuTimes) -> Vec<Reading> {
    let grown = |to: u64, from: u64| to.checked_sub(from);
    let (Some(total), Some(busy), Some(steal)) =
        (grown(now.total, last.total), grown(now.busy, last.busy), grown(now.steal, last.steal))
    else {
        return vec![];
    };
    if total == 0 {
        return vec![];
    }
    let share = |part: u64| (part as f64 / total as f64).min(1.0);
    vec![Reading::share(signal::CPU, share(busy)), Reading::share(signal::CPU_STEAL, share(steal))]
}

/// How many tasks waited for a CPU, on average; kernels without scheduler statistics do not tell.
#[derive(Debug)]
pub(super) struct RunDelay {
    file: ProcFile,
    nanos: Counter,
}

impl RunDelay {
    pub(super) fn open(root: &Path) -> Result<Self, ProbeError> {
        Ok(Self { file: ProcFile::open(root.join("proc/schedstat"))?, nanos: Counter::default() })
    }

    pub(super) fn sample(&mut self, at: MonoTime) -> Result<Option<Reading>, ProbeError> {
        let nanos = self.file.parse(parse::run_delay)?;
        let waiting = self.nanos.per_sec(at, nanos).map(|rate| rate / 1e9);
        Ok(waiting.map(|tasks| Reading::new(signal::CPU_RUN_DELAY, tasks, "tasks")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(total: u64, busy: u64, steal: u64) -> CpuTimes {
        CpuTimes { total, busy, steal }
    }

    #[test]
    fn shares_are_of_the_ticks_that_passed() {
        let readings = shares(times(1000, 200, 10), times(1200, 250, 30));
        assert_eq!(readings, [Reading::share("cpu", 0.25), Reading::share("cpu.steal", 0.1)]);
    }

    #[test]
    fn counters_that_fall_or_stand_still_are_not_idle() {
        let last = times(1000, 200, 10);
        for now in [times(900, 250, 10), times(1100, 150, 10), times(1100, 250, 5), last] {
            assert_eq!(shares(last, now), []);
        }
    }
}
