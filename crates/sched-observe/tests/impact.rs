//! The impact ledger from outside: foregrounds of which the truth is known, and who is held to account.

use std::time::Duration;

use sched_core::{BackupKind, Clock, InstanceName, JobId, ManualClock, MonoTime, Now, PauseMark};
use sched_observe::impact::plant::{Scenario, Score, Truth};
use sched_observe::impact::{
    Backup, BackupImpact, Basis, EventRule, ImpactLedger, ImpactReport, ImpactSettings, LatencyEvent,
    Verdict, Why,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn most_rises_find_their_cause_and_hardly_any_a_wrong_one() {
    // Few, for a debug build; the bench has two thousand.
    let score = Score::of(|truth| Scenario::new(500.0, truth), 900_000..900_032);
    assert!(score.detection_pct >= 87.0, "{score:?}");
    assert!(score.false_attribution_pct <= 5.0 && score.by_themselves >= 25, "{score:?}");
    assert!(score.cannot_tell_pct <= 7.0, "{score:?}");
    assert!(score.duty <= 0.03, "{score:?}");
}

#[test]
fn the_same_seed_gives_the_same_trial() {
    let scenario = Scenario::new(500.0, Truth::Backup);
    assert_eq!(scenario.run(5), scenario.run(5));
}

/// A foreground of which everything is known, and backups that do as the ledger says.
struct World {
    clock: ManualClock,
    ledger: ImpactLedger,
    rng: fastrand::Rng,
    /// Who runs, how many times as slow it makes the foreground, and until when it stands.
    running: Vec<(JobId, f64, Option<MonoTime>)>,
    /// Latency without backups, in µs.
    alone: f64,
    events: Vec<LatencyEvent>,
}

impl World {
    fn new(settings: ImpactSettings) -> Self {
        Self {
            clock: ManualClock::default(),
            ledger: ImpactLedger::new(settings).unwrap(),
            rng: fastrand::Rng::with_seed(3),
            running: Vec::new(),
            alone: 2_000.0,
            events: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn begin(&mut self, job: u64, slowdown: f64, pausable: bool) {
        let backup = Backup { job: JobId(job), instance: db(), kind: BackupKind::Full, pausable };
        self.ledger.begin(self.now(), backup);
        self.running.push((JobId(job), slowdown, None));
    }

    fn end(&mut self, job: u64) -> BackupImpact {
        self.running.retain(|(running, ..)| running.0 != job);
        let impact = self.ledger.end(self.now(), JobId(job)).unwrap();
        self.events.extend(self.ledger.events());
        impact
    }

    fn slow(&mut self, job: u64, slowdown: f64) {
        self.running.iter_mut().filter(|(running, ..)| running.0 == job).for_each(|r| r.1 = slowdown);
    }

    /// Samples one by one, and every pause that is wanted.
    fn run(&mut self, time: Duration) {
        let until = self.now().mono + time;
        while self.now().mono < until {
            self.clock.advance(Duration::from_millis(20));
            let now = self.now();
            for pause in self.ledger.tick(now) {
                let running = self.running.iter_mut().find(|(job, ..)| *job == pause.job).unwrap();
                running.2 = Some(now.mono + pause.length);
                self.ledger.mark(now, pause.job, PauseMark::Standing, Why::Comparison);
            }
            for (job, _, until) in &mut self.running {
                if until.is_some_and(|until| now.mono >= until) {
                    *until = None;
                    self.ledger.mark(now, *job, PauseMark::Moving, Why::Comparison);
                }
            }
            let slowdown: f64 = self.running.iter().filter(|r| r.2.is_none()).map(|r| r.1).product();
            for _ in 0..10 {
                let micros = self.alone * slowdown * (0.5 - (1.0 - self.rng.f64()).ln());
                self.ledger.record(now, &db(), Duration::from_micros(micros as u64));
            }
            self.events.extend(self.ledger.events());
        }
    }

    /// Windows of a second, twenty of every two minutes, for runs of weeks.
    fn skim(&mut self, time: Duration) {
        let until = self.now().mono + time;
        while self.now().mono < until {
            (0..20).for_each(|_| self.window());
            self.clock.advance(Duration::from_secs(100));
        }
    }

    fn window(&mut self) {
        let from = self.now().mono;
        self.clock.advance(SECOND);
        let slowdown: f64 = self.running.iter().map(|r| r.1).product();
        // Every window a little off, and no two alike.
        let level = self.alone * slowdown * (0.95 + 0.1 * self.rng.f64());
        let latencies = (0..100).map(|n| {
            let micros = level * (0.5 - (1.0 - (f64::from(n) + 0.5) / 100.0).ln());
            (Duration::from_micros(micros as u64), 5)
        });
        self.ledger.record_window(self.now(), from, &db(), latencies);
        self.events.extend(self.ledger.events());
    }
}

fn db() -> InstanceName {
    "db".into()
}

#[test]
fn a_snapshot_stays_as_it_was_while_the_ledger_goes_on() {
    let mut world = World::new(ImpactSettings::default());
    world.begin(1, 1.6, true);
    world.run(Duration::from_secs(2_000));
    let (snapshot, report) = (world.ledger.snapshot(), world.ledger.report());
    assert!(report.all.comparisons > 0 && report.backups.len() == 1, "{report:?}");
    assert_eq!((snapshot.report(), world.ledger.weeks().all()), (report.clone(), report.all.clone()));
    world.run(Duration::from_secs(2_000));
    world.end(1);
    assert_eq!(snapshot.report(), report);
    let later = world.ledger.report();
    assert!(later.all.comparisons > report.all.comparisons, "{later:?}");
    assert_eq!((later.all.tally.backups, report.all.tally.backups), (1, 0));
}

#[test]
fn of_two_backups_the_guilty_one_is_named() {
    let mut world = World::new(ImpactSettings::default());
    world.begin(1, 1.0, true);
    world.begin(2, 1.0, true);
    world.run(Duration::from_secs(500));
    world.slow(2, 1.6);
    world.run(Duration::from_secs(60));
    world.slow(2, 1.0);
    world.run(Duration::from_secs(30));
    let event = world.events.last().expect("latency rose");
    assert_eq!((event.verdict, &event.jobs[..]), (Verdict::Caused, &[JobId(2)][..]));
    let ratio = event.ratio.unwrap();
    assert!(ratio.low > 1.0 && ratio.low < 1.6 && ratio.high > 1.6, "{ratio:?}");
    assert_eq!((world.end(1).tally.caused, world.end(2).tally.caused), (0, 1));
    let report = world.ledger.report();
    let tally = report.all.tally;
    assert_eq!((tally.backups, tally.harmful, tally.caused), (2, 1, 1));
    assert_eq!(report.weeks.len(), 1);
    assert_eq!(report.weeks[0].week.unwrap().to_string(), "2026-01-05T00:00:00Z");
}

#[test]
fn a_backup_that_always_slows_the_foreground_is_measured() {
    let mut world = World::new(ImpactSettings::default());
    world.begin(1, 1.3, true);
    world.run(Duration::from_secs(9_000));
    let impact = world.end(1);
    assert_eq!((impact.basis, impact.verdict), (Basis::Pauses, Verdict::Caused));
    for ratio in [impact.ratios.p50, impact.ratios.p95, impact.ratios.p99] {
        let ratio = ratio.unwrap();
        assert!(ratio.low > 1.0 && ratio.low < 1.3 && ratio.high > 1.25 && ratio.high < 1.6, "{ratio:?}");
    }
    let measured = impact.with.p50.as_secs_f64() / impact.without.p50.as_secs_f64();
    assert!((1.2..1.4).contains(&measured), "{measured}");
    assert_eq!(world.ledger.report().instances[0].all.comparisons, impact.comparisons);
}

#[test]
fn a_pause_because_of_load_proves_nothing() {
    let mut world = World::new(ImpactSettings::default());
    world.begin(1, 1.0, true);
    world.run(Duration::from_secs(60));
    // It stands whenever the foreground is slow, so that latency falls while it stands, and by itself.
    for _ in 0..30 {
        world.alone = 4_000.0;
        world.run(Duration::from_secs(4));
        world.ledger.mark(world.clock.now(), JobId(1), PauseMark::Standing, Why::Other);
        world.alone = 2_000.0;
        world.run(Duration::from_secs(3));
        world.ledger.mark(world.clock.now(), JobId(1), PauseMark::Moving, Why::Other);
        world.alone = 4_000.0;
        world.run(Duration::from_secs(4));
    }
    let impact = world.end(1);
    assert_eq!(impact.tally.caused, 0, "{impact:?}");
    assert_ne!(impact.verdict, Verdict::Caused, "{impact:?}");
}

#[test]
fn nobody_is_paused_who_must_not_be() {
    let mut world = World::new(ImpactSettings::default());
    world.begin(1, 1.0, false);
    world.run(Duration::from_secs(200));
    assert_eq!(world.ledger.next_look(world.now()), None);
    world.alone *= 2.0;
    world.run(Duration::from_secs(40));
    let impact = world.end(1);
    assert_eq!((impact.comparisons, impact.without.samples), (0, 0));
    assert_eq!((impact.tally.cannot_tell, impact.verdict), (1, Verdict::CannotTell));
}

/// Twelve weeks with a busy hour every day, in which a backup runs that cannot pause, in the last five; `slowdown` is what
/// it does.
fn weeks_of_busy_hours(slowdown: f64) -> (World, Vec<BackupImpact>) {
    let mut world = World::new(ImpactSettings::default());
    let mut impacts = Vec::new();
    // So that the busy hour is one by the clock.
    world.clock.advance(4 * HOUR / 5);
    for day in 0..84 {
        world.skim(HOUR / 5);
        world.alone = 4_000.0;
        let backup = day >= 49;
        if backup {
            world.begin(day, slowdown, false);
        }
        world.skim(HOUR);
        if backup {
            impacts.push(world.end(day));
        }
        world.alone = 2_000.0;
        world.skim(HOUR / 5);
        world.clock.advance(23 * HOUR - 2 * HOUR / 5);
    }
    (world, impacts)
}

#[test]
fn a_backup_that_cannot_pause_is_not_blamed_for_its_busy_hour() {
    let (world, impacts) = weeks_of_busy_hours(1.0);
    let last = impacts.last().unwrap();
    assert_eq!((last.basis, last.verdict), (Basis::ComparableMoments, Verdict::NotCaused), "{last:?}");
    let ratio = last.ratios.p99.unwrap();
    assert!(ratio.low < 1.0 && ratio.high > 1.0, "{ratio:?}");
    assert_eq!(world.ledger.report().all.tally.caused, 0);
}

#[test]
fn a_backup_that_cannot_pause_is_held_against_its_hour_in_other_weeks() {
    let (_, impacts) = weeks_of_busy_hours(1.5);
    let last = impacts.last().unwrap();
    assert_eq!((last.basis, last.verdict), (Basis::ComparableMoments, Verdict::Caused), "{last:?}");
    let ratio = last.ratios.p99.unwrap();
    assert!(ratio.low > 1.0 && (1.4..1.6).contains(&ratio.value), "{ratio:?}");
}

#[test]
fn events_over_a_promise_are_counted_by_it() {
    let rule = EventRule::default().slo(Duration::from_millis(15));
    let mut world = World::new(ImpactSettings::default().event(rule));
    world.begin(1, 1.0, true);
    world.run(Duration::from_secs(400));
    // p99 is 4.6 + .5 times 2 ms: 10.2, then 13.3 and 16.3 ms.
    world.slow(1, 1.3);
    world.run(Duration::from_secs(60));
    assert_eq!(world.events, []);
    world.slow(1, 1.6);
    world.run(Duration::from_secs(60));
    world.slow(1, 1.0);
    world.run(Duration::from_secs(30));
    assert_eq!(world.events.iter().map(|event| event.verdict).collect::<Vec<_>>(), [Verdict::Caused]);
}

#[test]
fn memory_is_bounded() {
    let mut settings = ImpactSettings::default();
    (settings.instances, settings.backups, settings.weeks) = (2, 3, 2);
    let mut ledger = ImpactLedger::new(settings).unwrap();
    let clock = ManualClock::default();
    for n in 0..10_u64 {
        let instance = InstanceName::from(format!("db-{}", n % 4));
        let backup = Backup { job: JobId(n), instance, kind: BackupKind::Full, pausable: true };
        ledger.begin(clock.now(), backup);
        clock.advance(80 * HOUR);
        assert!(ledger.end(clock.now(), JobId(n)).is_some());
        assert!(ledger.end(clock.now(), JobId(n)).is_none());
    }
    let report = ledger.report();
    assert_eq!((report.instances.len(), report.backups.len()), (2, 3));
    assert!(report.instances.iter().all(|instance| instance.weeks.len() <= 2));
    assert_eq!(report.backups[0].job, JobId(9));
    assert_eq!(report.backups[0].verdict, Verdict::CannotTell);
}

#[test]
fn a_report_survives_the_way_through_json() {
    let mut world = World::new(ImpactSettings::default());
    world.begin(1, 1.0, true);
    world.run(Duration::from_secs(100));
    world.end(1);
    let report = world.ledger.report();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<ImpactReport>(&json).unwrap(), report);
}
