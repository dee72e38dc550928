//! Latencies summed up second by second: [`Moments`].

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use sched_core::MonoTime;
use serde::{Deserialize, Serialize};

use super::settings::Quantile;

/// Recorded latencies are cut off here, in µs.
const LONGEST_US: u64 = 600_000_000;
/// Two significant digits: 1 % at most, in about 12 KiB.
const DIGITS: u8 = 2;
/// Fewer samples make no moment: not even a median.
const FEWEST: u64 = 6;
/// Samples that must lie beyond a quantile, or a lower one is looked at instead.
const BEYOND: f64 = 3.0;
/// Moments that are remembered.
const KEPT: usize = 128;

/// An empty histogram of latencies in µs.
pub(super) fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// How the backups of an instance stood while its foreground was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// At least one backup was moving, and none stood.
    With,
    /// No backup was under way.
    Without,
    /// A backup stood.
    Paused,
}

/// ln of the quantiles of a moment's latencies, in the order of [`Quantile::ALL`].
pub(super) type Levels = [f64; 3];

/// One moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) moment: Moment,
    /// Since when the backups stood as they did: moments of one stretch are comparable as they are.
    pub(super) since: MonoTime,
    pub(super) from: MonoTime,
    pub(super) to: MonoTime,
    pub(super) samples: u64,
    pub(super) levels: Levels,
}

impl Seen {
    /// The place in `levels` of a quantile, or of the highest below it that so few samples still show.
    pub(super) fn shown(&self, quantile: Quantile) -> usize {
        let shows = |place: &usize| self.samples as f64 * (1.0 - Quantile::ALL[*place].share()) >= BEYOND;
        (0..=quantile as usize).rev().find(shows).unwrap_or(0)
    }
}

/// The newest moments of an instance, and the one that is gathered.
#[derive(Debug)]
pub(super) struct Moments {
    length: Duration,
    settle: Duration,
    gathered: Histogram<u32>,
    /// What the newest moment was made of.
    complete: Histogram<u32>,
    from: MonoTime,
    state: (Moment, MonoTime),
    newest: VecDeque<Seen>,
}

impl Moments {
    pub(super) fn new(length: Duration, settle: Duration) -> Self {
        let state = (Moment::Without, MonoTime::ZERO);
        let (gathered, complete, newest) = (histogram(), histogram(), VecDeque::new());
        Self { length, settle, gathered, complete, from: MonoTime::ZERO, state, newest }
    }

    /// The stretch ends. What is gathered by now counts if it is at least half a moment.
    pub(super) fn end(&mut self, now: MonoTime) -> Option<Seen> {
        (now.since(self.from) >= self.length / 2).then(|| self.close(now)).flatten()
    }

    /// From now on backups stand otherwise.
    pub(super) fn begin(&mut self, now: MonoTime, moment: Moment) {
        self.gathered.reset();
        (self.state, self.from) = ((moment, now), now + self.settle);
    }

    /// Samples that were taken at one time; `Some` when a moment is complete by it. Those of a time in which the
    /// foreground settles do not count.
    pub(super) fn record(&mut self, at: MonoTime, latency: Duration, samples: u32) -> Option<Seen> {
        if at < self.from {
            return None;
        }
        let seen = (at.since(self.from) >= self.length).then(|| self.pass(at)).flatten();
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.gathered.saturating_record_n(micros, samples);
        seen
    }

    /// A window that was summed up elsewhere makes a moment of its own if nothing changed in it.
    pub(super) fn window(
        &mut self,
        (from, to): (MonoTime, MonoTime),
        latencies: impl Iterator<Item = (Duration, u32)>,
    ) -> Option<Seen> {
        if from < self.from.max(self.state.1) || from >= to {
            return None;
        }
        self.gathered.reset();
        for (latency, samples) in latencies {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.gathered.saturating_record_n(micros, samples);
        }
        self.from = from;
        let seen = self.close(to);
        self.from = to;
        seen
    }

    /// The remembered moments, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Seen> {
        self.newest.iter()
    }

    /// What the newest moment was made of.
    pub(super) fn complete(&self) -> &Histogram<u32> {
        &self.complete
    }

    /// Completes the moment that is gathered; the next one begins at the length's next multiple.
    fn pass(&mut self, at: MonoTime) -> Option<Seen> {
        let end = self.from + self.length;
        let seen = self.close(end);
        let whole = at.since(end).as_nanos() / self.length.as_nanos();
        self.from = end + self.length.saturating_mul(u32::try_from(whole).unwrap_or(u32::MAX));
        seen
    }

    fn close(&mut self, to: MonoTime) -> Option<Seen> {
        let samples = self.gathered.len();
        if samples < FEWEST {
            self.gathered.reset();
            return None;
        }
        let level = |q: Quantile| (self.gathered.value_at_quantile(q.share()).max(1) as f64).ln();
        let (moment, since) = self.state;
        let seen = Seen { moment, since, from: self.from, to, samples, levels: Quantile::ALL.map(level) };
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(seen);
        std::mem::swap(&mut self.gathered, &mut self.complete);
        self.gathered.reset();
        Some(seen)
    }
}
