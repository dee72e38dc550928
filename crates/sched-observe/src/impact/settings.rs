//! What is adjustable: [`ImpactSettings`], [`EventRule`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One of the quantiles that the ledger follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantile {
    /// Half of the requests are no slower.
    P50,
    /// 95 % are no slower.
    P95,
    /// 99 % are no slower.
    #[default]
    P99,
}

impl Quantile {
    /// All of them, in ascending order.
    pub const ALL: [Self; 3] = [Self::P50, Self::P95, Self::P99];

    /// As a share, from 0 to 1.
    pub const fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }
}

/// What a latency must be over to count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Over what users were promised.
    Slo(Duration),
    /// So many times what it was of late: the median of the last two minutes, more than 1.
    Usual(f64),
}

/// When the foreground has a latency event.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EventRule {
    /// Of which latency. Default p99.
    pub quantile: Quantile,
    /// Over what. Default 1.25 times the usual.
    pub over: Over,
    /// Within what time more than half of the moments must be over it, at least three moments long. Default 10 s.
    pub lasting: Duration,
}

impl Default for EventRule {
    fn default() -> Self {
        Self { quantile: Quantile::P99, over: Over::Usual(1.25), lasting: Duration::from_secs(10) }
    }
}

impl EventRule {
    /// Counts what is over the promised latency instead.
    #[must_use]
    pub fn slo(mut self, latency: Duration) -> Self {
        self.over = Over::Slo(latency);
        self
    }
}

/// How an [`ImpactLedger`](super::ImpactLedger) measures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ImpactSettings {
    /// What counts as a latency event.
    pub event: EventRule,
    /// The part of the time of an instance's backups that may be spent in pauses of the ledger's own, over 0 and at most .03.
    /// Default .03.
    pub duty: f64,
    /// How long the foreground takes to feel that a backup stands or moves again; what it records meanwhile counts for
    /// neither. Default .5 s.
    pub settle: Duration,
    /// What is summed up into one moment. Default 1 s; a pause is one moment and the time to settle, or
    /// [whole windows](super::ImpactLedger::set_window).
    pub moment: Duration,
    /// The inflation that must not go unnoticed, more than 1. Verdicts tell it from no effect at all; an effect halfway
    /// between the two, 1.22 times for the default of 1.5, may be called either.
    pub inflation: f64,
    /// The probability with which a verdict between these two may err, below .5. Default .02.
    pub error: f64,
    /// Seed of the times of pauses. Default 0; the same seed and inputs give the same ledger.
    pub seed: u64,
    /// Instances whose foregrounds are watched at most; beyond it, who was silent for longest is forgotten. Default 4096.
    pub instances: usize,
    /// Ended backups that are kept for the report, at least 1. Default 1024.
    pub backups: usize,
    /// Weeks that are kept, at least 1. Default 12.
    pub weeks: usize,
}

impl Default for ImpactSettings {
    fn default() -> Self {
        Self {
            event: EventRule::default(),
            duty: 0.03,
            settle: Duration::from_millis(500),
            moment: Duration::from_secs(1),
            inflation: 1.5,
            error: 0.02,
            seed: 0,
            instances: 4096,
            backups: 1024,
            weeks: 12,
        }
    }
}

/// Settings that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {right}")]
#[non_exhaustive]
pub struct ImpactSettingsError {
    /// Which.
    pub field: &'static str,
    /// What would be right.
    pub right: &'static str,
}

impl ImpactSettings {
    /// With another rule for latency events.
    #[must_use]
    pub fn event(mut self, event: EventRule) -> Self {
        self.event = event;
        self
    }

    /// With another seed for the times of pauses.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With another time to settle.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Whether they make sense.
    ///
    /// # Errors
    /// Names the first that does not, and what would be right.
    pub fn check(&self) -> Result<(), ImpactSettingsError> {
        let over = match self.event.over {
            Over::Slo(latency) => !latency.is_zero(),
            Over::Usual(times) => times > 1.0 && times.is_finite(),
        };
        let rules = [
            (over, "event.over", "a positive latency, or a finite number over 1"),
            (self.duty > 0.0 && self.duty <= 0.03, "duty", "over 0 and at most 0.03"),
            (!self.moment.is_zero(), "moment", "a positive duration"),
            (self.inflation > 1.0 && self.inflation.is_finite(), "inflation", "a finite number over 1"),
            (self.error > 0.0 && self.error < 0.5, "error", "over 0 and below 0.5"),
            (self.instances > 0, "instances", "at least 1"),
            (self.backups > 0, "backups", "at least 1"),
            (self.weeks > 0, "weeks", "at least 1"),
        ];
        match rules.into_iter().find(|(right, ..)| !right) {
            Some((_, field, right)) => Err(ImpactSettingsError { field, right }),
            None => Ok(()),
        }
    }

    /// How long a pause is asked for where requests are told one by one.
    pub fn pause(&self) -> Duration {
        self.settle + self.moment
    }

    /// The same where they are told in windows so long.
    pub(super) fn pause_of(&self, window: Duration) -> Duration {
        if window.is_zero() {
            return self.pause();
        }
        let windows = self.pause().as_nanos().div_ceil(window.as_nanos()).max(2);
        window.saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_named() {
        assert_eq!(ImpactSettings::default().check(), Ok(()));
        let wrong = |change: fn(&mut ImpactSettings)| {
            let mut settings = ImpactSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().field
        };
        assert_eq!(wrong(|s| s.duty = 0.031), "duty");
        assert_eq!(wrong(|s| s.duty = f64::NAN), "duty");
        assert_eq!(wrong(|s| s.inflation = 1.0), "inflation");
        assert_eq!(wrong(|s| s.event.over = Over::Usual(f64::NAN)), "event.over");
        assert_eq!(wrong(|s| s.event.over = Over::Slo(Duration::ZERO)), "event.over");
        assert_eq!(wrong(|s| s.error = 0.5), "error");
        assert_eq!(wrong(|s| s.moment = Duration::ZERO), "moment");
        assert_eq!(wrong(|s| s.weeks = 0), "weeks");
    }
}
