//! What becomes of the answers of probes and detectors, with real threads.

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use backup_sched::limits::{CapacityProbe, FnProbe};
use backup_sched::workload::{
    DetectError, LevelThresholds, LoadDetector, LoadDetectorExt, LoadReading, PerTechnology,
};
use backup_sched::{
    Clock, Event, EventKind, JobHandle, JobSpec, JobState, ManualClock, Now, Priority, Reading, Reason,
    RunContext, RunError, Scheduler,
};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rig::{LONG, quick, wait_for};

#[test]
fn a_probe_that_panics_is_a_lost_signal_and_a_full_one_closes_the_gate() {
    let (readings, next) = unbounded::<f64>();
    let full = FnProbe::new("nas", Duration::from_millis(1), move |_| {
        Ok(vec![Reading::share("memory", next.recv().unwrap_or(0.0))])
    });
    let panics = FnProbe::new("broken", Duration::from_millis(1), |_| panic!("on purpose"));
    let nan = FnProbe::new("lying", Duration::from_millis(1), |_| Ok(vec![Reading::share("cpu", f64::NAN)]));
    // On a clock that stands still no reading grows old while the test looks.
    let clock = ManualClock::default();
    let builder = quick().probe(full).probe(panics).probe(nan).clock(clock.clone());
    let scheduler = builder.start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    readings.send(0.99).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::CapacityChanged { .. }));
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Critical).unwrap();
    let deferred = wait_for(&events, |kind| matches!(kind, EventKind::Deferred { .. }));
    assert!(format!("{deferred:?}").contains("memory"), "{deferred:?}");
    let explained = handle.explain().unwrap().to_string();
    assert!(explained.contains("memory of fleet must fall below"), "{explained}");
    readings.send(0.10).unwrap();
    clock.advance(Duration::from_millis(1));
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn broken_signals_are_told_by_name() {
    let panics = FnProbe::new("broken", Duration::from_millis(1), |_| panic!("on purpose"));
    let nan = FnProbe::new("lying", Duration::from_millis(1), |_| Ok(vec![Reading::share("cpu", f64::NAN)]));
    let (release, blocked) = bounded::<()>(0);
    let hangs = FnProbe::new("hanging", Duration::from_millis(1), move |_| {
        let _ = blocked.recv();
        Ok(vec![])
    });
    let log = backup_sched::observe::DecisionLog::new(10_000);
    let scheduler = quick().probe(panics).probe(nan).probe(hangs).hook(log.clone()).start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    assert_eq!(
        handle.wait_timeout(LONG).unwrap().state,
        JobState::Succeeded,
        "a hanging probe blocks nobody"
    );
    let mut missing = vec!["broken", "lying", "hanging"];
    while !missing.is_empty() {
        let told = |name: &&str| {
            let lost = |e: &Event| matches!(&e.kind, EventKind::SignalLost { signal, .. } if signal.as_str() == *name);
            log.recent().iter().any(lost)
        };
        missing.retain(|name| !told(name));
        std::thread::yield_now();
    }
    drop(release);
    // And counted.
    let probes = scheduler.status().unwrap().probes;
    let failures = |name: &str| probes.iter().find(|probe| probe.probe.as_str() == name).unwrap().failures;
    assert!(failures("broken") > 0, "{probes:?}");
    let metrics = scheduler.metrics().unwrap();
    let counted = metrics.iter().find(|metric| metric.name == "backup_sched_probe_failures_total").unwrap();
    assert!(format!("{counted:?}").contains("broken"), "{counted:?}");
    assert!(scheduler.shutdown(LONG).is_some());
}

