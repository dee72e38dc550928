//! One consistent picture of an engine: [`EngineStatus`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Order;
use crate::event::JobRef;
use crate::gate::{CapacityState, ClosedGate, LoadState, Scope};
use crate::name::{ResourceName, SensitivityName, TechnologyName};
use crate::resource::Capacity;
use crate::spec::Priority;
use crate::state::JobState;

/// An engine's numbers at one moment: what can be told at once, however many jobs wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EngineSummary {
    /// When.
    pub at: Timestamp,
    /// Jobs that wait to start.
    pub waiting: usize,
    /// The same by technology and class, in order of their names; only what is not zero.
    pub backlog: Vec<Backlog>,
    /// Jobs with an attempt under way, by state.
    pub active: BTreeMap<JobState, usize>,
    /// Jobs that ended since the engine was made, by final state.
    pub ended: BTreeMap<JobState, u64>,
    /// Every resource of the fleet as a whole.
    pub resources: BTreeMap<ResourceName, Capacity>,
    /// Whether new submissions are refused.
    pub closed: bool,
}

/// How many jobs of a technology and class wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Backlog {
    /// The technology.
    pub technology: TechnologyName,
    /// The class.
    pub priority: Priority,
    /// Jobs that wait to start.
    pub waiting: usize,
}

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
    /// Some waiting jobs, oldest first; [`Engine::pending_page`](crate::Engine::pending_page) tells all.
    pub waiting_jobs: Vec<JobStatus>,
    /// Every resource of the fleet as a whole; [`Engine::resources`](crate::Engine::resources) tells those of places.
    pub resources: BTreeMap<ResourceName, Capacity>,
    /// Scopes held by operators, with the order.
    pub holds: Vec<(Scope, Order)>,
    /// The load of every scope that was published.
    pub loads: Vec<(Scope, LoadState)>,
    /// The load of scopes as single technologies feel it.
    pub loads_for: Vec<(Scope, TechnologyName, LoadState)>,
    /// The load of scopes as jobs of single sensitivities feel it, where it is not calm.
    pub loads_of: Vec<(Scope, SensitivityName, LoadState)>,
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
    /// Start by, to finish in time.
    pub latest_start: Timestamp,
    /// When the present or last attempt started.
    pub started: Option<Timestamp>,
    /// Time between becoming due and starting, of the present or last attempt.
    pub waited: Duration,
    /// Run time of the present or last attempt, pauses excluded.
    pub ran: Duration,
    /// Bytes that the successful attempt moved, as its executor reported; 0 before.
    pub bytes: u64,
    /// Bytes that it is expected to move, if anybody knows.
    pub size_bytes: Option<u64>,
    /// 90th percentile of the run time at the paced rate, as asked for or learned.
    pub expected_duration: Duration,
    /// Times that a gate deferred it when its turn had come, each kind of gate in a row counted once.
    pub deferrals: u32,
    /// Requests that it answers.
    pub requesters: u32,
    /// What it waits for, if it waits.
    pub waits_for: Option<ClosedGate>,
    /// What went wrong last, or why it was stopped.
    pub error: Option<String>,
}
