//! How long a scheduler with a whole fleet's backlog answers nobody while other policies come into force.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use backup_sched::{
    Clock, JobId, JobSpec, Now, Priority, RunContext, RunError, Scheduler, Scope, SystemClock,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::time::{ClockId, clock_gettime};
use sched_benches::{Row, timed};
use sched_core::MonoTime;
use sched_workload::{LearnedWeek, LocalClock, OwnLoad};

use crate::{TECHNOLOGIES, fleet, load, technology};

/// Backups that run, and go on running, while all others wait for them.
const RUNNING: u32 = 4;
/// Between an answer and the next question.
const RESTS: Duration = Duration::from_micros(100);
/// Questions that are asked while nothing else happens.
const ALONE: usize = 10_000;

/// The system's clock, which the dispatcher looks at whenever it turns to something else: so it tells how much
/// processor time that thread has taken, and the most between two looks.
#[derive(Clone, Debug, Default)]
struct Watched(Arc<Spent>);

#[derive(Debug, Default)]
struct Spent {
    nanos: AtomicU64,
    longest: AtomicU64,
}

impl Clock for Watched {
    fn now(&self) -> Now {
        self.look();
        SystemClock.now()
    }

    fn mono(&self) -> MonoTime {
        SystemClock.mono()
    }
}

impl Watched {
    fn look(&self) {
        thread_local!(static DISPATCHES: bool = thread::current().name() == Some("backup-sched"));
        if DISPATCHES.with(|dispatches| *dispatches) {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            let nanos = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
            let before = self.0.nanos.swap(nanos, Relaxed);
            self.0.longest.fetch_max(nanos.saturating_sub(before), Relaxed);
        }
    }
}

/// The longest waits for an answer, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    /// As the caller's watch shows it.
    wait: f64,
    /// What the dispatcher worked meanwhile.
    work: f64,
    /// What the dispatcher worked without a look at the clock.
    step: f64,
    asked: usize,
}

struct Backlog {
    scheduler: Scheduler,
    clock: Watched,
    /// The last in line.
    job: JobId,
}

impl Backlog {
    /// A backup of each instance is asked for, and four run. With `plans` the load of a week is known, and starts are
    /// planned by it.
    fn new(text: &str, instances: usize, plans: bool) -> Self {
        let clock = Watched::default();
        let backup = |ctx: &RunContext| -> Result<(), RunError> {
            let (_go, ends) = bounded::<()>(0);
            loop {
                ctx.checkpoint()?;
                let _ = ends.recv_timeout(Duration::from_millis(50));
            }
        };
        let builder = Scheduler::builder().policies(load(text)).max_running(RUNNING).clock(clock.clone());
        let builder = TECHNOLOGIES.iter().fold(builder, |builder, name| builder.executor(*name, backup));
        let weeks = plans.then(|| (Scope::Fleet, office_hours()));
        let scheduler = builder.learned(weeks).start().expect("it starts");
        let mut job = None;
        for from in (0..instances).step_by(1_000) {
            let specs =
                (from..instances.min(from + 1_000)).map(|n| JobSpec::new(format!("db-{n}"), technology(n)));
            let handles = scheduler.submit_all(specs);
            job = handles.into_iter().map(|handle| handle.expect("a good request").id()).last();
        }
        let backlog = Self { scheduler, clock, job: job.expect("a fleet") };
        backlog.settled();
        backlog
    }

    /// Waits until nothing is left to plan.
    fn settled(&self) {
        while self.scheduler.status().expect("it runs").forecast.to_plan > 0 {
            thread::yield_now();
        }
    }

    /// Asks for something small again and again until told to end.
    fn ask(&self, end: &Receiver<()>, most: usize) -> Longest {
        let Spent { nanos, longest } = &*self.clock.0;
        longest.store(0, Relaxed);
        let mut found = Longest::default();
        while found.asked < most && end.recv_timeout(RESTS) == Err(RecvTimeoutError::Timeout) {
            let to = if found.asked.is_multiple_of(2) { Priority::Low } else { Priority::Normal };
            let before = nanos.load(Relaxed);
            let (wait, answer) = timed(|| self.scheduler.reprioritize(self.job, to));
            assert_eq!(answer, Ok(true), "it waits");
            found.wait = found.wait.max(wait / 1e6);
            found.work = found.work.max((nanos.load(Relaxed) - before) as f64 / 1e6);
            found.asked += 1;
        }
        found.step = longest.load(Relaxed) as f64 / 1e6;
        found
    }

    /// The longest waits while `work` goes on.
    fn ask_beside(&self, work: impl FnOnce()) -> Longest {
        thread::scope(|scope| {
            let (done, end) = bounded(1);
            let asks = scope.spawn(move || self.ask(&end, usize::MAX));
            work();
            drop(done);
            asks.join().expect("it asks")
        })
    }
}

/// Two weeks with busy days and calm nights.
fn office_hours() -> LearnedWeek {
    let (mut clock, mut week) = (LocalClock::utc(), LearnedWeek::new());
    let begin: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().expect("a moment");
    for hour in 0..14 * 24 {
        let load = if (8..20).contains(&(hour % 24)) { 60.0 } else { 10.0 };
        week.update(clock.slot(begin + jiff::SignedDuration::from_hours(hour)), load, OwnLoad::None);
    }
    week
}

/// Policies under which every job has another limit on its host, and most have another objective, are put in force and
/// back again; the peer is asking while nothing else happens.
pub(crate) fn pauses(instances: usize, rounds: usize) -> Vec<Row> {
    let text = fleet(instances);
    let changed = TECHNOLOGIES.iter().fold(text.clone(), |text, name| {
        format!("[technologies.{name}]\nmax_per_host = 3\nrpo = \"23h\"\n{text}")
    });
    let mut rows = Vec::new();
    let names =
        [["reload_pause_ms", "reload_work_ms"], ["reload_pause_planned_ms", "reload_work_planned_ms"]];
    for ([wait, work], plans) in names.into_iter().zip([false, true]) {
        let backlog = Backlog::new(&text, instances, plans);
        let (_go_on, never) = bounded(0);
        let (mut beside, mut alone) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let policies = load(if round % 2 == 0 { &changed } else { &text });
            alone.push(backlog.ask(&never, ALONE));
            beside.push(backlog.ask_beside(|| {
                let changes = backlog.scheduler.reload(policies).expect("good policies");
                assert_eq!(changes.instances.len(), instances);
                // Asked for only where it must be: the status of so many jobs keeps the dispatcher too.
                if plans {
                    backlog.settled();
                }
            }));
            println!("plans: {plans}, alone {:?}, beside a reload {:?}", alone[round], beside[round]);
        }
        let worst = |all: &[Longest], of: fn(&Longest) -> f64| all.iter().map(of).fold(0.0, f64::max);
        let row = |name, of: fn(&Longest) -> f64| {
            let peer = ("without a reload", worst(&alone, of));
            Row::new(name, (worst(&beside, of), "ms"), peer, rounds)
        };
        rows.extend([row(wait, |longest| longest.wait), row(work, |longest| longest.work)]);
        backlog.scheduler.shutdown(Duration::from_secs(10));
    }
    rows
}
