//! What backups cost, measured by the scheduler itself: on a clock that is moved by hand, with a foreground of which it is
//! known what backups do to it.

use std::time::Duration;

use backup_sched::observe::impact::{Basis, ImpactReport, ImpactSettings, Verdict};
use backup_sched::workload::{ForegroundLatency, LatencyGoal};
use backup_sched::{Clock, JobHandle, JobSpec, ManualClock, RunContext, Scheduler};
use crossbeam_channel::{Receiver, Sender, unbounded};

const STEP: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(30);
/// A job that may move says so within this; one that is stopped never does.
const BRIEF: Duration = Duration::from_millis(20);
const STEPS_A_SECOND: usize = 10;

/// A database with 500 requests a second beside a backup that moves a little whenever it is told to.
struct World {
    clock: ManualClock,
    scheduler: Scheduler,
    latency: ForegroundLatency,
    rng: fastrand::Rng,
    go: Sender<bool>,
    moved: Receiver<()>,
    /// It was told to and has not said that it did.
    stands: bool,
    stood: usize,
    steps: usize,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::default();
        let latency = ForegroundLatency::new();
        let (go, goes) = unbounded();
        let (moves, moved) = unbounded();
        let executor = move |ctx: &RunContext| {
            while goes.recv().unwrap_or(false) {
                ctx.pace(1_000)?;
                moves.send(()).ok();
            }
            Ok(())
        };
        // A goal that is never missed: what is tested here is who notices, not who slows down.
        let goal = LatencyGoal::p99(Duration::from_secs(10)).period(Duration::from_secs(1));
        let scheduler = Scheduler::builder()
            .executor("cassandra", executor)
            .clock(clock.clone())
            .foreground(latency.clone(), goal)
            .measure_impact(ImpactSettings::default())
            .start()
            .unwrap();
        let rng = fastrand::Rng::with_seed(11);
        Self { clock, scheduler, latency, rng, go, moved, stands: false, stood: 0, steps: 0 }
    }

    fn submit(&self) -> JobHandle {
        self.scheduler.submit(JobSpec::new("orders", "cassandra")).unwrap()
    }

    /// Lets time pass; latency is so many times what it is by itself, with a backup that moves and with one that stands.
    fn run(&mut self, seconds: usize, (moving, standing): (f64, f64)) {
        for _ in 0..seconds * STEPS_A_SECOND {
            if !self.stands {
                self.go.send(true).unwrap();
            }
            self.stands = self.moved.recv_timeout(BRIEF).is_err();
            self.steps += 1;
            self.stood += usize::from(self.stands);
            let times = if self.stands { standing } else { moving };
            for _ in 0..50 {
                let micros = 2_000.0 * times * (0.5 - f64::ln(1.0 - self.rng.f64()));
                self.latency.record(Duration::from_micros(micros as u64));
            }
            self.clock.advance(STEP);
            self.settle();
        }
    }

    /// Until the detector has told the requests of a second that is over, and the dispatcher has followed.
    fn settle(&self) {
        let now = self.clock.now();
        let due = now.mono.as_nanos().is_multiple_of(1_000_000_000);
        let newest =
            || self.scheduler.status().unwrap().forecast.scopes.first().and_then(|scope| scope.newest);
        while due && newest() != Some(now.wall) {
            std::thread::yield_now();
        }
        let turns = || self.scheduler.status().unwrap().wakeups;
        let before = turns();
        while turns() == before {}
    }

    fn report(&self) -> ImpactReport {
        self.scheduler.impact().unwrap().expect("it was asked for")
    }

    /// Ends the backup.
    fn end(&mut self, job: &JobHandle) {
        while std::mem::take(&mut self.stands) {
            self.clock.advance(STEP);
            self.stands = self.moved.recv_timeout(BRIEF).is_err();
        }
        self.go.send(false).unwrap();
        job.wait_timeout(LONG).unwrap();
    }
}

#[test]
fn a_backup_that_slows_the_foreground_is_caught_and_one_that_does_not_is_cleared() {
    let mut world = World::new();
    let job = world.submit();
    world.run(400, (1.0, 1.0));
    world.run(40, (1.6, 1.0));
    world.run(200, (1.0, 1.0));
    // The same from the foreground itself.
    world.run(40, (1.6, 1.6));
    world.run(30, (1.0, 1.0));
    assert!(world.stood * 100 <= world.steps * 3, "stood {} of {} steps", world.stood, world.steps);
    world.end(&job);
    let report = world.report();
    let verdicts: Vec<_> = report.events.iter().rev().map(|event| event.verdict).collect();
    assert_eq!(verdicts, [Verdict::Caused, Verdict::NotCaused], "{report:#?}");
    let backup = &report.backups[0];
    assert_eq!((backup.job, backup.basis, backup.verdict), (job.id(), Basis::Pauses, Verdict::Caused));
    assert_eq!((report.all.tally.backups, report.all.tally.caused, report.all.tally.harmful), (1, 1, 1));
    assert_eq!(report.instances[0].instance.as_str(), "fleet");
    let attempts = world.scheduler.attempts(1).unwrap();
    assert_eq!(attempts[0].impact, Some(Verdict::Caused));
}

#[test]
fn nothing_is_measured_that_was_not_asked_for() {
    let scheduler = Scheduler::builder().start().unwrap();
    assert_eq!(scheduler.impact().unwrap(), None);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let mut settings = ImpactSettings::default();
    settings.duty = 0.5;
    let refused = Scheduler::builder().measure_impact(settings).start().unwrap_err();
    assert!(refused.to_string().contains("duty must be over 0 and at most 0.03"), "{refused}");
}
