//! What is kept: [`Entry`], and under which [`Key`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Order;
use crate::gate::Scope;
use crate::journal::{EstimateRecord, JobRecord, Record, StandingOrders};
use crate::name::InstanceName;
use crate::spec::{BackupKind, JobId, JobSpec};
use crate::status::JobStatus;

use super::fleet::{Ask, Request};

/// Audit entries that a store keeps: the newest so many.
pub const AUDIT_KEPT: u64 = 10_000;

/// What is kept under one [`Key`]. Fields may be added with a default; a change of meaning needs another version of
/// whatever stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Entry {
    /// A job that has not ended.
    Job(Box<JobEntry>),
    /// A job has ended; removes its key.
    Ended(JobId),
    /// A job has ended in this way; removes its key.
    EndedAs(Box<JobStatus>),
    /// Something is asked of another scheduler that shares the store.
    Asked(Box<Request>),
    /// What another scheduler asked for has led to a job, or to nothing, for the reason given.
    Answered(Box<Request>, Result<JobId, String>),
    /// The orders of operators that stand for a scope; removes its key when there are none.
    Orders(Box<StandingOrders>),
    /// What was learned of an instance's backups; removes its key without an estimate.
    Estimate(Box<EstimateRecord>),
    /// How a recurring backup stands.
    Schedule(Box<ScheduleEntry>),
    /// The learned week of a scope, in a form that only who learns it knows; removes its key with `None`.
    Week(Scope, Option<String>),
    /// What an operator did.
    Audit(Box<AuditEntry>),
}

/// Under what an [`Entry`] is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Key {
    /// A job.
    Job(JobId),
    /// The orders of a scope.
    Orders(Scope),
    /// What was learned of an instance's backups of a kind.
    Estimate(InstanceName, BackupKind),
    /// The recurring backup of an instance, or cluster, and kind.
    Schedule(InstanceName, BackupKind),
    /// The learned week of a scope.
    Week(Scope),
    /// A request, by the number of the job that it is about, and whether it is for its end.
    Asked(JobId, bool),
    /// An answered request, by its number.
    Answered(i64),
    /// An audit entry, by its number.
    Audit(u64),
}

impl Entry {
    /// Under what it is kept.
    pub fn key(&self) -> Key {
        match self {
            Self::Job(job) => Key::Job(job.record.id),
            Self::Ended(job) => Key::Job(*job),
            Self::EndedAs(status) => Key::Job(status.job.id),
            Self::Asked(request) => match &request.ask {
                Ask::Submit(job, _) => Key::Asked(*job, false),
                Ask::Cancel(job, _) => Key::Asked(*job, true),
            },
            Self::Answered(request, _) => Key::Answered(request.number),
            Self::Orders(orders) => Key::Orders(orders.scope.clone()),
            Self::Estimate(record) => Key::Estimate(record.instance.clone(), record.kind),
            Self::Schedule(schedule) => Key::Schedule(schedule.instance.clone(), schedule.kind),
            Self::Week(scope, _) => Key::Week(scope.clone()),
            Self::Audit(audit) => Key::Audit(audit.number),
        }
    }

    /// Whether nothing is kept under its key from then on.
    pub fn removes(&self) -> bool {
        match self {
            Self::Ended(_) | Self::EndedAs(_) | Self::Asked(_) | Self::Answered(..) => true,
            Self::Orders(orders) => orders.is_empty(),
            Self::Estimate(record) => record.estimate.is_none(),
            Self::Schedule(schedule) => schedule.is_gone,
            Self::Week(_, week) => week.is_none(),
            Self::Job(_) | Self::Audit(_) => false,
        }
    }

    /// As the engine takes it over; `None` for what it does not know.
    pub fn into_record(self) -> Option<Record> {
        match self {
            Self::Job(job) => Some(Record::Job(job.record)),
            Self::Ended(job) => Some(Record::Ended(job)),
            Self::EndedAs(status) => Some(Record::Ended(status.job.id)),
            Self::Orders(orders) => Some(Record::Orders(orders)),
            Self::Estimate(record) => Some(Record::Estimate(record)),
            Self::Schedule(_) | Self::Week(..) | Self::Audit(_) | Self::Asked(_) | Self::Answered(..) => None,
        }
    }
}

impl From<Record> for Entry {
    fn from(record: Record) -> Self {
        match record {
            Record::Job(record) => Self::Job(Box::new(JobEntry::new(record))),
            Record::Ended(job) => Self::Ended(job),
            Record::Orders(orders) => Self::Orders(orders),
            Record::Estimate(record) => Self::Estimate(record),
        }
    }
}

/// A job that has not ended, with what its scheduler knows of it beside the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobEntry {
    /// The job as it stands.
    pub record: Box<JobRecord>,
    /// What was asked for, before the policies were heard; `None` if that was no more than instance, technology and
    /// kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<JobSpec>>,
    /// Whoever asked makes the backup, and is gone after a restart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    /// A former attempt was cut off, and nobody has cleaned up after it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unclean: bool,
}

impl JobEntry {
    /// A job of which nothing is known beside the engine.
    pub fn new(record: impl Into<Box<JobRecord>>) -> Self {
        Self { record: record.into(), asked: None, pull: false, unclean: false }
    }
}

/// How the recurring backup of an instance, or cluster, of one kind stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScheduleEntry {
    /// The instance, or the cluster.
    pub instance: InstanceName,
    /// What part of the data.
    pub kind: BackupKind,
    /// The newest recovery point that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<Timestamp>,
    /// Slots up to then have been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dealt_with: Option<Timestamp>,
    /// It is not asked for before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The job that was asked for, and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Nothing is known of it any more: removes the key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_gone: bool,
}

impl ScheduleEntry {
    /// One of which nothing is known yet.
    pub fn new(instance: InstanceName, kind: BackupKind) -> Self {
        Self {
            instance,
            kind,
            recovery_point: None,
            dealt_with: None,
            not_before: None,
            job: None,
            is_gone: false,
        }
    }
}

/// What an operator did, or what became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Counts the entries of a store, from 1; where several schedulers share it, those of each.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What, in words, such as `hold` or `ceiling of 1000 bytes/s`.
    pub what: String,
    /// Whom it concerns; `None`: the job alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The job that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The order; `None` when one was taken back or has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

impl AuditEntry {
    /// An entry that is about no scope and no job yet.
    pub fn new(number: u64, at: Timestamp, what: impl Into<String>) -> Self {
        Self { number, at, what: what.into(), scope: None, job: None, order: None }
    }
}
