//! The threads around the engine, with real threads and mostly a real clock. Nothing here waits by sleeping: tests
//! wait for handles, events and channels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use backup_sched::Order;
use backup_sched::limits::FnProbe;
use backup_sched::workload::{DetectError, LoadDetector, LoadReading};
use backup_sched::{
    AcquireError, Event, EventKind, Hook, JobSpec, JobState, ManualClock, Now, Priority, Reading, Reason,
    RunContext, RunError, Scheduler, SchedulerBuilder, Scope, StartError, SubmitError,
};
use crossbeam_channel::{Receiver, bounded, unbounded};

const LONG: Duration = Duration::from_secs(30);

fn quick() -> SchedulerBuilder {
    Scheduler::builder().executor("sqlite", |ctx: &RunContext| {
        ctx.pace(1000)?;
        Ok(())
    })
}

/// An executor that says when it starts and runs until it is let go or cancelled.
fn gated() -> (SchedulerBuilder, Receiver<u32>, crossbeam_channel::Sender<()>) {
    let (started, starts) = unbounded();
    let (go, gate) = unbounded::<()>();
    let builder = Scheduler::builder().executor("sqlite", move |ctx: &RunContext| {
        started.send(ctx.attempt()).ok();
        loop {
            ctx.checkpoint()?;
            if gate.recv_timeout(Duration::from_millis(1)).is_ok() {
                return Ok(());
            }
        }
    });
    (builder, starts, go)
}

#[test]
fn many_threads_submit_and_every_job_ends_once() {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let scheduler = Scheduler::builder()
        .executor("sqlite", move |_: &RunContext| {
            count.fetch_add(1, SeqCst);
            Ok(())
        })
        .max_running(4)
        .start()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let scheduler = &scheduler;
            scope.spawn(move || {
                let submit =
                    |n| scheduler.schedule_backup(format!("db-{thread}-{n}"), "sqlite", Priority::Low);
                let handles: Vec<_> = (0..50).map(|n| submit(n).unwrap()).collect();
                for handle in handles {
                    assert_eq!(handle.wait().state, JobState::Succeeded);
                }
            });
        }
    });
    assert_eq!(ran.load(SeqCst), 400);
    let status = scheduler.status().unwrap();
    assert_eq!((status.engine.waiting, status.engine.active), (0, 0));
    assert_eq!(status.engine.ended[&JobState::Succeeded], 400);
    assert_eq!(status.engine.resources[&"slots".into()].used, 0);
}

#[test]
fn a_panicking_executor_is_a_failed_attempt_and_gives_its_slot_back() {
    let scheduler = Scheduler::builder()
        .executor("sqlite", |ctx: &RunContext| match ctx.spec().instance.as_str() {
            "bad" => panic!("on purpose"),
            _ => Ok(()),
        })
        .policies(one_attempt())
        .max_running(1)
        .start()
        .unwrap();
    let bad = scheduler.schedule_backup("bad", "sqlite", Priority::High).unwrap();
    let good = scheduler.schedule_backup("good", "sqlite", Priority::Low).unwrap();
    let status = bad.wait();
    assert_eq!(status.state, JobState::Failed);
    assert_eq!(status.error.as_deref(), Some("panicked: on purpose"));
    assert_eq!(good.wait().state, JobState::Succeeded);
}

fn one_attempt() -> backup_sched::Policies {
    let retry = backup_sched::core::RetryPolicy::new(1, Duration::ZERO, Duration::ZERO);
    let profile = backup_sched::Profile::new().retry(retry);
    backup_sched::Policies::builtin().with("sqlite", profile).unwrap()
}

#[test]
fn cancelling_stops_a_running_job_at_its_checkpoint() {
    let (builder, starts, _go) = gated();
    let scheduler = builder.start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    handle.cancel().unwrap();
    assert_eq!(handle.wait().state, JobState::Cancelled);
}

#[test]
fn a_paced_job_is_cancelled_in_the_middle_of_a_long_wait() {
    let (started, starts) = bounded(1);
    let scheduler = Scheduler::builder()
        .executor("sqlite", move |ctx: &RunContext| {
            started.send(()).ok();
            ctx.pace(1 << 40)?;
            Ok(())
        })
        .rate_ceiling(1)
        .start()
        .unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    handle.cancel().unwrap();
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Cancelled);
}

