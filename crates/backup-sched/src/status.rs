//! What a host sees of the scheduler: [`Status`] and [`ShutdownReport`].

use std::time::Duration;

use sched_core::{EngineStatus, EngineSummary, JobId, JobStatus, Progress, Reason, Scope};
use sched_limits::{ProbeStatus, Rate, Room};
use sched_observe::HookStats;
use serde::{Deserialize, Serialize};

use crate::forecast::ForecastStatus;
use crate::recurring::RecurringStatus;
#[cfg(doc)]
use crate::{Scheduler, SchedulerBuilder};

/// The version of [`Status`] and [`Summary`] as they are serialized. It grows when something that was there is gone or means
/// something else; what is only added leaves it as it is.
pub const STATUS_VERSION: u32 = 1;

/// The numbers of the whole at one moment, serializable. It takes the deciding thread some microseconds, however many
/// jobs wait, so it may be asked for many times a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// Jobs by state, technology and class, and resources.
    #[serde(flatten)]
    pub engine: EngineSummary,
    /// The present rate of all backups together.
    pub rate: Rate,
    /// The number of the next event, for [`Scheduler::events_since`].
    pub next_event: u64,
    /// What became of events on their way to each hook.
    pub hooks: Vec<HookStats>,
    /// Events that subscribers were too slow for.
    pub missed_by_subscribers: u64,
    /// Times that the dispatcher woke up. An idle scheduler without probes does not.
    pub wakeups: u64,
    /// How it stands with what is to be durable; `None` without a [store](SchedulerBuilder::store).
    pub store: Option<StoreStatus>,
}

/// How it stands with a [store](SchedulerBuilder::store).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Where it is.
    pub place: String,
    /// Why nothing can be made durable, and what to do; `None` while all is well.
    pub error: Option<String>,
    /// For how long that has been so.
    pub down_for: Option<Duration>,
    /// Entries that are not durable yet, at most one for each job, scope and schedule.
    pub backlog: usize,
    /// How long the oldest of them has waited.
    pub waits_for: Option<Duration>,
    /// Groups that were written since the start.
    pub groups: u64,
    /// Entries that were written since the start.
    pub entries: u64,
    /// How long the newest group took.
    pub last_commit: Option<Duration>,
    /// Times that it failed.
    pub failures: u64,
    /// Entries of the group that is being written.
    #[serde(skip)]
    pub(crate) writing: usize,
}

impl StoreStatus {
    pub(crate) fn new(place: String) -> Self {
        Self {
            place,
            error: None,
            down_for: None,
            backlog: 0,
            waits_for: None,
            groups: 0,
            entries: 0,
            last_commit: None,
            failures: 0,
            writing: 0,
        }
    }
}

/// Everything at one moment, serializable. Lists of jobs are bounded; [`Scheduler::pending_page`] tells all that wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// [`STATUS_VERSION`].
    pub version: u32,
    /// Jobs, resources, gates.
    #[serde(flatten)]
    pub engine: EngineStatus,
    /// Jobs under way with their progress, oldest first.
    pub running: Vec<RunningJob>,
    /// The present rate of all backups together: the lowest of [`rates`](Self::rates) at the fleet.
    pub rate: Rate,
    /// The rate of the fleet and of every place for which one was chosen, set or ordered, and why it is no higher.
    pub rates: Vec<PlaceRate>,
    /// What is known of the probes: their signals, what is lost, and what asking them costs.
    pub probes: Vec<ProbeStatus>,
    /// How many jobs have room in each place where that is measured, and why not more.
    pub rooms: Vec<Room>,
    /// What is learned of the load, where it is a peak, and how starts are planned by it.
    pub forecast: ForecastStatus,
    /// How many backups recur by the policies; [`Scheduler::next_runs`] tells which and when.
    pub recurring: RecurringStatus,
    /// What became of events on their way to each hook.
    pub hooks: Vec<HookStats>,
    /// Events that subscribers were too slow for.
    pub missed_by_subscribers: u64,
    /// Times that the dispatcher woke up. An idle scheduler without probes does not.
    pub wakeups: u64,
    /// How it stands with what is to be durable; `None` without a [store](SchedulerBuilder::store).
    pub store: Option<StoreStatus>,
}

/// What all backups at a place together may move. The places above it limit them too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlaceRate {
    /// The fleet, a link, a host or a volume.
    pub place: Scope,
    /// What counts: the lowest of the others and, at the fleet, the ceiling. In advise mode it is only told.
    pub rate: Rate,
    /// What the control laws of the place choose; `None` without one.
    pub steered: Option<Rate>,
    /// What [`Scheduler::set_bandwidth`] or [`SchedulerBuilder::bandwidth`] set.
    pub set: Option<Rate>,
    /// What [`Scheduler::set_ceiling`] ordered.
    pub ordered: Option<Rate>,
    /// Why the rate is no higher: of one that a law chose the signal, its newest value, its target and the law.
    pub reason: Reason,
}

/// A job under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job.
    #[serde(flatten)]
    pub status: JobStatus,
    /// How far it is.
    pub progress: Progress,
}

/// What became of the jobs at shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Running jobs that ended by themselves within the grace.
    pub finished: usize,
    /// Jobs that were cancelled, waiting or running.
    pub cancelled: usize,
    /// Those of them, cancelled or abandoned, with which a later scheduler goes on, because a [store](SchedulerBuilder::store) keeps them.
    pub kept: usize,
    /// Jobs whose threads did not stop and were left behind.
    pub abandoned: Vec<JobId>,
    /// The store did not take all that was to be durable, in the time that there was: what is missing is as after a crash.
    pub store_behind: bool,
}