#[test]
fn a_probe_that_hangs_is_asked_once_and_its_value_becomes_unknown() {
    let (answer, answers) = unbounded::<()>();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let period = Duration::from_secs(1);
    let hangs = FnProbe::new("hanging", period, move |_| {
        count.fetch_add(1, SeqCst);
        let _ = answers.recv();
        Ok(vec![Reading::share("memory", 0.99)])
    });
    let clock = ManualClock::default();
    let scheduler = quick().probe(hangs).clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    answer.send(()).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::CapacityChanged { .. }));
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Critical).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::Deferred { .. }));
    while asked.load(SeqCst) < 2 {
        clock.advance(period);
        std::thread::yield_now();
    }
    clock.advance(period * 5);
    let lost = wait_for(&events, |kind| matches!(kind, EventKind::SignalLost { .. }));
    assert!(format!("{lost:?}").contains("no usable answer for 5 periods"), "{lost:?}");
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded, "unknown is not full");
    (0..20).for_each(|_| clock.advance(period));
    assert_eq!(asked.load(SeqCst), 2, "one stuck thread, never more");
    let status = scheduler.status().unwrap();
    let probe = &status.probes[0];
    assert_eq!((probe.probe.as_str(), probe.answers), ("hanging", 1));
    assert!(probe.lost.as_ref().unwrap().text.contains("no usable answer"));
    drop(answer);
    clock.advance(period);
    wait_for(&events, |kind| matches!(kind, EventKind::SignalBack { .. }));
}

struct Scripted {
    answers: Receiver<Result<LoadReading, DetectError>>,
}

impl LoadDetector for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }
    fn period(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
        self.answers.recv().unwrap_or_else(|_| Err(DetectError::Failed("over".into())))
    }
}

#[test]
fn a_detector_that_panics_is_a_lost_signal_and_no_calm() {
    struct Panics(Receiver<bool>);
    impl LoadDetector for Panics {
        fn name(&self) -> &str {
            "panicking"
        }
        fn period(&self) -> Duration {
            Duration::from_secs(1)
        }
        fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
            assert!(!self.0.recv().unwrap_or_default(), "on purpose");
            Ok(LoadReading::new(backup_sched::LoadLevel::Peak, Reason::new("sale")))
        }
    }
    let (panics, told) = unbounded();
    let clock = ManualClock::default();
    let scheduler = quick().detector(Panics(told)).clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    panics.send(false).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::LoadChanged { .. }));
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    for _ in 0..4 {
        clock.advance(Duration::from_secs(1));
        panics.send(true).unwrap();
        while !panics.is_empty() {
            std::thread::yield_now();
        }
        assert!(
            job.explain().unwrap().to_string().contains("peak load, calm tolerated: sale"),
            "it is no calm"
        );
    }
    clock.advance(Duration::from_secs(1));
    panics.send(true).unwrap();
    let lost = wait_for(&events, |kind| matches!(kind, EventKind::SignalLost { .. }));
    assert!(format!("{lost:?}").contains("panicking"), "{lost:?}");
    // Nobody knows by now, which keeps nobody for ever.
    assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    clock.advance(Duration::from_secs(1));
    panics.send(false).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::SignalBack { .. }));
}

