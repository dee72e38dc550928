//! A job's leaf in the tree: [`JobPacer`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{Charge, Pacer};

use super::Shared;
use super::line::{LARGEST_CHARGE, Line};
use super::tree::Ix;
use crate::rate::Rate;

/// A charge that was let through when it was made: beyond every place in line.
const PASSED: Charge = Charge(u128::MAX);

/// One job's place in a [`BandwidthTree`](super::BandwidthTree). May be used from several threads, which then stand
/// in one line. It leaves the tree when it is dropped, and what it still asked for is forgotten.
#[must_use = "a job that drops its pacer has left the tree, and waits for nothing"]
pub struct JobPacer {
    pub(super) shared: Arc<Shared>,
    pub(super) line: Arc<Line>,
    pub(super) ix: Ix,
    /// Bytes taken ahead of need.
    pub(super) lease: u64,
}

impl JobPacer {
    /// Changes the ceiling.
    pub fn set_ceiling(&self, ceiling: Rate) {
        self.shared.look(|tree, now| {
            tree.set_node_rate(self.ix, ceiling, now);
            tree.serve(now);
        });
    }

    /// Changes the guaranteed minimum, in bytes a second; 0 for none.
    pub fn set_floor(&self, bytes_per_sec: u64) {
        self.shared.look(|tree, now| tree.set_floor(self.ix, bytes_per_sec, now));
    }

    /// Changes the weight among the jobs and places beside it; 0 counts as 1.
    pub fn set_weight(&self, weight: u32) {
        self.shared.look(|tree, _| tree.set_node_weight(self.ix, weight));
    }

    #[cold]
    fn stand_in_line(&self, bytes: u64) -> Charge {
        let place = self.shared.look(|tree, now| tree.charge(self.ix, bytes, now));
        place.map_or(PASSED, |place| Charge(place.into()))
    }

    fn look(&self, charge: Charge) -> Option<Duration> {
        let Ok(place) = u64::try_from(charge.0) else { return Some(Duration::ZERO) };
        if self.line.has_passed(place) {
            return Some(Duration::ZERO);
        }
        self.shared.look(|tree, now| {
            tree.serve(now);
            match self.line.has_passed(place) {
                true => Some(Duration::ZERO),
                false => tree.time_to_next(self.ix, now),
            }
        })
    }

    /// Bytes taken from the tree so far: what was let through, and what is out on lease.
    pub fn granted(&self) -> u64 {
        self.shared.look(|tree, _| tree.granted(self.ix))
    }
}

impl Pacer for JobPacer {
    /// While nobody waits, jobs share no lock; while a lease lasts, none is taken.
    #[inline]
    fn charge(&self, bytes: u64) -> Charge {
        let bytes = bytes.min(LARGEST_CHARGE);
        let gate = &self.line.gate;
        if gate.spend(bytes) || gate.take(bytes, self.lease) {
            return PASSED;
        }
        self.stand_in_line(bytes)
    }

    #[inline]
    fn wait(&self, charge: Charge) -> Option<Duration> {
        if charge == PASSED {
            return Some(Duration::ZERO);
        }
        self.look(charge)
    }

    fn max_chunk(&self) -> u64 {
        self.line.chunk().unwrap_or_else(|| self.shared.look(|tree, _| tree.chunk(self.ix)))
    }

    /// A debt is at most one second at the job's rate; what was taken and did not move is given back, up to the
    /// burst of each bucket.
    fn correct(&self, difference: i64) {
        if difference <= 0 && self.line.gate.give_back(difference.unsigned_abs()) {
            return;
        }
        self.shared.look(|tree, now| {
            tree.correct(self.ix, difference, now);
            tree.serve(now);
        });
    }
}

impl Drop for JobPacer {
    fn drop(&mut self) {
        self.shared.look(|tree, now| {
            tree.leave(self.ix, now);
            tree.serve(now);
        });
    }
}

impl fmt::Debug for JobPacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobPacer").field("line", &self.line).finish_non_exhaustive()
    }
}
