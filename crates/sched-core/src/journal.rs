//! What must survive a crash: [`Record`], made by the engine for whoever stores it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Order;
use crate::estimate::Estimate;
use crate::gate::{Reason, Scope};
use crate::name::{InstanceName, TechnologyName};
use crate::spec::{BackupKind, JobId, JobSpec};
use crate::terms::JobTerms;

/// A place in an engine's journal; later records have larger numbers, the first has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

/// What changed for a job, a scope or an instance. The last record of each says all about it, so that a journal can be
/// compacted by keeping that one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A job that has not ended, as it stands.
    Job(Box<JobRecord>),
    /// The job has ended for good.
    Ended(JobId),
    /// The orders of operators that stand for a scope.
    Orders(Box<StandingOrders>),
    /// What was learned of the backups of an instance.
    Estimate(Box<EstimateRecord>),
}

impl Record {
    /// The job that it is about; `None` for what is not about one.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Job(record) => Some(record.id),
            Self::Ended(id) => Some(*id),
            Self::Orders(_) | Self::Estimate(_) => None,
        }
    }
}

/// The orders of operators that stand for one scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StandingOrders {
    /// Whom they concern.
    pub scope: Scope,
    /// Nothing starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Order>,
    /// The hold is a drain: somebody waits for what still runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// All jobs of the scope are wanted now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_now: Option<Order>,
    /// The most that they may move together, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<(u64, Order)>,
}

impl StandingOrders {
    /// None yet.
    pub fn none(scope: Scope) -> Self {
        Self { scope, hold: None, drain: false, run_now: None, ceiling: None }
    }

    /// Whether none stands any more.
    pub fn is_empty(&self) -> bool {
        self.hold.is_none() && self.run_now.is_none() && self.ceiling.is_none()
    }
}

/// What was learned of the backups of an instance of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EstimateRecord {
    /// The instance.
    pub instance: InstanceName,
    /// What part of the data.
    pub kind: BackupKind,
    /// Its technology.
    pub technology: TechnologyName,
    /// Run time and size; `None` once the instance was forgotten.
    pub estimate: Option<Estimate>,
}

/// A job that has not ended, with all that a scheduler needs to go on with it after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// The request, with the class and the deadline that count.
    pub spec: JobSpec,
    /// The terms. Left out where they are the default ones.
    #[serde(default = "default_terms", skip_serializing_if = "are_default")]
    pub terms: Arc<JobTerms>,
    /// 90th percentile of the run time, as asked for or learned.
    pub expected_duration: Duration,
    /// Bytes that it is expected to move, as asked for or learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// The newest attempt, 0 before the first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempt: u32,
    /// That attempt has not ended. After a restart it counts as interrupted: no retry is spent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub under_way: bool,
    /// Failed attempts that count against the retries.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failures: u16,
    /// The job was interrupted, and is to continue then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted_until: Option<Timestamp>,
    /// The order of an operator who wants it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_now: Option<Order>,
    /// When a back-off ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_off_until: Option<Timestamp>,
    /// When it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Timestamp>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Requests that it answers.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub requesters: u16,
    /// Somebody asked for its end, and the attempt has not stopped yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Reason>,
}

/// What most jobs have alike is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The same for all that leave theirs out.
fn default_terms() -> Arc<JobTerms> {
    static TERMS: LazyLock<Arc<JobTerms>> = LazyLock::new(Arc::default);
    TERMS.clone()
}

fn are_default(terms: &Arc<JobTerms>) -> bool {
    *terms == default_terms()
}

fn one() -> u16 {
    1
}

fn is_one(requesters: &u16) -> bool {
    *requesters == one()
}

/// Why records were not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Jobs were accepted before.
    #[error("records are taken over before anything is submitted; the engine has accepted {0} jobs")]
    InUse(u64),
    /// A job is known already.
    #[error(
        "{0} is known already: what is taken over has not been let go by this engine, or was taken over before"
    )]
    Known(JobId),
    /// A record is damaged.
    #[error("the journal says that {job} is at attempt {attempt}: no scheduler has counted that far")]
    TooLarge {
        /// The job.
        job: JobId,
        /// Its newest attempt.
        attempt: u32,
    },
}
