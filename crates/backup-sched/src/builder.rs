//! [`SchedulerBuilder`]: settings in, a running scheduler out.

mod check;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sched_core::store::JobStore;
use sched_core::{
    BackupKind, Clock, EngineConfig, Executor, InstanceName, ResourceName, SLOTS, Scope, SignalName,
    TechnologyName,
};
use sched_limits::{CapacityProbe, ConcurrencyConfig, ControlLaw, Thresholds};
use sched_observe::Hook;
use sched_observe::impact::ImpactSettings;
use sched_policy::Policies;
use sched_workload::{ForegroundLatency, LatencyGoal, LearnedWeek, LoadDetector};

use crate::clock::SystemClock;
use crate::forecast::ForecastConfig;
use crate::runtime::{Key, LawTerms};

pub(crate) use check::check_capacity;

pub(crate) type Executors = BTreeMap<TechnologyName, Arc<dyn Executor>>;

/// Settings of a [`Scheduler`](crate::Scheduler), all with defaults.
#[must_use = "nothing runs before `start`"]
pub struct SchedulerBuilder {
    executors: Executors,
    policies: Policies,
    probes: Vec<Box<dyn CapacityProbe>>,
    thresholds: Thresholds,
    busy: Thresholds,
    concurrency: ConcurrencyConfig,
    foreground: Vec<(ForegroundLatency, LatencyGoal)>,
    detectors: Vec<Box<dyn LoadDetector>>,
    laws: Vec<LawTerms>,
    hooks: Vec<Box<dyn Hook>>,
    impact: Option<ImpactSettings>,
    engine: EngineConfig,
    ceiling: Option<u64>,
    bandwidth: Vec<(Scope, u64)>,
    forecast: ForecastConfig,
    learned: Vec<(Scope, LearnedWeek)>,
    points: HashMap<Key, Timestamp>,
    clock: Arc<dyn Clock>,
    store: Option<Box<dyn JobStore>>,
}

impl Default for SchedulerBuilder {
    fn default() -> Self {
        Self {
            executors: BTreeMap::new(),
            policies: Policies::builtin(),
            probes: Vec::new(),
            thresholds: Thresholds::default(),
            busy: Thresholds::none(),
            concurrency: ConcurrencyConfig::default(),
            foreground: Vec::new(),
            detectors: Vec::new(),
            laws: Vec::new(),
            hooks: Vec::new(),
            impact: None,
            engine: EngineConfig::default(),
            ceiling: None,
            bandwidth: Vec::new(),
            forecast: ForecastConfig::default(),
            learned: Vec::new(),
            points: HashMap::new(),
            clock: Arc::new(SystemClock),
            store: None,
        }
    }
}

impl SchedulerBuilder {
    /// Registers who makes backups of a technology, of each instance and kind that its context names; the last one
    /// registered counts.
    pub fn executor(
        mut self,
        technology: impl Into<TechnologyName>,
        executor: impl Executor + 'static,
    ) -> Self {
        self.executors.insert(technology.into(), Arc::new(executor));
        self
    }

    /// As [`executor`](Self::executor), for one that makes its backups in futures on a runtime of the host's; see
    /// [`OnRuntime`](sched_core::OnRuntime).
    #[cfg(feature = "tokio")]
    pub fn async_executor(
        self,
        technology: impl Into<TechnologyName>,
        runtime: tokio::runtime::Handle,
        executor: impl sched_core::AsyncExecutor + 'static,
    ) -> Self {
        self.executor(technology, sched_core::OnRuntime::new(runtime, executor))
    }

    /// Policies of technologies, clusters and instances, their calendars, and how much hosts and the fleet have of which
    /// resource; that goes before what [`resource`](Self::resource) and [`max_running`](Self::max_running) say. What they
    /// have a `schedule` for [recurs](crate#recurring-backups). Default: [`Policies::builtin`], without any.
    /// [`Scheduler::reload`](crate::Scheduler::reload) exchanges them.
    pub fn policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    /// Backups that may run at once, at least 1. Default 2.
    pub fn max_running(self, jobs: u32) -> Self {
        self.resource(SLOTS, u64::from(jobs))
    }

    /// How much there is of a named resource that jobs may demand.
    pub fn resource(mut self, name: impl Into<ResourceName>, total: u64) -> Self {
        self.engine.resources.insert(name.into(), total);
        self
    }

    /// The most that all backups together may move, in bytes a second, at least 1; also the rate that a control
    /// law's full share stands for. Default: no ceiling, and a full share of 1 GB/s.
    pub fn rate_ceiling(mut self, bytes_per_sec: u64) -> Self {
        self.ceiling = Some(bytes_per_sec);
        self
    }

