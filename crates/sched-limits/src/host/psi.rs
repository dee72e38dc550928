//! Pressure stall information, Linux 4.20 and later.

use std::path::Path;

use sched_core::{MonoTime, SignalName};

use super::file::ProcFile;
use super::parse;
use crate::counter::Counter;
use crate::probe::ProbeError;
use crate::reading::Reading;

/// Reads one stall-time counter. The kernel's own averages are not used: after 7 s of stalling the one over 10 s has
/// not reached half its value.
#[derive(Debug)]
pub(super) struct Pressure {
    signal: SignalName,
    file: ProcFile,
    micros: Counter,
}

impl Pressure {
    pub(super) fn open(signal: impl Into<SignalName>, path: &Path) -> Result<Self, ProbeError> {
        let mut file = ProcFile::open(path)?;
        // Where pressure is compiled in but switched off, the file opens and every read fails.
        file.read()?;
        Ok(Self { signal: signal.into(), file, micros: Counter::default() })
    }

    /// The share of the time since the previous sample.
    pub(super) fn sample(&mut self, at: MonoTime) -> Result<Option<Reading>, ProbeError> {
        let micros = self.file.parse(parse::stalled_micros)?;
        // The counter and the clock are not read at the same instant, so the share may come out a little above 1.
        let share = self.micros.per_sec(at, micros).map(|rate| (rate / 1e6).min(1.0));
        Ok(share.map(|share| Reading::share(self.signal.clone(), share)))
    }
}
