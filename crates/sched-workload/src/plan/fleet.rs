//! The plans of many jobs, kept up to date: [`FleetPlanner`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{JobId, Plan};

use super::explanation::PlanExplanation;
use super::grid::{Grid, ceil_ms, floor_ms, timestamp};
use super::ledger::{Commitment, LinkId, LinkLedger, LinkSet};
use super::planner::{PlanRequest, Planner};
use super::settings::{PlanSettings, PlanSettingsError};
use super::window::OpenInterval;
use crate::Forecast;

/// What is looked up anew each time a job is planned: kept by the host, too large to keep for each job.
pub trait PlanSource {
    /// Adds the stretches of time between `from` and `until` in which the job may run.
    ///
    /// Stretches beyond `until` may be added; they are used when there is none before. See [`OpenInterval::of`] for a
    /// calendar.
    fn windows(&self, job: JobId, from: Timestamp, until: Timestamp, into: &mut Vec<OpenInterval>);

    /// Writes the forecast of the job's instance from `from` on; false when there is none.
    fn forecast(&self, job: JobId, from: Timestamp, into: &mut Forecast) -> bool;
}

/// A job that waits for its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlannedJob {
    /// See [`PlanRequest::since`].
    pub since: Timestamp,
    /// See [`PlanRequest::latest_start`].
    pub latest_start: Option<Timestamp>,
    /// See [`PlanRequest::may_override`].
    pub may_override: bool,
    /// See [`PlanRequest::duration`].
    pub duration: Duration,
    /// See [`PlanRequest::bytes`].
    pub bytes: u64,
    /// See [`PlanRequest::links`].
    pub links: LinkSet,
    /// See [`PlanRequest::seed`]: best a hash of the instance's name.
    pub seed: u64,
}

/// Keeps the plans of many jobs and what they commit of the links.
///
/// Tell it what changes ([`insert`](Self::insert), [`changed`](Self::changed), [`started`](Self::started),
/// [`remove`](Self::remove)), and call [`replan`](Self::replan) when [`next_replan`](Self::next_replan) says so. Jobs that changed are
/// planned first, in the order in which they did; besides, all that wait are planned anew once a slot. Each job's run is
/// taken out of the ledger, planned against all others, and put in again: about one horizon's slots of work, however
/// many others there are. Does not read a clock, and starts nothing.
#[derive(Debug)]
pub struct FleetPlanner {
    planner: Planner,
    ledger: LinkLedger,
    entries: Vec<Entry>,
    index: HashMap<JobId, u32, foldhash::fast::FixedState>,
    changed: VecDeque<JobId>,
    /// The sweep over all entries that each slot begins, from the last entry to the first.
    sweep: Sweep,
    windows: Vec<OpenInterval>,
    forecast: Forecast,
}

#[derive(Debug)]
struct Sweep {
    slot: i64,
    /// Entries that it has not looked at.
    left: usize,
}

#[derive(Debug)]
struct Entry {
    id: JobId,
    job: PlannedJob,
    state: State,
    commitment: Option<Commitment>,
    /// Whether it is in `changed`.
    queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Waits, and nothing was told of its start.
    New,
    /// Waits for the start that was told, in milliseconds; none: that it has none.
    Planned(Option<i64>),
    /// Under way: its bytes are committed where they flow, and nothing is planned.
    Running,
}

impl FleetPlanner {
    /// Without jobs and links.
    ///
    /// # Errors
    /// [`PlanSettingsError`] when a setting is out of its range.
    pub fn new(settings: PlanSettings, now: Timestamp) -> Result<Self, PlanSettingsError> {
        let planner = Planner::new(settings)?;
        let slot = settings.grid().slot(floor_ms(now));
        Ok(Self {
            ledger: LinkLedger::new(&settings, now),
            planner,
            entries: Vec::new(),
            index: HashMap::default(),
            changed: VecDeque::new(),
            sweep: Sweep { slot, left: 0 },
            windows: Vec::new(),
            forecast: Forecast { start: now, step: settings.step, slots: Vec::new() },
        })
    }

    /// Another shared link.
    pub fn add_link(&mut self, bytes_per_sec: u64) -> LinkId {
        self.ledger.add_link(bytes_per_sec)
    }

    /// Something of which each run takes one while it lasts, such as slots: levelled as a link is.
    pub fn add_slots(&mut self, slots: u64) -> LinkId {
        self.ledger.add_slots(slots)
    }

