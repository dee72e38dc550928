//! The scheduler itself, on simulated time: [`Adaptive`].

mod hurry;
mod lives;
mod loads;
mod plans;
mod store;
mod surroundings;
mod weeks;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use jiff::Timestamp;
use sched_core::{
    AttemptEnd, AttemptId, Engine, EngineConfig, HostName, InstanceName, JobId, JobSpec, JobTerms, LoadLevel,
    MonoTime, Now, Output, RunError, SLOTS, Scope, TechnologyName, wall_minus, wall_plus,
};

use self::hurry::Hurry;
use self::lives::Lives;
use self::loads::Loads;
use self::plans::{Plans, Wanted};
use self::store::Store;
pub use self::weeks::{LEARNED_DAYS, Weeks};
use super::Strategy;
use crate::MONDAY;
use crate::fault::Where;
use crate::world::{Finished, Pace, RunId, World};

const HOUR: f64 = 3600.0;
/// An attempt is given up after so many times the time that it is expected to take.
const TIMEOUT: f64 = 3.0;
/// No attempt is given up before, in seconds: paced ones wait for the end of a peak.
const LEAST_TIMEOUT: f64 = 12.0 * HOUR;
/// The rate that is expected of a host without room, in bytes a second.
const SLOWEST: f64 = 1e6;

/// This scheduler: the engine decides what starts, and what runs is paced by what its host's foreground feels.
///
/// Each instance's next backup is asked for when the last is done, to be finished within the RPO. With
/// [`planned`](Self::planned), a planner says when each starts, by the hosts' learned weeks and what is committed of the
/// links, and links carry no more than the fleet needs in the long run; without it a backup starts as soon as half the
/// interval has passed and there is a slot.
///
/// What its host's room or its part of the link would make too late gets the rate that its deadline needs.
#[derive(Debug)]
pub struct Adaptive {
    most_a_link: u64,
    weeks: Option<Weeks>,
    at_work: Option<AtWork>,
}

/// The scheduler of a fleet that is simulated.
#[derive(Debug)]
struct AtWork {
    engine: Engine,
    plans: Option<Plans>,
    hurry: Hurry,
    loads: Loads,
    lives: Lives,
    store: Store,
    /// When hosts, destinations or the clock change that it has not looked at yet, in seconds.
    next_change: f64,
    /// By host, whether it is lost, and whether its destination is full.
    troubled: Vec<(bool, bool)>,
    names: Vec<(InstanceName, TechnologyName, HostName)>,
    /// Terms with the time-out that they were made with, in doublings of the least, by those that policies gave.
    terms: HashMap<(usize, u32), Arc<JobTerms>, FixedState>,
    jobs: HashMap<JobId, u32, FixedState>,
    instances: Vec<Course>,
}

/// What is known of an instance.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    /// Its next backup, asked for or under way.
    job: Option<JobId>,
    run: Option<(AttemptId, RunId)>,
    /// Mean rate of the last backup, in bytes a second; 0 before there was one.
    rate: f32,
    /// Bytes that the last backup moved; 0 before there was one.
    bytes: f32,
    /// When the next is planned to start, in seconds of the wall clock.
    planned: f64,
    /// By how much the wall clock was ahead when the backup under way started, and when the newest recovery point was
    /// made.
    ahead: (f32, f32),
}

impl Adaptive {
    /// Without plans, with so many jobs at once on a link.
    pub fn new(most_a_link: u64) -> Self {
        Self { most_a_link, weeks: None, at_work: None }
    }

    /// With a planner that knows these weeks.
    #[must_use]
    pub fn planned(mut self, weeks: &Weeks) -> Self {
        self.weeks = Some(weeks.clone());
        self
    }

    /// The engine, once the simulation has begun.
    pub fn engine(&self) -> Option<&Engine> {
        self.at_work.as_ref().map(|at_work| &at_work.engine)
    }
}

