//! Moments at which a job must be looked at: heaps that forget lazily.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::MonoTime;

use super::index::JobIx;

/// Fewer stale entries of a heap than this are not worth a clean-up.
const WORTH_CLEANING: usize = 1024;
/// Heaps: one is cleaned at a time, so that nobody waits until all are.
const HEAPS: usize = 16;
/// Neighbouring jobs in the same heap. Jobs that are changed one after the other then fill one heap after the other, and
/// heaps are not all due for a clean-up at once.
const NEIGHBOURS: usize = 256;

/// At most one valid moment a job; the job itself knows which one that is.
///
/// Most moments lie days ahead and never come, because the job starts before: a new one goes to the end of its heap at
/// once, and a dropped one costs nothing until more than half of the heap is stale.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heaps: [Heap; HEAPS],
    /// The least entry of all heaps, stale or not: it is asked for much more often than it changes.
    first: Option<Entry>,
}

type Entry = (MonoTime, JobIx);

#[derive(Debug, Default)]
struct Heap {
    entries: BinaryHeap<Reverse<Entry>>,
    live: usize,
}

impl Timers {
    /// Sets a job's moment. `before` is the one it had; `is_valid` says whether an entry still counts.
    pub(super) fn set(
        &mut self,
        job: JobIx,
        before: Option<MonoTime>,
        at: Option<MonoTime>,
        is_valid: impl Fn(MonoTime, JobIx) -> bool,
    ) {
        let heap = &mut self.heaps[heap_of(job)];
        heap.live -= usize::from(before.is_some());
        if let Some(at) = at {
            heap.live += 1;
            heap.entries.push(Reverse((at, job)));
            self.first = Some(self.first.map_or((at, job), |first| first.min((at, job))));
        }
        if heap.entries.len() > 2 * heap.live + WORTH_CLEANING {
            heap.clean(is_valid);
            self.find_first();
        }
    }

    /// The earliest moment; stale ones at the front are dropped.
    pub(super) fn first(&mut self, is_valid: impl Fn(MonoTime, JobIx) -> bool) -> Option<(MonoTime, JobIx)> {
        while let Some((at, job)) = self.first
            && !is_valid(at, job)
        {
            self.drop_first(job);
        }
        self.first
    }

    /// The earliest moment, stale ones included: never later than the first valid one.
    pub(super) fn peek(&self) -> Option<MonoTime> {
        self.first.map(|(at, _)| at)
    }

    /// The valid entry `first`, of this job, was dealt with.
    pub(super) fn pop(&mut self, job: JobIx) {
        self.heaps[heap_of(job)].live -= 1;
        self.drop_first(job);
    }

    /// `job` is that of the least entry.
    fn drop_first(&mut self, job: JobIx) {
        self.heaps[heap_of(job)].entries.pop();
        self.find_first();
    }

    fn find_first(&mut self) {
        let firsts = self.heaps.iter().filter_map(|heap| heap.entries.peek());
        self.first = firsts.map(|Reverse(entry)| *entry).min();
    }
}

fn heap_of(job: JobIx) -> usize {
    job.at() / NEIGHBOURS % HEAPS
}

impl Heap {
    /// Leaves what counts. A job that got back a moment which it had before has two entries that do: one of them goes, or
    /// a heap full of such would be cleaned again and again.
    fn clean(&mut self, is_valid: impl Fn(MonoTime, JobIx) -> bool) {
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        entries.retain(|Reverse((at, job))| is_valid(*at, *job));
        entries.sort_unstable();
        entries.dedup();
        self.entries = entries.into();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Every job is given one of two moments in turn, as reloads of two policies do. Returns the entries that were looked
    /// at in the longest call and in the mean.
    fn longest_and_mean(jobs: usize, rounds: usize) -> (usize, usize) {
        let mut timers = Timers::default();
        let mut moments = vec![None; jobs];
        let (mut longest, mut looks) = (0, 0);
        for round in 0..rounds {
            for n in 0..jobs {
                let at = MonoTime::from_nanos(1 + (round % 2 * jobs + n) as u64);
                let before = moments[n].replace(at);
                let looked = Cell::new(0);
                timers.set(JobIx::new(n), before, Some(at), |at, job| {
                    looked.set(looked.get() + 1);
                    moments[job.at()] == Some(at)
                });
                longest = longest.max(looked.get());
                looks += looked.get();
            }
        }
        assert_eq!(timers.heaps.iter().map(|heap| heap.live).sum::<usize>(), jobs);
        (longest, looks / jobs / rounds)
    }

    #[test]
    fn no_call_looks_at_more_than_a_part_of_all_and_the_mean_at_a_few() {
        let (longest, mean) = longest_and_mean(100_000, 9);
        assert!(
            longest > 0 && longest <= 2 * 100_000 / HEAPS + 2 * NEIGHBOURS + 2 * WORTH_CLEANING,
            "{longest}"
        );
        assert!(mean <= 4, "{mean}");
    }

    #[test]
    fn moments_come_in_order_whatever_heap_they_are_in() {
        let mut timers = Timers::default();
        let order = |n: usize| n * 7919 % 10_007;
        let moment = |n: usize| MonoTime::from_nanos(1 + order(n) as u64);
        for n in 0..10_007 {
            timers.set(JobIx::new(n), None, Some(moment(n)), |_, _| true);
        }
        for expected in 0..10_007 {
            let (at, job) = timers.first(|_, _| true).unwrap();
            assert_eq!((order(job.at()), timers.peek()), (expected, Some(at)));
            timers.pop(job);
        }
        assert_eq!(timers.peek(), None);
    }
}
