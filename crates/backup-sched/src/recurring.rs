//! Backups that recur by the policies: when each is due next, and what is known of the newest.

use std::fmt;

use jiff::Timestamp;
use sched_core::{BackupKind, InstanceName, JobId};
use sched_policy::Every;
use serde::{Deserialize, Serialize};

use crate::error::Stopped;
use crate::scheduler::Scheduler;

/// Recovery points in one message.
const POINTS_A_MESSAGE: usize = 1024;
/// Runs that are listed at once at most.
const MOST_LISTED: usize = 10_000;

/// What is recurring, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecurringStatus {
    /// Schedules in the policies: one for an instance, or cluster, and kind.
    pub schedules: usize,
    /// Those whose backup waits or runs.
    pub submitted: usize,
    /// When the next one is due, or was, if it has not been asked for yet.
    pub next: Option<Timestamp>,
}

/// The next backup of an instance by its schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NextRun {
    /// The instance, or the cluster of which one member is backed up.
    pub instance: InstanceName,
    /// What part of the data.
    pub kind: BackupKind,
    /// How often.
    pub schedule: Every,
    /// When it is asked for; when it starts is then up to its window, the load and its plan. `None` while the former
    /// backup waits or runs, and if it never comes.
    pub due: Option<Timestamp>,
    /// The backup that waits or runs.
    pub job: Option<JobId>,
    /// The newest recovery point that is known.
    pub recovery_point: Option<Timestamp>,
}

impl fmt::Display for NextRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instance, kind, schedule, .. } = self;
        write!(f, "{instance} {kind} (`{schedule}`): ")?;
        match (self.job, self.due) {
            (Some(job), _) => write!(f, "{job} waits or runs"),
            (None, Some(due)) => write!(f, "due {due}"),
            (None, None) => f.write_str("never"),
        }
    }
}

impl Scheduler {
    /// The next backups by the schedules of the policies: those that wait or run already, oldest first, then the others,
    /// the soonest first; `most` of them, at most 10,000.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn next_runs(&self, most: usize) -> Result<Vec<NextRun>, Stopped> {
        self.link().schedules(move |schedules, _| schedules.next_runs(most.min(MOST_LISTED)))
    }

    /// The next backup of each kind that recurs for an instance, or a cluster of which one member is backed up.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn next_runs_of(&self, instance: impl Into<InstanceName>) -> Result<Vec<NextRun>, Stopped> {
        let instance = instance.into();
        self.link().schedules(move |schedules, _| schedules.next_runs_of(&instance))
    }

    /// Tells to which moments there are backups that this scheduler did not make, as
    /// [`SchedulerBuilder::recovery_points`](crate::SchedulerBuilder::recovery_points) does at the start. One that is older
    /// than what is known changes nothing. Slots of intervals and cron expressions come all the same.
    ///
    /// Where several schedulers share a fleet, tell each of them: it is not passed on. The owner of the instance's share
    /// counts by it and writes it down. The others write nothing down, and count by it when the share becomes theirs.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn add_recovery_points<N: Into<InstanceName>>(
        &self,
        points: impl IntoIterator<Item = (N, BackupKind, Timestamp)>,
    ) -> Result<(), Stopped> {
        let mut points = points.into_iter().map(|(name, kind, at)| ((name.into(), kind), at));
        loop {
            let some: Vec<_> = points.by_ref().take(POINTS_A_MESSAGE).collect();
            if some.is_empty() {
                return Ok(());
            }
            self.link().schedules(move |schedules, wall| {
                some.into_iter().for_each(|(key, at)| schedules.renewed(wall, key, at));
            })?;
        }
    }
}