impl AtWork {
    fn new(world: &mut World<'_>, most_a_link: u64, weeks: Option<&Weeks>) -> Self {
        let fleet = world.fleet();
        let mut technologies: HashMap<&str, TechnologyName, FixedState> = HashMap::default();
        let hosts: Vec<HostName> = fleet.hosts.iter().map(|host| host.name.as_str().into()).collect();
        let names = fleet.instances.iter().map(|of| {
            let technology = technologies.entry(&of.technology).or_insert_with(|| (&*of.technology).into());
            (of.name.as_str().into(), technology.clone(), hosts[of.host as usize].clone())
        });
        let names = names.collect();
        let mut at_work = Self {
            engine: engine(world, most_a_link, &hosts),
            plans: weeks.map(|weeks| Plans::new(world, weeks)),
            hurry: Hurry::default(),
            loads: Loads::new(fleet.hosts.len(), fleet.instances.len()),
            lives: Lives::new(fleet),
            store: Store::default(),
            next_change: world.now(),
            troubled: vec![(false, false); fleet.hosts.len()],
            names,
            terms: HashMap::default(),
            jobs: HashMap::default(),
            instances: vec![Course::default(); fleet.instances.len()],
        };
        (0..fleet.instances.len() as u32)
            .filter(|of| world.exists(*of))
            .for_each(|of| at_work.submit(world, of));
        at_work
    }

    /// Asks for the next backup of an instance.
    fn submit(&mut self, world: &World<'_>, instance: u32) {
        let course = self.instances[instance as usize];
        // As the wall clock says: so it was written down.
        let (now, point) = (world.clock(), world.recovery_point(instance) + f64::from(course.ahead.1));
        let of = &world.fleet().instances[instance as usize];
        let host = &world.fleet().hosts[of.host as usize];
        let rpo = of.rpo.as_secs_f64();
        let bytes = if course.bytes > 0.0 { course.bytes.into() } else { world.told_bytes(instance) };
        let deadline = point + rpo;
        let rate = match course.rate {
            rate if rate > 0.0 => rate.into(),
            _ => self.room(world, of.host, now, deadline) * host.bytes_per_sec,
        };
        let duration = (bytes / rate.max(SLOWEST)).clamp(60.0, 0.9 * rpo);
        let (name, technology, host_name) = self.names[instance as usize].clone();
        let mut spec = JobSpec::new(name, technology)
            .host(host_name)
            .size_bytes(bytes as u64)
            .expected_duration(Duration::from_secs_f64(duration))
            .deadline(wall_of(deadline));
        if self.plans.is_none() {
            spec = spec.not_before(wall_of(point + 0.5 * of.every.as_secs_f64()));
        }
        let terms = self.terms(world, instance, duration);
        let window = terms.window.clone();
        let job = self.engine.submit(moment(world), spec, terms).expect("as many as may wait").job();
        self.jobs.insert(job, instance);
        let course = &mut self.instances[instance as usize];
        (course.job, course.planned) = (Some(job), f64::NEG_INFINITY);
        if let Some(plans) = &mut self.plans {
            let (host, link, seed) = (of.host, host.link, of.seed);
            plans.insert(
                now,
                job,
                Wanted { host, link, point, rpo, duration, bytes, seed, window, start: None },
            );
        }
    }

    /// The terms of an instance, with a time-out that suits a backup that is expected to take so many seconds.
    fn terms(&mut self, world: &World<'_>, instance: u32, duration: f64) -> Arc<JobTerms> {
        let given = world.terms(instance);
        let doublings = (TIMEOUT * duration / LEAST_TIMEOUT).max(1.0).log2().ceil() as u32;
        let make = || {
            let mut terms = given.map_or_else(JobTerms::default, |terms| JobTerms::clone(terms));
            // What is modelled of hosts is slots and bandwidth, not the memory and the like that policies count.
            terms.demand = JobTerms::default().demand;
            let timeout = Duration::from_secs_f64(LEAST_TIMEOUT * f64::from(doublings).exp2());
            terms.timeout = terms.timeout.or(Some(timeout));
            Arc::new(terms)
        };
        let key = given.map_or(0, |terms| Arc::as_ptr(terms).addr());
        self.terms.entry((key, doublings)).or_insert_with(make).clone()
    }

    /// What backups may use of a host, as far as that is known.
    fn room(&self, world: &World<'_>, host: u32, from: f64, to: f64) -> f64 {
        match &self.plans {
            Some(plans) => plans.room(world.room(), host, from, to),
            None => world.room().beside(world.load(host)),
        }
    }