#[test]
fn shutdown_cancels_what_waits_lets_run_what_runs_and_refuses_what_comes() {
    let (builder, starts, go) = gated();
    let scheduler = builder.max_running(1).start().unwrap();
    let running = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    let waiting = scheduler.schedule_backup("b", "sqlite", Priority::Normal).unwrap();
    let other = scheduler.clone();
    let end = std::thread::spawn(move || other.shutdown(LONG).unwrap());
    assert_eq!(waiting.wait().state, JobState::Cancelled);
    let refused = scheduler.schedule_backup("c", "sqlite", Priority::Normal);
    assert!(matches!(refused, Err(SubmitError::Refused(backup_sched::core::SubmitError::ShuttingDown))));
    go.send(()).unwrap();
    let report = end.join().unwrap();
    assert_eq!((report.finished, report.cancelled, report.abandoned.len()), (1, 1, 0));
    assert_eq!(running.wait().state, JobState::Succeeded);
    assert_eq!(scheduler.shutdown(LONG), None);
    assert_eq!(scheduler.schedule_backup("d", "sqlite", Priority::Normal).unwrap_err(), SubmitError::Stopped);
}

#[test]
fn shutdown_under_load_without_grace_cancels_everything_and_ends() {
    let (builder, starts, _go) = gated();
    let scheduler = builder.max_running(4).start().unwrap();
    let handles: Vec<_> = (0..100)
        .map(|n| scheduler.schedule_backup(format!("db-{n}"), "sqlite", Priority::Low).unwrap())
        .collect();
    (0..4).for_each(|_| assert_eq!(starts.recv_timeout(LONG), Ok(1)));
    let report = scheduler.shutdown(Duration::ZERO).unwrap();
    assert_eq!((report.finished, report.cancelled), (0, 100));
    assert!(handles.iter().all(|handle| handle.ended().unwrap().state == JobState::Cancelled));
}

#[test]
fn dropping_the_scheduler_ends_its_jobs() {
    let (builder, starts, _go) = gated();
    let scheduler = builder.start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    drop(scheduler);
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Cancelled);
}

#[test]
fn a_hook_that_panics_or_blocks_changes_nothing() {
    struct Bad(Receiver<()>);
    impl Hook for Bad {
        fn succeeded(&mut self, _: &Event) {
            let _ = self.0.recv();
        }
        fn started(&mut self, _: &Event) {
            panic!("on purpose");
        }
    }
    let (release, blocked) = bounded(0);
    let scheduler = quick().hook(Bad(blocked)).start().unwrap();
    for n in 0..20 {
        let handle = scheduler.schedule_backup(format!("db-{n}"), "sqlite", Priority::Normal).unwrap();
        assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    }
    drop(release);
}

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

