//! What must survive a crash: [`Record`], made by the engine for whoever stores it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Order;
use crate::gate::Reason;
use crate::spec::{JobId, JobSpec};
use crate::terms::JobTerms;

/// A place in an engine's journal; later records have larger numbers, the first has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

/// What changed for a job. The last record of a job says all about it, so that a journal can be compacted by keeping
/// that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A job that has not ended, as it stands.
    Job(Box<JobRecord>),
    /// The job has ended for good.
    Ended(JobId),
}

impl Record {
    /// The job that it is about.
    pub fn job(&self) -> JobId {
        match self {
            Self::Job(record) => record.id,
            Self::Ended(id) => *id,
        }
    }
}

/// A job that has not ended, with all that a scheduler needs to go on with it after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// The request, with the class and the deadline that count.
    pub spec: JobSpec,
    /// The terms.
    pub terms: Arc<JobTerms>,
    /// 90th percentile of the run time, as asked for or learned.
    pub expected_duration: Duration,
    /// Bytes that it is expected to move, as asked for or learned.
    pub size_bytes: Option<u64>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// The newest attempt, 0 before the first.
    pub attempt: u32,
    /// That attempt has not ended. After a restart it counts as interrupted: no retry is spent.
    pub under_way: bool,
    /// Failed attempts that count against the retries.
    pub failures: u16,
    /// The job was interrupted, and is to continue then.
    pub interrupted_until: Option<Timestamp>,
    /// The order of an operator who wants it now.
    pub run_now: Option<Order>,
    /// When a back-off ends.
    pub back_off_until: Option<Timestamp>,
    /// When it last failed.
    pub failed: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// Requests that it answers.
    pub requesters: u16,
    /// Somebody asked for its end, and the attempt has not stopped yet.
    pub cancelled: Option<Reason>,
}

/// Why records were not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Jobs were accepted before.
    #[error("records are taken over before anything is submitted; the engine has accepted {0} jobs")]
    InUse(u64),
    /// A record is damaged.
    #[error("the journal says that {job} is at attempt {attempt}: no scheduler has counted that far")]
    TooLarge {
        /// The job.
        job: JobId,
        /// Its newest attempt.
        attempt: u32,
    },
}
