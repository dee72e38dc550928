//! When to stop backups for a look at the foreground alone: [`Pauses`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::MonoTime;

use super::healthy::Learning;

/// Length of the first pause, before anything is known, in periods.
const FIRST: u32 = 30;
/// Readings of a routine pause, after it has settled.
const ROUTINE_READINGS: u32 = 4;
/// Readings of a pause that asks whether the foreground has become quieter.
const GROWTH_READINGS: u32 = 48;
/// Periods between routine pauses on average; each is drawn from half to one and a half of that.
const INTERVAL: f64 = 3000.0;
/// Periods over which slow running counts as recent: it shows as much as a pause.
const RECENT: usize = 60;
/// A share that has grown by this factor since the last look is not known to be harmless.
const GROWN: f64 = 1.5;
/// Below these shares there is nothing to look away from.
const WORTHWHILE: f64 = 0.02;
const WORTHWHILE_GROWN: f64 = 0.03;

/// Sparse pauses at random times, so that nothing periodic in the foreground is taken for an effect of backups. One
/// more when the share grows on and on while the load varies: the foreground has become quieter, and what was
/// healthy under more load may be too much to ask now.
#[derive(Clone, Debug)]
pub(super) struct Pauses {
    settle: Duration,
    period: Duration,
    rng: fastrand::Rng,
    recent: VecDeque<f64>,
    until: Option<MonoTime>,
    next: MonoTime,
    begun: bool,
    looked_at: f64,
}

impl Pauses {
    pub(super) fn new(learning: &Learning, period: Duration) -> Self {
        Self {
            settle: learning.settle.max(period * 2),
            period,
            rng: fastrand::Rng::with_seed(learning.seed),
            recent: VecDeque::new(),
            until: None,
            next: MonoTime::MAX,
            begun: false,
            looked_at: 0.0,
        }
    }

    /// What is left of the pause under way.
    pub(super) fn left(&self, now: MonoTime) -> Option<Duration> {
        self.until.map(|until| until.since(now)).filter(|left| !left.is_zero())
    }

    pub(super) fn under_way(&self) -> bool {
        self.until.is_some()
    }

    /// A sample came, taken while backups used `used` and might have used `share`.
    pub(super) fn step(&mut self, now: MonoTime, used: f64, share: f64, load_varies: bool) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(used);
        if self.left(now).is_some() {
            return;
        }
        self.until = None;
        if !self.begun {
            self.begun = true;
            self.looked_at = share;
            return self.pause(now, self.period * FIRST);
        }
        let slowest = self.recent.iter().copied().fold(f64::INFINITY, f64::min);
        if slowest <= 0.5 * share {
            self.looked_at = self.looked_at.max(share);
        }
        let usual = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let grown = load_varies && share > WORTHWHILE_GROWN && usual > GROWN * self.looked_at;
        let known = self.recent.len() == RECENT;
        if grown && known {
            self.looked_at = usual;
            self.pause(now, self.settle + self.period * GROWTH_READINGS);
        } else if now >= self.next && slowest > WORTHWHILE && share > WORTHWHILE {
            self.looked_at = share;
            self.pause(now, self.settle + self.period * ROUTINE_READINGS);
        }
    }

    /// Ends the pause under way, which showed nothing; another takes its place when there are samples again, as the
    /// first one if nothing is `known` yet.
    pub(super) fn give_up(&mut self, known: bool) {
        self.until = None;
        self.next = MonoTime::ZERO;
        self.begun = known;
    }

    fn pause(&mut self, now: MonoTime, length: Duration) {
        let until = now + length;
        self.until = Some(until);
        self.next = until + self.period.mul_f64(INTERVAL * (0.5 + self.rng.f64()));
    }
}
