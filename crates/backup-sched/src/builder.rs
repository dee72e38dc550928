//! [`SchedulerBuilder`]: settings in, a running scheduler out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sched_core::{
    Clock, Engine, EngineConfig, Executor, ResourceName, SLOTS, Scope, SignalName, TechnologyName,
};
use sched_limits::{
    BandwidthTree, CapacityProbe, ConcurrencyConfig, ConcurrencyLaw, ControlLaw, Rate, Thresholds,
};
use sched_observe::{Hook, HookRunner};
use sched_policy::Policies;
use sched_workload::{ForegroundDetector, ForegroundLatency, LatencyGoal, LoadDetector};

use crate::clock::SystemClock;
use crate::error::StartError;
use crate::runtime::{
    DetectorTerms, Dispatcher, FleetRate, LawTerms, Link, Parts, ProbeTerms, ROOM, RateLimit, Rooms,
    SignalTerms, Signals, Source, spawn_sampler,
};
use crate::scheduler::Scheduler;

/// Messages that may be under way to the dispatcher; senders wait for room.
const INBOX: usize = 1024;
/// Events that may be under way to hooks; later ones are dropped and counted.
const HOOK_QUEUE: usize = 4096;
/// The rate that a control law's full share means when no ceiling is set: about a 10 Gbit/s link.
const FULL_SCALE_BYTES_PER_SEC: u64 = 1_000_000_000;

/// Asking more often would be load of its own.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

pub(crate) type Executors = BTreeMap<TechnologyName, Arc<dyn Executor>>;