    /// The most that all backups at a place (fleet, link, host or volume) together may move, in bytes a second, at
    /// least 1. Default: no limit. [`Scheduler::set_bandwidth`](crate::Scheduler::set_bandwidth) changes it at run
    /// time. What is set here for a place
    /// below the fleet is also the rate that the full share of that place's control laws stands for; elsewhere
    /// [`rate_ceiling`](Self::rate_ceiling) is.
    pub fn bandwidth(mut self, place: Scope, bytes_per_sec: u64) -> Self {
        self.bandwidth.push((place, bytes_per_sec));
        self
    }

    /// Steers by the latency of the application's own requests: its level opens and closes the load gate, and its
    /// distance to the goal sets the rate of all backups.
    pub fn foreground(mut self, latency: ForegroundLatency, goal: LatencyGoal) -> Self {
        self.foreground.push((latency, goal));
        self
    }

    /// Adds a load detector. One that reports a latency steers the rate too: that of the place which is its scope, or of
    /// all backups where its scope is no place.
    pub fn detector(mut self, detector: impl LoadDetector + 'static) -> Self {
        self.detectors.push(Box::new(detector));
        self
    }

    /// Adds a capacity probe: while one of its signals is over its threshold, nothing new starts in that scope.
    pub fn probe(mut self, probe: impl CapacityProbe + 'static) -> Self {
        self.probes.push(Box::new(probe));
        self
    }

    /// Thresholds of the probes' signals. Default: [`Thresholds::default`].
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Thresholds over which a probe's signal makes its scope busy: what can wait is deferred, high and critical jobs
    /// start. Keep them below those of [`thresholds`](Self::thresholds), over which nothing starts. Default: none.
    pub fn busy_thresholds(mut self, busy: Thresholds) -> Self {
        self.busy = busy;
        self
    }

    /// Changes how many jobs may run at once by what probes and the rate leave room for; see
    /// [`ConcurrencyConfig`]. Default: bounded by `cpu`, `memory`, `disk` and `network` where a probe measures them.
    /// [`max_running`](Self::max_running) and limits count beside it.
    pub fn concurrency(mut self, change: impl FnOnce(&mut ConcurrencyConfig)) -> Self {
        change(&mut self.concurrency);
        self
    }

    /// Steers a rate by a named signal: the latency of the detector of that name (`foreground` for
    /// [`foreground`](Self::foreground)) in seconds, or a probe's reading as a share of its capacity. The law of a
    /// detector steers the rate of the place that the detector is of, any other law that of all backups. A law that
    /// needs no signal, such as a schedule, may have any name. Of all laws of a place the least counts, and so does the
    /// least of the places that a backup's bytes pass.
    ///
    /// Default: a [`PiLaw`](sched_limits::PiLaw) for each detector that tells a latency; at places where none does,
    /// there or above, a [`PressureLaw`](sched_limits::PressureLaw) for each of `psi.cpu` and `psi.io` once a probe
    /// reads it. Each steers the place that it is measured at and no other; what is measured of something that is no
    /// place, such as a group, steers all backups. A law for the same signal takes the default's place, wherever the
    /// signal is measured; see [`law_at`](Self::law_at) for one of a single place.
    ///
    /// A law is asked on the thread that decides everything: it must not block or call the scheduler, which would wait
    /// for itself for ever. One that panics is set aside: its signal gets a blind share (1 to 5 % of the ceiling) from
    /// then on. A share that is not from 0 to 1 is replaced by the one before. Both are told by a
    /// [`LawFailed`](crate::EventKind::LawFailed) event.
    pub fn law(mut self, signal: impl Into<SignalName>, law: impl ControlLaw + 'static) -> Self {
        self.laws.push(LawTerms { place: None, signal: signal.into(), law: Box::new(law) });
        self
    }

    /// Like [`law`](Self::law) for one place (fleet, link, host or volume): it hears the signal as it is measured there,
    /// and steers the rate of that place.
    pub fn law_at(
        mut self,
        place: Scope,
        signal: impl Into<SignalName>,
        law: impl ControlLaw + 'static,
    ) -> Self {
        self.laws.push(LawTerms { place: Some(place), signal: signal.into(), law: Box::new(law) });
        self
    }

    /// Changes how load is learned, when it is a peak, and how starts are planned by it; see [`ForecastConfig`]. What
    /// detectors tell is learned without it. Nothing is deferred before enough is learned.
    pub fn forecast(mut self, change: impl FnOnce(&mut ForecastConfig)) -> Self {
        change(&mut self.forecast);
        self
    }

