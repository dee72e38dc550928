//! The scheduler's heart: a state machine without threads, I/O or clock reads.
//!
//! # Order of calls
//! Tell the engine what happened (any of the methods that take `&mut self`), call [`Engine::advance`] to let it
//! decide, drain [`Engine::poll_output`], then wait until [`Engine::next_wakeup`] or the next news. The same calls
//! with the same times give the same outputs, bit for bit.
//!
//! # Where a waiting job is
//! In exactly one place:
//! - with its timer, until its requested or planned start or the end of its back-off;
//! - with its target, while another backup of the same instance and kind runs;
//! - parked at a group, an instance or another host that takes part and is closed for it, or at a place that keeps it
//!   back alone of its class;
//! - otherwise in the queue of its class at its host or volume, in the tournament that `forest` keeps: the most
//!   urgent job that no place keeps back comes to the top of its class at the fleet, where [`Engine::advance`]
//!   looks at it when its lane has a turn.
//!
//! A place, technology or destination that turns out to be closed for the class of the job at the top shuts the whole
//! bracket below it with one heap operation; when it opens, the bracket is shown again. Needs for which the fleet has
//! no room are passed over, and parked jobs are let in one by one. So an event costs what it starts and the classes
//! that it touches, never the length of the backlog.

mod acceptance;
mod admission;
mod apart;
mod breaker;
mod census;
mod config;
mod demand;
mod describe;
mod domain;
mod ends;
mod forest;
mod gates;
mod handover;
mod index;
mod job;
mod journal;
mod lanes;
mod marks;
mod members;
mod moments;
mod needs;
mod operators;
mod orders;
mod outages;
mod parked;
mod phases;
mod plans;
mod renewals;
mod report;
mod requests;
mod reservations;
mod roster;
mod runs;
mod sensitivity;
mod span;
mod surroundings;
mod terms;
mod timers;
mod turns;
mod wall;
mod wants;
mod windows;
mod yielding;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use slab::Slab;

use crate::event::{Event, EventKind, JobRef};
use crate::gate::Scope;
use crate::journal::Lsn;
use crate::name::TenantName;
use crate::plan::Plan;
use crate::spec::JobId;
use crate::state::JobState;
use crate::status::JobStatus;
use crate::time::{MonoTime, Now};

pub use breaker::BreakerConfig;
pub use config::{Boosts, EngineConfig, Preemption};
pub use handover::LetGo;
pub use needs::Needs;
pub use orders::{AttemptEnd, AttemptId, Cancellation, Order, Output, StartOrder, Submission};
pub use renewals::{Renewal, Renewed};
pub use report::{Page, PageCursor, PendingFilter};
pub use wants::Wants;

use demand::Demands;
use domain::Domains;
use forest::Forest;
use index::{ActiveIx, DomainIx, JobIx, ResourceIx, TargetIx};
use job::{Active, Job, Target};
use moments::Sweep;
use parked::Row;
use sensitivity::Sensitivities;
use timers::Timers;
use wall::{Observed, WallGuard};

/// Moves that one [`Engine::advance`] makes at most before it hands control back. One, because with a backlog of
/// a million a move takes microseconds and its caller may have something urgent: with four, p99.9 of a step was 44 µs in
/// the engine bench, with one it is 7.
const STEP_BUDGET: usize = 1;

/// The scheduling state machine; see the [module's](self) words on the order of calls.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    wall: WallGuard,
    jobs: Slab<Job>,
    ids: HashTable<JobIx>,
    next_id: u64,
    targets: Vec<Target>,
    target_index: HashTable<TargetIx>,
    free_targets: Vec<TargetIx>,
    domains: Domains,
    demands: Demands,
    sensitivities: Sensitivities,
    forest: Forest,
    tenant_index: HashMap<TenantName, u16, FixedState>,
    actives: Vec<Active>,
    free_actives: Vec<ActiveIx>,
    timers: Timers,
    alarms: BTreeSet<(MonoTime, Alarm)>,
    /// Domains of which something may have opened.
    touched: VecDeque<DomainIx>,
    /// Jobs that were let in before others of their row, and where these are parked.
    let_in: HashMap<JobIx, (DomainIx, Row), FixedState>,
    /// When planners want waiting jobs to start; their jobs are marked.
    plans: HashMap<JobIx, Plan, FixedState>,
    /// Attempts that must be held against what has changed around them.
    reviews: VecDeque<ActiveIx>,
    /// Critical jobs that lacked room at a place when they were looked at last: should somebody who runs there become
    /// able to make room, they are looked at again.
    wanting: BTreeSet<(DomainIx, JobId)>,
    /// Those of them for whom something has opened since.
    asking: BTreeSet<JobId>,
    /// Domains whose gates stand otherwise, with the last job that has chosen its member anew since.
    choices: BTreeMap<DomainIx, Option<JobIx>>,
    /// Domains that opened: back-offs that they caused end.
    recovered: BTreeSet<DomainIx>,
    /// Something may concern every job.
    sweep: Option<Sweep>,
    /// Who waits for the end of an attempt that makes another kind of backup of the same instance.
    apart: HashMap<JobIx, BTreeSet<JobIx>, FixedState>,
    /// Terms that count once the attempt under way has ended.
    renewals: HashMap<JobIx, Box<Renewed>, FixedState>,
    /// All that there is of resources of which this engine has a part: jobs that need more than that part may wait for more.
    wholes: BTreeMap<(DomainIx, ResourceIx), u64>,
    /// Nobody may start for now.
    suspended: bool,
    /// Nor before it is known again how things stand, and why that is not known.
    blind: Option<crate::gate::Reason>,
    counts: Counts,
    census: census::Census,
    ended: VecDeque<Arc<JobStatus>>,
    ended_counts: BTreeMap<JobState, u64>,
    decisions: VecDeque<Arc<Event>>,
    outputs: VecDeque<Output>,
    journaled: Lsn,
    /// Starts whose records are not durable yet.
    withheld: VecDeque<(Lsn, StartOrder)>,
    closed: Option<crate::gate::Reason>,
    /// A later engine goes on with what has not ended by itself when this one is closed.
    keeps: bool,
}

