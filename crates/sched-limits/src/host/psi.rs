//! Pressure stall information, Linux 4.20 and later.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use procfs_core::{CpuPressure, FromRead, IoPressure, MemoryPressure, ProcResult};
use sched_core::MonoTime;

use crate::reading::Reading;

/// Reads the stall-time counters from descriptors that are kept open. The kernel's own averages are not used: after
/// 7 s of stalling the one over 10 s has not reached half its value.
#[derive(Debug)]
pub(super) struct Pressure {
    counters: Vec<Counter>,
    missing: Vec<String>,
}

#[derive(Debug)]
struct Counter {
    signal: &'static str,
    file: File,
    parse: fn(&str) -> ProcResult<u64>,
    last: Option<(MonoTime, u64)>,
}

impl Pressure {
    pub(super) fn open() -> Self {
        let mut this = Self { counters: Vec::new(), missing: Vec::new() };
        this.add("psi.cpu", "/proc/pressure/cpu", |text| {
            Ok(CpuPressure::from_read(text.as_bytes())?.some.total)
        });
        this.add("psi.memory", "/proc/pressure/memory", |text| {
            Ok(MemoryPressure::from_read(text.as_bytes())?.some.total)
        });
        this.add("psi.io", "/proc/pressure/io", |text| {
            Ok(IoPressure::from_read(text.as_bytes())?.some.total)
        });
        this
    }

    fn add(&mut self, signal: &'static str, path: &str, parse: fn(&str) -> ProcResult<u64>) {
        match File::open(path) {
            Ok(file) => self.counters.push(Counter { signal, file, parse, last: None }),
            Err(error) => self.missing.push(format!("{signal}: cannot open {path}: {error}")),
        }
    }

    pub(super) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Shares of the time since the previous sample; a counter that cannot be read is left out of this one.
    pub(super) fn sample(&mut self, at: MonoTime) -> Vec<Reading> {
        self.counters.iter_mut().filter_map(|counter| counter.sample(at)).collect()
    }
}

impl Counter {
    fn sample(&mut self, at: MonoTime) -> Option<Reading> {
        let mut text = String::with_capacity(256);
        self.file.seek(SeekFrom::Start(0)).ok()?;
        self.file.read_to_string(&mut text).ok()?;
        let micros = (self.parse)(&text).ok()?;
        let (last_at, last) = self.last.replace((at, micros))?;
        let passed = at.since(last_at).as_secs_f64();
        let stalled = micros.checked_sub(last)? as f64 / 1e6;
        // The counter and the clock are not read at the same instant, so the share may come out a little above 1.
        (passed > 0.0).then(|| Reading::share(self.signal, (stalled / passed).min(1.0)))
    }
}
