//! Jobs that move bytes through a tree in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sched_core::{Charge, Clock, MonoTime, Now, Pacer, Scope};
use sched_limits::{BandwidthTree, JobPacer, JobShare, Rate};

/// A clock that goes where it is told, backwards too.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn at(nanos: u64) -> Self {
        Self(Arc::new(AtomicU64::new(nanos)))
    }
    pub(crate) fn set(&self, nanos: u64) {
        self.0.store(nanos, SeqCst);
    }
    pub(crate) fn nanos(&self) -> u64 {
        self.0.load(SeqCst)
    }
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        Now { mono: MonoTime::from_nanos(self.nanos()), wall: jiff::Timestamp::UNIX_EPOCH }
    }
}

pub(crate) fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

pub(crate) fn link(name: &str) -> Scope {
    Scope::Link(name.into())
}

pub(crate) fn rate(bytes_per_sec: u64) -> Rate {
    Rate::BytesPerSec(bytes_per_sec)
}

/// A job that always has one charge under way.
pub(crate) struct Hungry {
    pub(crate) pacer: JobPacer,
    pub(crate) moved: u64,
    pub(crate) chunk: Option<u64>,
    pub(crate) held: Option<(u64, Charge)>,
    pub(crate) charges: u64,
    pub(crate) looks: u64,
    look: u64,
}

impl Hungry {
    pub(crate) fn new(pacer: JobPacer) -> Self {
        Self { pacer, moved: 0, chunk: None, held: None, charges: 0, looks: 0, look: 0 }
    }

    /// Moves what it may; says when it wants to look again.
    pub(crate) fn step(&mut self, now: u64) {
        // A rate without a limit would keep it here for ever.
        for _ in 0..100_000 {
            let (bytes, charge) = *self.held.get_or_insert_with(|| {
                let bytes = self.chunk.unwrap_or_else(|| self.pacer.max_chunk());
                self.charges += 1;
                (bytes, self.pacer.charge(bytes))
            });
            self.looks += 1;
            match self.pacer.wait(charge) {
                Some(Duration::ZERO) => {
                    self.moved += bytes;
                    self.held = None;
                }
                wait => {
                    let wait = wait.unwrap_or(sched_core::RECHECK).min(sched_core::RECHECK);
                    self.look = now + u64::try_from(wait.as_nanos()).unwrap();
                    return;
                }
            }
        }
    }
}

pub(crate) struct Sim {
    pub(crate) clock: TestClock,
    pub(crate) tree: BandwidthTree,
    pub(crate) jobs: Vec<Hungry>,
}

impl Sim {
    pub(crate) fn new(fleet: Rate) -> Self {
        Self::with_lease(fleet, 1 << 20)
    }

    pub(crate) fn with_lease(fleet: Rate, lease: u64) -> Self {
        let clock = TestClock::at(1_000_000_000);
        let tree = BandwidthTree::with_lease(Arc::new(clock.clone()), fleet, lease);
        Self { clock, tree, jobs: Vec::new() }
    }

    pub(crate) fn job(&mut self, place: &Scope, share: JobShare) -> usize {
        self.jobs.push(Hungry::new(self.tree.join(place, share).unwrap()));
        self.jobs.len() - 1
    }

    /// Lets every job look when it wants to, for `time`. Returns what each moved in it.
    pub(crate) fn run(&mut self, time: Duration) -> Vec<u64> {
        let all: Vec<usize> = (0..self.jobs.len()).collect();
        self.run_some(&all, time)
    }

    /// As [`run`](Self::run), while the other jobs ask for nothing.
    pub(crate) fn run_some(&mut self, which: &[usize], time: Duration) -> Vec<u64> {
        let before: Vec<u64> = self.jobs.iter().map(|job| job.moved).collect();
        let end = self.clock.nanos() + u64::try_from(time.as_nanos()).unwrap();
        for at in which {
            self.jobs[*at].look = self.clock.nanos();
        }
        loop {
            let next = which.iter().copied().min_by_key(|at| self.jobs[*at].look).unwrap();
            let look = self.jobs[next].look;
            if look > end {
                break;
            }
            self.clock.set(look.max(self.clock.nanos()));
            self.jobs[next].step(self.clock.nanos());
        }
        self.clock.set(end);
        self.jobs.iter().zip(before).map(|(job, before)| job.moved - before).collect()
    }
}
