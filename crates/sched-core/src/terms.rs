//! Under which terms a job runs: [`JobTerms`], what it needs ([`Demand`]), its retries ([`RetryPolicy`]), and what
//! becomes of it at the end of its window ([`WindowEnd`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kinds::Kinds;
use crate::name::{CalendarName, ResourceName, SensitivityName};
use crate::run::RunPhase;
use crate::spec::Priority;

/// The resource every job takes one of while it runs.
pub const SLOTS: &str = "slots";

/// Amounts of named resources that a job takes together, all or nothing.
///
/// An amount counts at every place on the way from the job's host (or volume) to the fleet that has such a resource:
/// `disk` at the host, `net` at host and uplink, [`SLOTS`] wherever slots are limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Demand(std::collections::BTreeMap<ResourceName, u64>);

impl Demand {
    /// One slot: what every job needs at least.
    pub fn one_slot() -> Self {
        let mut demand = Self::default();
        demand.add(SLOTS, 1);
        demand
    }

    /// Adds `amount` of `resource`; amounts of one resource add up, saturating. Zero adds nothing.
    pub fn add(&mut self, resource: impl Into<ResourceName>, amount: u64) {
        if amount > 0 {
            let held = self.0.entry(resource.into()).or_default();
            *held = held.saturating_add(amount);
        }
    }

    /// Raises each amount to what `other` needs, if that is more.
    pub(crate) fn join(&mut self, other: &Self) {
        for (resource, amount) in other.iter() {
            let held = self.0.entry(resource.clone()).or_default();
            *held = amount.max(*held);
        }
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amounts, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, u64)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }
}

/// The terms under which a job runs: the request completed by its technology's policy.
///
/// `sched-policy` makes these; a host without policies can fill them by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobTerms {
    /// Urgency class.
    pub priority: Priority,
    /// The recovery point must be renewed within this time of the submission. Default 24 h.
    pub rpo: Duration,
    /// 90th percentile of the paced run time. Default 1 h.
    pub expected_duration: Duration,
    /// What the job holds while it runs. Default one slot.
    pub demand: Demand,
    /// Whether the job may stop at a checkpoint in a peak and go on later. Default no.
    pub pausable: bool,
    /// Whether the attempt may be cancelled when a critical job needs what it holds and nothing that can pause
    /// would do. It then waits for another turn, at least
    /// [`pause_within`](crate::EngineConfig::pause_within), and no retry is spent. Default no.
    pub cancellable: bool,
    /// Rate below which slowing does harm (redo logs wrap, snapshots grow). Default 0: none.
    pub floor_bytes_per_sec: u64,
    /// An attempt that runs longer is cancelled and counts as failed. Paused time does not count. Default none.
    pub timeout: Option<Duration>,
    /// What is known of the phases of an attempt: of one that an executor announces under the same name, what is said
    /// here counts. Default nothing.
    #[serde(default)]
    pub phases: Vec<RunPhase>,
    /// Kinds of backups of the same instance beside which the job does not start; its own is one of them anyway. Asked of
    /// whoever is about to start: say it of both. Default none.
    #[serde(default)]
    pub apart: Kinds,
    /// What happens after a failed attempt.
    pub retry: RetryPolicy,
    /// The calendar that says when the job may run. Default none: at any time.
    #[serde(default)]
    pub window: Option<CalendarName>,
    /// Whether the job starts outside its windows from its latest start on. A blackout keeps it all the same. Default
    /// no.
    #[serde(default)]
    pub open_window_when_late: bool,
    /// What becomes of an attempt under way when its window ends or a blackout begins. Default: it finishes.
    #[serde(default)]
    pub window_end: WindowEnd,
    /// Beside what is said for all, the load counts that was said for jobs of this sensitivity
    /// ([`Engine::set_load_of`](crate::Engine::set_load_of)). A name that cannot be used counts as none. Default none.
    #[serde(default)]
    pub sensitivity: Option<SensitivityName>,
    /// By how much the foreground's latency may grow while the job runs, in millionths: 100 000 is a tenth. The engine
    /// leaves it to whoever chooses rates. Default: as that one is set.
    #[serde(default)]
    pub latency_growth_ppm: Option<u32>,
}

/// What becomes of an attempt under way when its window ends or a blackout begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowEnd {
    /// It runs to its end.
    #[default]
    Finish,
    /// It pauses until the next window. Those that may not pause finish.
    Pause,
    /// It is told to stop, and continues in the next window with another attempt. No retry is spent.
    Stop,
}

impl Default for JobTerms {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            rpo: Duration::from_secs(24 * 3600),
            expected_duration: Duration::from_secs(3600),
            demand: Demand::one_slot(),
            pausable: false,
            cancellable: false,
            floor_bytes_per_sec: 0,
            timeout: None,
            phases: Vec::new(),
            apart: Kinds::default(),
            retry: RetryPolicy::default(),
            window: None,
            open_window_when_late: false,
            window_end: WindowEnd::default(),
            sensitivity: None,
            latency_growth_ppm: None,
        }
    }
}

/// Attempts and the back-off between them: full jitter, doubling, capped.
///
/// The wait before attempt *n* + 1 is uniform in `[0, min(cap, base · 2ⁿ⁻¹)]`, the "full jitter" of
/// *Exponential Backoff And Jitter* (M. Brooker, AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1. Default 4.
    pub max_attempts: u32,
    /// Upper bound of the first wait. Default 1 min.
    pub base: Duration,
    /// Upper bound of any wait. Default 30 min.
    pub cap: Duration,
}

impl RetryPolicy {
    /// A policy of `max_attempts` (at least 1) with waits from `base`, doubling up to `cap`.
    pub fn new(max_attempts: u32, base: Duration, cap: Duration) -> Self {
        Self { max_attempts: max_attempts.max(1), base, cap }
    }

    /// The longest wait after `failed` failed attempts.
    pub fn longest_wait(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(4, Duration::from_secs(60), Duration::from_secs(30 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_wait_doubles_up_to_the_cap() {
        let retry = RetryPolicy::new(9, Duration::from_secs(2), Duration::from_secs(10));
        let waits: Vec<_> = (1..=5).map(|n| retry.longest_wait(n).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 10, 10]);
        assert_eq!(retry.longest_wait(u32::MAX).as_secs(), 10);
    }
}
