//! What can go wrong when a host asks the scheduler for something.

use std::io;

use sched_core::{Explanation, JobStatus, PlaceError, TechnologyName, UnknownJob};
use sched_policy::PolicyError;

/// Why a scheduler could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting of the builder is wrong.
    #[error("{setting}: {problem}")]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A thread could not be created.
    #[error("cannot start the thread {name:?}: {source}")]
    Thread {
        /// The thread's name.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why a job was not accepted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The technology's policy could not be applied.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nobody can make backups of this technology.
    #[error(
        "no executor is registered for {technology:?} (registered: {registered}); add one with \
         `SchedulerBuilder::executor`, or use `Scheduler::acquire` to run the backup yourself"
    )]
    NoExecutor {
        /// The technology asked for.
        technology: TechnologyName,
        /// Technologies with an executor.
        registered: String,
    },
    /// The engine refused the request.
    #[error(transparent)]
    Refused(#[from] sched_core::SubmitError),
    /// The scheduler has ended.
    #[error("the scheduler has been shut down and takes no more jobs")]
    Stopped,
}

/// Why no permit was given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The request was not accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The same backup waits already for somebody else.
    #[error("{0} already waits to make this backup")]
    AlreadyPending(sched_core::JobId),
    /// The time allowed for waiting is over; the job was withdrawn.
    #[error("not admitted in the time allowed: {0}")]
    TimedOut(Box<Explanation>),
    /// The job ended before it was admitted.
    #[error("{} {}: {}", .0.job.id, .0.state, .0.error.as_deref().unwrap_or("no reason given"))]
    Ended(Box<JobStatus>),
}

/// Why a question about a job, or an order to it, came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// No such job is known.
    #[error(transparent)]
    Unknown(#[from] UnknownJob),
    /// The scheduler has ended.
    #[error("the scheduler has been shut down")]
    Stopped,
}

/// Why a resource, a limit or the tree of places was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The change makes no sense.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The scheduler has ended.
    #[error("the scheduler has been shut down")]
    Stopped,
}

impl From<Stopped> for ConfigureError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// The scheduler has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler has been shut down")]
pub struct Stopped;
