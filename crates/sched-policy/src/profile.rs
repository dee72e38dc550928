//! What one technology needs: [`Profile`].

use std::collections::BTreeMap;
use std::time::Duration;

use sched_core::{BackupKind, Demand, JobSpec, JobTerms, Priority, RetryPolicy};
use serde::{Deserialize, Serialize};

/// The shortest expected duration: starting a tool and closing its files takes that long whatever the size.
const SHORTEST: Duration = Duration::from_secs(10);

/// What a technology needs, kind by kind where kinds differ. Every value counts: [`terms`](Self::terms) uses them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Profile {
    /// Urgency class. Default normal.
    pub priority: Priority,
    /// Recovery point objective. Default 24 h.
    pub rpo: Duration,
    /// Bytes a second that a paced backup is expected to reach, at least 1: estimates the duration from the size.
    /// Default 50 MB/s, the rate that Medusa ships with.
    pub expected_bytes_per_sec: u64,
    /// Expected duration when the size is unknown. Default 1 h.
    pub expected_duration: Duration,
    /// Whether a run may stand still for a while. Default no.
    pub pausable: bool,
    /// Rate below which slowing does harm. Default 0: none.
    pub floor_bytes_per_sec: u64,
    /// Longest run, pauses excluded. Default none.
    pub timeout: Option<Duration>,
    /// What happens after a failure. Default: 4 attempts, from 1 min up to 30 min apart.
    pub retry: RetryPolicy,
    /// What a run holds. Default one slot.
    pub demand: Demand,
    /// Whole profiles for kinds that need something else.
    pub kinds: BTreeMap<BackupKind, Profile>,
}

impl Default for Profile {
    fn default() -> Self {
        let terms = JobTerms::default();
        Self {
            priority: terms.priority,
            rpo: terms.rpo,
            expected_bytes_per_sec: 50_000_000,
            expected_duration: terms.expected_duration,
            pausable: terms.pausable,
            floor_bytes_per_sec: terms.floor_bytes_per_sec,
            timeout: terms.timeout,
            retry: terms.retry,
            demand: terms.demand,
            kinds: BTreeMap::new(),
        }
    }
}

impl Profile {
    /// Everything at its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the urgency class.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the recovery point objective.
    #[must_use]
    pub fn rpo(mut self, rpo: Duration) -> Self {
        self.rpo = rpo;
        self
    }

    /// Sets the rate from which durations are estimated.
    #[must_use]
    pub fn expected_bytes_per_sec(mut self, rate: u64) -> Self {
        self.expected_bytes_per_sec = rate;
        self
    }

    /// Sets the expected duration of backups of unknown size.
    #[must_use]
    pub fn expected_duration(mut self, duration: Duration) -> Self {
        self.expected_duration = duration;
        self
    }

    /// Sets whether a run may stand still for a while.
    #[must_use]
    pub fn pausable(mut self, pausable: bool) -> Self {
        self.pausable = pausable;
        self
    }

    /// Sets the rate below which slowing does harm.
    #[must_use]
    pub fn floor_bytes_per_sec(mut self, floor: u64) -> Self {
        self.floor_bytes_per_sec = floor;
        self
    }

    /// Sets the longest run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets what happens after a failure.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Adds to what a run holds.
    #[must_use]
    pub fn demand(mut self, resource: &str, amount: u64) -> Self {
        self.demand.add(resource, amount);
        self
    }

    /// Sets the whole profile of one kind.
    #[must_use]
    pub fn kind(mut self, kind: BackupKind, profile: Profile) -> Self {
        self.kinds.insert(kind, profile);
        self
    }

    /// The profile that counts for a kind.
    pub fn of(&self, kind: BackupKind) -> &Profile {
        self.kinds.get(&kind).unwrap_or(self)
    }

    /// The terms of a request: its own values where it has any, else the profile's of its kind.
    pub fn terms(&self, spec: &JobSpec) -> JobTerms {
        let profile = self.of(spec.kind);
        let mut terms = JobTerms::default();
        terms.priority = spec.priority.unwrap_or(profile.priority);
        terms.rpo = spec.rpo.unwrap_or(profile.rpo);
        terms.expected_duration = spec.expected_duration.unwrap_or_else(|| profile.estimate(spec.size_bytes));
        terms.demand = profile.demand.clone();
        for (resource, amount) in spec.demand.iter() {
            terms.demand.add(resource, amount);
        }
        terms.pausable = profile.pausable;
        terms.floor_bytes_per_sec = profile.floor_bytes_per_sec;
        terms.timeout = profile.timeout;
        terms.retry = profile.retry;
        terms
    }

    fn estimate(&self, size_bytes: Option<u64>) -> Duration {
        match size_bytes {
            Some(size) => Duration::from_secs(size / self.expected_bytes_per_sec.max(1)).max(SHORTEST),
            None => self.expected_duration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn every_value_of_a_profile_changes_the_terms() {
        let spec = JobSpec::new("a", "t");
        let sized = JobSpec::new("a", "t").size_bytes(100_000_000_000);
        let base = Profile::new();
        let changes: [fn(Profile) -> Profile; 9] = [
            |p| p.priority(Priority::High),
            |p| p.rpo(secs(7)),
            |p| p.expected_bytes_per_sec(1_000),
            |p| p.expected_duration(secs(7)),
            |p| p.pausable(true),
            |p| p.floor_bytes_per_sec(7),
            |p| p.timeout(secs(7)),
            |p| p.retry(RetryPolicy::new(1, secs(1), secs(1))),
            |p| p.demand("tape", 1),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let changed = change(base.clone());
            let same =
                changed.terms(&spec) == base.terms(&spec) && changed.terms(&sized) == base.terms(&sized);
            assert!(!same, "change {n} changed nothing");
        }
        let by_kind = base.clone().kind(BackupKind::Log, Profile::new().rpo(secs(1)));
        assert_eq!(by_kind.terms(&spec).rpo, secs(24 * 3600));
        assert_eq!(by_kind.terms(&spec.clone().kind(BackupKind::Log)).rpo, secs(1));
    }

    #[test]
    fn the_request_wins_over_the_profile() {
        let profile = Profile::new().priority(Priority::Low).demand("tape", 1);
        let spec = JobSpec::new("a", "t")
            .priority(Priority::Critical)
            .rpo(secs(5))
            .expected_duration(secs(6))
            .demand("tape", 2);
        let terms = profile.terms(&spec);
        assert_eq!(terms.priority, Priority::Critical);
        assert_eq!((terms.rpo, terms.expected_duration), (secs(5), secs(6)));
        assert_eq!(terms.demand.iter().map(|(_, amount)| amount).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn durations_come_from_the_size_where_it_is_known() {
        let profile = Profile::new().expected_bytes_per_sec(1_000_000);
        let spec = JobSpec::new("a", "t");
        assert_eq!(profile.terms(&spec.clone().size_bytes(3_600_000_000)).expected_duration, secs(3600));
        assert_eq!(profile.terms(&spec.clone().size_bytes(1)).expected_duration, SHORTEST);
        assert_eq!(
            Profile::new().expected_bytes_per_sec(0).terms(&spec.size_bytes(1)).expected_duration,
            SHORTEST
        );
    }
}
