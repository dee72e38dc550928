//! What can go wrong when the engine is asked for something.

use crate::name::{CalendarName, GroupName, InstanceName};
use crate::resource::{DemandError, PlaceError};
use crate::spec::{BackupKind, JobId, SpecError};

/// Why a submission was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The request makes no sense by itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The request needs something that can never be had.
    #[error(transparent)]
    Demand(#[from] DemandError),
    /// What must be set for the request cannot be set.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Requests that are accepted together or not at all ask twice for the same backup.
    #[error("a {kind} backup of {instance:?} is asked for twice in one submission: leave one out")]
    Twice {
        /// Of what.
        instance: InstanceName,
        /// In which way.
        kind: BackupKind,
    },
    /// A group is named that nobody gave a limit.
    #[error("groups: there is no group {group:?}: give it a limit first, or leave it out")]
    UnknownGroup {
        /// The name found.
        group: GroupName,
    },
    /// A calendar is named that nobody has set.
    #[error("window: there is no calendar {calendar:?}: set it first, or leave it out")]
    UnknownCalendar {
        /// The name found.
        calendar: CalendarName,
    },
    /// A backup of this instance and kind is pending already, and was asked for differently; or one runs, of another
    /// technology.
    #[error(
        "{job} already waits to make this backup, or makes it, with another {field} ({pending}; now {asked}): \
         cancel it first, or ask for the same"
    )]
    Conflict {
        /// The pending or running job.
        job: JobId,
        /// The field that differs.
        field: &'static str,
        /// Its value in the pending job.
        pending: String,
        /// Its value in this request.
        asked: String,
    },
    /// The queue holds as many jobs as it may.
    #[error(
        "the queue is full ({pending} jobs pending): submit again when some have finished, or raise the limit"
    )]
    QueueFull {
        /// Jobs pending.
        pending: usize,
    },
    /// The scheduler takes no more work.
    #[error("the scheduler is shutting down and takes no more jobs")]
    ShuttingDown,
}

/// No job has that number, or it ended so long ago that it was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not known: it was never submitted here, or ended long ago")]
#[non_exhaustive]
pub struct UnknownJob(pub JobId);