#[test]
fn a_peak_defers_normal_jobs_and_lets_high_ones_through() {
    let (answer, answers) = unbounded();
    let clock = ManualClock::default();
    let scheduler = quick().detector(Scripted { answers }).clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let peak = LoadReading::new(backup_sched::LoadLevel::Peak, Reason::new("sale"));
    answer.send(Ok(peak)).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::LoadChanged { .. }));
    let normal = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    let high = scheduler.schedule_backup("b", "sqlite", Priority::High).unwrap();
    assert_eq!(high.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    assert!(normal.ended().is_none());
    assert!(normal.explain().unwrap().to_string().contains("peak load, calm tolerated: sale"));
    answer.send(Ok(LoadReading::new(backup_sched::LoadLevel::Calm, Reason::new("over")))).unwrap();
    clock.advance(Duration::from_millis(1));
    assert_eq!(normal.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_load_that_one_technology_feels_defers_its_jobs_and_no_others() {
    let (answer, answers) = unbounded();
    let clock = ManualClock::default();
    let frail = LevelThresholds { busy_above: 0.3, busy_below: 0.2, peak_above: 0.6, peak_below: 0.5 };
    let feels = PerTechnology::new(Duration::ZERO).with("etcd", frail).unwrap();
    let builder = quick().executor("etcd", |_: &RunContext| Ok(()));
    let scheduler =
        builder.detector(Scripted { answers }.refined(feels)).clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let calm = |pressure| {
        let reading = LoadReading::new(backup_sched::LoadLevel::Calm, Reason::new("disk"));
        Ok(reading.pressure(pressure))
    };
    answer.send(calm(0.8)).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::LoadChanged { technology: Some(_), .. }));
    let etcd = scheduler.schedule_backup("a", "etcd", Priority::Normal).unwrap();
    let sqlite = scheduler.schedule_backup("b", "sqlite", Priority::Normal).unwrap();
    assert_eq!(sqlite.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    assert!(etcd.ended().is_none());
    assert!(etcd.explain().unwrap().to_string().contains("disk, as etcd feels it"));
    answer.send(calm(0.1)).unwrap();
    clock.advance(Duration::from_millis(1));
    assert_eq!(etcd.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_pausable_job_stands_through_a_peak_and_then_goes_on() {
    let (answer, answers) = unbounded();
    let clock = ManualClock::default();
    let (started, starts) = unbounded();
    let (go, gate) = unbounded::<()>();
    let executor = move |ctx: &RunContext| -> Result<(), RunError> {
        started.send(()).ok();
        while gate.recv_timeout(Duration::from_millis(1)).is_err() {
            ctx.checkpoint()?;
        }
        Ok(())
    };
    let builder = Scheduler::builder().executor("cassandra", executor).detector(Scripted { answers });
    let scheduler = builder.clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let upload = JobSpec::new("a", "cassandra").kind(backup_sched::BackupKind::Upload);
    let handle = scheduler.submit(upload).unwrap();
    starts.recv_timeout(LONG).unwrap();
    let level = |level| Ok(LoadReading::new(level, Reason::new("sale")));
    answer.send(level(backup_sched::LoadLevel::Peak)).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::Paused));
    assert!(handle.explain().unwrap().to_string().contains("is paused\n  because: sale"));
    answer.send(level(backup_sched::LoadLevel::Calm)).unwrap();
    clock.advance(Duration::from_millis(1));
    let resumed = wait_for(&events, |kind| matches!(kind, EventKind::Resumed { .. }));
    assert_eq!(resumed, EventKind::Resumed { paused_for: Duration::from_millis(1) });
    go.send(()).unwrap();
    assert_eq!(handle.wait().state, JobState::Succeeded);
}

#[test]
fn the_rate_starts_low_until_the_foreground_was_measured() {
    let latency = backup_sched::ForegroundLatency::new();
    let goal = backup_sched::LatencyGoal::p99(Duration::from_millis(5));
    let scheduler = quick().rate_ceiling(1_000_000).foreground(latency, goal).start().unwrap();
    assert_eq!(scheduler.status().unwrap().rate, backup_sched::Rate::BytesPerSec(10_000));
}

/// A probe that says when it is asked, and then waits for what it is to say of the memory; it fails when that is no number.
struct Asked {
    asked: Receiver<()>,
    says: Sender<f64>,
}

impl Asked {
    fn probe() -> (impl CapacityProbe + 'static, Self) {
        let ((ask, asked), (says, said)) = (unbounded(), unbounded());
        let probe = FnProbe::new("asked", Duration::from_secs(1), move |_| {
            ask.send(()).ok();
            let memory: f64 = said.recv().unwrap_or(0.0);
            assert!(!memory.is_nan(), "its connection is dead");
            Ok(vec![Reading::share("memory", memory)])
        });
        (probe, Self { asked, says })
    }

    /// It is asked, and says this.
    fn says(&self, memory: f64) {
        self.asked.recv_timeout(LONG).expect("it is asked");
        self.says.send(memory).unwrap();
    }
}

/// In a suspension the wall goes on, and the monotonic clock does not.
fn suspend(clock: &ManualClock) {
    clock.step_wall(clock.now().wall + jiff::SignedDuration::from_mins(4));
}

#[test]
fn what_was_measured_before_a_suspension_does_not_count() {
    let (probe, asked) = Asked::probe();
    let clock = ManualClock::default();
    let scheduler = quick().probe(probe).clock(clock.clone()).start().unwrap();
    let answers = || scheduler.status().unwrap().probes[0].answers;
    let heard = |n| {
        while answers() < n {
            std::thread::yield_now()
        }
    };
    asked.says(0.1);
    heard(1);
    assert_eq!(run(&scheduler, "before").state, JobState::Succeeded);
    suspend(&clock);
    // It is asked at once, though it is not due, and nobody starts by what it has said before.
    let waits = scheduler.schedule_backup("a", "sqlite", Priority::Critical).unwrap();
    let explained = waits.explain().unwrap();
    assert!(explained.to_string().contains("was suspended for 240 s"), "{explained}");
    assert_eq!(scheduler.status().unwrap().engine.active, 0);
    asked.says(0.99);
    heard(2);
    let explained = waits.explain().unwrap();
    assert!(explained.to_string().contains("memory of fleet must fall below"), "{explained}");
    clock.advance(Duration::from_secs(1));
    // While it is being asked the machine is suspended again: what it then says is of before.
    asked.asked.recv_timeout(LONG).unwrap();
    suspend(&clock);
    scheduler.status().unwrap();
    asked.says.send(0.1).unwrap();
    asked.asked.recv_timeout(LONG).expect("it is asked again");
    assert_eq!((answers(), waits.ended()), (2, None));
    asked.says.send(0.1).unwrap();
    assert_eq!(waits.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

fn run(scheduler: &Scheduler, instance: &str) -> backup_sched::JobStatus {
    let handle = scheduler.schedule_backup(instance, "sqlite", Priority::Critical).unwrap();
    handle.wait_timeout(LONG).unwrap()
}

/// A scheduler whose probe has answered before a suspension, and a backup that was asked for after it.
fn suspended() -> (Scheduler, Asked, ManualClock, JobHandle) {
    let (probe, asked) = Asked::probe();
    let clock = ManualClock::default();
    let scheduler = quick().probe(probe).clock(clock.clone()).start().unwrap();
    asked.says(0.1);
    while scheduler.status().unwrap().probes[0].answers == 0 {
        std::thread::yield_now();
    }
    suspend(&clock);
    let waits = scheduler.schedule_backup("a", "sqlite", Priority::Critical).unwrap();
    (scheduler, asked, clock, waits)
}

#[test]
fn who_errs_after_a_suspension_is_asked_for_ten_seconds_like_who_is_silent() {
    let (scheduler, asked, clock, waits) = suspended();
    asked.says(f64::NAN);
    while scheduler.status().unwrap().probes[0].failures == 0 {
        std::thread::yield_now();
    }
    assert_eq!((scheduler.status().unwrap().engine.active, waits.ended()), (0, None));
    clock.advance(Duration::from_secs(10));
    assert_eq!(waits.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn who_does_not_answer_after_a_suspension_is_not_waited_for_for_ever() {
    let (scheduler, _asked, clock, waits) = suspended();
    clock.advance(Duration::from_millis(9_999));
    assert_eq!((scheduler.status().unwrap().engine.active, waits.ended()), (0, None));
    clock.advance(Duration::from_millis(1));
    assert_eq!(waits.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    // A wall that is set right by a second is no suspension.
    clock.step_wall(clock.now().wall + jiff::SignedDuration::from_secs(1));
    assert_eq!(run(&scheduler, "b").state, JobState::Succeeded);
}
