//! Jobs that wait at a domain outside every queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::queue::OrderKey;

use super::domain::{ClassKey, LaneKey};
use super::index::{DomainIx, JobIx};

/// Parked jobs that stand in the same queue when they are let in: when one of them is kept back there, so would the
/// rest be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) class: ClassKey,
    pub(super) place: DomainIx,
    /// A job that lacks room for itself alone is a row of its own.
    pub(super) alone: JobIx,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: BTreeSet<(OrderKey, JobIx)>,
    /// The first is not to be let in: one that was before it is kept back in its queue.
    blocked: bool,
}

/// Parked jobs in the order in which they are let in: lanes of rows, of which the first stands for the rest.
#[derive(Debug, Default)]
pub(super) struct Parked {
    lanes: BTreeMap<LaneKey, BTreeSet<(OrderKey, JobIx)>>,
    rows: HashMap<Row, Jobs, FixedState>,
    row_of: HashMap<JobIx, Row, FixedState>,
}

impl Parked {
    pub(super) fn insert(&mut self, row: Row, key: OrderKey, job: JobIx) {
        self.row_of.insert(job, row);
        self.change(row, |jobs| {
            jobs.waiting.insert((key, job));
            // It may be more urgent than the one that is kept back.
            jobs.blocked = false;
        });
    }

    pub(super) fn remove(&mut self, key: OrderKey, job: JobIx) {
        if let Some(row) = self.row_of.remove(&job) {
            self.change(row, |jobs| _ = jobs.waiting.remove(&(key, job)));
        }
    }

    /// Keeps a row back; returns whether anybody waits in it.
    pub(super) fn block(&mut self, row: Row) -> bool {
        let waits = self.rows.contains_key(&row);
        if waits {
            self.change(row, |jobs| jobs.blocked = true);
        }
        waits
    }

    /// Keeps a row back no longer. Returns its lane and the most urgent job there that may be let in now.
    pub(super) fn unblock(&mut self, row: Row) -> Option<(LaneKey, OrderKey)> {
        self.rows.contains_key(&row).then(|| self.change(row, |jobs| jobs.blocked = false));
        let lane = row.class.lane;
        Some((lane, self.of(&lane).next()?.0))
    }

    fn change(&mut self, row: Row, change: impl FnOnce(&mut Jobs)) {
        let first = |jobs: &Jobs| jobs.waiting.first().copied().filter(|_| !jobs.blocked);
        let jobs = self.rows.entry(row).or_default();
        let before = first(jobs);
        change(jobs);
        let (after, gone) = (first(jobs), jobs.waiting.is_empty());
        if gone {
            self.rows.remove(&row);
        }
        if before == after {
            return;
        }
        let lane = self.lanes.entry(row.class.lane).or_default();
        before.iter().for_each(|before| _ = lane.remove(before));
        lane.extend(after);
        if lane.is_empty() {
            self.lanes.remove(&row.class.lane);
        }
    }

    /// The row of a parked job.
    pub(super) fn row_of(&self, job: JobIx) -> Option<&Row> {
        self.row_of.get(&job)
    }

    pub(super) fn len(&self) -> usize {
        self.row_of.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row_of.is_empty()
    }

    /// The lanes and the most urgent job of each.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (LaneKey, OrderKey)> {
        self.lanes.iter().filter_map(|(lane, firsts)| Some((*lane, firsts.first()?.0)))
    }

    /// The first of each row of a lane, in order.
    pub(super) fn of(&self, lane: &LaneKey) -> impl Iterator<Item = (OrderKey, JobIx)> {
        self.lanes.get(lane).into_iter().flatten().copied()
    }

    /// Those that go before `key` and stand first, up to `most` a lane.
    pub(super) fn before(&self, key: OrderKey, most: usize) -> impl Iterator<Item = OrderKey> {
        let of_lane = move |firsts: &'_ BTreeSet<(OrderKey, JobIx)>| {
            let keys = firsts.iter().map(|(key, _)| *key).take_while(move |other| *other < key);
            keys.take(most).collect::<Vec<_>>()
        };
        self.lanes.values().flat_map(of_lane)
    }

    /// How many go before `key`; counting stops at `most`.
    pub(super) fn count_before(&self, key: OrderKey, most: usize) -> usize {
        let ahead =
            |jobs: &Jobs| jobs.waiting.iter().take_while(|(other, _)| *other < key).take(most).count();
        self.rows.values().map(ahead).sum::<usize>().min(most)
    }
}
