//! What kind of work a server does: [`Workload`], [`QueryPattern`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of work the requests of the last moments were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QueryPattern {
    /// Hardly any.
    Idle,
    /// Short reads: somebody waits for each.
    PointReads,
    /// Short writes: somebody waits for each, and for the disk.
    Writes,
    /// Requests that read or change much each: jobs that are measured in minutes.
    Batch,
}

impl fmt::Display for QueryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::PointReads => "point reads",
            Self::Writes => "writes",
            Self::Batch => "batch",
        })
    }
}

/// What a server did in a second, by its own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Workload {
    /// Requests that read.
    pub reads_per_s: f64,
    /// Requests that change something.
    pub writes_per_s: f64,
    /// Rows, keys or the like that were touched, in the technology's own measure.
    pub touched_per_s: f64,
}

impl Workload {
    /// Fewer requests than this a second are none: monitoring alone asks that often.
    const IDLE_PER_S: f64 = 1.0;
    /// A request that touches more than this on average is one of a batch: a page of results for a person holds tens
    /// of rows, a report or a bulk change thousands.
    const BATCH_TOUCHED: f64 = 1000.0;

    /// A workload of so many requests.
    pub fn new(reads_per_s: f64, writes_per_s: f64, touched_per_s: f64) -> Self {
        Self { reads_per_s, writes_per_s, touched_per_s }
    }

    /// All requests.
    pub fn requests_per_s(&self) -> f64 {
        self.reads_per_s + self.writes_per_s
    }

    /// What was touched by the average request; 0 when there was none.
    pub fn touched_per_request(&self) -> f64 {
        match self.requests_per_s() {
            requests if requests > 0.0 => self.touched_per_s / requests,
            _ => 0.0,
        }
    }

    /// What kind of work that is.
    ///
    /// ```
    /// use sched_drivers::server::{QueryPattern, Workload};
    ///
    /// // The same number of requests: people who look things up, and a report.
    /// assert_eq!(Workload::new(200.0, 10.0, 900.0).pattern(), QueryPattern::PointReads);
    /// assert_eq!(Workload::new(200.0, 10.0, 4_000_000.0).pattern(), QueryPattern::Batch);
    /// ```
    pub fn pattern(&self) -> QueryPattern {
        if self.requests_per_s() < Self::IDLE_PER_S && self.touched_per_s < Self::BATCH_TOUCHED {
            QueryPattern::Idle
        } else if self.touched_per_request() > Self::BATCH_TOUCHED {
            QueryPattern::Batch
        } else if self.writes_per_s > self.reads_per_s {
            QueryPattern::Writes
        } else {
            QueryPattern::PointReads
        }
    }
}

/// How much the load of each pattern counts: 1 as measured, 0 not at all.
///
/// The defaults say that people feel a backup and jobs do not: a batch counts half, so that at the same pressure
/// backups are held back beside short requests and go on beside a report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PatternWeights {
    /// Of short reads. Default 1.
    pub point_reads: f64,
    /// Of short writes. Default 1.
    pub writes: f64,
    /// Of batches. Default .5.
    pub batch: f64,
}

impl Default for PatternWeights {
    fn default() -> Self {
        Self { point_reads: 1.0, writes: 1.0, batch: 0.5 }
    }
}

impl PatternWeights {
    /// The weight of a pattern; of an idle server 1.
    pub fn of(&self, pattern: QueryPattern) -> f64 {
        match pattern {
            QueryPattern::Idle => 1.0,
            QueryPattern::PointReads => self.point_reads,
            QueryPattern::Writes => self.writes,
            QueryPattern::Batch => self.batch,
        }
    }
}
