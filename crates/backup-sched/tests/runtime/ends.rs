//! How jobs and schedulers end: cancelled, shut down, out of time, dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use backup_sched::core::RetryPolicy;
use backup_sched::{
    Clock, EventKind, JobState, ManualClock, Now, Policies, Priority, Profile, RunContext, Scheduler,
    StartError, SubmitError,
};
use crossbeam_channel::{bounded, unbounded};

use crate::rig::{LONG, gated, quick, wait_for};

/// Nothing that the host is asked for may end the thread that decides, but a clock is read everywhere.
#[test]
fn when_the_deciding_thread_is_gone_nobody_waits_for_ever() {
    #[derive(Debug)]
    struct Panics(ManualClock, Arc<AtomicBool>);
    impl Clock for Panics {
        fn now(&self) -> Now {
            let decides = std::thread::current().name() == Some("backup-sched");
            assert!(!decides || !self.1.load(SeqCst), "on purpose");
            self.0.now()
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let store = || sched_store::EmbeddedStore::at(directory.path().join("store.redb"));
    let panics = Arc::<AtomicBool>::default();
    let (builder, starts, go) = gated();
    let clock = Panics(ManualClock::default(), panics.clone());
    let scheduler = builder.clock(clock).store(store()).start().unwrap();
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    panics.store(true, SeqCst);
    assert!(scheduler.status().is_err());
    let ended = job.wait_timeout(LONG).expect("somebody tells");
    assert_eq!(ended.error.as_deref(), Some("the scheduler ended before the job did"));
    assert_eq!(scheduler.schedule_backup("b", "sqlite", Priority::Low).unwrap_err(), SubmitError::Stopped);
    // The store is closed, and the next scheduler has the job.
    let next = loop {
        match quick().store(store()).start() {
            Ok(next) => break next,
            Err(StartError::Store(backup_sched::StoreError::Locked { .. })) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(next.explain(job.id()).is_ok());
    go.send(()).unwrap();
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
fn a_job_that_does_not_stop_is_left_behind_and_counted_once() {
    let (started, starts) = bounded(1);
    let (let_go, gate) = bounded::<()>(0);
    let deaf = move |_: &RunContext| {
        started.send(()).ok();
        let _ = gate.recv();
        Ok(())
    };
    let scheduler = Scheduler::builder().executor("sqlite", deaf).start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Low).unwrap();
    starts.recv_timeout(LONG).unwrap();
    let report = scheduler.shutdown(Duration::ZERO).unwrap();
    assert_eq!((report.finished, report.cancelled, report.abandoned), (0, 0, vec![handle.id()]));
    assert_eq!(handle.wait().state, JobState::Cancelled);
    drop(let_go);
}

#[test]
fn who_does_not_stop_at_its_time_out_keeps_its_slot_and_is_told_once() {
    let clock = ManualClock::default();
    let (started, starts) = unbounded();
    let (let_go, gate) = bounded::<()>(0);
    let deaf = move |ctx: &RunContext| {
        started.send(ctx.spec().instance.to_string()).ok();
        let _ = gate.recv();
        Ok(())
    };
    let policies =
        Policies::builtin().with_toml("policy.toml", "[technologies.sqlite]\ntimeout = '10s'\n").unwrap();
    let builder = Scheduler::builder().executor("sqlite", deaf).policies(policies).max_running(1);
    let scheduler = builder.clock(clock.clone()).start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    let told =
        || events.try_iter().filter(|event| matches!(event.kind, EventKind::DoesNotStop { .. })).count();
    let deaf = scheduler.schedule_backup("deaf", "sqlite", Priority::Normal).unwrap();
    assert_eq!(starts.recv_timeout(LONG).unwrap(), "deaf");
    let next = scheduler.schedule_backup("next", "sqlite", Priority::Normal).unwrap();
    let passes = |time| {
        // All that has happened is known by then.
        scheduler.status().unwrap();
        clock.advance(time);
        told()
    };
    passes(Duration::from_secs(10));
    // Questions may be answered before what follows from the time is done.
    while deaf.explain().unwrap().state == JobState::Running {
        std::thread::yield_now();
    }
    assert_eq!(deaf.explain().unwrap().state, JobState::Cancelling);
    let waits = next.explain().unwrap().to_string();
    assert!(waits.contains("needs 1 of slots, 1 of 1 in use"), "{waits}");
    assert_eq!(passes(Duration::from_secs(299)), 0);
    let mut times = passes(Duration::from_secs(1));
    while times == 0 {
        times = told();
    }
    assert_eq!(times, 1);
    assert_eq!(passes(Duration::from_secs(3600)), 0, "once while it lasts");
    let stuck = scheduler.metrics().unwrap();
    let stuck = stuck.iter().find(|metric| metric.name == "backup_sched_attempts_stuck_total").unwrap();
    assert!(format!("{stuck:?}").contains("Number(1.0)"), "{stuck:?}");
    assert!(starts.is_empty());
    let_go.send(()).unwrap();
    assert_eq!(deaf.wait_timeout(LONG).unwrap().state, JobState::Succeeded, "late, and done all the same");
    assert_eq!(starts.recv_timeout(LONG).unwrap(), "next");
    assert_eq!(scheduler.status().unwrap().engine.resources[&"slots".into()].used, 1, "given back once");
    let_go.send(()).unwrap();
    assert_eq!(next.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
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
fn an_attempt_ends_though_what_its_panic_carries_panics_without_end() {
    /// Panics with its like when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }
    let executor = |ctx: &RunContext| match ctx.attempt() {
        1 => std::panic::panic_any(Bomb),
        _ => Ok(()),
    };
    let twice = Profile::new().retry(RetryPolicy::new(2, Duration::ZERO, Duration::ZERO));
    let policies = Policies::builtin().with("sqlite", twice).unwrap();
    let builder = Scheduler::builder().executor("sqlite", executor).policies(policies);
    let scheduler = builder.max_running(1).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    let status = job.wait_timeout(LONG).expect("its end is told");
    assert_eq!((status.state, status.job.attempt), (JobState::Succeeded, 2));
    let first = wait_for(&events, |kind| matches!(kind, EventKind::Retried { .. }));
    assert!(format!("{first:?}").contains("panicked: without a message"), "{first:?}");
    assert_eq!(scheduler.status().unwrap().engine.resources[&"slots".into()].used, 0);
}