fn wait_for(events: &Receiver<Arc<Event>>, what: impl Fn(&EventKind) -> bool) -> EventKind {
    loop {
        let event = events.recv_timeout(LONG).expect("the event comes");
        if what(&event.kind) {
            return event.kind.clone();
        }
    }
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
fn a_permit_is_given_kept_and_given_back() {
    let scheduler = Scheduler::builder().max_running(1).start().unwrap();
    let permit = scheduler.acquire(JobSpec::new("a", "postgres")).unwrap();
    permit.pace(4096).unwrap();
    permit.progress(4096, 4096);
    let refused =
        scheduler.acquire_within(JobSpec::new("b", "postgres"), Duration::from_millis(1)).unwrap_err();
    let AcquireError::TimedOut(explanation) = refused else { panic!("{refused:?}") };
    assert!(explanation.to_string().contains("needs 1 of slots, 1 of 1 in use"), "{explanation}");
    let done = permit.finish();
    assert_eq!((done.state, done.bytes), (JobState::Succeeded, 4096));
    let dropped = scheduler.acquire(JobSpec::new("b", "postgres")).unwrap();
    let id = dropped.job();
    drop(dropped);
    let next = scheduler.acquire(JobSpec::new("c", "postgres")).unwrap();
    let explained = scheduler.explain(id).unwrap();
    assert_eq!(explained.state, JobState::Failed);
    assert_eq!(next.fail("no disk").error.as_deref(), Some("no disk"));
}

#[test]
fn advise_mode_gates_nothing_and_says_what_it_would_do() {
    let (builder, starts, go) = gated();
    let scheduler = builder.max_running(1).advise_only().start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    scheduler.hold(Scope::Fleet, Order::new("ada", "trying it out")).unwrap();
    let handles: Vec<_> =
        (0..3).map(|n| scheduler.schedule_backup(format!("{n}"), "sqlite", Priority::Low).unwrap()).collect();
    (0..3).for_each(|_| assert_eq!(starts.recv_timeout(LONG), Ok(1)));
    let advice = wait_for(&events, |kind| matches!(kind, EventKind::Deferred { advice_only: true, .. }));
    assert!(format!("{advice:?}").contains("held by ada: trying it out"));
    (0..3).for_each(|_| go.send(()).unwrap());
    assert!(handles.iter().all(|handle| handle.wait().state == JobState::Succeeded));
}

#[test]
fn bad_input_is_refused_with_words_that_help() {
    let scheduler = quick().start().unwrap();
    let error = |spec: JobSpec| scheduler.submit(spec).unwrap_err().to_string();
    assert!(error(JobSpec::new("a", "sqlight")).contains("did you mean \"sqlite\"?"));
    assert!(
        error(JobSpec::new("a", "redis"))
            .contains("no executor is registered for \"redis\" (registered: sqlite)")
    );
    assert!(error(JobSpec::new("", "sqlite")).contains("instance: the name cannot be used: it is empty"));
    assert!(error(JobSpec::new("a", "sqlite").size_bytes(0)).contains("leave the size out"));
    assert!(
        error(JobSpec::new("a", "sqlite").demand("tape", 1))
            .contains("has a resource \"tape\"; known there: slots")
    );
    assert!(error(JobSpec::new("a", "sqlite").demand("slots", 9)).contains("can never be met"));
    let late = JobSpec::new("late", "sqlite").deadline("2001-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(scheduler.submit(late).unwrap().wait().state, JobState::Succeeded, "overdue is no error");
    let wrong = |builder: SchedulerBuilder| match builder.start().unwrap_err() {
        StartError::Setting { setting, .. } => setting,
        other => panic!("{other}"),
    };
    assert_eq!(wrong(quick().max_running(0)), "max_running");
    assert_eq!(wrong(quick().rate_ceiling(0)), "rate_ceiling");
    assert_eq!(wrong(Scheduler::builder().executor("nosuch", |_: &RunContext| Ok(()))), "executor");
    let probe = || FnProbe::new("same", LONG, |_| Ok(vec![]));
    assert_eq!(wrong(quick().probe(probe()).probe(probe())), "probe or detector");
}

#[test]
fn a_retry_waits_on_the_injected_clock() {
    let clock = ManualClock::default();
    let (tried, tries) = unbounded();
    let scheduler = Scheduler::builder()
        .executor("sqlite", move |ctx: &RunContext| {
            tried.send(ctx.attempt()).ok();
            if ctx.attempt() < 3 { Err(RunError::Retryable("not yet".into())) } else { Ok(()) }
        })
        .clock(clock.clone())
        .start()
        .unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    for attempt in 1..=2 {
        assert_eq!(tries.recv_timeout(LONG), Ok(attempt));
        wait_for(&events, |kind| matches!(kind, EventKind::Retried { .. }));
        wait_for(&events, |kind| matches!(kind, EventKind::Deferred { .. }));
        assert!(tries.is_empty(), "the clock stands still");
        clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(tries.recv_timeout(LONG), Ok(3));
    assert_eq!(handle.wait().job.attempt, 3);
}

/// The promise of the idle scheduler, measured: it takes ten quiet seconds to see nothing.
#[test]
#[ignore = "needs ten quiet seconds"]
fn an_idle_scheduler_does_not_wake_up() {
    let scheduler = quick().start().unwrap();
    scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap().wait();
    let before = scheduler.status().unwrap().wakeups;
    let (_keep, never) = bounded::<()>(0);
    assert!(never.recv_timeout(Duration::from_secs(10)).is_err());
    // Asking wakes it once.
    assert_eq!(scheduler.status().unwrap().wakeups, before + 1);
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
