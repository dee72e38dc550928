//! Records on their way to a store: [`Store`].

use std::collections::VecDeque;

use sched_core::Lsn;

/// A store of the engine's records that takes its time.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// When what was written is durable, in seconds, in the order in which it was written.
    written: VecDeque<(f64, Lsn)>,
}

impl Store {
    /// Writes a record that is durable at a moment, and not before those written earlier.
    pub(super) fn write(&mut self, durable_at: f64, lsn: Lsn) {
        let last = self.written.back().map_or(durable_at, |(at, _)| at.max(durable_at));
        self.written.push_back((last, lsn));
    }

    /// When the next record is durable, in seconds; infinite for never.
    pub(super) fn next(&self) -> f64 {
        self.written.front().map_or(f64::INFINITY, |(at, _)| *at)
    }

    /// The newest record that has become durable since the last call.
    pub(super) fn durable(&mut self, now: f64) -> Option<Lsn> {
        let mut newest = None;
        while let Some((_, lsn)) = self.written.pop_front_if(|(at, _)| *at <= now) {
            newest = Some(lsn);
        }
        newest
    }
}