/// What would otherwise have to be counted.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Jobs that wait.
    pending: usize,
    /// Attempts of jobs that go before all others, without those that stand paused.
    strict: usize,
    /// Scopes that operators want to run now.
    run_now: usize,
    /// Scopes with a ceiling.
    ceilings: usize,
    /// Ceilings or what they are divided among changed.
    ceilings_stale: bool,
    /// Retries that the budget allows, in percent of one.
    retry_tokens: u64,
    /// Jobs that were started, moved, shut or shown.
    moves: u64,
}

/// Something of a domain or attempt that time changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A reservation lapses.
    Claim(DomainIx),
    /// A tripped breaker lets one try.
    Breaker(DomainIx),
    /// An operator's order expires.
    Orders(DomainIx),
    /// A calendar has another stretch.
    Windows(DomainIx),
    /// An attempt was told to pause for another.
    Pause(ActiveIx, AttemptId),
    /// An attempt was told to stop.
    Stop(ActiveIx),
}

impl Engine {
    /// An engine without jobs.
    ///
    /// Names in `config` that cannot be used are kept as they are: nothing that is accepted later can refer to
    /// them.
    pub fn new(config: EngineConfig, now: Now) -> Self {
        let mut demands = Demands::default();
        let mut domains = Domains::new();
        for (name, total) in &config.resources {
            let resource = demands.resource(name);
            domains[Domains::fleet()].set_total(resource, *total, 0);
        }
        config.held.iter().for_each(|name| demands.set_held(name));
        for (scope, limit) in &config.limits {
            let domain = domains.find_or_make(scope);
            domains[domain].gates_mut().limit = Some(*limit);
        }
        let mut engine = Self {
            forest: Forest::new(config.queue),
            wall: WallGuard::new(now),
            jobs: Slab::new(),
            ids: HashTable::new(),
            next_id: config.first_job.max(1),
            targets: Vec::new(),
            target_index: HashTable::new(),
            free_targets: Vec::new(),
            domains,
            demands,
            sensitivities: Sensitivities::default(),
            tenant_index: HashMap::default(),
            actives: Vec::new(),
            free_actives: Vec::new(),
            timers: Timers::default(),
            alarms: BTreeSet::new(),
            touched: VecDeque::new(),
            let_in: HashMap::default(),
            plans: HashMap::default(),
            reviews: VecDeque::new(),
            wanting: BTreeSet::new(),
            asking: BTreeSet::new(),
            choices: BTreeMap::new(),
            recovered: BTreeSet::new(),
            sweep: None,
            apart: HashMap::default(),
            renewals: HashMap::default(),
            wholes: BTreeMap::new(),
            suspended: false,
            blind: None,
            counts: Counts { retry_tokens: 1_000, ..Counts::default() },
            census: census::Census::default(),
            ended: VecDeque::new(),
            ended_counts: BTreeMap::new(),
            decisions: VecDeque::new(),
            outputs: VecDeque::new(),
            journaled: Lsn::default(),
            withheld: VecDeque::new(),
            closed: None,
            keeps: false,
            config,
        };
        engine.tenant(&TenantName::default());
        engine
    }

    /// Lets the engine decide. Work beyond a bounded number of moves is left for the next call, for which
    /// [`next_wakeup`](Self::next_wakeup) then asks at once.
    pub fn advance(&mut self, now: Now) {
        let now = self.observe(now);
        let mut budget = STEP_BUDGET;
        self.fire_alarms(now, &mut budget);
        self.fire_timers(now, &mut budget);
        // Not out of the same budget, or nobody would start meanwhile.
        self.sweep_jobs(now, STEP_BUDGET);
        self.review_attempts(now, &mut budget);
        self.ask_again(now, &mut budget);
        self.end_back_offs(now, &mut budget);
        self.choose_anew(now, &mut budget);
        self.reexamine(now, &mut budget);
        // What has opened is all shown before anybody starts, or less urgent jobs would.
        if !self.is_unsettled() && !self.starts_wait() {
            self.admit(now, &mut budget);
        }
        self.apply_ceilings();
        let jobs = &self.jobs;
        self.timers.first(|at, job| jobs.get(job.at()).is_some_and(|job| job.timer == at));
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`advance`](Self::advance) should be called next if nothing happens before; `None`: not at all.
    pub fn next_wakeup(&self) -> Option<MonoTime> {
        let now = self.wall.now().mono;
        let turn = !self.starts_wait() && self.any_turn();
        let at_once = self.is_unsettled() || self.sweep.is_some() || !self.reviews.is_empty() || turn;
        if at_once {
            return Some(now);
        }
        let alarm = self.alarms.first().map(|(at, _)| *at);
        self.timers.peek().into_iter().chain(alarm).chain(self.wall.next_look()).min()
    }

