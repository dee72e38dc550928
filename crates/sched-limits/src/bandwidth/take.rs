//! Taking bytes from the tree and giving them back: on all levels or on none.

use std::time::Duration;

use sched_core::MonoTime;

use super::bucket::{bytes_in, chunk};
use super::line::LARGEST_CHARGE;
use super::tree::{Ix, Tree};
use crate::rate::Rate;

/// What was moved without being charged is held against a job up to this much time at its rate.
const MOST_DEBT: Duration = Duration::from_secs(1);

impl Tree {
    /// Takes bytes for a job from every bucket on its way, or nothing from any; then it may take more by itself.
    /// Nobody may wait.
    pub(super) fn take_at_once(&mut self, ix: Ix, need: u64, now: MonoTime) -> bool {
        if !self.gates.is_empty() {
            // What is open is often enough, and then others go on undisturbed.
            if self.open_gate(ix, need, now) {
                return true;
            }
            self.close_gates(now);
        }
        let mut enough = true;
        self.on_path(ix, |node| {
            node.bucket.refill(now);
            enough &= node.bucket.affords(need);
        });
        if enough {
            self.take(ix, need, false);
            self.open_gate(ix, 0, now);
        }
        enough
    }

    /// Takes bytes from every bucket on the way up, and counts them against the job and the places on it.
    pub(super) fn take(&mut self, ix: Ix, bytes: u64, by_floor: bool) {
        self.on_path(ix, |node| node.bucket.take(bytes));
        self.enter(ix, bytes, by_floor);
    }

    /// Counts bytes that were taken against the job and the places on its way.
    pub(super) fn enter(&mut self, ix: Ix, bytes: u64, by_floor: bool) {
        let mut at = Some(ix);
        while let Some(here) = at {
            let node = &mut self.nodes[here];
            node.granted = node.granted.wrapping_add(bytes);
            at = node.parent;
            // What was promised to a job comes off the top: it counts among the jobs of its place, not among places.
            if let Some(above) = at.filter(|_| !by_floor || here == ix) {
                self.count(here, above, bytes, by_floor);
            }
        }
    }

    /// Moves a child's virtual time on.
    fn count(&mut self, child: Ix, parent: Ix, bytes: u64, by_floor: bool) {
        let (start, stride) = (self.start(child, parent), self.nodes[child].stride);
        let parent = &mut self.nodes[parent];
        let cost = u128::from(bytes) * u128::from(stride);
        self.nodes[child].tag = if by_floor {
            // Nor is it held against the job once the promise is over.
            start.max(parent.clock + cost)
        } else {
            parent.clock = parent.clock.max(start);
            start + cost
        };
    }

    /// The virtual time at which a child stands. Who did not ask, or was held back elsewhere, catches up by a burst
    /// at most.
    pub(super) fn start(&self, child: Ix, parent: Ix) -> u128 {
        let (child, parent) = (&self.nodes[child], &self.nodes[parent]);
        child.tag.max(parent.clock.saturating_sub(lag(parent.bucket.burst(), child.stride)))
    }

    /// More, or less, was moved than charged.
    pub(super) fn correct(&mut self, ix: Ix, difference: i64, now: MonoTime) {
        self.close_gates(now);
        let backlog = self.backlog(ix);
        let bytes = difference.unsigned_abs();
        if difference > 0 {
            let most = self.path(ix).map(|ix| match self.nodes[ix].bucket.rate() {
                Rate::Unlimited => u64::MAX,
                rate @ Rate::BytesPerSec(bytes) => bytes_in(bytes, MOST_DEBT).max(chunk(rate, 1.0)),
            });
            let most = most.min().unwrap_or(0).min(LARGEST_CHARGE);
            self.line_up(ix, bytes.min(most.saturating_sub(backlog)), now);
            return;
        }
        let not_yet_taken = bytes.min(backlog);
        if let Some(job) = self.nodes[ix].job_mut() {
            job.given_up += not_yet_taken;
            job.pass(0);
        }
        self.set_waiting(ix, self.backlog(ix));
        self.on_path(ix, |node| node.give_back(bytes - not_yet_taken));
    }
}

fn lag(burst: u64, stride: u64) -> u128 {
    u128::from(burst) * u128::from(stride)
}