    /// A link carries so much from now on, or there are so many slots; plans follow in the next sweep.
    pub fn set_capacity(&mut self, link: LinkId, capacity: u64) {
        self.ledger.set_capacity(link, capacity);
    }

    /// What is committed of the links.
    pub fn ledger(&self) -> &LinkLedger {
        &self.ledger
    }

    /// A job waits, or waits with other numbers: it is planned next. What is known of a former plan is kept.
    ///
    /// A job that ran waits again.
    pub fn insert(&mut self, id: JobId, job: PlannedJob) {
        if let Some(at) = self.index.get(&id) {
            let entry = &mut self.entries[*at as usize];
            entry.job = job;
            if entry.state == State::Running {
                entry.state = State::New;
            }
        } else {
            let at = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            self.index.insert(id, at);
            self.entries.push(Entry { id, job, state: State::New, commitment: None, queued: false });
        }
        self.changed(id);
    }

    /// The job's forecast or windows have changed: it is planned next. Nothing happens when it does not wait.
    pub fn changed(&mut self, id: JobId) {
        let Some(at) = self.index.get(&id) else { return };
        let entry = &mut self.entries[*at as usize];
        if entry.state != State::Running && !entry.queued {
            entry.queued = true;
            self.changed.push_back(id);
        }
    }

    /// The job began: its bytes are committed from this moment on, until it is removed. Nothing happens when it is
    /// unknown.
    pub fn started(&mut self, id: JobId, at: Timestamp) {
        let Some(index) = self.index.get(&id) else { return };
        let entry = &mut self.entries[*index as usize];
        entry.state = State::Running;
        commit(&mut self.ledger, entry, Some(floor_ms(at)));
    }

    /// The job has ended, or is not wanted any more: what it committed is free. Nothing happens when it is unknown.
    pub fn remove(&mut self, id: JobId) {
        let Some(at) = self.index.get(&id) else { return };
        let at = *at as usize;
        commit(&mut self.ledger, &mut self.entries[at], None);
        // The entries that the sweep has left stay in front: its last fills the gap, and the last of all its place.
        let gap = if at < self.sweep.left {
            self.sweep.left -= 1;
            self.entries.swap(at, self.sweep.left);
            self.reindex(at);
            self.sweep.left
        } else {
            at
        };
        self.entries.swap_remove(gap);
        self.reindex(gap);
        self.index.remove(&id);
    }

    /// Plans up to `limit` jobs and adds those that had no plan yet or whose start has changed, as [`Engine::plan_all`] takes them; to be called
    /// again when [`next_replan`](Self::next_replan) says so. A job for which no window opens, and no deadline asks for
    /// a start, has no plan.
    ///
    /// Whose start is due and who waits for something else keeps it, unless another start gains enough.
    ///
    /// [`Engine::plan_all`]: sched_core::Engine::plan_all
    pub fn replan(
        &mut self,
        now: Timestamp,
        source: &dyn PlanSource,
        limit: usize,
        changes: &mut Vec<(JobId, Option<Plan>)>,
    ) {
        self.advance(now);
        let slot = self.planner.settings().grid().slot(floor_ms(now));
        if self.sweep.left == 0 && slot != self.sweep.slot {
            self.sweep = Sweep { slot, left: self.entries.len() };
        }
        for _ in 0..limit {
            let Some(at) = self.take_next() else { return };
            changes.extend(self.plan_entry(at, now, source));
        }
    }

    /// Plans one job at once, as [`replan`](Self::replan) would in its turn: for one that must not start before its first
    /// plan is known. `None` when it does not wait, or its start has not changed.
    pub fn replan_job(
        &mut self,
        id: JobId,
        now: Timestamp,
        source: &dyn PlanSource,
    ) -> Option<(JobId, Option<Plan>)> {
        self.advance(now);
        let at = *self.index.get(&id)? as usize;
        // One that was inserted just now is not to be planned again in its turn.
        if self.changed.back() == Some(&id) {
            self.changed.pop_back();
            self.entries[at].queued = false;
        }
        self.plan_entry(at, now, source)
    }

    /// Jobs that have changed and are to be planned first.
    pub fn backlog(&self) -> usize {
        self.changed.len()
    }

