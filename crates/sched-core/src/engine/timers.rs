//! Moments at which a job must be looked at: a heap that forgets lazily.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::MonoTime;

use super::index::JobIx;

/// Fewer stale entries than this are not worth a clean-up.
const WORTH_CLEANING: usize = 1024;

/// At most one valid moment a job; the job itself knows which one that is.
///
/// Most moments lie days ahead and never come, because the job starts before: a new one goes to the end of the
/// heap at once, and a dropped one costs nothing until more than half of the heap is stale.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(MonoTime, JobIx)>>,
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
        self.live -= usize::from(before.is_some());
        if let Some(at) = at {
            self.live += 1;
            self.heap.push(Reverse((at, job)));
        }
        if self.heap.len() > 2 * self.live + WORTH_CLEANING {
            self.heap.retain(|Reverse((at, job))| is_valid(*at, *job));
        }
    }

    /// The earliest moment; stale ones at the front are dropped.
    pub(super) fn first(&mut self, is_valid: impl Fn(MonoTime, JobIx) -> bool) -> Option<(MonoTime, JobIx)> {
        while let Some(Reverse((at, job))) = self.heap.peek().copied() {
            if is_valid(at, job) {
                return Some((at, job));
            }
            self.heap.pop();
        }
        None
    }

    /// The earliest moment, stale ones included: never later than the first valid one.
    pub(super) fn peek(&self) -> Option<MonoTime> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The valid entry `first` was dealt with.
    pub(super) fn pop(&mut self) {
        self.heap.pop();
        self.live -= 1;
    }
}
