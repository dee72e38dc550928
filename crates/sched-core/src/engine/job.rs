//! What the engine keeps of a job, of what it backs up, and of an attempt under way.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::estimate::Estimate;
use crate::gate::{LoadLevel, Reason};
use crate::name::InstanceName;
use crate::queue::OrderKey;
use crate::spec::{BackupKind, JobId, JobSpec, Priority};
use crate::state::JobState;
use crate::terms::WindowEnd;
use crate::time::{MonoTime, Now, wall_until};

use super::config::Boosts;
use super::domain::{Heeds, Pass};
use super::index::{ActiveIx, BracketIx, DemandIx, DomainIx, JobIx, TargetIx};
use super::marks::{Mark, Marks};
use super::orders::{AttemptId, Order};
use super::span::Span;
use super::terms::Terms;

/// Last part of a job's slack, as a divisor, in which it tolerates a busy foreground.
const BUSY_TOLERATED_IN_LAST: i64 = 4;

/// A job, kept small: a fleet's whole backlog is made of these. What few jobs have is in [`Extras`].
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: OrderKey,
    pub(super) terms: Arc<Terms>,
    pub(super) extras: Option<Box<Extras>>,
    /// Unix time in milliseconds, like every wall time in here.
    pub(super) deadline_ms: i64,
    pub(super) submitted_ms: i64,
    /// Since when nothing but gates keeps it from starting.
    pub(super) due_since: MonoTime,
    /// When it must be looked at; zero when not.
    pub(super) timer: MonoTime,
    pub(super) target: TargetIx,
    pub(super) place: DomainIx,
    pub(super) demand: DemandIx,
    /// The bracket in whose queue it stands.
    pub(super) bracket: BracketIx,
    /// Its attempt, when one is under way.
    pub(super) active: ActiveIx,
    /// The domain where it waits outside every queue, or none.
    pub(super) parked: DomainIx,
    /// 90th percentile of the paced run time.
    pub(super) expected: Span,
    pub(super) attempt: u32,
    pub(super) deferrals: u16,
    pub(super) requesters: u16,
    /// Failed attempts that count against its retries.
    pub(super) failures: u16,
    pub(super) state: JobState,
    pub(super) priority: Priority,
    /// The gate that it was last said to wait for.
    pub(super) told_gate: u8,
    /// Failed attempts that an outage was blamed for.
    pub(super) spared: u8,
    /// Times that a reservation lapsed without a start.
    pub(super) slips: u8,
    pub(super) marks: Marks,
    /// By how much its windows bring its latest start forward.
    pub(super) early_by_secs: u32,
}

/// With a million pending, every eight bytes are eight megabytes.
const _: () = assert!(size_of::<Job>() <= 120);

/// What few jobs have.
#[derive(Clone, Debug)]
pub(super) struct Extras {
    /// The request, where it says more than the fields of [`Job`].
    pub(super) spec: JobSpec,
    pub(super) destination: DomainIx,
    pub(super) tenant: u16,
    pub(super) groups: Vec<DomainIx>,
    /// Hosts that take part at the same time.
    pub(super) together: Vec<DomainIx>,
    /// Where the members are, in the order of the request.
    pub(super) members: Vec<MemberPlace>,
    /// The member taken.
    pub(super) member: usize,
    /// Since when a gate of the preferred member's own has kept the waiting job from it.
    pub(super) kept_since: Option<MonoTime>,
    /// An attempt was told to stop and to continue then.
    pub(super) interrupted_until: Option<Timestamp>,
    /// When a back-off ends; zero when there is none.
    pub(super) back_off_until: MonoTime,
    /// The domain whose opening ends the back-off early.
    pub(super) cause: DomainIx,
    pub(super) error: Option<String>,
    /// When it last failed: whoever fails again and again must not stand before those who have not had a turn.
    pub(super) failed_ms: Option<i64>,
    /// An operator wants this very job now.
    pub(super) run_now: Option<Order>,
}

/// The domains of a member's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemberPlace {
    pub(super) instance: DomainIx,
    /// Its host, or the volume there that is read.
    pub(super) place: DomainIx,
}

/// What is backed up in one way. Stays when its jobs have ended, for what was learned.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) instance: InstanceName,
    pub(super) kind: BackupKind,
    pub(super) technology: DomainIx,
    /// Where its last job was: most likely where the next is.
    pub(super) place: DomainIx,
    pub(super) rank: u16,
    /// At most one waits.
    pub(super) waiting: JobIx,
    /// At most one has begun and not ended.
    pub(super) begun: JobIx,
    /// The instance's own domain, once anybody spoke of that scope.
    pub(super) domain: DomainIx,
    pub(super) estimate: Estimate,
}

