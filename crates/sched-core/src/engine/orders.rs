//! What the engine answers, and what it tells its surroundings to do.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::gate::Reason;
use crate::gate::Scope;
use crate::journal::{Lsn, Record};
use crate::name::InstanceName;
use crate::run::RunError;
use crate::spec::{JobId, JobSpec};
use crate::status::JobStatus;
use crate::terms::JobTerms;

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

/// Who gave an instruction, why, and until when it holds.
///
/// ```
/// use sched_core::Order;
/// let order = Order::new("ana", "moving the rack").until("2026-03-01T06:00:00Z".parse().unwrap());
/// assert_eq!(order.to_string(), "ana: moving the rack (until 2026-03-01T06:00:00Z)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Order {
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
    /// It ends by itself at this wall time; `None` holds until it is taken back.
    pub expires: Option<Timestamp>,
}

impl Order {
    /// An order that holds until it is taken back.
    pub fn new(author: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { author: author.into(), reason: reason.into(), expires: None }
    }

    /// Sets when it ends by itself.
    #[must_use]
    pub fn until(mut self, expires: Timestamp) -> Self {
        self.expires = Some(expires);
        self
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.author, self.reason)?;
        match self.expires {
            Some(expires) => write!(f, " (until {expires})"),
            None => Ok(()),
        }
    }
}

/// What the surroundings must do. All of it: so this can be matched to the end, and another variant is a breaking change.
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
    /// Let an attempt move no more than this many bytes a second; `None` lifts an operator's ceiling.
    Ceiling(AttemptId, Option<u64>),
    /// Let all attempts at or below a place together move no more than this many bytes a second, by this order; `None`
    /// lifts the ceiling.
    PlaceCeiling(Scope, Option<(u64, Order)>),
    /// Tell whoever listens.
    Event(Arc<Event>),
    /// A job has ended; its final status.
    Ended(Arc<JobStatus>),
    /// A job was [let go](super::Engine::let_go), and its attempt, if there was one, has ended: it is another's by now.
    LetGo(JobId),
    /// Store this, in the order of the numbers, and say so with [`Engine::committed`](super::Engine::committed). Only
    /// with [`EngineConfig::journal`](super::EngineConfig::journal).
    Record(Lsn, Record),
}

/// One run of a job. The number is a fencing number: reports about an older one are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The job.
    pub job: JobId,
    /// Which run of it, from 1.
    pub number: u32,
}

/// An attempt to be started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StartOrder {
    /// The attempt.
    pub attempt: AttemptId,
    /// The request, with the class and the deadline that hold by now; its host is that of the member taken. What was
    /// only learned is not in it.
    pub spec: Arc<JobSpec>,
    /// The terms.
    pub terms: Arc<JobTerms>,
    /// The member taken, where there was a choice.
    pub member: Option<InstanceName>,
    /// The most that it may move, in bytes a second, by order of an operator.
    pub ceiling_bytes_per_sec: Option<u64>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptEnd {
    /// Bytes moved, as far as known.
    pub bytes: u64,
    /// The result.
    pub result: Result<(), RunError>,
}

impl AttemptEnd {
    /// An end after so many bytes.
    pub fn new(bytes: u64, result: Result<(), RunError>) -> Self {
        Self { bytes, result }
    }
}
