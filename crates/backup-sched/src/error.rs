//! What can go wrong when a host asks the scheduler for something.

use std::io;

use sched_core::store::StoreError;
use sched_core::{
    Explanation, InstanceName, JobStatus, NameError, PlaceError, ResourceName, RestoreError, TechnologyName,
    UnknownJob,
};
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
    /// The store cannot be opened or read. Nothing in it has changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store cannot be taken over. Nothing in it has changed.
    #[error("the store cannot be taken over: {0}")]
    Restore(#[from] RestoreError),
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
    /// The request is for a cluster of which every member is backed up.
    #[error(
        "every member of {instance} is backed up, which takes {jobs} jobs: ask for them with \
         `Scheduler::submit_members`, or for one member by its name"
    )]
    SeveralJobs {
        /// The cluster.
        instance: InstanceName,
        /// How many jobs it takes.
        jobs: usize,
    },
    /// The demand names a resource that is the scheduler's own.
    #[error(
        "demand: the resource {name:?} is what the scheduler itself measures room in, and every job takes one of it; \
         use another name"
    )]
    Reserved {
        /// Its name.
        name: ResourceName,
    },
    /// The engine refused the request.
    #[error(transparent)]
    Refused(#[from] sched_core::SubmitError),
    /// It cannot be made durable, as all that is accepted must be. A job that the request would have joined goes on.
    #[error("the job cannot be made durable and was not accepted: {0}")]
    Store(#[from] StoreError),
    /// Another scheduler of the fleet makes the backups of this instance, and nobody can have a permit for them here.
    #[error("another scheduler makes the backups of {instance}: ask for a permit there")]
    Elsewhere {
        /// The instance.
        instance: InstanceName,
    },
    /// The scheduler has ended.
    #[error("the scheduler has been shut down and takes no more jobs")]
    Stopped,
    /// This process was forked off after the scheduler was started, which goes on in the other one.
    #[error(transparent)]
    Forked(Stopped),
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
    /// The time allowed for waiting is over. The job was withdrawn, unless others have asked for this backup too.
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
    /// This process was forked off after the scheduler was started, which goes on in the other one.
    #[error(transparent)]
    Forked(Stopped),
}

/// Why a resource, a limit or the tree of places was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The change makes no sense.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The resource is the scheduler's own.
    #[error(
        "the resource {name:?} is what the scheduler itself measures room in; limit jobs with `set_max_running` or \
         `set_limit`, or use another name"
    )]
    Reserved {
        /// Its name.
        name: ResourceName,
    },
    /// The scheduler has ended.
    #[error("the scheduler has been shut down")]
    Stopped,
    /// This process was forked off after the scheduler was started, which goes on in the other one.
    #[error(transparent)]
    Forked(Stopped),
}

/// Why other policies were not put in force.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// An executor is registered for a technology that they do not know.
    #[error("an executor is registered for what these policies do not know: {0}")]
    Policy(#[from] PolicyError),
    /// A host's or the fleet's resource cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A calendar's name cannot be used.
    #[error("a calendar's name cannot be used: {0}")]
    Calendar(#[from] NameError),
    /// The resource is the scheduler's own.
    #[error("resources: {name:?} is what the scheduler itself measures room in; use another name")]
    Reserved {
        /// Its name.
        name: ResourceName,
    },
    /// The scheduler has ended.
    #[error("the scheduler has been shut down")]
    Stopped,
    /// This process was forked off after the scheduler was started, which goes on in the other one.
    #[error(transparent)]
    Forked(Stopped),
}

macro_rules! from_stopped {
    ($($error:ty),*) => {
        $(impl From<Stopped> for $error {
            fn from(stopped: Stopped) -> Self {
                match stopped {
                    Stopped::Ended => Self::Stopped,
                    Stopped::Forked { .. } => Self::Forked(stopped),
                }
            }
        })*
    };
}

from_stopped!(SubmitError, JobError, ConfigureError, ReloadError);

/// Why nothing of a scope's load was taken in. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The scope's name cannot be used.
    #[error("the scope's name cannot be used: {0}")]
    Scope(#[from] NameError),
    /// The scheduler has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Nobody is there who could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// The scheduler has ended.
    #[error("the scheduler has been shut down")]
    Ended,
    /// This process was forked off after the scheduler was started. What was copied here does nothing, and the scheduler goes
    /// on where it was started.
    #[error(
        "the scheduler runs in process {process}, from which this one was forked: start one of its own here"
    )]
    Forked {
        /// Where it was started.
        process: u32,
    },
}
