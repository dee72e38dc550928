//! The threads around the engine, with real threads and mostly a real clock. Nothing here waits by sleeping: tests
//! wait for handles, events and channels.

mod ends;
mod permits;
#[path = "../rig/mod.rs"]
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use backup_sched::core::RunPhase;
use backup_sched::limits::FnProbe;
use backup_sched::{
    AcquireError, ConfigureError, Event, EventKind, Hook, JobSpec, JobState, ManualClock, Order, Policies,
    Priority, RunContext, RunError, Scheduler, SchedulerBuilder, Scope, StartError, SubmitError,
};
use crossbeam_channel::{Receiver, bounded, unbounded};
use rig::{LONG, gated, quick, wait_for};

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

#[test]
fn what_panics_is_tried_again_as_the_policy_says_and_never_two_at_once() {
    /// Panics when it is dropped, as what a panic has said may.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose, when dropped");
        }
    }
    let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, highest) = (at_once.clone(), most.clone());
    let executor = move |ctx: &RunContext| {
        highest.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
        running.fetch_sub(1, SeqCst);
        match ctx.attempt() {
            1 => panic!("on purpose"),
            2 => std::panic::panic_any(Bomb),
            _ => Ok(()),
        }
    };
    let retry = backup_sched::core::RetryPolicy::new(3, Duration::ZERO, Duration::ZERO);
    let policies = Policies::builtin().with("sqlite", backup_sched::Profile::new().retry(retry)).unwrap();
    let builder = Scheduler::builder().executor("sqlite", executor).policies(policies);
    let scheduler = builder.max_running(1).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let job = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    let status = job.wait_timeout(LONG).expect("no slot is lost");
    assert_eq!((status.state, status.job.attempt), (JobState::Succeeded, 3));
    let retried: Vec<_> = events
        .try_iter()
        .filter_map(|event| match &event.kind {
            EventKind::Retried { error, .. } => Some(error.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(retried, ["panicked: on purpose", "panicked: without a message"]);
    assert_eq!(most.load(SeqCst), 1);
    assert_eq!(scheduler.status().unwrap().engine.resources[&"slots".into()].used, 0);
}

#[test]
fn a_full_queue_refuses_with_a_word_and_loses_nothing() {
    let scheduler = quick().engine(|engine| engine.max_pending = 3).start().unwrap();
    scheduler.hold(Scope::Fleet, Order::new("ana", "not yet")).unwrap();
    let full = |error: &SubmitError| {
        matches!(error, SubmitError::Refused(backup_sched::core::SubmitError::QueueFull { pending: 3 }))
    };
    let answers = scheduler.submit_all((0..5).map(|n| JobSpec::new(format!("db-{n}"), "sqlite")));
    let accepted: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, true, true, false, false], "in their order");
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(full));
    let tool = scheduler.acquire_within(JobSpec::new("tool", "postgres"), LONG).unwrap_err();
    assert!(matches!(&tool, AcquireError::Submit(error) if full(error)), "{tool}");
    scheduler.release(Scope::Fleet).unwrap();
    for job in answers.into_iter().flatten() {
        assert_eq!(job.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    }
    assert_eq!(scheduler.summary().unwrap().engine.ended[&JobState::Succeeded], 3);
}

fn one_attempt() -> backup_sched::Policies {
    let retry = backup_sched::core::RetryPolicy::new(1, Duration::ZERO, Duration::ZERO);
    let profile = backup_sched::Profile::new().retry(retry);
    backup_sched::Policies::builtin().with("sqlite", profile).unwrap()
}

#[test]
fn a_subscriber_that_asks_for_any_room_gets_events() {
    let scheduler = quick().start().unwrap();
    for capacity in [0, usize::MAX] {
        let events = scheduler.subscribe(capacity).unwrap();
        scheduler.schedule_backup("a", "sqlite", Priority::Low).unwrap().wait();
        wait_for(&events, |kind| matches!(kind, EventKind::Submitted { .. }));
    }
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
fn a_phase_that_an_executor_announces_is_an_event_of_its_job() {
    let clock = ManualClock::default();
    let (announced, goes_on) = (unbounded(), unbounded());
    let executor = {
        let (announced, goes_on) = (announced.0, goes_on.1);
        move |ctx: &RunContext| {
            ctx.phase(RunPhase::new("copy").floor(1_000_000));
            announced.send(()).unwrap();
            goes_on.recv().map_err(|error| RunError::Permanent(error.to_string()))
        }
    };
    let scheduler =
        Scheduler::builder().max_running(1).executor("sqlite", executor).clock(clock).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    announced.1.recv_timeout(LONG).unwrap();
    let began = wait_for(&events, |kind| matches!(kind, EventKind::PhaseBegan { .. }));
    assert!(format!("{began:?}").contains("copy"), "{began:?}");
    goes_on.0.send(()).unwrap();
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
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
    assert!(error(JobSpec::new("a", "sqlite").demand("room", 1)).contains("use another name"));
    let room = scheduler.set_resource(Scope::Fleet, "room", 3);
    assert_eq!(room, Err(ConfigureError::Reserved { name: "room".into() }));
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
    // Nor do schedules wake it before something is due.
    let file = "[technologies.sqlite]\nschedule = '@yearly'\n[instances.b]\ntechnology = 'sqlite'\n";
    let policies = Policies::builtin().with_toml("policy.toml", file).unwrap();
    let scheduler = quick().policies(policies).start().unwrap();
    assert_eq!(scheduler.status().unwrap().recurring.schedules, 1);
    scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap().wait();
    let before = scheduler.status().unwrap().wakeups;
    let (_keep, never) = bounded::<()>(0);
    assert!(never.recv_timeout(Duration::from_secs(10)).is_err());
    // Asking wakes it once.
    assert_eq!(scheduler.status().unwrap().wakeups, before + 1);
}