    fn drain(&mut self, world: &mut World<'_>) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Start(order) => self.start(world, order.attempt),
                Output::Cancel(attempt, _) => self.stop(world, attempt),
                Output::Pause(attempt) => self.pause(world, attempt, true),
                Output::Resume(attempt) => self.pause(world, attempt, false),
                Output::Record(lsn, _) => self.store.write(world.durable_at(), lsn),
                Output::Ended(status) => {
                    if let Some(instance) = self.jobs.remove(&status.job.id) {
                        self.plans.iter_mut().for_each(|plans| plans.remove(status.job.id));
                        self.instances[instance as usize].job = None;
                        if world.exists(instance) {
                            self.submit(world, instance);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn start(&mut self, world: &mut World<'_>, attempt: AttemptId) {
        let instance = self.jobs[&attempt.job];
        let run = world.start(instance, Pace::Safe);
        let course = &mut self.instances[instance as usize];
        course.run = Some((attempt, run));
        course.ahead.0 = (world.clock() - world.now()) as f32;
        let host = world.fleet().instances[instance as usize].host;
        if world.clock() + 1.0 < course.planned || self.loads.level(host) == LoadLevel::Peak {
            world.overridden();
        }
        self.engine.started(moment(world), attempt);
        self.plans.iter_mut().for_each(|plans| plans.started(world.clock(), attempt.job));
        self.look_at(world, instance);
    }

    fn stop(&mut self, world: &mut World<'_>, attempt: AttemptId) {
        // Where nobody answers it holds what it holds until that host is back.
        if let Some(stopped) = self.run_of(attempt).and_then(|run| world.stop(run)) {
            self.finished(world, &stopped);
        }
    }

    fn pause(&mut self, world: &mut World<'_>, attempt: AttemptId, paused: bool) {
        let Some(run) = self.run_of(attempt) else { return };
        world.pause(run, paused);
        match paused {
            true => self.engine.paused(moment(world), attempt),
            false => self.engine.resumed(moment(world), attempt),
        };
    }

    fn run_of(&self, attempt: AttemptId) -> Option<RunId> {
        let run = self.jobs.get(&attempt.job).and_then(|of| self.instances[*of as usize].run);
        run.filter(|(other, _)| *other == attempt).map(|(_, run)| run)
    }

    /// Has a backup that runs move as its deadline needs.
    fn look_at(&mut self, world: &mut World<'_>, instance: u32) {
        let Some((_, run)) = self.instances[instance as usize].run else { return };
        let of = &world.fleet().instances[instance as usize];
        let due = world.recovery_point(instance) + of.rpo.as_secs_f64();
        let ahead = world.clock() - world.now();
        let room = self.room(world, of.host, world.clock(), due + ahead);
        self.hurry.look_at(world, instance, run, room);
    }

    /// Takes over what the planner has chosen.
    fn plan(&mut self, world: &World<'_>) {
        let Some(plans) = &mut self.plans else { return };
        plans.learn(world);
        let now = moment(world);
        for (job, plan) in plans.changes(world.clock()) {
            let start = plan.as_ref().map_or(f64::NEG_INFINITY, |plan| secs_of(plan.start));
            let instance = self.jobs[&job];
            self.instances[instance as usize].planned = start;
            self.loads.before(world.now(), world.now() + start - world.clock(), instance);
            self.engine.plan(now, job, plan).expect("it is known");
        }
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        let now = moment(world);
        self.follow_changes(world);
        self.follow_lives(world);
        if let Some(lsn) = self.store.durable(world.now()) {
            self.engine.committed(now, lsn);
        }
        while let Some((instance, run)) = self.hurry.next_due(world.now()) {
            if self.instances[instance as usize].run.is_some_and(|(_, other)| other == run) {
                self.look_at(world, instance);
            }
        }
        loop {
            self.plan(world);
            self.look_at_loads(world);
            self.engine.advance(now);
            let next = self.engine.next_wakeup();
            self.drain(world);
            let behind = self.plans.as_ref().is_some_and(Plans::is_behind);
            if !behind && next.is_none_or(|next| next > now.mono) {
                let next = next
                    .map_or(f64::INFINITY, |next| (next.as_nanos() as f64 * 1e-9).max(world.now() + 1e-3));
                let looks = self.hurry.next().min(self.loads.next()).min(self.lives.next());
                return next.min(looks).min(self.store.next()).min(self.next_change);
            }
        }
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        let course = &mut self.instances[finished.instance as usize];
        let Some((attempt, _)) = course.run.take() else { return };
        if finished.ok {
            course.rate = (finished.bytes / (world.now() - finished.started).max(1.0)) as f32;
            (course.bytes, course.ahead.1) = (finished.bytes as f32, course.ahead.0);
        } else {
            self.loads.before(world.now(), world.now(), finished.instance);
        }
        if finished.dropped {
            // Told first, so that it is not tried again.
            self.give_up(world, finished.instance);
        }
        let result = match finished.unavailable {
            _ if finished.ok => Ok(()),
            None => Err(RunError::Retryable("it failed".into())),
            Some(place) => {
                let what = scope_of(world, place);
                Err(RunError::Unavailable { what, error: "it does not answer".into() })
            }
        };
        self.engine.ended(moment(world), attempt, AttemptEnd::new(finished.bytes as u64, result));
    }
}

impl Strategy for Adaptive {
    fn name(&self) -> String {
        if self.weeks.is_some() { "adaptive" } else { "adaptive, without plans" }.into()
    }

    fn wake(&mut self, world: &mut World<'_>) -> f64 {
        let Self { most_a_link, weeks, at_work } = self;
        at_work.get_or_insert_with(|| AtWork::new(world, *most_a_link, weeks.as_ref())).wake(world)
    }

    fn finished(&mut self, world: &mut World<'_>, finished: &Finished) {
        if let Some(at_work) = &mut self.at_work {
            at_work.finished(world, finished);
        }
    }
}

/// An engine that knows the fleet's places and calendars.
fn engine(world: &World<'_>, most_a_link: u64, hosts: &[HostName]) -> Engine {
    let fleet = world.fleet();
    let mut config = EngineConfig::default();
    config.resources = BTreeMap::new();
    config.max_pending = fleet.instances.len();
    config.events = false;
    config.journal = world.has_slow_store();
    let now = moment(world);
    let mut engine = Engine::new(config, now);
    let links: Vec<Scope> = fleet.links.iter().map(|link| Scope::Link(link.name.as_str().into())).collect();
    for link in &links {
        engine.set_resource(now, link, SLOTS.into(), most_a_link).expect("a link is a place");
    }
    for (host, name) in fleet.hosts.iter().zip(hosts) {
        let place = Scope::Host(name.clone());
        engine.set_parent(now, &place, &links[host.link as usize]).expect("a host goes under a link");
        engine.set_resource(now, &place, SLOTS.into(), 1).expect("a host is a place");
    }
    for (name, calendar) in world.calendars() {
        engine.set_calendar(now, name.clone(), Some(calendar.clone())).expect("policies check names");
    }
    engine
}

/// The present as a scheduler's clocks say it.
fn moment(world: &World<'_>) -> Now {
    let mono = MonoTime::ZERO + Duration::from_secs_f64(world.now());
    Now { mono, wall: wall_of(world.clock()) }
}

/// What a wall clock says so many seconds after the Monday midnight.
fn wall_of(secs: f64) -> Timestamp {
    let since = Duration::from_secs_f64(secs.abs());
    if secs < 0.0 { wall_minus(MONDAY, since) } else { wall_plus(MONDAY, since) }
}

/// The other way round.
fn secs_of(wall: Timestamp) -> f64 {
    wall.duration_since(MONDAY).as_secs_f64()
}

/// A place as the engine names it.
fn scope_of(world: &World<'_>, place: Where) -> Scope {
    match place {
        Where::Fleet => Scope::Fleet,
        Where::Link(link) => Scope::Link(world.fleet().links[link as usize].name.as_str().into()),
        Where::Host(host) => Scope::Host(world.fleet().hosts[host as usize].name.as_str().into()),
    }
}