/// An attempt under way. Recycled, so that its lists keep their room.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) job: JobIx,
    /// Every domain that counts it, and its position in that domain's list.
    pub(super) domains: SmallVec<[(DomainIx, u32); 5]>,
    /// What it holds.
    pub(super) demand: DemandIx,
    /// The part of it that a pause gives back; none before the first pause.
    pub(super) flow: DemandIx,
    /// Whether its present phase may stand still, once it announced one.
    pub(super) pausable: Option<bool>,
    /// It has given that part back.
    pub(super) gave_back: bool,
    /// It went before all others.
    pub(super) strict: bool,
    pub(super) started: Option<Now>,
    pub(super) waited: Duration,
    pub(super) run: Stopwatch,
    pub(super) pause: Option<Box<Pause>>,
    pub(super) stop: Option<Box<Stop>>,
    /// When it is expected to give back what it holds.
    pub(super) expected_end: MonoTime,
    /// How often it stood lately, but for others.
    pub(super) load_pauses: u8,
    /// When it last went on.
    pub(super) went_on: MonoTime,
    /// It was told to pause for another and did not in time.
    pub(super) deaf: bool,
    /// When it is said that it does not stop; zero while it was not told to.
    pub(super) stop_overdue_at: MonoTime,
    pub(super) ceiling: Option<u64>,
}

/// Why an attempt stands still, or shall.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) since: MonoTime,
    pub(super) reason: Reason,
    /// For whom room is made; not because of load.
    pub(super) yields: Option<Yields>,
    /// How long it lasts at least, unless the slack is used up.
    pub(super) at_least: Duration,
}

/// For whom an attempt makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Yields {
    /// A critical job.
    ToJob(JobId),
    /// Nobody: a resource shrank below what was used.
    ToShortage,
}

/// Why an attempt was told to stop.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// Somebody asked for it: the job is cancelled.
    Requested(Reason),
    /// For a critical job: the attempt continues a little later.
    MadeRoom(Reason),
    /// It ran too long: the attempt has failed.
    TimedOut(Duration),
    /// It continues later, and no retry is spent.
    Interrupted(Reason, Option<Timestamp>),
    /// Another engine has the job by now: nothing is said of it any more.
    LetGo(Reason),
}

impl Stop {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Requested(reason)
            | Self::Interrupted(reason, _)
            | Self::MadeRoom(reason)
            | Self::LetGo(reason) => reason.clone(),
            Self::TimedOut(after) => Reason::new(timed_out(*after)),
        }
    }
}

/// Time spent running, pauses excluded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stopwatch {
    total: Duration,
    since: Option<MonoTime>,
}

impl Stopwatch {
    pub(super) fn started(at: MonoTime) -> Self {
        Self { total: Duration::ZERO, since: Some(at) }
    }

    pub(super) fn is_running(&self) -> bool {
        self.since.is_some()
    }

    pub(super) fn start(&mut self, at: MonoTime) {
        self.since.get_or_insert(at);
    }

    pub(super) fn stop(&mut self, at: MonoTime) {
        if let Some(since) = self.since.take() {
            self.total += at.since(since);
        }
    }

    pub(super) fn read(&self, at: MonoTime) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| at.since(since))
    }
}

impl Job {
    pub(super) fn id(&self) -> JobId {
        self.key.id
    }

    /// When a back-off ends; zero when there is none.
    pub(super) fn back_off_until(&self) -> MonoTime {
        self.extras.as_ref().map_or(MonoTime::ZERO, |extras| extras.back_off_until)
    }

    /// Start by this wall time, to finish in time even after one failure, in the windows that there are: for who has
    /// begun and needs them no more, they do not count.
    pub(super) fn latest_start_ms(&self) -> i64 {
        let natural = self.natural_latest_ms();
        match self.early_by_secs {
            0 => natural,
            _ if self.finishes_outside() => natural,
            early => natural.saturating_sub(i64::from(early) * 1_000),
        }
    }

    /// It has begun and needs no window any more.
    fn finishes_outside(&self) -> bool {
        !self.active.is_none() && self.terms.at_window_end() == WindowEnd::Finish
    }

    /// The latest start if there were no windows.
    pub(super) fn natural_latest_ms(&self) -> i64 {
        let margin = millis(self.terms.retry.longest_wait(1));
        self.deadline_ms.saturating_sub(millis(self.expected())).saturating_sub(margin)
    }

