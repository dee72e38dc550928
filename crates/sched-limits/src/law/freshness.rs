//! What to do while a signal is silent: [`FailSlow`].

use std::time::Duration;

use sched_core::{MonoTime, Now, Reason};

use super::schedule::Plan;
use super::{LawError, within};

/// Up to this age, in periods, the share is held; then it decays.
const HELD_PERIODS: f64 = 5.0;
/// The part of the share that is left after each further period.
const LEFT: f64 = 0.8;

/// A silent signal is neither a calm nor a busy one: the share is held until the last sample is five periods old,
/// then decays by a fifth a period toward a cap that is safe without knowing, or to 0 inside a declared peak. It
/// never rises. A pause is held as long; then it is given up, and at most the blind cap is granted: a signal that is
/// lost in a pause does not stop backups for ever.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FailSlow {
    /// Time between samples, positive. Default 1 s.
    pub period: Duration,
    /// The share that a silent signal decays to, from 0 to 1. Default .05.
    pub blind_cap: f64,
    /// The share before the first sample, from 0 to `blind_cap`. Default .01.
    pub blind_floor: f64,
    /// Declared peaks: where the plan says 0, nothing is granted without a signal. Default: none.
    pub peaks: Option<Plan>,
}

impl Default for FailSlow {
    fn default() -> Self {
        Self { period: Duration::from_secs(1), blind_cap: 0.05, blind_floor: 0.01, peaks: None }
    }
}

impl FailSlow {
    pub(super) fn check(&self) -> Result<(), LawError> {
        if self.period.is_zero() {
            return Err(LawError { field: "period", value: 0.0, right: "a positive duration" });
        }
        within("blind_cap", self.blind_cap, (0.0, 1.0), "from 0 to 1")?;
        within("blind_floor", self.blind_floor, (0.0, self.blind_cap), "from 0 to the blind cap")
    }

    /// How many periods a time is.
    pub(super) fn periods(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.period.as_secs_f64()
    }

    fn declared_peak(&self, now: Now) -> bool {
        self.peaks.as_ref().is_some_and(|plan| plan.share_at(now.wall) <= 0.0)
    }

    /// The share that is safe without a signal.
    pub(super) fn blind_cap_at(&self, now: Now) -> f64 {
        if self.declared_peak(now) { 0.0 } else { self.blind_cap }
    }
}

/// How old the last sample is, and what is left of a share since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Freshness {
    last: Option<MonoTime>,
    /// Up to when the share has decayed.
    decayed: MonoTime,
}

impl Freshness {
    /// A usable sample came.
    pub(super) fn seen(&mut self, at: MonoTime) {
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    /// Whether the last sample is so young that what was granted is held.
    pub(super) fn held(&self, now: Now, terms: &FailSlow) -> bool {
        self.last.is_some_and(|last| terms.periods(now.mono.since(last)) <= HELD_PERIODS)
    }

    /// What is left of `share` while nothing comes, and why.
    pub(super) fn silent(&mut self, now: Now, share: f64, terms: &FailSlow, law: &str) -> (f64, Reason) {
        let peak = terms.declared_peak(now);
        let Some(last) = self.last else {
            let floor = if peak { 0.0 } else { terms.blind_floor };
            return (share.min(floor), Reason::new(format!("{law}: no signal was ever seen; blind share")));
        };
        let age = terms.periods(now.mono.since(last));
        if age <= HELD_PERIODS {
            return (share, Reason::new(format!("{law}: no new signal; the share is held")));
        }
        let held_until = last + terms.period.mul_f64(HELD_PERIODS);
        let passed = terms.periods(now.mono.since(self.decayed.max(held_until)));
        self.decayed = now.mono;
        let cap = terms.blind_cap_at(now);
        let left = if share <= cap { share } else { (share * LEFT.powf(passed)).max(cap) };
        let toward = if peak { "0 in a declared peak" } else { "the blind cap" };
        (left, Reason::new(format!("{law}: no signal for {age:.0} periods; falling to {toward}")))
    }
}
