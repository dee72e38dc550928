//! The latency without backups, from readings with and without them: [`Learned`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::MonoTime;

use super::healthy::Learning;
use super::levels::Levels;
use super::pauses::Pauses;
use super::stretch::{Level, Stretch};

/// Readings before a stretch says anything.
const FEWEST: f64 = 20.0;
/// Readings before a stretch may end because it is exact enough.
const EXACT_FROM: f64 = 30.0;
/// A stretch is exact enough at this standard error, in units of the allowance.
const EXACT: f64 = 0.2;
/// Readings after which a stretch ends in any case: loads change.
const LONGEST: f64 = 600.0;
/// Newest readings that are watched for a change of the foreground itself.
const WATCHED: usize = 8;
/// They differ from the fit by this and more when the foreground has changed.
const CHANGED_FROM: f64 = 0.05;
/// The noise that is assumed before it is known, and the least, as standard deviations of ln latency.
const NOISE: f64 = 0.2;
const LEAST_NOISE: f64 = 0.02;
/// Harm grows with the square of the error, so an inexact level is taken lower, and an exact one a trace higher
/// than the lowest: choosing the lowest is choosing the luckiest.
const RISK: f64 = 0.1;
const LUCK: f64 = 0.055;

/// Learns the healthy latency. See [`Learning`].
#[derive(Clone, Debug)]
pub(super) struct Learned {
    learning: Learning,
    /// The law's unit of error.
    theta: f64,
    pub(super) pauses: Pauses,
    noise: f64,
    good: f64,
    /// Shares used of late: latency follows within the settling time, so the highest of them counts.
    used: VecDeque<f64>,
    settle_samples: usize,
    stretch: Stretch,
    /// The newest readings, which belong to no stretch before it is clear that the foreground has not changed.
    watched: VecDeque<(f64, f64)>,
    present: Option<Level>,
    levels: Levels,
    lowest: Option<Level>,
}

impl Learned {
    pub(super) fn new(learning: Learning, theta: f64, period: Duration, least_share: f64) -> Self {
        let settle = learning.settle.as_secs_f64() / period.as_secs_f64();
        Self {
            theta,
            pauses: Pauses::new(&learning, period),
            learning,
            noise: NOISE,
            good: least_share.max(0.01),
            used: VecDeque::new(),
            settle_samples: settle.clamp(1.0, LONGEST) as usize + 2,
            stretch: Stretch::default(),
            watched: VecDeque::new(),
            present: None,
            levels: Levels::default(),
            lowest: None,
        }
    }

    /// What may be added to the healthy latency has changed.
    pub(super) fn set_theta(&mut self, theta: f64) {
        self.theta = theta;
    }

    /// ln of the healthy latency, as far as it is known.
    pub(super) fn healthy(&self) -> Option<f64> {
        let level = self.lowest?;
        Some(level.mean + LUCK * self.theta - RISK * level.error.powi(2) / self.theta)
    }

    /// A reading of ln latency, taken while backups used `used`; `good` is a share that was harmless.
    pub(super) fn observe(&mut self, now: MonoTime, value: f64, used: f64, good: f64, noise: f64) {
        if noise.is_finite() {
            self.noise = noise.max(LEAST_NOISE);
        }
        self.good = self.good.max(good);
        push(&mut self.used, used, self.settle_samples);
        let acting = self.used.iter().copied().fold(0.0, f64::max);
        self.watched.push_back((acting, value));
        if self.changed() {
            self.close(now);
            self.watched.clear();
        }
        if self.stretch.count() >= LONGEST {
            self.close(now);
        }
        // The first stretch of all has nothing to be held against.
        let quarantine = if self.lowest.is_none() { 0 } else { WATCHED };
        while self.watched.len() > quarantine {
            if let Some((share, value)) = self.watched.pop_front() {
                self.stretch.add(share, value);
            }
        }
        if self.stretch.count() >= FEWEST {
            let alone = self.stretch.fit(self.noise, self.good, self.theta).alone;
            self.present = Some(alone);
            if self.stretch.count() >= EXACT_FROM && alone.error <= EXACT * self.theta {
                self.close(now);
            }
        }
        self.lowest = self.levels.lowest(self.present);
    }

    /// The signal was lost in a pause, which is made up for once it is back.
    pub(super) fn give_up_pause(&mut self) {
        self.pauses.give_up(self.lowest.is_some());
    }

    /// Whether the foreground's load varies, as far as was seen.
    pub(super) fn load_varies(&self) -> bool {
        self.lowest.is_some_and(|lowest| self.levels.vary(lowest))
    }

    /// Whether the newest readings are not of the stretch's load any more.
    fn changed(&self) -> bool {
        if self.stretch.count() < FEWEST || self.watched.len() < WATCHED {
            return false;
        }
        let fit = self.stretch.fit(self.noise, self.good, self.theta);
        let off = self.watched.iter().map(|(share, value)| value - fit.expected(*share)).sum::<f64>();
        let off = off / WATCHED as f64;
        let error = (self.noise / (WATCHED as f64).sqrt()).hypot(fit.alone.error);
        off.abs() > 4.0 * error + CHANGED_FROM
    }

    fn close(&mut self, now: MonoTime) {
        if let Some(level) = self.present.take() {
            self.levels.add(now, level, self.learning.memory);
        }
        self.stretch = Stretch::default();
    }
}

fn push<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(value);
}
