//! From settings to threads.

use std::fmt;
use std::sync::Arc;
use std::thread;

use parking_lot::RwLock;
use sched_core::store::Fleet;
use sched_core::{Clock, Engine, EngineConfig, Now, PlaceError, SLOTS, Scope};
use sched_limits::{CapacityProbe, ConcurrencyLaw, Rate};
use sched_observe::HookRunner;
use sched_observe::impact::{ImpactLedger, ImpactSettings};
use sched_policy::Policies;
use sched_workload::{ForegroundDetector, LoadDetector};

use super::{SchedulerBuilder, check_capacity};
use crate::current::{Current, Shared};
use crate::error::StartError;
use crate::runtime::{
    DetectorTerms, Dispatcher, FleetThread, Foresight, Impact, Keeper, Left, Link, Parts, PolicySignals,
    ProbeTerms, ROOM, Rates, Rooms, SamplerEnd, Scale, Schedules, Sharing, SignalTerms, Signals, Source,
    spawn_sampler,
};
use crate::scheduler::Scheduler;

/// Messages that may be under way to the dispatcher; senders wait for room.
const INBOX: usize = 1024;
/// Events that may be under way to hooks; later ones are dropped and counted.
const HOOK_QUEUE: usize = 4096;
/// The rate that a control law's full share means when no ceiling is set: about a 10 Gbit/s link.
const FULL_SCALE_BYTES_PER_SEC: u64 = 1_000_000_000;

impl SchedulerBuilder {
    /// Starts the scheduler's threads.
    ///
    /// # Errors
    /// When a setting is wrong, a thread cannot be created, or the [store](Self::store) cannot be used: it is locked, full,
    /// damaged or of a later version. It has not changed then.
    pub fn start(mut self) -> Result<Scheduler, StartError> {
        self.check()?;
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
            impact,
            engine,
            ceiling,
            bandwidth: places,
            forecast,
            learned,
            points,
            clock,
            mut store,
            ..
        } = self;
        let measures = !probes.is_empty() || !detectors.is_empty();
        let takes_room = measures && !engine.advise_only;
        let current = Current::new(0, policies, &executors, takes_room).map_err(setting("executor"))?;
        let mut left = match &mut store {
            Some(store) => {
                store.open()?;
                Left::read(&mut **store, &current)?
            }
            None => Left::default(),
        };
        let law = ConcurrencyLaw::new(concurrency, thresholds.clone()).map_err(setting("concurrency"))?;
        let (link, inbox, presence) = Link::new(INBOX);
        let fleet = Scale {
            ceiling: ceiling.map_or(Rate::Unlimited, Rate::BytesPerSec),
            full: ceiling.unwrap_or(FULL_SCALE_BYTES_PER_SEC),
        };
        let mut rates = rates(clock.clone(), ceiling, !engine.advise_only, &places)?;
        let probe_terms = probes.iter().map(|p| ProbeTerms { name: p.name().into(), period: p.period() });
        let watched = detectors.iter().map(|detector| (detector.scope(), detector.period())).collect();
        let learned = learned.into_iter().chain(std::mem::take(&mut left.weeks)).collect();
        let mut foresight =
            Foresight::new(clock.now(), &forecast, watched, learned).map_err(setting("forecast"))?;
        let kept = store.is_some().then(|| std::mem::take(&mut left.schedules));
        let goes_on = |job| left.jobs.contains_key(&job);
        let mut schedules = Schedules::new(clock.now(), &current.policies, points, kept, goes_on);
        if store.is_some() {
            foresight.keep_weeks();
        }
        let limits = places.iter().map(|(place, rate)| (place, *rate));
        for (place, rate) in ceiling.map(|rate| (&Scope::Fleet, rate)).into_iter().chain(limits) {
            foresight.set_link(place, Some(rate));
            schedules.set_link(place, Some(rate));
        }
        let impact = impact.map(|settings| measure(settings, &detectors)).transpose()?;
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
            policies: PolicySignals::of(&current.policies),
            scales: (fleet, places.into_iter().collect()),
        };
        let signals = Signals::new(clock.now(), terms, Rooms::new(law, takes_room));
        let (sink, hooks) =
            HookRunner::start(hooks, HOOK_QUEUE).map_err(|source| thread_error("hooks", source))?;
        let samplers = samplers(probes, detectors, &clock, &link)?;
        let mut engine = engine;
        engine.journal |= store.is_some();
        let mut engine = engine_of(engine, &current.policies, takes_room, clock.now())?;
        left.hand_over(&mut engine, clock.now(), &current)?;
        let fleet = store.as_mut().and_then(|store| store.fleet());
        let sharing = fleet.map(|Fleet { desk, member }| {
            let limits = member.limits();
            for limit in &limits {
                // So that a name that cannot be used is said now.
                let place = |source| StartError::Setting {
                    setting: "limit",
                    problem: PlaceError::to_string(&source),
                };
                let name = limit.resource.clone().unwrap_or_else(|| SLOTS.into());
                let set = match &limit.resource {
                    Some(_) => engine.set_part(clock.now(), &limit.place, name, 0, limit.total),
                    None => rates.set(&limit.place, Some(Rate::BytesPerSec(1))),
                };
                set.map_err(place)?;
            }
            let thread = FleetThread::start(member, link.commands.clone())
                .map_err(|source| thread_error("fleet", source))?;
            Ok::<_, StartError>(Sharing::new(desk, thread, limits))
        });
        let sharing = sharing.transpose()?;
        let keeper = |store| Keeper::start(store, link.commands.clone());
        let keeper = store.map(keeper).transpose().map_err(|source| thread_error("store", source))?;
        let current: Shared = Arc::new(RwLock::new(Arc::new(current)));
        let parts = Parts {
            engine,
            clock,
            inbox,
            link: link.clone(),
            current: current.clone(),
            rates,
            signals,
            foresight,
            schedules,
            impact,
            samplers,
            sink,
            hooks,
            store: keeper.map(|keeper| (keeper, left)),
            sharing,
            _presence: presence,
        };
        spawn_dispatcher(parts)?;
        Ok(Scheduler::new(link, current))
    }
}

