//! The latency without backups, known or learned: [`Healthy`].

use std::time::Duration;

use super::LawError;

/// The foreground's latency without backups.
#[derive(Clone, Debug, PartialEq)]
pub enum Healthy {
    /// Known beforehand. A goal is not the healthy latency.
    Known(Duration),
    /// Not known: there is only a goal, and this is what the allowance makes of it. What may be added to a healthy
    /// latency ([`ControlLaw::allow`](super::ControlLaw::allow)) changes nothing here.
    Assumed(Duration),
    /// Learned while backups run slowly or pause.
    Learned(Learning),
}

/// How a healthy latency is learned.
///
/// The law sees how latency goes with the backups' own rate, and pauses them now and then, for 1 to 4 % of the time,
/// to see the foreground alone. What counts as healthy is the lowest latency without backups that was seen in the
/// memory: it falls at once, and rises only when everything lower has been forgotten, never because backups slow
/// the foreground.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Learning {
    /// How long the foreground takes to feel a pause: the lag of the machine and of its signal. Default 8 s.
    pub settle: Duration,
    /// How long a level is remembered. Default a day, so that its quiet hours count at its peaks.
    pub memory: Duration,
    /// Seed of the pauses' random times. Default 0; the same seed and samples give the same pauses.
    pub seed: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self { settle: Duration::from_secs(8), memory: Duration::from_secs(86_400), seed: 0 }
    }
}

impl Healthy {
    pub(super) fn check(&self) -> Result<(), LawError> {
        let positive = |field, time: Duration| match time.is_zero() {
            true => Err(LawError { field, value: 0.0, right: "a positive duration" }),
            false => Ok(()),
        };
        match self {
            Self::Known(latency) | Self::Assumed(latency) => positive("healthy", *latency),
            Self::Learned(learning) => {
                positive("settle", learning.settle).and_then(|()| positive("memory", learning.memory))
            }
        }
    }
}
