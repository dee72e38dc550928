//! What backups cost their foregrounds: [`ImpactReport`].

use std::time::Duration;

use jiff::Timestamp;
use sched_core::{BackupKind, InstanceName, JobId};
use serde::{Deserialize, Serialize};

use super::estimate::Ratio;
use super::settings::Quantile;
use super::verdict::{LatencyEvent, Tally, Verdict};

/// Latency with backups over latency without, at three quantiles, each with its interval; `None` where there were too
/// few comparisons for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ratios {
    /// Of the medians.
    pub p50: Option<Ratio>,
    /// Of the 95th percentiles.
    pub p95: Option<Ratio>,
    /// Of the 99th percentiles.
    pub p99: Option<Ratio>,
}

impl Ratios {
    /// That of one quantile.
    pub fn of(&self, quantile: Quantile) -> Option<Ratio> {
        match quantile {
            Quantile::P50 => self.p50,
            Quantile::P95 => self.p95,
            Quantile::P99 => self.p99,
        }
    }
}

/// What a ratio was measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Basis {
    /// Nothing yet.
    #[default]
    Nothing,
    /// The backup's own pauses.
    Pauses,
    /// The same hours of other weeks at the same load, without a backup.
    ComparableMoments,
}

/// Latencies that were recorded in one kind of moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latencies {
    /// Requests.
    pub samples: u64,
    /// Half were no slower.
    pub p50: Duration,
    /// 95 % were no slower.
    pub p95: Duration,
    /// 99 % were no slower.
    pub p99: Duration,
}

/// What one backup cost its foreground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackupImpact {
    /// The backup.
    pub job: JobId,
    /// Whose foreground was watched.
    pub instance: InstanceName,
    /// What part of the data.
    pub kind: BackupKind,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended: Option<Timestamp>,
    /// What the ratios were measured against.
    pub basis: Basis,
    /// Comparisons behind the ratios.
    pub comparisons: usize,
    /// With the backup over without it.
    pub ratios: Ratios,
    /// Around its pauses.
    pub with: Latencies,
    /// In its pauses.
    pub without: Latencies,
    /// Latency events while it ran, by what it had to do with them. It counts as one backup once it has ended.
    pub tally: Tally,
    /// Whether it did harm.
    pub verdict: Verdict,
}

/// What the backups of some time cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Period {
    /// The Monday with which it begins, UTC; `None`: all weeks that are kept.
    pub week: Option<Timestamp>,
    /// Backups and events.
    pub tally: Tally,
    /// Comparisons by pauses.
    pub comparisons: usize,
    /// With backups over without, by pauses.
    pub ratios: Ratios,
}

/// What the backups of one instance cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceImpact {
    /// Whose foreground.
    pub instance: InstanceName,
    /// All weeks that are kept together.
    pub all: Period,
    /// Week by week, oldest first.
    pub weeks: Vec<Period>,
}

/// What all backups cost: all of it, by week, by instance and by backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImpactReport {
    /// All weeks that are kept together.
    pub all: Period,
    /// Week by week, oldest first.
    pub weeks: Vec<Period>,
    /// By instance, in the order of their names.
    pub instances: Vec<InstanceImpact>,
    /// The running backups, then the newest that have ended, latest first.
    pub backups: Vec<BackupImpact>,
    /// The newest latency events while backups ran, latest first.
    pub events: Vec<LatencyEvent>,
}