    /// A reading of the clock with the wall as far as the engine trusts it: one that has jumped by more than five minutes is
    /// believed only when the jump has lasted for a minute. For those who keep time beside the engine; the engine itself
    /// is to be told what the clock says.
    pub fn trusted(&self, now: Now) -> Now {
        self.wall.trusted(now)
    }

    /// Whether news must still be followed up before anybody starts.
    fn is_unsettled(&self) -> bool {
        !self.touched.is_empty()
            || !self.asking.is_empty()
            || !self.choices.is_empty()
            || !self.recovered.is_empty()
            || self.sweep.is_some_and(|sweep| sweep.holds_starts)
    }

    /// Takes note of the time and returns it with the believed wall.
    fn observe(&mut self, now: Now) -> Now {
        match self.wall.observe(now) {
            Observed::Steady => {}
            Observed::Suspect(by_secs) => self.emit(None, EventKind::WallStepped { by_secs }),
            // Timers stand on the monotonic clock for moments on the wall: look at every job anew.
            Observed::Believed => {
                self.begin_sweep(false);
                self.reset_order_alarms();
                self.read_calendars();
            }
        }
        self.wall.now()
    }

    fn emit(&mut self, job: Option<JobIx>, kind: EventKind) {
        if !self.config.events {
            return;
        }
        let job = job.and_then(|job| self.jobs.get(job.at())).map(|job| self.reference(job));
        let event = Arc::new(Event { at: self.wall.now(), job, kind });
        if self.config.decisions > 0 {
            if self.decisions.len() >= self.config.decisions {
                self.decisions.pop_front();
            }
            self.decisions.push_back(event.clone());
        }
        self.outputs.push_back(Output::Event(event));
    }

    fn reference(&self, job: &Job) -> JobRef {
        let target = &self.targets[job.target.at()];
        JobRef {
            id: job.id(),
            instance: target.instance.clone(),
            technology: self.technology(target.technology),
            kind: target.kind,
            priority: job.priority,
            attempt: job.attempt,
        }
    }

    fn technology(&self, domain: DomainIx) -> crate::name::TechnologyName {
        match &self.domains[domain].scope {
            Scope::Technology(name) => name.clone(),
            other => unreachable!("{other} is no technology"),
        }
    }

    fn find(&self, id: JobId) -> Option<JobIx> {
        let same = |ix: &JobIx| self.jobs[ix.at()].id() == id;
        self.ids.find(hash_id(id), same).copied()
    }

    fn set_timer(&mut self, job: JobIx, at: Option<MonoTime>) {
        let entry = &mut self.jobs[job.at()];
        // Zero stands for none; a moment at the clock's origin is one nanosecond late.
        let at = at.map(|at| at.max(MonoTime::from_nanos(1)));
        let before = std::mem::replace(&mut entry.timer, at.unwrap_or_default());
        let before = (before != MonoTime::ZERO).then_some(before);
        if before == at {
            return;
        }
        let jobs = &self.jobs;
        self.timers.set(job, before, at, |at, job| jobs.get(job.at()).is_some_and(|job| job.timer == at));
    }

    /// Something of a domain may have opened.
    fn touch(&mut self, domain: DomainIx) {
        self.changed(domain);
        let entry = &mut self.domains[domain];
        entry.openings = entry.openings.wrapping_add(1);
        if !self.wanting.is_empty() {
            self.asking.extend(self.who_wants(domain));
        }
        let entry = &mut self.domains[domain];
        let waited_for = !entry.shut.is_empty() || entry.gates.as_ref().is_some_and(|g| !g.parked.is_empty());
        if waited_for && !entry.touched {
            entry.touched = true;
            self.touched.push_back(domain);
        }
    }

    fn tenant(&mut self, name: &TenantName) -> u16 {
        if let Some(tenant) = self.tenant_index.get(name) {
            return *tenant;
        }
        let weight = self.config.tenants.get(name).copied().unwrap_or(1).clamp(1, 1_000);
        // More tenants than that share the last one's place in turn.
        let lanes = &mut self.forest.lanes;
        let tenant = u16::try_from(lanes.tenants()).unwrap_or(u16::MAX);
        if lanes.tenants() <= usize::from(u16::MAX) {
            lanes.add_tenant(weight);
        }
        self.tenant_index.insert(name.clone(), tenant);
        tenant
    }
}

fn hash_id(id: JobId) -> u64 {
    use std::hash::BuildHasher;
    FixedState::default().hash_one(id)
}
