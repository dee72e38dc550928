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
    /// Takes bytes for a job from every bucket on its way, or nothing from any. When there is enough, more is taken
    /// for what it will ask next.
    pub(super) fn take_at_once(&mut self, ix: Ix, need: u64, now: MonoTime) -> bool {
        self.recall_lease(ix);
        let (mut enough, mut plenty) = (true, self.lease > 0);
        let more = need.saturating_add(self.lease);
        self.on_path(ix, |node| {
            node.bucket.refill(now);
            enough &= node.bucket.affords(need);
            plenty = plenty && node.bucket.affords(more);
        });
        if !enough {
            return false;
        }
        let extra = if plenty { self.lease } else { 0 };
        self.take(ix, need + extra, false);
        if extra > 0 {
            self.leases += 1;
            self.on_path(ix, |node| node.bucket.begin_lease(extra));
            if let Some(job) = self.nodes[ix].job_mut() {
                job.leased = extra;
                job.line.prepay(extra);
            }
        }
        true
    }

    /// Takes bytes from every bucket on the way up, and counts them against the job and the places on it.
    pub(super) fn take(&mut self, ix: Ix, bytes: u64, by_floor: bool) {
        let mut at = Some(ix);
        while let Some(here) = at {
            let node = &mut self.nodes[here];
            node.bucket.take(bytes);
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
    pub(super) fn correct(&mut self, ix: Ix, difference: i64) {
        let backlog = self.backlog(ix);
        let bytes = difference.unsigned_abs();
        if difference > 0 {
            let most = self.path(ix).map(|ix| match self.nodes[ix].bucket.rate() {
                Rate::Unlimited => u64::MAX,
                rate @ Rate::BytesPerSec(bytes) => bytes_in(bytes, MOST_DEBT).max(chunk(rate, 1)),
            });
            let most = most.min().unwrap_or(0).min(LARGEST_CHARGE);
            self.line_up(ix, bytes.min(most.saturating_sub(backlog)));
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

    pub(super) fn recall_leases(&mut self) {
        if self.leases == 0 {
            return;
        }
        let held: Vec<Ix> =
            self.nodes.iter().filter(|n| n.1.job().is_some_and(|j| j.leased > 0)).map(|n| n.0).collect();
        held.into_iter().for_each(|ix| self.recall_lease(ix));
    }

    pub(super) fn recall_lease(&mut self, ix: Ix) {
        let Some(job) = self.nodes[ix].job_mut().filter(|job| job.leased > 0) else { return };
        let leased = std::mem::take(&mut job.leased);
        let unused = job.line.recall();
        self.leases -= 1;
        self.on_path(ix, |node| {
            node.bucket.end_lease(leased);
            node.give_back(unused);
        });
    }
}

fn lag(burst: u64, stride: u64) -> u128 {
    u128::from(burst) * u128::from(stride)
}
