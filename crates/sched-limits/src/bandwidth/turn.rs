//! Whose turn it is. Children of a node are served by start-time fair queuing; jobs behind their floor come first.
//!
//! Goyal, Vin, Cheng: *Start-time Fair Queueing* (SIGCOMM 1996): the child with the least virtual start time is
//! served, and its next start is later by bytes ÷ weight. Like deficit round robin it is fair to within a piece
//! whatever the sizes, and unlike it needs no rounds, so that a child that comes or goes, or a rate that changes,
//! leaves nothing to be put right.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use sched_core::MonoTime;

use super::tree::{Ix, Tree};
use crate::rate::Rate;

/// Who must wait looks again no sooner than this.
const SHORTEST_WAIT: Duration = Duration::from_micros(20);

/// A job that may be let through, and how much.
struct Turn {
    job: Ix,
    bytes: u64,
    by_floor: bool,
}

impl Tree {
    /// Lets through bytes of a job if it can be done now, else puts them in line and returns their place.
    pub(super) fn charge(&mut self, ix: Ix, bytes: u64, now: MonoTime) -> Option<u64> {
        let nobody_waits = self.nodes[self.fleet()].waiting == 0;
        if nobody_waits && self.take_at_once(ix, bytes, now) {
            return None;
        }
        let place = self.line_up(ix, bytes, now);
        self.serve(now);
        Some(place)
    }

    /// Lets through all that may pass now, in turn.
    pub(super) fn serve(&mut self, now: MonoTime) {
        let fleet = self.fleet();
        self.nodes[fleet].bucket.refill(now);
        // Most looks end here: there is not a byte for anybody.
        while self.nodes[fleet].waiting > 0 && self.nodes[fleet].bucket.affords(1) {
            let Some(turn) = self.next_turn(now) else { return };
            self.pass(&turn, now);
        }
    }

    fn pass(&mut self, turn: &Turn, now: MonoTime) {
        self.take(turn.job, turn.bytes, turn.by_floor);
        if let Some(job) = self.nodes[turn.job].job_mut() {
            job.floor.refill(now);
            job.floor.take(turn.bytes);
            job.pass(turn.bytes);
        }
        let left = self.nodes[turn.job].waiting - turn.bytes;
        self.set_waiting(turn.job, left);
    }

    fn next_turn(&mut self, now: MonoTime) -> Option<Turn> {
        let (promised, kept) = self.next_promised(now);
        if promised.is_some() {
            return promised;
        }
        let fleet = self.fleet();
        let turn = self.next_below(fleet, &kept, now)?;
        // Nobody else goes first: the bucket has to fill for whose turn it is.
        (!kept.contains(&fleet) && self.nodes[fleet].bucket.affords(turn.bytes)).then_some(turn)
    }

    /// The job behind its floor that can be served, the one served longest ago first; and the nodes that lack the
    /// bytes for such a job, and are kept for it.
    fn next_promised(&mut self, now: MonoTime) -> (Option<Turn>, Vec<Ix>) {
        let mut kept = Vec::new();
        for at in 0..self.floored.len() {
            let ix = self.floored[at];
            let Some(bytes) = self.next_piece(ix) else { continue };
            let Some(job) = self.nodes[ix].job_mut() else { continue };
            job.floor.refill(now);
            let bytes = bytes.min(job.floor.burst());
            if bytes == 0 || !job.floor.affords(bytes) {
                continue;
            }
            match self.first_short(ix, bytes, now) {
                // Its own ceiling is nobody else's concern.
                Some(own) if own == ix => {}
                Some(short) => kept.push(short),
                None => {
                    self.floored.remove(at);
                    self.floored.push(ix);
                    return (Some(Turn { job: ix, bytes, by_floor: true }), kept);
                }
            }
        }
        (None, kept)
    }

    /// The first node on the way up that has not got the bytes.
    fn first_short(&mut self, ix: Ix, bytes: u64, now: MonoTime) -> Option<Ix> {
        let mut at = Some(ix);
        while let Some(here) = at {
            let node = &mut self.nodes[here];
            node.bucket.refill(now);
            if !node.bucket.affords(bytes) {
                return Some(here);
            }
            at = node.parent;
        }
        None
    }

    /// The next turn at or below a node whose own bucket is not asked: children in order of their virtual time,
    /// without those that a bucket of their own holds back.
    fn next_below(&mut self, ix: Ix, kept: &[Ix], now: MonoTime) -> Option<Turn> {
        if self.nodes[ix].job().is_some() {
            return self.next_piece(ix).map(|bytes| Turn { job: ix, bytes, by_floor: false });
        }
        let mut children = self.in_turn(ix, kept, now);
        while let Some(Reverse((_, child))) = children.pop() {
            if let Some(turn) = self.next_below(child, kept, now)
                && self.nodes[child].bucket.affords(turn.bytes)
            {
                return Some(turn);
            }
        }
        None
    }

    /// The children that ask and have a byte, by their virtual time.
    fn in_turn(&mut self, ix: Ix, kept: &[Ix], now: MonoTime) -> BinaryHeap<Reverse<(u128, Ix)>> {
        let mut children = Vec::new();
        for at in 0..self.nodes[ix].active.len() {
            let child = self.nodes[ix].active[at];
            self.nodes[child].bucket.refill(now);
            if self.nodes[child].bucket.affords(1) && !kept.contains(&child) {
                children.push(Reverse((self.start(child, ix), child)));
            }
        }
        children.into()
    }

    /// How long a job must wait for its next piece at least, as things stand; `None` when a rate on its way is 0.
    pub(super) fn time_to_next(&mut self, ix: Ix, now: MonoTime) -> Option<Duration> {
        let piece = self.next_piece(ix)?;
        let (mut in_turn, mut alone) = (Duration::ZERO, Duration::ZERO);
        let mut at = Some(ix);
        while let Some(here) = at {
            let mut ahead = 0;
            if here != ix && self.nodes[here].bucket.rate() != Rate::Unlimited {
                // The bucket fills for whose turn it is before it fills for this one. What stands ahead of it besides
                // may be held back elsewhere: who looks too late misses its turn, who looks too early only looks.
                let first = self.next_below(here, &[], now).filter(|turn| turn.job != ix);
                ahead = first.map_or(0, |turn| turn.bytes.into());
            }
            let bucket = &self.nodes[here].bucket;
            in_turn = in_turn.max(bucket.time_until(u128::from(piece) + ahead)?);
            alone = alone.max(bucket.time_until(u128::from(piece))?);
            at = self.nodes[here].parent;
        }
        let job = self.nodes[ix].job()?;
        let promised = job.floor.time_until(u128::from(piece.min(job.floor.burst().max(1))));
        let wait = promised.map_or(in_turn, |promised| in_turn.min(promised.max(alone)));
        Some(wait.max(SHORTEST_WAIT))
    }
}