/// Settings of a [`Scheduler`], all with defaults.
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
    engine: EngineConfig,
    ceiling: Option<u64>,
    bandwidth: Vec<(Scope, u64)>,
    clock: Arc<dyn Clock>,
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
            engine: EngineConfig::default(),
            ceiling: None,
            bandwidth: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl SchedulerBuilder {
    /// Registers who makes backups of a technology; the last one registered counts.
    pub fn executor(
        mut self,
        technology: impl Into<TechnologyName>,
        executor: impl Executor + 'static,
    ) -> Self {
        self.executors.insert(technology.into(), Arc::new(executor));
        self
    }

    /// Policies of the technologies. Default: [`Policies::builtin`].
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
    /// least 1. Default: no limit. [`Scheduler::set_bandwidth`] changes it at run time. Unlike
    /// [`rate_ceiling`](Self::rate_ceiling) it does not say what a control law's full share stands for.
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

    /// Adds a load detector. One that reports a latency steers the rate too.
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

    /// Steers the rate by a named signal: the latency of the detector of that name (`foreground` for
    /// [`foreground`](Self::foreground)) in seconds, or a probe's reading as a share of its capacity. A law that
    /// needs no signal, such as a schedule, may have any name. The least of all laws counts.
    ///
    /// Default: a [`PiLaw`](sched_limits::PiLaw) for each detector that tells a latency; where none does, a
    /// [`PressureLaw`](sched_limits::PressureLaw) for each of `psi.cpu` and `psi.io` once a probe reads it. A law for
    /// the same signal takes the default's place.
    pub fn law(mut self, signal: impl Into<SignalName>, law: impl ControlLaw + 'static) -> Self {
        self.laws.push(LawTerms { signal: signal.into(), law: Box::new(law) });
        self
    }

    /// Adds a hook. Hooks run on a thread of their own; a slow one loses events rather than delay anything.
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

    /// Changes the engine's settings: order, bounds, seed, queue.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.engine);
        self
    }

    /// Decide, explain and log, but gate nothing of the surroundings: every job starts as soon as it was asked to, and
    /// runs unpaced. Back-offs count, and no backup overlaps itself.
    pub fn advise_only(mut self) -> Self {
        self.engine.advise_only = true;
        self
    }

    /// The clock. Default [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts the scheduler's threads.
    ///
    /// # Errors
    /// When a setting is wrong or a thread cannot be created.
    pub fn start(mut self) -> Result<Scheduler, StartError> {
        self.check()?;
        self.canonical_executors()?;
        for (latency, goal) in std::mem::take(&mut self.foreground) {
            let detector = ForegroundDetector::new(latency, goal).map_err(setting("foreground"))?;
            self.detectors.push(Box::new(detector));
        }
        let Self {
            executors,
            policies,
            probes,
            thresholds,
            busy,
            concurrency,
            detectors,
            laws,
            hooks,
            engine,
            ceiling,
            bandwidth: places,
            clock,
            ..
        } = self;
        let measures = !probes.is_empty() || !detectors.is_empty();
        let takes_room = measures && !engine.advise_only;
        let law = ConcurrencyLaw::new(concurrency, thresholds.clone()).map_err(setting("concurrency"))?;
        let (link, inbox, presence) = Link::new(INBOX);
        let limit = RateLimit {
            ceiling: ceiling.map_or(Rate::Unlimited, Rate::BytesPerSec),
            full_scale: ceiling.unwrap_or(FULL_SCALE_BYTES_PER_SEC),
            enforce: !engine.advise_only,
        };
        let probe_terms = probes.iter().map(|p| ProbeTerms { name: p.name().into(), period: p.period() });
        let detector_terms = detectors.iter().map(|detector| DetectorTerms {
            name: detector.name().into(),
            scope: detector.scope(),
            period: detector.period(),
            latency_target: detector.latency_target(),
            healthy_latency: detector.healthy_latency(),
        });
        let terms = SignalTerms {
            thresholds,
            busy,
            probes: probe_terms.collect(),
            detectors: detector_terms.collect(),
            laws,
        };
        let signals = Signals::new(clock.now(), terms, Rooms::new(law, takes_room), limit);
        let steered = if limit.enforce { signals.rate() } else { Rate::Unlimited };
        let (bandwidth, fleet_rate) = bandwidth_tree(clock.clone(), steered, places)?;
        let (sink, hooks) =
            HookRunner::start(hooks, HOOK_QUEUE).map_err(|source| thread_error("hooks", source))?;
        let probes = probes.into_iter().map(Source::Probe).enumerate();
        let detectors = detectors.into_iter().map(Source::Detector).enumerate();
        let mut samplers = Vec::new();
        for (index, source) in probes.chain(detectors) {
            let name = source.name().to_owned();
            let sampler = spawn_sampler(index, source, clock.clone(), link.commands.clone());
            samplers.push(sampler.map_err(|source| thread_error(&name, source))?);
        }
        let mut engine = Engine::new(engine, clock.now());
        if takes_room {
            engine
                .set_resource(clock.now(), &Scope::Fleet, ROOM.into(), u64::MAX)
                .map_err(setting("concurrency"))?;
        }
        let parts = Parts {
            engine,
            clock,
            inbox,
            link: link.clone(),
            bandwidth: bandwidth.clone(),
            fleet_rate,
            signals,
            samplers,
            sink,
            hooks,
            _presence: presence,
        };
        spawn_dispatcher(parts)?;
        Ok(Scheduler::new(link, policies, executors, takes_room, bandwidth))
    }

    fn check(&self) -> Result<(), StartError> {
        let wrong = |setting, problem: String| Err(StartError::Setting { setting, problem });
        if self.ceiling == Some(0) {
            return wrong(
                "rate_ceiling",
                "0 bytes a second would never finish; leave it out for no ceiling".into(),
            );
        }
        if self.engine.resources.get(&ResourceName::from(SLOTS)).copied().unwrap_or(0) == 0 {
            return wrong(
                "max_running",
                "0 would never start a backup; use `Scheduler::hold` to wait".into(),
            );
        }
        for name in self.engine.resources.keys() {
            if let Err(error) = name.check() {
                return wrong("resource", format!("the name {name:?} cannot be used: {error}"));
            }
            if name.as_str() == ROOM {
                return wrong("resource", format!("{ROOM:?} is what the scheduler itself measures"));
            }
        }
        for LawTerms { signal, .. } in &self.laws {
            if let Err(error) = signal.check() {
                return wrong("law", format!("the signal's name {signal:?} cannot be used: {error}"));
            }
        }
        let probes = self.probes.iter().map(|probe| (probe.name(), probe.period()));
        let detectors = self.detectors.iter().map(|detector| (detector.name(), detector.period()));
        let mut seen = std::collections::BTreeSet::new();
        for (name, period) in probes.chain(detectors) {
            if period < SHORTEST_PERIOD {
                return wrong(
                    "probe or detector",
                    format!("{name:?} has a period of {period:?}; at least {SHORTEST_PERIOD:?}"),
                );
            }
            if let Err(error) = SignalName::from(name).check() {
                return wrong("probe or detector", format!("the name {name:?} cannot be used: {error}"));
            }
            if !seen.insert(name) {
                return wrong(
                    "probe or detector",
                    format!("two are named {name:?}; events could not tell them apart"),
                );
            }
        }
        Ok(())
    }

    /// Executors are looked up under the names that policies use, so that `postgres` and `postgresql` are one.
    fn canonical_executors(&mut self) -> Result<(), StartError> {
        let mut canonical = BTreeMap::new();
        for (name, executor) in std::mem::take(&mut self.executors) {
            let name = self.policies.canonical_name(&name).map_err(setting("executor"))?;
            canonical.insert(name, executor);
        }
        self.executors = canonical;
        Ok(())
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

fn setting<E: fmt::Display>(setting: &'static str) -> impl Fn(E) -> StartError {
    move |error| StartError::Setting { setting, problem: error.to_string() }
}

fn thread_error(name: &str, source: std::io::Error) -> StartError {
    StartError::Thread { name: name.to_owned(), source }
}

/// The tree with the rates that were set for places.
fn bandwidth_tree(
    clock: Arc<dyn Clock>,
    steered: Rate,
    places: Vec<(Scope, u64)>,
) -> Result<(BandwidthTree, FleetRate), StartError> {
    let mut fleet = FleetRate { steered, set: Rate::Unlimited };
    let tree = BandwidthTree::new(clock, Rate::Unlimited);
    for (place, bytes_per_sec) in places {
        if bytes_per_sec == 0 {
            let problem =
                format!("0 bytes a second at {place} would never finish; leave it out for no limit");
            return Err(StartError::Setting { setting: "bandwidth", problem });
        }
        let rate = Rate::BytesPerSec(bytes_per_sec);
        tree.set_rate(&place, rate).map_err(setting("bandwidth"))?;
        if place == Scope::Fleet {
            fleet.set = rate;
        }
    }
    tree.set_rate(&Scope::Fleet, fleet.least()).map_err(setting("bandwidth"))?;
    Ok((tree, fleet))
}

fn spawn_dispatcher(parts: Parts) -> Result<(), StartError> {
    let name = "backup-sched";
    let run = move || Dispatcher::new(parts).run();
    let spawned = thread::Builder::new().name(name.into()).spawn(run);
    spawned.map(drop).map_err(|source| thread_error(name, source))
}
