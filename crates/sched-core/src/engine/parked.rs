//! Jobs that wait at a domain outside every queue.

use std::collections::{BTreeMap, BTreeSet};

use crate::queue::OrderKey;

use super::domain::LaneKey;
use super::index::JobIx;

/// Parked jobs in the order in which they are let in, apart by lane: what holds for one holds for all of a lane.
#[derive(Debug, Default)]
pub(super) struct Parked {
    lanes: BTreeMap<LaneKey, BTreeSet<(OrderKey, JobIx)>>,
    len: usize,
}

impl Parked {
    pub(super) fn insert(&mut self, lane: LaneKey, key: OrderKey, job: JobIx) {
        self.len += usize::from(self.lanes.entry(lane).or_default().insert((key, job)));
    }

    /// Takes a job out. Its lane may be another by now than the one under which it came.
    pub(super) fn remove(&mut self, key: OrderKey, job: JobIx) {
        let of = self.lanes.iter().find(|(_, jobs)| jobs.contains(&(key, job))).map(|(lane, _)| *lane);
        let Some(lane) = of else { return debug_assert!(false, "it is not parked here") };
        self.len -= 1;
        if let Some(jobs) = self.lanes.get_mut(&lane) {
            jobs.remove(&(key, job));
            if jobs.is_empty() {
                self.lanes.remove(&lane);
            }
        }
    }

    pub(super) fn holds(&self, lane: &LaneKey, key: OrderKey, job: JobIx) -> bool {
        self.lanes.get(lane).is_some_and(|jobs| jobs.contains(&(key, job)))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The lanes and the most urgent job of each.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (LaneKey, OrderKey)> {
        self.lanes.iter().filter_map(|(lane, jobs)| Some((*lane, jobs.first()?.0)))
    }

    pub(super) fn of(&self, lane: &LaneKey) -> impl Iterator<Item = (OrderKey, JobIx)> {
        self.lanes.get(lane).into_iter().flatten().copied()
    }

    /// Those that go before `key`, up to `most` a lane.
    pub(super) fn before(&self, key: OrderKey, most: usize) -> impl Iterator<Item = OrderKey> {
        let of_lane = move |jobs: &'_ BTreeSet<(OrderKey, JobIx)>| {
            jobs.iter()
                .map(|(key, _)| *key)
                .take_while(move |other| *other < key)
                .take(most)
                .collect::<Vec<_>>()
        };
        self.lanes.values().flat_map(of_lane)
    }
}
