//! One consistent picture of an engine: [`EngineStatus`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::JobRef;
use crate::gate::{CapacityState, ClosedGate, LoadState, Reason, Scope};
use crate::name::ResourceName;
use crate::resource::Capacity;
use crate::state::JobState;

/// The engine at one moment. Job lists are bounded by [`EngineConfig::listed`](crate::EngineConfig::listed).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EngineStatus {
    /// When.
    pub at: Timestamp,
    /// Jobs that wait to start.
    pub waiting: usize,
    /// Jobs with an attempt under way.
    pub active: usize,
    /// Jobs that ended since the engine was made, by final state.
    pub ended: BTreeMap<JobState, u64>,
    /// Jobs under way, oldest first.
    pub active_jobs: Vec<JobStatus>,
    /// Waiting jobs, oldest first.
    pub waiting_jobs: Vec<JobStatus>,
    /// Every resource.
    pub resources: BTreeMap<ResourceName, Capacity>,
    /// Scopes held by operators, with the reason.
    pub holds: Vec<(Scope, Reason)>,
    /// The load of every scope that was published.
    pub loads: Vec<(Scope, LoadState)>,
    /// Scopes that are short of something.
    pub shortages: Vec<(Scope, CapacityState)>,
    /// Whether new submissions are refused.
    pub closed: bool,
}

/// One job at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobStatus {
    /// The job.
    pub job: JobRef,
    /// Its state.
    pub state: JobState,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// Finish by.
    pub deadline: Timestamp,
    /// When the present or last attempt started.
    pub started: Option<Timestamp>,
    /// Time between becoming due and starting, of the present or last attempt.
    pub waited: Duration,
    /// Run time of the present or last attempt, pauses excluded.
    pub ran: Duration,
    /// Bytes that the successful attempt moved, as its executor reported; 0 before.
    pub bytes: u64,
    /// Times that a gate deferred it.
    pub deferrals: u32,
    /// Requests that it answers.
    pub requesters: u32,
    /// What it waits for, if it waits.
    pub waits_for: Option<ClosedGate>,
    /// What went wrong last, or why it was stopped.
    pub error: Option<String>,
}
