//! What one signal, or the rate, lets run, as it was last seen.

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::{Measured, MonoTime, Reason, Scope, SignalName};

use super::demand::push;
use super::lower_median;
use crate::rate::Rate;
use crate::status::{Freshness, LOST_AFTER_PERIODS};
use crate::threshold::Threshold;

/// Answers whose median counts: one wild reading changes nothing.
const ANSWERS: usize = 5;

/// How many jobs fit: more than `most` must not run, and up to `ample` may be let in. The gap is the hysteresis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fits {
    pub(super) most: u32,
    pub(super) ample: u32,
}

/// What an answer came from.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A reading: the share in use, beside what one of the running jobs takes of it.
    Use { signal: SignalName, utilization: f64, job: f64, threshold: Threshold, running: u32, held: bool },
    /// The rate, in bytes a second, beside what a job moves.
    Rate { rate: u64, job: f64 },
}

/// The answers of one source.
#[derive(Debug)]
pub(super) struct Bound {
    answers: VecDeque<Fits>,
    pub(super) seen: Seen,
    /// When its last answer was measured, and how often that should be; the rate is a decision and does not grow old.
    pub(super) at: MonoTime,
    period: Option<Duration>,
    lost: Option<Lost>,
}

/// A source that does not answer any more.
#[derive(Clone, Copy, Debug)]
struct Lost {
    fits: u32,
    /// When it lets run one less.
    next: MonoTime,
}

impl Bound {
    pub(super) fn new(taken: MonoTime, period: Option<Duration>, fits: Fits, seen: Seen) -> Self {
        Self { answers: VecDeque::from([fits]), seen, at: taken, period, lost: None }
    }

    pub(super) fn answer(&mut self, taken: MonoTime, period: Option<Duration>, fits: Fits, seen: Seen) {
        if self.lost.take().is_some() {
            // What it said long ago is no company for what it says now.
            self.answers.clear();
        }
        push(&mut self.answers, fits, ANSWERS);
        (self.seen, self.at, self.period) = (seen, taken, period);
    }

    /// Only the newest answer counts from now on.
    pub(super) fn forget(&mut self) {
        let older = self.answers.len().saturating_sub(1);
        self.answers.drain(..older);
    }

    /// What it lets run: the medians; of what would let in, the `newest` answer when asked for.
    pub(super) fn fits(&self, newest: bool) -> Fits {
        if let Some(Lost { fits, .. }) = self.lost {
            return Fits { most: fits, ample: fits };
        }
        let median = |of: fn(&Fits) -> u32| lower_median(self.answers.iter().map(of), u32::cmp);
        let most = median(|fits| fits.most).unwrap_or_default();
        let ample = match newest {
            true => self.answers.back().map(|fits| fits.ample),
            false => median(|fits| fits.ample),
        };
        Fits { most, ample: ample.unwrap_or_default() }
    }

    /// Whether it may let more in: its answer is fresh, or it is lost and `blind`.
    pub(super) fn lets_rise(&self, now: MonoTime, blind: bool) -> bool {
        match (self.lost, self.period) {
            (Some(_), _) => blind,
            (None, Some(period)) => Freshness::of(now, self.at, period) == Freshness::Fresh,
            (None, None) => true,
        }
    }

    /// Time has passed. A source that does not answer any more lets `jobs` run at first, then one less every `step`
    /// until it is down at `blind`.
    pub(super) fn age(&mut self, now: MonoTime, jobs: u32, blind: u32, step: Duration) {
        if self.lost_at().is_none_or(|at| now < at) {
            return;
        }
        let most = self.fits(false).most;
        let lost = self.lost.get_or_insert(Lost { fits: most.min(jobs).max(blind), next: now + step });
        while lost.fits > blind && now >= lost.next {
            lost.fits -= 1;
            lost.next = lost.next + step;
        }
    }

    /// When [`age`](Self::age) changes something.
    pub(super) fn next_look(&self, blind: u32) -> Option<MonoTime> {
        match self.lost {
            Some(lost) => (lost.fits > blind).then_some(lost.next),
            None => self.lost_at(),
        }
    }

    fn lost_at(&self) -> Option<MonoTime> {
        self.period.map(|period| self.at + period.saturating_mul(LOST_AFTER_PERIODS))
    }

    /// Why `jobs` may run.
    pub(super) fn reason(&self, scope: &Scope, jobs: u32) -> Reason {
        let noun = if jobs == 1 { "job" } else { "jobs" };
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let (mut text, measured) = match &self.seen {
            Seen::Use { signal, utilization, job, threshold, running, held } => {
                let text = format!(
                    "{signal} of {scope} leaves room for {jobs} {noun}: {} in use, a job takes {}",
                    percent(*utilization),
                    percent(*job)
                );
                // From here on one more would fit.
                let more = match jobs {
                    0 if !held => 0.0,
                    jobs => (f64::from(jobs) + 1.0 - f64::from(*running)).max(0.0),
                };
                let threshold = (threshold.open_below() - more * job).max(0.0);
                let unit = "share";
                (text, Measured::new(signal.clone(), *utilization, threshold, unit))
            }
            Seen::Rate { rate, job } => {
                let each = Rate::BytesPerSec(*job as u64);
                let rate_shown = Rate::BytesPerSec(*rate);
                let text = format!("a rate of {rate_shown} feeds {jobs} {noun} of {each} each");
                let threshold = f64::from(jobs) * job;
                let unit = "bytes/s";
                (text, Measured::new("rate", *rate as f64, threshold, unit))
            }
        };
        if self.lost.is_some() {
            text.push_str("; that was its last answer");
        }
        Reason::measured(text, measured)
    }
}
