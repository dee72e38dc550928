//! The way past the tree's lock while nobody waits: [`Gate`].
//!
//! When nobody waits, a node sets aside part of what it has as [`Open`]: any job below may take of it with one
//! subtraction. A job takes through its own gate, whose lock nobody else wants as a rule, so jobs share no lock and
//! meet only in the counters of the places above them. The clock is read when what is open has run out, not before.
//!
//! Before anybody waits, and before a rate or a parent changes, the tree closes all gates and takes back what is left.
//! It holds each gate's lock to close it, so that no job is half way up the tree when the counters are read.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::sync::{AtomicI64, AtomicU64, Mutex};

/// Bytes of a node that jobs may take without the tree's lock.
///
/// All accesses are relaxed: that a byte is taken once follows from the single order of changes that each atomic has,
/// and nothing else is published through it. The tree reads the counter after it had the lock of each gate that leads
/// here; these locks order the jobs' changes before the reading, and the opening before the next job's changes.
#[derive(Debug, Default)]
pub(super) struct Open(AtomicI64);

impl Open {
    pub(super) fn set(&self, bytes: u64) {
        self.0.store(signed(bytes), Relaxed);
    }

    /// Takes what is there and leaves nothing.
    pub(super) fn close(&self) -> u64 {
        u64::try_from(self.0.swap(0, Relaxed)).unwrap_or(0)
    }

    /// Takes bytes, all or none. Two that ask for the last bytes at once may both be refused; then the tree decides.
    fn take(&self, bytes: u64) -> bool {
        let bytes = signed(bytes);
        let taken = self.0.fetch_sub(bytes, Relaxed) >= bytes;
        if !taken {
            self.0.fetch_add(bytes, Relaxed);
        }
        taken
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_add(signed(bytes), Relaxed);
    }
}

/// Half a burst at the highest rate is a twentieth of what fits.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What a job may take by itself.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Bytes that were taken ahead of need: the job's lease.
    ///
    /// Only a thread that holds the lock of `way` adds to it; any thread of the job spends it. A lease is spent by
    /// compare-and-swap and called back by a swap, so each byte goes one way or the other.
    lease: AtomicU64,
    way: Mutex<Way>,
}

/// The counters between a job and the fleet.
#[derive(Debug, Default)]
struct Way {
    /// Left of what the job's own ceiling allows; 0 while the gate is closed. Only this job takes of it, under the lock.
    own: u64,
    /// Those of the places above that have a limit.
    places: Vec<Arc<Open>>,
    /// Taken since the gate was opened, with what is on lease.
    taken: u64,
}

/// What a gate that was closed leaves to be put in the books.
pub(super) struct Closed {
    pub(super) taken: u64,
    pub(super) own: u64,
}

impl Gate {
    /// Takes bytes from the lease, all or none.
    #[inline]
    pub(super) fn spend(&self, bytes: u64) -> bool {
        // Without a lease there is nothing to be written.
        let mut lease = self.lease.load(Relaxed);
        while lease >= bytes && lease > 0 {
            // Relaxed: see `Open`. Who calls the lease back swaps the same atomic.
            match self.lease.compare_exchange_weak(lease, lease - bytes, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => lease = now,
            }
        }
        false
    }

    /// Takes bytes at every level or at none, and fills the lease up to `lease` where there is enough.
    ///
    /// Not inlined: a caller that spends its lease sixteen times before it comes here would save registers each time.
    #[inline(never)]
    pub(super) fn take(&self, bytes: u64, lease: u64) -> bool {
        let mut way = self.way.lock();
        let extra = if lease == 0 { 0 } else { lease.saturating_sub(self.lease.load(Relaxed)) };
        if extra > 0 && way.take(bytes.saturating_add(extra)) {
            self.lease.fetch_add(extra, Relaxed);
            return true;
        }
        way.take(bytes)
    }

    /// Puts back bytes that were taken since the gate was opened and did not move, or does nothing when that cannot
    /// be known.
    pub(super) fn give_back(&self, bytes: u64) -> bool {
        let mut way = self.way.lock();
        // What is on lease is not the job's to give back. It may be less by now, never more.
        let moved = way.taken.saturating_sub(self.lease.load(Relaxed));
        let known = bytes <= moved;
        if known {
            way.give_back(bytes);
        }
        known
    }

    /// Taken since the gate was opened, with what is on lease.
    pub(super) fn taken(&self) -> u64 {
        self.way.lock().taken
    }

    pub(super) fn open(&self, own: u64, places: impl Iterator<Item = Arc<Open>>) {
        let mut way = self.way.lock();
        way.own = own;
        way.places.clear();
        way.places.extend(places);
    }

    /// Calls the lease back, puts it where it came from, and lets nothing more through.
    pub(super) fn close(&self) -> Closed {
        let mut way = self.way.lock();
        let unused = self.lease.swap(0, Relaxed);
        way.give_back(unused);
        Closed { taken: std::mem::take(&mut way.taken), own: std::mem::take(&mut way.own) }
    }
}

impl Way {
    fn take(&mut self, bytes: u64) -> bool {
        // A charge of no bytes, too, waits for those before it when the gate is closed.
        if self.own < bytes.max(1) {
            return false;
        }
        for (at, place) in self.places.iter().enumerate() {
            if !place.take(bytes) {
                self.places[..at].iter().for_each(|below| below.give_back(bytes));
                return false;
            }
        }
        self.own -= bytes;
        self.taken += bytes;
        true
    }

    fn give_back(&mut self, bytes: u64) {
        self.own += bytes;
        self.taken -= bytes;
        self.places.iter().for_each(|place| place.give_back(bytes));
    }
}
