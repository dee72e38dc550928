//! The scheduler's heart: a state machine without threads, I/O or clock reads.
//!
//! # Order of calls
//! Tell the engine what happened (any of the methods that take `&mut self`), call [`Engine::advance`] to let it
//! decide, drain [`Engine::poll_output`], then wait until [`Engine::next_wakeup`] or the next news. The same calls
//! with the same times give the same outputs, bit for bit.
//!
//! # Where a waiting job is
//! In exactly one line: that of the first closed gate it met, or `Ready` when it must be looked at. A line is
//! looked at only when its gate may have opened, and only from its head, so that an event costs what it starts and
//! moves, never the length of the backlog. Beside it a job has at most one timer.

mod admission;
mod config;
mod job;
mod lifecycle;
mod lines;
mod orders;
mod wall;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::error::{SubmitError, UnknownJob};
use crate::event::{Event, EventKind};
use crate::explain::Explanation;
use crate::gate::{CapacityState, LoadState, Reason, Scope};
use crate::name::{InstanceName, ResourceName};
use crate::resource::Ledger;
use crate::spec::{BackupKind, JobId, JobSpec, JobTerms, Priority};
use crate::status::{EngineStatus, JobStatus};
use crate::time::{MonoTime, Now};

pub use config::{Boosts, EngineConfig};
pub use orders::{AttemptEnd, AttemptId, Cancellation, Output, StartOrder, Submission};

use job::Job;
use lines::{Line, Lines};
use wall::{Observed, WallGuard};

/// Moves that one [`Engine::advance`] makes at most before it hands control back.
const STEP_BUDGET: usize = 64;

/// The scheduling state machine; see the [module's](self) words on the order of calls.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    wall: WallGuard,
    jobs: BTreeMap<JobId, Job>,
    next_id: u64,
    twins: BTreeMap<(InstanceName, BackupKind), Twin>,
    lines: Lines,
    timers: BTreeSet<(MonoTime, JobId)>,
    active: BTreeSet<JobId>,
    ended: VecDeque<JobId>,
    ended_counts: BTreeMap<crate::state::JobState, u64>,
    ledger: Ledger,
    holds: BTreeMap<Scope, Reason>,
    loads: BTreeMap<Scope, LoadState>,
    shortages: BTreeMap<Scope, Reason>,
    outputs: VecDeque<Output>,
    /// Running jobs must be held against a changed load.
    review_active: bool,
    closed: bool,
}

/// The jobs of one instance and kind: at most one waits, at most one has begun and not ended.
#[derive(Clone, Copy, Debug, Default)]
struct Twin {
    waiting: Option<JobId>,
    begun: Option<JobId>,
}

impl Engine {
    /// An engine without jobs.
    pub fn new(config: EngineConfig, now: Now) -> Self {
        let mut ledger = Ledger::default();
        for (name, total) in &config.resources {
            ledger.set_total(name.clone(), *total);
        }
        Self {
            lines: Lines::new(config.queue),
            config,
            wall: WallGuard::new(now),
            jobs: BTreeMap::new(),
            next_id: 1,
            twins: BTreeMap::new(),
            timers: BTreeSet::new(),
            active: BTreeSet::new(),
            ended: VecDeque::new(),
            ended_counts: BTreeMap::new(),
            ledger,
            holds: BTreeMap::new(),
            loads: BTreeMap::new(),
            shortages: BTreeMap::new(),
            outputs: VecDeque::new(),
            review_active: false,
            closed: false,
        }
    }

    /// Accepts a job, or joins the request to the pending one for the same instance and kind.
    ///
    /// # Errors
    /// When the request makes no sense, can never be met, contradicts the pending job, or there is no room.
    pub fn submit(&mut self, now: Now, spec: JobSpec, terms: JobTerms) -> Result<Submission, SubmitError> {
        let now = self.observe(now);
        if self.closed {
            return Err(SubmitError::ShuttingDown);
        }
        spec.check()?;
        self.ledger.check(&terms.demand)?;
        let twin = self.twins.get(&(spec.instance.clone(), spec.kind)).copied().unwrap_or_default();
        if let Some(pending) = twin.waiting {
            return self.coalesce(now, pending, spec, &terms);
        }
        let pending = self.jobs.len() - self.ended.len() - self.active.len();
        if pending >= self.config.max_pending {
            self.emit(None, EventKind::QueueFull { pending });
            return Err(SubmitError::QueueFull { pending });
        }
        Ok(Submission::New(self.accept(now, spec, terms)))
    }

