//! What happened: one [`Event`] for every step of a job's life and every decision.

mod text;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calendar::CalendarState;
use crate::engine::Order;
use crate::gate::{CapacityState, ClosedGate, LoadState, Reason, Scope};
use crate::name::{InstanceName, SensitivityName, SignalName, TechnologyName};
use crate::plan::Plan;
use crate::run::{Progress, RunPhase};
use crate::spec::{BackupKind, JobId, Priority};
use crate::time::Now;

/// The job an event is about, with what a reader needs to recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobRef {
    /// The job.
    pub id: JobId,
    /// What is backed up.
    pub instance: InstanceName,
    /// Its technology.
    pub technology: TechnologyName,
    /// What part of the data.
    pub kind: BackupKind,
    /// Its urgency class.
    pub priority: Priority,
    /// The present or latest attempt, from 1; 0 before the first.
    pub attempt: u32,
}

impl JobRef {
    /// A job of class `normal` before its first attempt: for tests of hooks, which set the fields that they need otherwise.
    pub fn new(
        id: JobId,
        instance: impl Into<InstanceName>,
        technology: impl Into<TechnologyName>,
        kind: BackupKind,
    ) -> Self {
        let (instance, technology) = (instance.into(), technology.into());
        Self { id, instance, technology, kind, priority: Priority::Normal, attempt: 0 }
    }
}

/// Something that happened, when, and to which job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Now,
    /// The job concerned; `None` for what concerns a scope or the scheduler.
    pub job: Option<JobRef>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// An event, as the engine makes them: for tests of hooks.
    pub fn new(at: Now, job: Option<JobRef>, kind: EventKind) -> Self {
        Self { at, job, kind }
    }
}

