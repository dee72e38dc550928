//! What the process holds at a moment: [`Holdings`].

use std::alloc::System;
use std::fmt;
use std::fs::File;

use procfs_core::FromRead;
use procfs_core::process::Status;
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts what is on the heap.
#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: f64 = 1_048_576.0;
/// Of so few the median may be any of them.
const FEW: usize = 5;

/// What is measured of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Threads,
    Descriptors,
    /// MiB that are allocated and not given back.
    Heap,
    /// MiB that the system has for it.
    Resident,
}

impl Measure {
    pub(crate) const ALL: [Self; 4] = [Self::Threads, Self::Descriptors, Self::Heap, Self::Resident];

    /// By how much the median of the last third may be above that of the first, of which so many were seen.
    pub(crate) fn tolerance(self, first: f64, seen: usize) -> f64 {
        match self {
            // A worker ends a second after its last attempt, so a host has some more or less by what it has to do, which shows
            // in the median of a few. A leak is one a life: in a short soak about five from third to third.
            Self::Threads => {
                if seen < FEW {
                    4.0
                } else {
                    2.0
                }
            }
            // They belong to stores and probes, and do not depend on what there is to do. A store that has just failed has none
            // of its two, which shows in the median of one.
            Self::Descriptors => {
                if seen < FEW {
                    2.0
                } else {
                    1.0
                }
            }
            // What is remembered of events, attempts and orders is bounded by about as much, and full after a minute or, on a
            // slow machine, some.
            Self::Heap => 3.0,
            // The allocator keeps arenas for threads that have ended, and pages of which a little is in use: that grows for
            // some minutes while the heap does not, and then no more.
            Self::Resident => 8.0 + first / 10.0,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Threads => "threads",
            Self::Descriptors => "descriptors",
            Self::Heap => "MiB of heap",
            Self::Resident => "MiB resident",
        })
    }
}

/// What the process holds at a moment, by [`Measure`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Holdings(pub(crate) [f64; Measure::ALL.len()]);

impl Holdings {
    pub(crate) fn now() -> Self {
        let heap = HEAP.stats();
        let status = File::open("/proc/self/status").expect("/proc is there");
        let status = Status::from_read(status).expect("it is as the kernel's manual says");
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("/proc is there").count();
        let resident = status.vmrss.expect("of a process with memory") as f64 * 1024.0;
        let heap = heap.bytes_allocated.wrapping_sub(heap.bytes_deallocated) as f64;
        Self([status.threads as f64, descriptors as f64, heap / MIB, resident / MIB])
    }

    pub(crate) fn of(&self, measure: Measure) -> f64 {
        self.0[measure as usize]
    }
}

/// What has been done by a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Jobs that have ended.
    pub(crate) jobs: u64,
    /// Seconds of processors that it took.
    pub(crate) seconds: f64,
}

impl Done {
    pub(crate) fn by_now(jobs: u64) -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self { jobs, seconds: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 }
    }
}
