//! What can go wrong when the engine is asked for something.

use crate::name::GroupName;
use crate::resource::DemandError;
use crate::spec::{JobId, SpecError};

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
    /// A group is named that nobody gave a limit.
    #[error("groups: there is no group {group:?}: give it a limit first, or leave it out")]
    UnknownGroup {
        /// The name found.
        group: GroupName,
    },
    /// A backup of this instance and kind is pending already, and was asked for differently.
    #[error(
        "{job} already waits to make this backup with another {field} ({pending}; now {asked}): \
         cancel it first, or ask for the same"
    )]
    Conflict {
        /// The pending job.
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
pub struct UnknownJob(pub JobId);