/// What happened. Read from JSON, a kind that only a later version has is [`Unknown`](Self::Unknown).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A job was accepted.
    Submitted {
        /// Finish by.
        deadline: Timestamp,
        /// Start by, to finish in time.
        latest_start: Timestamp,
    },
    /// A request joined a job that was already pending.
    Coalesced {
        /// Requests that the job now answers.
        requesters: u32,
    },
    /// A job cannot start now, and what it waits for.
    Deferred {
        /// The strongest closed gate.
        by: ClosedGate,
        /// `true` in advise mode, where the job starts all the same.
        advice_only: bool,
    },
    /// Every gate is open; resources are held.
    Admitted {
        /// Time since the job became due.
        waited: Duration,
    },
    /// The load gate was overridden because the slack is used up.
    Overridden {
        /// The gate as it would have stood.
        gate: ClosedGate,
    },
    /// A planner wants a waiting job to start at another moment than before.
    Planned {
        /// The plan; `None`: as soon as its gates allow.
        plan: Option<Plan>,
    },
    /// The deadline will be or has been missed if the job does not start now.
    RpoAtRisk {
        /// Finish by.
        deadline: Timestamp,
        /// Why it is at risk.
        reason: Reason,
    },
    /// An attempt began to run.
    Started,
    /// Another part of an attempt began, with what it tolerates.
    PhaseBegan {
        /// What its executor announced.
        phase: RunPhase,
    },
    /// An attempt has done another tenth of the whole, or twice as much as before where the whole is not known. Left out
    /// where the scheduler is behind with its messages.
    Progress {
        /// How far it is.
        progress: Progress,
    },
    /// A running job was asked to stop at its next checkpoint.
    Pausing {
        /// Why.
        reason: Reason,
    },
    /// A running job stands at a checkpoint.
    Paused,
    /// A paused job goes on.
    Resumed {
        /// How long it stood.
        paused_for: Duration,
    },
    /// An attempt failed; another follows.
    Retried {
        /// What went wrong.
        error: String,
        /// Earliest next attempt.
        not_before: Timestamp,
    },
    /// The backup is done.
    Succeeded {
        /// Run time of the successful attempt, pauses excluded.
        ran: Duration,
        /// Bytes that the executor reported.
        bytes: u64,
    },
    /// No attempt is left, or the failure was permanent.
    Failed {
        /// What went wrong last.
        error: String,
    },
    /// The job was cancelled.
    Cancelled {
        /// Why.
        reason: Reason,
    },
    /// The job's class was changed.
    Reprioritized {
        /// The class before.
        from: Priority,
    },
    /// An attempt was stopped to continue later; no retry is spent.
    Interrupted {
        /// Why.
        reason: Reason,
        /// Earliest next attempt.
        not_before: Timestamp,
    },
    /// An attempt was told to stop and has not. It keeps all that it holds until it has ended: nobody takes its slot before. Told
    /// once of an attempt.
    DoesNotStop {
        /// How long ago it was told to.
        waited: Duration,
        /// Why it was told to.
        reason: Reason,
    },
    /// An operator closed or opened a scope.
    HoldChanged {
        /// Whom it concerns.
        scope: Scope,
        /// The hold; `None` when it was released or has expired.
        order: Option<Order>,
    },
    /// The last running job of a drained scope has ended.
    Drained {
        /// Whom it concerns.
        scope: Scope,
    },
    /// An operator wants a job, or all of a scope, to run now.
    RunNow {
        /// Whom it concerns; `None` for the event's job alone.
        scope: Option<Scope>,
        /// The order; `None` when it was taken back or has expired.
        order: Option<Order>,
    },
    /// An operator limited the rate of a scope.
    CeilingChanged {
        /// Whom it concerns.
        scope: Scope,
        /// The new limit of all jobs of the scope together; `None` when it was lifted or has expired.
        bytes_per_sec: Option<u64>,
        /// The order; `None` when it was lifted or has expired.
        order: Option<Order>,
    },
    /// Too many attempts failed in a row: nothing starts there for a while, then few try.
    BreakerTripped {
        /// Whom it concerns.
        scope: Scope,
        /// When the first may try.
        until: Timestamp,
    },
    /// Something went down or came up.
    HealthChanged {
        /// Whom it concerns.
        scope: Scope,
        /// Why it is down; `None` when it is up.
        down: Option<Reason>,
    },
    /// The foreground's load changed.
    LoadChanged {
        /// Whom it concerns.
        scope: Scope,
        /// As which technology feels it; `None`: all.
        technology: Option<TechnologyName>,
        /// As jobs of which sensitivity feel it; `None`: all.
        sensitivity: Option<SensitivityName>,
        /// The new state.
        state: LoadState,
    },
    /// A window opened or closed, or a blackout began or ended.
    CalendarChanged {
        /// The calendar.
        scope: Scope,
        /// How it stands now.
        state: CalendarState,
    },
    /// A scope ran short of something, or has room again.
    CapacityChanged {
        /// Whom it concerns.
        scope: Scope,
        /// The new state.
        state: CapacityState,
    },
    /// As many jobs of a scope may run at once now, as far as room goes.
    RoomChanged {
        /// Whom it concerns.
        scope: Scope,
        /// How many.
        jobs: u32,
        /// What leaves room for no more, its value, and the value from which on one more would fit.
        reason: Reason,
    },
    /// The control laws of a place changed the rate of all backups there.
    Rerated {
        /// Whom it concerns.
        scope: Scope,
        /// The new rate; `None` when unlimited.
        bytes_per_sec: Option<u64>,
        /// Which signal, its value and its target.
        reason: Reason,
    },
    /// A control law panicked and was set aside, or said what is no share.
    LawFailed {
        /// Whose rate it steers.
        scope: Scope,
        /// The signal that it listens to.
        signal: SignalName,
        /// What is wrong, and what holds instead.
        reason: Reason,
    },
    /// A probe or detector gives no usable value.
    SignalLost {
        /// Which.
        signal: SignalName,
        /// What is wrong with it.
        reason: Reason,
    },
    /// A lost probe or detector gives values again.
    SignalBack {
        /// Which.
        signal: SignalName,
    },
    /// The wall clock jumped; nothing starts by deadline until the jump has lasted.
    WallStepped {
        /// Seconds by which it moved, negative when back.
        by_secs: i64,
    },
    /// Other policies are in force.
    PolicyReloaded {
        /// What they say otherwise, in short.
        changes: Reason,
        /// Jobs that waited and have other terms now.
        placed_anew: u64,
        /// Jobs that keep what they began with as long as their attempt is under way, or to which the policies do not apply.
        keep: u64,
    },
    /// A recurring backup was due, and was asked for.
    DueSubmitted {
        /// What is backed up.
        instance: InstanceName,
        /// What part of the data.
        kind: BackupKind,
        /// The job that makes it; one that waited already was joined.
        id: JobId,
        /// When it was due.
        due: Timestamp,
        /// By which schedule, by how much it is late, and how many others it makes up for.
        reason: Reason,
    },
    /// A recurring backup was due, and is asked for later.
    DuePostponed {
        /// What is backed up.
        instance: InstanceName,
        /// What part of the data.
        kind: BackupKind,
        /// When it was due.
        due: Timestamp,
        /// When it is asked for at the latest; `None`: when a backup that is under way has ended.
        until: Option<Timestamp>,
        /// Why.
        reason: Reason,
    },
    /// Recurring backups were due, and are not made, as their policy says.
    DueSkipped {
        /// What is not backed up.
        instance: InstanceName,
        /// What part of the data.
        kind: BackupKind,
        /// How many, counted up to a hundred.
        slots: u32,
        /// Why.
        reason: Reason,
    },
    /// A recurring backup was due, and was not accepted. It comes again when it is due next.
    DueRefused {
        /// What is not backed up.
        instance: InstanceName,
        /// What part of the data.
        kind: BackupKind,
        /// When it was due.
        due: Timestamp,
        /// What is wrong.
        error: String,
    },
    /// What a former scheduler left in the store was taken over.
    StoreRead {
        /// Where the store is.
        store: String,
        /// Jobs that go on.
        jobs: usize,
        /// Those of them whose attempt was cut off.
        interrupted: usize,
        /// Jobs that stay in the store, because nobody here makes backups of their technology.
        left: usize,
    },
    /// Nothing can be made durable: no job is accepted and none starts until it can. What runs goes on.
    StoreDown {
        /// Where the store is.
        store: String,
        /// What is wrong, and what to do.
        error: String,
    },
    /// The store takes what is to be durable again.
    StoreBack {
        /// Where the store is.
        store: String,
        /// For how long it did not.
        down_for: Duration,
    },
    /// The queue is full; a submission was refused.
    QueueFull {
        /// Jobs that it holds.
        pending: usize,
    },
    /// Something that this version does not know, read from what a later one wrote. The scheduler makes none.
    #[serde(other)]
    Unknown,
}