    /// Jobs that it knows: those that wait and those under way.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows no job.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When [`replan`](Self::replan) has something to do: at once while it has not come to an end, else when the next
    /// slot begins.
    pub fn next_replan(&self, now: Timestamp) -> Timestamp {
        let grid: Grid = self.planner.settings().grid();
        let slot = grid.slot(floor_ms(now));
        let busy = !self.changed.is_empty() || self.sweep.left > 0 || slot != self.sweep.slot;
        if busy { now } else { timestamp(grid.begin(slot + 1)) }
    }

    /// The plan of a job that waits and what speaks for it by now; `None` when it does not wait or has no start.
    pub fn explain(&mut self, id: JobId, now: Timestamp, source: &dyn PlanSource) -> Option<PlanExplanation> {
        let at = *self.index.get(&id)? as usize;
        if self.entries[at].state == State::Running {
            return None;
        }
        let start = self.entries[at].commitment.as_ref().map(Commitment::start_ms);
        commit(&mut self.ledger, &mut self.entries[at], None);
        let explanation =
            self.with_request(at, now, source, |planner, request, ledger| planner.explain(request, ledger));
        commit(&mut self.ledger, &mut self.entries[at], start);
        explanation
    }

    fn advance(&mut self, now: Timestamp) {
        if self.ledger.advance(now) {
            for entry in &mut self.entries {
                let start = entry.commitment.as_ref().map(Commitment::start_ms);
                commit(&mut self.ledger, entry, start);
            }
        }
    }

    /// The next entry that is to be planned.
    fn take_next(&mut self) -> Option<usize> {
        while let Some(id) = self.changed.pop_front() {
            if let Some(at) = self.index.get(&id) {
                self.entries[*at as usize].queued = false;
                return Some(*at as usize);
            }
        }
        self.sweep.left = self.sweep.left.checked_sub(1)?;
        Some(self.sweep.left)
    }

    fn plan_entry(
        &mut self,
        at: usize,
        now: Timestamp,
        source: &dyn PlanSource,
    ) -> Option<(JobId, Option<Plan>)> {
        let before = match self.entries[at].state {
            State::New => None,
            State::Planned(start) => Some(start),
            State::Running => return None,
        };
        commit(&mut self.ledger, &mut self.entries[at], None);
        let plan =
            self.with_request(at, now, source, |planner, request, ledger| planner.plan(request, ledger));
        let entry = &mut self.entries[at];
        let start = plan.map(|plan| floor_ms(plan.start));
        commit(&mut self.ledger, entry, start);
        let due = |start: Option<i64>| start.is_some_and(|start| start <= ceil_ms(now));
        if before.is_some_and(|before| before == start || due(before) && due(start)) {
            return None;
        }
        entry.state = State::Planned(start);
        Some((entry.id, plan.map(|plan| Plan::new(plan.start, plan.reason()))))
    }

    fn with_request<T>(
        &mut self,
        at: usize,
        now: Timestamp,
        source: &dyn PlanSource,
        then: impl FnOnce(&mut Planner, &PlanRequest<'_>, &LinkLedger) -> T,
    ) -> T {
        let Self { planner, ledger, entries, windows, forecast, .. } = self;
        let Entry { id, job, state, .. } = &entries[at];
        let horizon = planner.settings().horizon;
        let until =
            [job.duration, horizon, horizon].iter().fold(now, |until, by| sched_core::wall_plus(until, *by));
        windows.clear();
        source.windows(*id, now, until, windows);
        forecast.slots.clear();
        let known = source.forecast(*id, now, forecast);
        let current = if let State::Planned(start) = state { start.map(timestamp) } else { None };
        let request = PlanRequest {
            now,
            since: job.since,
            windows,
            latest_start: job.latest_start,
            may_override: job.may_override,
            duration: job.duration,
            bytes: job.bytes,
            links: job.links,
            forecast: known.then_some(&*forecast),
            current,
            seed: job.seed,
        };
        then(planner, &request, ledger)
    }

    fn reindex(&mut self, at: usize) {
        if let Some(entry) = self.entries.get(at) {
            self.index.insert(entry.id, at as u32);
        }
    }
}

/// Commits an entry's bytes from a start on, instead of what it committed before.
fn commit(ledger: &mut LinkLedger, entry: &mut Entry, start: Option<i64>) {
    if let Some(commitment) = entry.commitment.take() {
        ledger.take(commitment);
    }
    let PlannedJob { links, duration, bytes, .. } = entry.job;
    entry.commitment =
        start.map(|start| ledger.put_ms(links, start, super::grid::duration_ms(duration), bytes));
}