    /// Begins with what was learned before: what [`Scheduler::learned_weeks`](crate::Scheduler::learned_weeks) told, or
    /// weeks of other instances as a
    /// prior ([`LearnedWeek::from_prior`]).
    pub fn learned(mut self, weeks: impl IntoIterator<Item = (Scope, LearnedWeek)>) -> Self {
        self.learned.extend(weeks);
        self
    }

    /// Tells to which moments there are backups already, by instance (or cluster) and kind; of several the newest counts.
    /// What [recurs](crate#recurring-backups) goes on from there. Without a [store](Self::store) nothing is kept from one
    /// scheduler to the next: a host that does not tell has every backup of `schedule = "rpo"` made at once, and none of those that a cron expression or an
    /// interval named while nobody was there. A moment in the future counts as now.
    /// [`Scheduler::add_recovery_points`](crate::Scheduler::add_recovery_points) tells it later.
    pub fn recovery_points<N: Into<InstanceName>>(
        mut self,
        points: impl IntoIterator<Item = (N, BackupKind, Timestamp)>,
    ) -> Self {
        for (instance, kind, at) in points {
            let known = self.points.entry((instance.into(), kind)).or_insert(at);
            *known = at.max(*known);
        }
        self
    }

    /// Keeps in a store what must survive: jobs with their attempts, orders of operators, how recurring backups stand, and
    /// what was learned of load, run times and sizes. [`submit`](crate::Scheduler::submit) then returns once its job is
    /// durable. [`start`](Self::start) goes on with what a former scheduler left: every accepted job is there once; an
    /// attempt that was cut off is made again under the next number and spends no retry, and
    /// [`Executor::clean_up`] comes first. Nothing else changes. Default: none, and a restart begins with nothing.
    ///
    /// Of [`learned`](Self::learned) and [`recovery_points`](Self::recovery_points), weeks count where the store has none,
    /// and points where they are newer. Jobs get the terms that the policies in force have for them, as with a
    /// [reload](crate::Scheduler::reload); those of a technology without an executor stay in the store. Weeks are written
    /// once an hour and at the shutdown.
    ///
    /// While the store takes nothing, nothing is accepted and nothing starts; what runs goes on, and is written down once
    /// the store is back. It is opened anew by itself, and so is one that panicked. [`Summary::store`](crate::Summary::store) tells how it stands, and
    /// [`StoreDown`](crate::EventKind::StoreDown) that it failed.
    ///
    /// Only submissions wait until they are durable. A cancellation, an order and the end of a job are written with the next
    /// group: a crash in the moment between, or while the store is down, undoes them, and the job is made (again). They are
    /// durable once [`backlog`](crate::StoreStatus::backlog) is 0.
    ///
    /// [`shutdown`](crate::Scheduler::shutdown) has closed it when it returns. A scheduler that is only dropped closes it some
    /// time later, and the next one may find it [locked](sched_core::store::StoreError::Locked) until then.
    pub fn store(mut self, store: impl JobStore + 'static) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// Adds a hook. Each runs on a thread of its own; a slow one loses events rather than delay anything.
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

    /// Measures what backups cost the foreground, where a detector sees single requests
    /// ([`foreground`](Self::foreground)): backups that pace themselves are slowed to what their phase is promised, mostly
    /// nothing, for two periods of the detector now and then, and the latency meanwhile held against that around it. All in
    /// all that takes at most [`duty`](ImpactSettings::duty) of their time, 3 % by default; the longer the period, the rarer.
    /// Pauses by which laws learn the healthy latency are not among these. [`Scheduler::impact`](crate::Scheduler::impact) tells
    /// what came of it. Default: nothing is measured, and nobody is stopped for it.
    pub fn measure_impact(mut self, settings: ImpactSettings) -> Self {
        self.impact = Some(settings);
        self
    }

    /// Changes the engine's settings: order, bounds, seed, queue.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.engine);
        self
    }

    /// Decide, explain and log, but gate nothing of the surroundings: every job starts as soon as it was asked to, and
    /// runs unpaced, whatever ceilings and bandwidths say; [`Status::rates`](crate::Status::rates) tells what they would
    /// be. Back-offs count, and no backup overlaps itself.
    pub fn advise_only(mut self) -> Self {
        self.engine.advise_only = true;
        self
    }

    /// The clock. Default [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder")
            .field("executors", &self.executors.keys())
            .field("ceiling", &self.ceiling)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
