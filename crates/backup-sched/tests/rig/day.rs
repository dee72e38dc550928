//! A scheduler on a clock that is moved by hand, with a detector that tells what it is told to.

use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::Plan;
use backup_sched::workload::{DetectError, LearnedWeek, LocalClock, OwnLoad};
use backup_sched::{
    Clock, EventKind, Gate, JobHandle, JobSpec, LearnedScope, LoadDetector, LoadLevel, LoadReading,
    ManualClock, Now, Priority, Reason, RunContext, Scheduler, SchedulerBuilder, Scope, Subscription,
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{LONG, wait_for};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const STEP: Duration = Duration::from_secs(300);

/// A Monday.
pub(crate) fn monday() -> Timestamp {
    "2026-03-02T00:00:00Z".parse().unwrap()
}

pub(crate) fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(3600).rem_euclid(24)
}

/// Pressure in the unit of weeks: busy from 08:00 to 20:00.
pub(crate) fn office(at: Timestamp) -> f64 {
    if (8..20).contains(&hour_of(at)) { 60.0 } else { 10.0 }
}

pub(crate) fn host() -> Scope {
    Scope::Host("db-1".into())
}

/// Two weeks of history that end on Monday.
pub(crate) fn week(load: impl Fn(Timestamp) -> f64) -> LearnedWeek {
    let (mut clock, mut week) = (LocalClock::utc(), LearnedWeek::new());
    for hour in (1..=14 * 24).rev() {
        let at = monday() - SignedDuration::from_hours(hour);
        week.update(clock.slot(at), load(at), OwnLoad::None);
    }
    week
}

/// A detector that tells a load of the host, in percent of its target, every five minutes; of a negative one that there are
/// too few requests to tell.
pub(crate) struct Told {
    load: Arc<Mutex<f64>>,
}

impl LoadDetector for Told {
    fn name(&self) -> &str {
        "told"
    }
    fn scope(&self) -> Scope {
        host()
    }
    fn period(&self) -> Duration {
        STEP
    }
    fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
        let load = *self.load.lock();
        if load.is_nan() {
            return Err(DetectError::Failed("silent".into()));
        }
        if load < 0.0 {
            return Err(DetectError::TooFew { found: 0, needed: 50, window: STEP });
        }
        Ok(LoadReading::new(LoadLevel::Calm, Reason::new("told by a test")).pressure(load / 100.0))
    }
}

pub(crate) struct Day {
    pub(crate) clock: ManualClock,
    pub(crate) scheduler: Scheduler,
    pub(crate) events: Subscription,
    pub(crate) load: Arc<Mutex<f64>>,
    pub(crate) starts: Receiver<String>,
    pub(crate) go: Sender<()>,
}

impl Day {
    pub(crate) fn new(change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Self {
        let clock = ManualClock::new(monday());
        let load = Arc::new(Mutex::new(f64::NAN));
        let (started, starts) = unbounded();
        let (go, gate) = unbounded::<()>();
        let executor = move |ctx: &RunContext| {
            started.send(ctx.spec().instance.to_string()).ok();
            loop {
                ctx.checkpoint()?;
                if gate.recv_timeout(Duration::from_millis(1)).is_ok() {
                    return Ok(());
                }
            }
        };
        let builder = Scheduler::builder()
            .executor("sqlite", executor.clone())
            .executor("cassandra", executor)
            .clock(clock.clone())
            .max_running(8)
            .detector(Told { load: load.clone() })
            .forecast(|forecast| forecast.zone = jiff::tz::TimeZone::UTC);
        let scheduler = change(builder).start().unwrap();
        let events = scheduler.subscribe(60_000).unwrap();
        Self { clock, scheduler, events, load, starts, go }
    }

    /// With two weeks of office hours learned.
    pub(crate) fn learned(change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Self {
        Self::new(|builder| change(builder.learned([(host(), week(office))])))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Moves on by five minutes; the detector tells this load then, which has been taken in when this returns.
    pub(crate) fn step(&self, load: f64) {
        let at = self.now() + STEP;
        *self.load.lock() = load;
        self.clock.advance(STEP);
        while self.newest() != Some(at) {
            std::thread::yield_now();
        }
    }

    /// The same while the clock's wall is not trusted, or was not.
    pub(crate) fn step_by_any_wall(&self, load: f64) {
        let before = self.newest();
        *self.load.lock() = load;
        self.clock.advance(STEP);
        while self.newest() == before {
            std::thread::yield_now();
        }
    }

    pub(crate) fn step_wall(&self, hours: i64) {
        self.clock.step_wall(self.now() + SignedDuration::from_hours(hours));
    }

    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.scheduler.status().unwrap().forecast.scopes.first()?.newest
    }

    /// Until that hour of the day, at the load that `load` says.
    pub(crate) fn until(&self, hour: i64, load: impl Fn(Timestamp) -> f64) {
        while hour_of(self.now()) != hour {
            self.step(load(self.now()));
        }
    }

    pub(crate) fn spec(instance: &str) -> JobSpec {
        JobSpec::new(instance, "sqlite").host("db-1").priority(Priority::Low).expected_duration(HOUR)
    }

    pub(crate) fn submit(&self, instance: &str) -> JobHandle {
        self.scheduler.submit(Self::spec(instance)).unwrap()
    }

    pub(crate) fn started(&self) -> String {
        self.starts.recv_timeout(LONG).expect("a job starts")
    }

    /// The gates that are closed for a job: while one is, it does not start.
    pub(crate) fn held_by(&self, job: &JobHandle) -> Vec<Gate> {
        job.explain().unwrap().closed.into_iter().map(|closed| closed.gate).collect()
    }

    pub(crate) fn end_one(&self) {
        self.go.send(()).unwrap();
        self.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    }

    pub(crate) fn wait_for(&self, what: impl Fn(&EventKind) -> bool) -> EventKind {
        wait_for(&self.events, what)
    }

    pub(crate) fn scope(&self) -> LearnedScope {
        self.scheduler.status().unwrap().forecast.scopes[0].clone()
    }

    pub(crate) fn level(&self) -> Option<LoadLevel> {
        self.scope().state.map(|state| state.level)
    }

    pub(crate) fn plan(&self, job: &JobHandle) -> Option<Plan> {
        job.explain().unwrap().plan
    }
}
