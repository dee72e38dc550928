//! What the engine answers, and what it tells its surroundings to do.

use std::sync::Arc;

use crate::event::Event;
use crate::gate::Reason;
use crate::run::RunError;
use crate::spec::{JobId, JobSpec, JobTerms};
use crate::status::JobStatus;

/// What became of an accepted submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// A new job.
    New(JobId),
    /// The request joined a pending job for the same instance and kind.
    Coalesced(JobId),
}

impl Submission {
    /// The job that answers the request.
    pub fn job(self) -> JobId {
        match self {
            Self::New(job) | Self::Coalesced(job) => job,
        }
    }
}

/// What became of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// The job had not started and is cancelled.
    Done,
    /// The job runs; it was told to stop and ends soon.
    Requested,
    /// The job had ended before; nothing changed.
    AlreadyEnded,
}

/// What the surroundings must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Start an attempt; answer with [`Engine::started`](super::Engine::started), then [`Engine::ended`](super::Engine::ended).
    Start(StartOrder),
    /// Tell an attempt to stand still at its next checkpoint; answered with [`Engine::paused`](super::Engine::paused).
    Pause(AttemptId),
    /// Tell a paused attempt to go on; answered with [`Engine::resumed`](super::Engine::resumed).
    Resume(AttemptId),
    /// Tell an attempt to stop; answered with [`Engine::ended`](super::Engine::ended).
    Cancel(AttemptId, Reason),
    /// Tell whoever listens.
    Event(Event),
    /// A job has ended; its final status.
    Ended(JobStatus),
}

/// One run of a job. The number is a fencing number: reports about an older one are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The job.
    pub job: JobId,
    /// Which run of it, from 1.
    pub number: u32,
}

/// An attempt to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct StartOrder {
    /// The attempt.
    pub attempt: AttemptId,
    /// The request.
    pub spec: Arc<JobSpec>,
    /// The terms.
    pub terms: Arc<JobTerms>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// Bytes moved, as far as known.
    pub bytes: u64,
    /// The result.
    pub result: Result<(), RunError>,
}
