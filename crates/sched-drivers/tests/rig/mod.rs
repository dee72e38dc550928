//! What the tests of drivers share: an attempt that can be paused and cancelled, and destinations that fail.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sched_core::{
    Charge, Clock, JobId, JobSpec, ManualClock, MonoTime, Now, Pacer, Reason, RunContext, RunControl,
    RunParts,
};
use sched_drivers::destination::Stream;

/// The machine's own clock, for what waits on real processes.
#[derive(Debug)]
pub(crate) struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Now {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let mono = MonoTime::default()
            + Duration::new(since_boot.tv_sec.unsigned_abs(), since_boot.tv_nsec.unsigned_abs() as u32);
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Now { mono, wall: jiff::Timestamp::new(wall.tv_sec, wall.tv_nsec as i32).unwrap() }
    }
}

/// Lets so many bytes through, and then nothing more until it is opened.
#[derive(Debug)]
pub(crate) struct Dam {
    passed: AtomicU64,
    open_to: AtomicU64,
}

impl Dam {
    pub(crate) fn new(open_to: u64) -> Arc<Self> {
        Arc::new(Self { passed: AtomicU64::new(0), open_to: AtomicU64::new(open_to) })
    }

    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }

    pub(crate) fn open(&self) {
        self.open_to.store(u64::MAX, Relaxed);
    }
}

impl Pacer for Dam {
    fn charge(&self, bytes: u64) -> Charge {
        Charge(u128::from(self.passed.fetch_add(bytes, Relaxed) + bytes))
    }

    fn wait(&self, charge: Charge) -> Option<Duration> {
        (charge.0 <= u128::from(self.open_to.load(Relaxed))).then_some(Duration::ZERO)
    }

    fn max_chunk(&self) -> u64 {
        u64::MAX
    }
}

/// One attempt in a test's hand.
pub(crate) struct Attempt {
    pub(crate) ctx: RunContext,
    pub(crate) dam: Arc<Dam>,
}

impl Attempt {
    /// The first attempt at a job whose first `open_to` bytes may move at once.
    pub(crate) fn new(spec: JobSpec, open_to: u64) -> Self {
        Self::nth(spec, open_to, 1)
    }

    pub(crate) fn nth(spec: JobSpec, open_to: u64, attempt: u32) -> Self {
        Self::made(spec, open_to, attempt, RunControl::new(|_| {}))
    }

    pub(crate) fn with_control(spec: JobSpec, open_to: u64, control: RunControl) -> Self {
        Self::made(spec, open_to, 1, control)
    }

    fn made(spec: JobSpec, open_to: u64, attempt: u32, control: RunControl) -> Self {
        let dam = Dam::new(open_to);
        let mut parts = RunParts::new(JobId(7), Arc::new(spec), Arc::new(control), Arc::new(RealClock));
        parts.attempt = attempt;
        parts.pacer = Arc::clone(&dam) as Arc<dyn Pacer>;
        Self { ctx: RunContext::new(parts), dam }
    }

    pub(crate) fn free(spec: JobSpec) -> Self {
        Self::new(spec, u64::MAX)
    }

    pub(crate) fn cancel(&self) {
        self.ctx.control().cancel(Reason::new("the test cancels it"));
    }
}

/// A context on a clock that stands, for what waits for nothing.
pub(crate) fn still(spec: JobSpec) -> RunContext {
    RunContext::detached(spec, Arc::new(ManualClock::default()))
}

/// A destination that is full after so many bytes of a backup.
pub(crate) fn full_after(bytes: u64) -> Stream {
    struct Full(u64);
    impl Write for Full {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
            }
            let written = buf.len().min(usize::try_from(self.0).unwrap());
            self.0 -= written as u64;
            Ok(written)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    Stream::new(move |_, _| Ok(Box::new(Full(bytes))))
}

/// Tells a thread beside the test to end, also when the test fails.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// All files below a directory, relative to it, sorted.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    fn walk(root: &Path, at: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

/// Waits, generously, until something of the real world is so.
pub(crate) fn until(what: &str, ready: impl Fn() -> bool) {
    sched_testbed::wait_until(what, Duration::from_secs(60), || ready().then_some(())).unwrap();
}
