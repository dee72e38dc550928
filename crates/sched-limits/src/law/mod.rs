//! From signals to a share of the ceiling: [`ControlLaw`] and the laws.

use std::fmt;
use std::time::Duration;

use sched_core::{MonoTime, Now, Reason};

mod aimd;
mod alone;
mod delay;
mod fixed;
mod freshness;
mod healthy;
mod intake;
mod integral;
mod learned;
mod least;
mod levels;
mod mean;
mod pauses;
mod pi;
mod pressure;
mod reclaim;
mod schedule;
mod stretch;

pub use aimd::{AimdConfig, AimdLaw};
pub use delay::{DelayConfig, DelayLaw};
pub use fixed::FixedLaw;
pub use freshness::FailSlow;
pub use healthy::{Healthy, Learning};
pub use least::Override;
pub use pi::{PiConfig, PiLaw};
pub use pressure::{PressureConfig, PressureLaw};
pub use schedule::{Plan, PlanEntry, ScheduleLaw};

/// Backups that use at least this part of what they were granted would use more: they wait for the rate.
const DEMAND_FROM: f64 = 0.8;

/// One reading of the signal that a law steers by.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Observation {
    /// When it was taken.
    pub at: MonoTime,
    /// The value in the law's unit: seconds for latencies, a share for pressure. One that is not finite, or not
    /// positive where nothing takes no time, counts as missing.
    pub value: f64,
    /// The share that backups really used since the sample before. Far below what was granted, a higher grant would
    /// change nothing, so laws do not raise it.
    pub used: f64,
}

impl Observation {
    /// A value in the law's unit, and the share that backups used since the one before.
    pub fn new(at: MonoTime, value: f64, used: f64) -> Self {
        Self { at, value, used }
    }
}

/// What a law says: a share of the ceiling, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The share, from 0 to the law's cap.
    pub share: f64,
    /// For so long from now the law asks for no backup traffic at all, to see the foreground alone; `share` applies
    /// afterwards.
    pub pause: Option<Duration>,
    /// The signal, its value, its target and the law.
    pub reason: Reason,
}

impl Share {
    /// A share without a pause.
    pub fn new(share: f64, reason: Reason) -> Self {
        Self { share, pause: None, reason }
    }

    /// What may be used now.
    pub fn granted(&self) -> f64 {
        if self.pause.is_some() { 0.0 } else { self.share }
    }
}

/// Turns samples into shares. Pure: no clock, no I/O; time is an argument.
///
/// A law is asked once a sample, and about once a period when no sample comes. What a law must keep:
///
/// - its share is finite and in [0, cap], whatever it is shown;
/// - with the same history, a higher reading never gives a higher next share. A law that learns from readings keeps this
///   for the next share only: later ones may be higher when the higher reading was the truth about the foreground alone;
/// - a missing sample never raises its share. What is granted may rise from 0 when a pause ends, heard or not, but
///   without a signal never over the blind cap ([`FailSlow`]);
/// - the same samples at the same times give the same shares.
///
/// [`Override`] holds a law that says anything but a share from 0 to 1 to what it said before, and the reason says so.
/// It does not catch panics. The scheduler in `backup-sched` does: it sets such a law aside for good, grants its signal
/// a blind share, and reports both.
pub trait ControlLaw: Send + fmt::Debug {
    /// The share from now on. `None`: no usable reading has come since the last call.
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share;

    /// What was granted in the end, where other laws or a ceiling allow less. A law that integrates follows it down,
    /// so that it does not wind up while it has no say. Default: nothing.
    fn track(&mut self, granted: f64) {
        let _ = granted;
    }

    /// By how much the foreground's latency may grow while those backups run that run now: the highest ratio over the
    /// healthy latency, at least 1; `None` when none of them says. A law that knows no healthy latency, told or learned,
    /// has no use for it. Default: nothing.
    fn allow(&mut self, growth: Option<f64>) {
        let _ = growth;
    }
}

/// A setting that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}; it must be {right}")]
#[non_exhaustive]
pub struct LawError {
    /// Which setting.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// What would be right.
    pub right: &'static str,
}

/// Whether a setting lies over `low` and at most at `high`.
fn above(
    field: &'static str,
    value: f64,
    (low, high): (f64, f64),
    right: &'static str,
) -> Result<(), LawError> {
    if value.is_finite() && value > low && value <= high {
        Ok(())
    } else {
        Err(LawError { field, value, right })
    }
}

/// Whether a setting lies from `low` to `high`.
fn within(
    field: &'static str,
    value: f64,
    (low, high): (f64, f64),
    right: &'static str,
) -> Result<(), LawError> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(LawError { field, value, right }) }
}
