//! Settings of a [`ConcurrencyLaw`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sched_core::SignalName;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::ConcurrencyLaw;
use super::demand::JobDemand;
use crate::signal;
#[cfg(doc)]
use crate::threshold::Threshold;

/// Settings of a [`ConcurrencyLaw`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ConcurrencyConfig {
    /// What a running job uses of each signal; `network` stands for `network:eth0` too. A signal that is not named here,
    /// or has no [`Threshold`], bounds nothing. Default: `cpu`, `disk` and `network`, learned from an eighth of the capacity; `memory`, learned from a
    /// sixteenth.
    pub demands: BTreeMap<SignalName, JobDemand>,
    /// Signals of what a job takes whole, however slowly it runs: where less than that is left, none may run. Of
    /// anything else a job that is slowed takes less, so one may run while the threshold is not crossed. Default:
    /// `memory`.
    pub held: BTreeSet<SignalName>,
    /// What a job moves when nothing slows it, in bytes a second, at least 1. Default `None`: learned while the rate
    /// does not slow the jobs, and no bound before that.
    pub job_bytes_per_sec: Option<u64>,
    /// The most that may run in any scope, at least 1. Default 1,000.
    pub max: u32,
    /// Time between two steps up, and the time for which one more must have fitted. Positive. Default 30 s.
    pub step: Duration,
    /// How many may run when a signal is lost. More than these become fewer, one every [`step`](Self::step). Default 1;
    /// with 0 a lost signal may keep everything from starting until it is back.
    pub blind: u32,
}

impl ConcurrencyConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first setting that does not, with what would be right.
    pub fn check(&self) -> Result<(), ConcurrencyError> {
        for (signal, demand) in &self.demands {
            signal.check().map_err(|source| ConcurrencyError::Name { signal: signal.clone(), source })?;
            if !demand.is_usable() {
                return Err(ConcurrencyError::Demand { signal: signal.clone(), demand: *demand });
            }
        }
        match self {
            Self { max: 0, .. } => Err(ConcurrencyError::Zero { setting: "max" }),
            Self { job_bytes_per_sec: Some(0), .. } => {
                Err(ConcurrencyError::Zero { setting: "job_bytes_per_sec" })
            }
            Self { step: Duration::ZERO, .. } => Err(ConcurrencyError::Zero { setting: "step" }),
            _ => Ok(()),
        }
    }

    /// What a job takes of a signal, and whether it holds it. One of `network:eth0` is that of `network` where it has
    /// none of its own.
    pub(super) fn demand_of(&self, signal: &SignalName) -> Option<(JobDemand, bool)> {
        let kind = || SignalName::from(signal::kind(signal));
        let (name, demand) =
            self.demands.get_key_value(signal).or_else(|| self.demands.get_key_value(&kind()))?;
        Some((*demand, self.held.contains(name)))
    }
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        let shares = [("cpu", 0.125), ("disk", 0.125), ("memory", 0.0625), ("network", 0.125)];
        let demands = shares.map(|(signal, share)| (SignalName::from(signal), JobDemand::Learned(share)));
        Self {
            demands: demands.into(),
            held: BTreeSet::from(["memory".into()]),
            job_bytes_per_sec: None,
            max: 1_000,
            step: Duration::from_secs(30),
            blind: 1,
        }
    }
}

/// A [`ConcurrencyConfig`] that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConcurrencyError {
    /// A signal's name cannot be used.
    #[error("demands: the signal name {signal:?} cannot be used: {source}")]
    Name {
        /// The name.
        signal: SignalName,
        /// Why.
        source: sched_core::NameError,
    },
    /// A demand is not an amount.
    #[error(
        "demands: {demand:?} of {signal}; a fixed demand is positive, a learned one a share over 0 up to 1"
    )]
    Demand {
        /// The signal.
        signal: SignalName,
        /// What was given.
        demand: JobDemand,
    },
    /// A setting is 0 that has to be positive.
    #[error("{setting} is 0; it must be positive")]
    Zero {
        /// Which.
        setting: &'static str,
    },
}