    /// Cancels a job, whatever its state.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn cancel(&mut self, now: Now, id: JobId, reason: Reason) -> Result<Cancellation, UnknownJob> {
        let now = self.observe(now);
        let state = self.jobs.get(&id).ok_or(UnknownJob(id))?.state;
        if state.is_final() {
            return Ok(Cancellation::AlreadyEnded);
        }
        if state.is_waiting() {
            self.end(now, id, EventKind::Cancelled { reason });
            return Ok(Cancellation::Done);
        }
        self.order_stop(now, id, job::Stop::Requested(reason));
        Ok(Cancellation::Requested)
    }

    /// Changes a job's class. A job that has started keeps running; the class counts for its pauses and retries.
    /// Returns `false`, and changes nothing, when the job has ended.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn reprioritize(&mut self, now: Now, id: JobId, to: Priority) -> Result<bool, UnknownJob> {
        self.observe(now);
        let boosts = self.config.boosts;
        let job = self.jobs.get_mut(&id).ok_or(UnknownJob(id))?;
        if job.state.is_final() {
            return Ok(false);
        }
        let from = job.terms.priority;
        if from != to {
            Arc::make_mut(&mut job.terms).priority = to;
            job.rekey(boosts);
            if job.state == crate::state::JobState::Queued {
                self.make_ready(id);
            }
            self.review_active = true;
            self.emit(Some(id), EventKind::Reprioritized { from });
        }
        Ok(true)
    }

    /// Keeps every job of `scope` from starting until [`release`](Self::release). Running jobs go on.
    pub fn hold(&mut self, now: Now, scope: Scope, reason: Reason) {
        self.observe(now);
        if self.holds.insert(scope.clone(), reason.clone()).as_ref() != Some(&reason) {
            self.emit(None, EventKind::HoldChanged { scope, reason: Some(reason) });
        }
    }

    /// Takes back a [`hold`](Self::hold). Returns whether there was one.
    pub fn release(&mut self, now: Now, scope: &Scope) -> bool {
        self.observe(now);
        let held = self.holds.remove(scope).is_some();
        if held {
            self.lines.touch(&Line::Hold(scope.clone()));
            self.emit(None, EventKind::HoldChanged { scope: scope.clone(), reason: None });
        }
        held
    }

    /// Publishes the load of a scope.
    pub fn set_load(&mut self, now: Now, scope: Scope, state: LoadState) {
        self.observe(now);
        let before = self.loads.insert(scope.clone(), state.clone());
        let level = before.map(|b| b.level).unwrap_or_default();
        if level == state.level {
            return;
        }
        if state.level < level {
            self.lines.touch_load(&scope);
        }
        self.review_active = true;
        self.emit(None, EventKind::LoadChanged { scope, state });
    }

    /// Publishes whether a scope has room.
    pub fn set_capacity(&mut self, now: Now, scope: Scope, state: CapacityState) {
        self.observe(now);
        let changed = match &state {
            CapacityState::Closed { reason } => {
                self.shortages.insert(scope.clone(), reason.clone()).is_none()
            }
            CapacityState::Open => {
                self.lines.touch(&Line::Capacity(scope.clone()));
                self.shortages.remove(&scope).is_some()
            }
        };
        if changed {
            self.emit(None, EventKind::CapacityChanged { scope, state });
        }
    }

    /// Sets how much there is of a resource. Below what is held, nothing new starts until enough is given back.
    pub fn set_resource(&mut self, now: Now, name: ResourceName, total: u64) {
        self.observe(now);
        self.ledger.set_total(name.clone(), total);
        self.lines.touch(&Line::Resource(name));
    }

    /// Takes no more submissions and cancels what waits; what runs goes on until it ends or is cancelled.
    pub fn close(&mut self, now: Now, reason: &Reason) {
        let now = self.observe(now);
        self.closed = true;
        let waiting: Vec<_> = self.jobs.values().filter(|j| j.state.is_waiting()).map(|j| j.id).collect();
        for id in waiting {
            self.end(now, id, EventKind::Cancelled { reason: reason.clone() });
        }
    }

    /// Records an event of the surroundings, so that it reaches whoever listens in its right place.
    pub fn note(&mut self, now: Now, kind: EventKind) {
        self.observe(now);
        self.emit(None, kind);
    }

    /// Lets the engine decide. Work beyond a bounded number of moves is left for the next call, for which
    /// [`next_wakeup`](Self::next_wakeup) then asks at once.
    pub fn advance(&mut self, now: Now) {
        let now = self.observe(now);
        let mut budget = STEP_BUDGET;
        self.fire_timers(now, &mut budget);
        if std::mem::take(&mut self.review_active) {
            self.review_active_jobs(now);
        }
        self.admit(now, &mut budget);
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`advance`](Self::advance) should be called next if nothing happens before; `None`: not at all.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        if self.review_active || self.lines.any_touched() {
            return Some(self.wall.now().mono);
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.wall.next_look()).min()
    }

    /// The job that waits to back up this instance in this way, if one does.
    pub fn pending(&self, instance: &InstanceName, kind: BackupKind) -> Option<JobId> {
        self.twins.get(&(instance.clone(), kind))?.waiting
    }

    /// The attempts under way.
    pub fn active_attempts(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.active.iter().filter_map(|id| self.jobs.get(id)).map(Job::attempt_id)
    }

    /// Jobs with an attempt under way.
    pub fn active_count(&self) -> usize {
        self.active.len()
    }

    /// Why a job is where it is, with every gate looked at.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn explain(&self, id: JobId) -> Result<Explanation, UnknownJob> {
        let job = self.jobs.get(&id).ok_or(UnknownJob(id))?;
        let now = self.wall.now();
        let waiting = job.state.is_waiting();
        let closed =
            if waiting { self.closed_gates(job, now).map(|(_, gate)| gate).collect() } else { vec![] };
        Ok(Explanation {
            at: now.wall,
            job: job.reference(),
            state: job.state,
            closed,
            ahead: job.line.as_ref().and_then(|line| self.lines.ahead(line, id, 1_000)),
            deadline: job.deadline,
            latest_start: job.latest_start,
            next_look: job.timer.map(|at| now.plus(at.since(now.mono)).wall),
            because: job.because(),
        })
    }

    /// The status of one job.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn job_status(&self, id: JobId) -> Result<JobStatus, UnknownJob> {
        self.jobs.get(&id).map(|job| job.status(self.wall.now())).ok_or(UnknownJob(id))
    }

    /// A consistent picture of everything.
    pub fn status(&self) -> EngineStatus {
        let now = self.wall.now();
        let most = self.config.listed;
        let active_jobs = self.active.iter().filter_map(|id| self.jobs.get(id));
        let waiting_jobs = self.jobs.values().filter(|job| job.state.is_waiting());
        let closed = |reason: &Reason| CapacityState::Closed { reason: reason.clone() };
        EngineStatus {
            at: now.wall,
            waiting: self.jobs.len() - self.ended.len() - self.active.len(),
            active: self.active.len(),
            ended: self.ended_counts.clone(),
            active_jobs: active_jobs.take(most).map(|job| job.status(now)).collect(),
            waiting_jobs: waiting_jobs.take(most).map(|job| job.status(now)).collect(),
            resources: self.ledger.iter().map(|(name, c)| (name.clone(), c)).collect(),
            holds: self.holds.iter().map(|(s, r)| (s.clone(), r.clone())).collect(),
            loads: self.loads.iter().map(|(s, l)| (s.clone(), l.clone())).collect(),
            shortages: self.shortages.iter().map(|(s, r)| (s.clone(), closed(r))).collect(),
            closed: self.closed,
        }
    }

    /// Takes note of the time and returns it with the believed wall.
    fn observe(&mut self, now: Now) -> Now {
        match self.wall.observe(now) {
            Observed::Steady => {}
            Observed::Suspect(by_secs) => self.emit(None, EventKind::WallStepped { by_secs }),
            Observed::Believed => {
                // Timers stand on the monotonic clock for moments on the wall: look at every job anew.
                let at = self.wall.now().mono;
                let ids: Vec<_> = std::mem::take(&mut self.timers).into_iter().map(|(_, id)| id).collect();
                for id in ids {
                    self.set_timer(id, Some(at));
                }
            }
        }
        self.wall.now()
    }

    fn emit(&mut self, id: Option<JobId>, kind: EventKind) {
        let job = id.and_then(|id| self.jobs.get(&id)).map(Job::reference);
        self.outputs.push_back(Output::Event(Event { at: self.wall.now(), job, kind }));
    }

    fn set_timer(&mut self, id: JobId, at: Option<MonoTime>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut job.timer, at) {
            self.timers.remove(&(before, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }
}