/// What measures what backups cost, by the detectors that see single requests.
fn measure(settings: ImpactSettings, detectors: &[Box<dyn LoadDetector>]) -> Result<Impact, StartError> {
    let ledger = ImpactLedger::new(settings).map_err(setting("measure_impact"))?;
    let told = detectors
        .iter()
        .map(|detector| detector.latency_target().map(|_| (detector.scope(), detector.period())));
    Ok(Impact::new(ledger, told))
}

/// A thread for each probe and detector.
fn samplers(
    probes: Vec<Box<dyn CapacityProbe>>,
    detectors: Vec<Box<dyn LoadDetector>>,
    clock: &Arc<dyn Clock>,
    link: &Link,
) -> Result<Vec<Arc<SamplerEnd>>, StartError> {
    let probes = probes.into_iter().map(Source::Probe).enumerate();
    let detectors = detectors.into_iter().map(Source::Detector).enumerate();
    let spawn = |(index, source): (usize, Source)| {
        let name = source.name().to_owned();
        let sampler = spawn_sampler(index, source, clock.clone(), link.commands.clone());
        sampler.map_err(|source| thread_error(&name, source))
    };
    probes.chain(detectors).map(spawn).collect()
}

/// An engine that knows the policies' calendars and capacities, and whether room is measured.
fn engine_of(
    config: EngineConfig,
    policies: &Policies,
    takes_room: bool,
    now: Now,
) -> Result<Engine, StartError> {
    let mut engine = Engine::new(config, now);
    if takes_room {
        engine.set_resource(now, &Scope::Fleet, ROOM.into(), u64::MAX).map_err(setting("concurrency"))?;
    }
    for (name, calendar) in policies.calendars() {
        engine.set_calendar(now, name.clone(), Some(calendar.clone())).map_err(setting("policies"))?;
    }
    for (place, name, total) in policies.capacities() {
        check_capacity(name).map_err(setting("policies"))?;
        engine.set_resource(now, &place, name.clone(), total).map_err(setting("policies"))?;
    }
    Ok(engine)
}

fn setting<E: fmt::Display>(setting: &'static str) -> impl Fn(E) -> StartError {
    move |error| StartError::Setting { setting, problem: error.to_string() }
}

fn thread_error(name: &str, source: std::io::Error) -> StartError {
    StartError::Thread { name: name.to_owned(), source }
}

/// The rates that were set for places.
fn rates(
    clock: Arc<dyn Clock>,
    ceiling: Option<u64>,
    enforce: bool,
    places: &[(Scope, u64)],
) -> Result<Rates, StartError> {
    let mut rates = Rates::new(clock, ceiling, enforce);
    for (place, bytes_per_sec) in places {
        if *bytes_per_sec == 0 {
            let problem =
                format!("0 bytes a second at {place} would never finish; leave it out for no limit");
            return Err(StartError::Setting { setting: "bandwidth", problem });
        }
        rates.set(place, Some(Rate::BytesPerSec(*bytes_per_sec))).map_err(setting("bandwidth"))?;
    }
    Ok(rates)
}

fn spawn_dispatcher(parts: Parts) -> Result<(), StartError> {
    let name = "backup-sched";
    let run = move || Dispatcher::new(parts).run();
    let spawned = thread::Builder::new().name(name.into()).spawn(run);
    spawned.map(drop).map_err(|source| thread_error(name, source))
}