    pub(super) fn size_bytes(&self) -> Option<u64> {
        Some(self.key.size_bytes()).filter(|size| *size != u64::MAX)
    }

    /// Takes note of a size; the key must be worked out anew.
    pub(super) fn set_size(&mut self, size: Option<u64>) {
        let size = size.unwrap_or(u64::MAX);
        self.key = OrderKey::new(self.key.class(), self.key.start_by_ms(), 0, size, self.id());
    }

    /// The place in the order by deadline, expected duration and class.
    pub(super) fn natural_key(&self, boosts: Boosts, rank: u16) -> OrderKey {
        let class = match (self.priority, self.is_express()) {
            (Priority::Critical, _) => 0,
            (_, true) => 1,
            (_, false) => 2,
        };
        let latest = self.latest_start_ms().max(self.submitted_ms.saturating_sub(millis(boosts.overdue)));
        let start_by = latest.saturating_sub(millis(boosts.of(self.priority)));
        let failed = self.extras.as_ref().and_then(|extras| extras.failed_ms);
        let start_by = failed.map_or(start_by, |failed| start_by.max(failed));
        OrderKey::new(class, start_by, rank, self.key.size_bytes(), self.id())
    }

    /// The highest load at which it may start at `wall_ms`, and when that next rises.
    ///
    /// High and critical jobs tolerate any load. Others: calm while the slack is ample, busy in its last quarter,
    /// anything from the latest start on. Who has started already goes on while it is busy.
    pub(super) fn tolerance(&self, wall_ms: i64) -> (LoadLevel, Option<i64>) {
        let latest = self.latest_start_ms();
        if self.priority >= Priority::High || self.is_express() || wall_ms >= latest {
            return (LoadLevel::Peak, None);
        }
        let slack = latest.saturating_sub(self.submitted_ms).max(0);
        let busy_from = latest - slack / BUSY_TOLERATED_IN_LAST;
        if wall_ms >= busy_from || !self.active.is_none() {
            (LoadLevel::Busy, Some(latest))
        } else {
            (LoadLevel::Calm, Some(busy_from))
        }
    }

    /// Which gates it passes at `wall_ms` though they are closed for others.
    pub(super) fn pass(&self, wall_ms: i64) -> Pass {
        let (tolerated, _) = self.tolerance(wall_ms);
        Pass { goes_on: self.state == JobState::Paused, heeds: self.heeds(wall_ms), tolerated }
    }

    /// What of its calendar keeps it at `wall_ms`.
    fn heeds(&self, wall_ms: i64) -> Heeds {
        if self.terms.calendar.is_none() {
            return Heeds::Windows;
        }
        if self.finishes_outside() {
            return Heeds::Nothing;
        }
        let late = self.terms.open_window_when_late && wall_ms >= self.latest_start_ms();
        if late || self.is_express() { Heeds::Blackouts } else { Heeds::Windows }
    }

    /// Whether operators want it now.
    pub(super) fn is_express(&self) -> bool {
        self.marks.has(Mark::Express)
    }

    pub(super) fn attempt_id(&self) -> AttemptId {
        AttemptId { job: self.id(), number: self.attempt }
    }

    pub(super) fn expected(&self) -> Duration {
        self.expected.into()
    }

    /// The time before which it was asked not to start: by its request, which its first start has served, or by
    /// whoever interrupted it. Who wants it now outweighs both for as long as the order holds.
    pub(super) fn not_before(&self) -> Option<Timestamp> {
        let extras = self.extras.as_ref().filter(|_| !self.is_express())?;
        let asked = extras.spec.not_before.filter(|_| self.attempt == 0);
        asked.max(extras.interrupted_until)
    }

    /// When its time gate opens; `None` when it is open.
    pub(super) fn waits_until(&self, now: Now) -> Option<MonoTime> {
        let asked = self.not_before().filter(|asked| *asked > now.wall).map(|asked| mono_at(now, asked));
        let back_off = Some(self.back_off_until()).filter(|until| *until > now.mono);
        asked.max(back_off)
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.extras.as_ref()?.error.as_deref()
    }
}

/// The monotonic moment at which the wall reads `at`; the present when that has passed.
pub(super) fn mono_at(now: Now, at: Timestamp) -> MonoTime {
    now.mono + wall_until(now.wall, at)
}

/// Whole milliseconds of a duration, saturating.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A wall time in milliseconds as a timestamp, saturating.
pub(super) fn wall(ms: i64) -> Timestamp {
    let edge = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(edge)
}

pub(super) fn timed_out(after: Duration) -> String {
    format!("the attempt ran longer than its time-out of {after:?}")
}
