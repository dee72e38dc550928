//! Who caused a latency event: [`Verdict`], [`LatencyEvent`], and how many there were: [`Tally`].

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{InstanceName, JobId};
use serde::{Deserialize, Serialize};

use super::estimate::{Ratio, rate_at_most, share_at_most};

/// Whether a backup caused what the foreground felt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did: latency falls when it stands and rises when it moves, by more than chance explains.
    Caused,
    /// It did not: the foreground feels the same without it.
    NotCaused,
    /// The moments that there were do not say.
    #[default]
    CannotTell,
}

impl Verdict {
    /// Of several causes together: one that did it is enough, and all must be cleared to clear them.
    pub(super) fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::NotCaused;
        let mut none = true;
        for verdict in verdicts {
            none = false;
            match verdict {
                Self::Caused => return Self::Caused,
                Self::CannotTell => all = Self::CannotTell,
                Self::NotCaused => {}
            }
        }
        if none { Self::CannotTell } else { all }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caused => "caused",
            Self::NotCaused => "not caused",
            Self::CannotTell => "cannot tell",
        })
    }
}

/// A latency event while backups ran, and whether they caused it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LatencyEvent {
    /// Whose foreground.
    pub instance: InstanceName,
    /// When latency rose.
    pub began: Timestamp,
    /// Until it was back, or no backup ran any more.
    pub lasted: Duration,
    /// Of all backups that ran.
    pub verdict: Verdict,
    /// Who caused it; otherwise who ran.
    pub jobs: Vec<JobId>,
    /// Latency with the backup over latency without during the event; of the one with the clearest effect if there were
    /// several. `None` if nothing could be compared.
    pub ratio: Option<Ratio>,
    /// From the rise to the verdict; `None` without one.
    pub decided_after: Option<Duration>,
}

/// How many backups there were, and how many latency events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tally {
    /// Backups that have ended.
    pub backups: u64,
    /// Those of them that caused an event.
    pub harmful: u64,
    /// Events that backups caused.
    pub caused: u64,
    /// Events that came by themselves.
    pub not_caused: u64,
    /// Events of which that could not be told.
    pub cannot_tell: u64,
}

impl Tally {
    pub(super) fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Caused => &mut self.caused,
            Verdict::NotCaused => &mut self.not_caused,
            Verdict::CannotTell => &mut self.cannot_tell,
        } += 1;
    }

    pub(super) fn ended(&mut self, harmful: bool) {
        self.backups += 1;
        self.harmful += u64::from(harmful);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.backups += other.backups;
        self.harmful += other.harmful;
        self.caused += other.caused;
        self.not_caused += other.not_caused;
        self.cannot_tell += other.cannot_tell;
    }

    /// Upper bound of the events that a backup causes, at 95 %: exact Poisson, 3 / `backups` when there was none.
    pub fn events_per_backup_at_most(&self) -> f64 {
        rate_at_most(self.caused as f64, self.backups as f64, 0.95)
    }

    /// The same if backups had caused all events of which nothing can be told.
    pub fn events_per_backup_at_worst(&self) -> f64 {
        rate_at_most((self.caused + self.cannot_tell) as f64, self.backups as f64, 0.95)
    }

    /// Upper bound of the share of backups that cause an event, at 95 % (Clopper and Pearson).
    pub fn harmful_share_at_most(&self) -> f64 {
        share_at_most(self.harmful, self.backups, 0.95)
    }
}
