//! What the scheduler tells of itself: summary, events since a cursor, attempts, metrics, hooks.

mod rig;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use backup_sched::core::store::MemoryStore;
use backup_sched::observe::AttemptOutcome;
use backup_sched::observe::metrics::{Metric, SampleValue};
use backup_sched::{
    Event, EventKind, Hook, JobSpec, JobState, ManualClock, Order, Priority, RunContext, RunError, Scope,
    Status, Summary,
};
use crossbeam_channel::bounded;
use rig::{LONG, quick};

/// The number, or how many values a histogram has counted.
fn number(metrics: &[Metric], name: &str, labels: &[&str]) -> Option<f64> {
    let metric = metrics.iter().find(|metric| metric.name == name)?;
    let of = |labels: &[(&str, String)], wanted: &[&str]| {
        labels.iter().map(|(_, v)| v.as_str()).eq(wanted.iter().copied())
    };
    let sample = metric.samples.iter().find(|sample| of(&sample.labels, labels))?;
    Some(match &sample.value {
        SampleValue::Number(number) => *number,
        SampleValue::Histogram(histogram) => histogram.count() as f64,
        other => panic!("{other:?}"),
    })
}

#[test]
fn what_happened_is_told_once_and_adds_up() {
    let clock = ManualClock::default();
    let failures = Arc::new(AtomicU64::new(1));
    let left = failures.clone();
    let fails_once = move |ctx: &RunContext| {
        if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(RunError::Retryable("gone".into()));
        }
        ctx.progress(7, 7);
        Ok(())
    };
    let scheduler = quick().executor("etcd", fails_once).clock(clock.clone()).start().unwrap();
    let begin = scheduler.summary().unwrap().next_event;
    let handle = scheduler.schedule_backup("a", "etcd", Priority::High).unwrap();
    let later = JobSpec::new("b", "etcd").not_before(clock_in(&clock, 7 * 86_400));
    let later = scheduler.submit(later).unwrap();
    // The back-off.
    while scheduler.attempts(10).unwrap().is_empty() {
        std::thread::yield_now();
    }
    clock.advance(Duration::from_secs(3600));
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);

    let summary = scheduler.summary().unwrap();
    assert_eq!((summary.version, summary.engine.waiting, summary.engine.active.len()), (1, 1, 0));
    assert_eq!(summary.engine.backlog[0].technology.as_str(), "etcd");
    let mut told = Vec::new();
    let mut next = begin;
    while next < summary.next_event {
        let page = scheduler.events_since(next, 3).unwrap();
        assert_eq!((page.first, page.missed), (next, 0));
        told.extend(page.events);
        next = page.next;
    }
    let kinds = |wanted: fn(&EventKind) -> bool| told.iter().filter(|event| wanted(&event.kind)).count();
    assert_eq!(kinds(|kind| matches!(kind, EventKind::Submitted { .. })), 2);
    assert_eq!(kinds(|kind| matches!(kind, EventKind::Started)), 2);
    assert_eq!(kinds(|kind| matches!(kind, EventKind::Succeeded { .. })), 1);

    let attempts = scheduler.attempts(10).unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| (attempt.job.attempt, &attempt.outcome)).collect();
    let [(2, AttemptOutcome::Succeeded { bytes: 7, .. }), (1, AttemptOutcome::Retried { error })] =
        &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    assert!(error.contains("gone"));

    let metrics = scheduler.metrics().unwrap();
    let is = |name: &str, labels: &[&str]| {
        number(&metrics, name, labels).unwrap_or_else(|| panic!("{name} {labels:?}"))
    };
    assert_eq!(is("backup_sched_jobs_submitted_total", &["etcd", "high"]), 1.0);
    assert_eq!(is("backup_sched_jobs_ended_total", &["etcd", "high", "succeeded"]), 1.0);
    assert_eq!(is("backup_sched_retries_total", &["etcd"]), 1.0);
    assert_eq!(is("backup_sched_backup_bytes_total", &["etcd"]), 7.0);
    assert_eq!(is("backup_sched_jobs_waiting", &["etcd", "normal"]), 1.0);
    assert_eq!(is("backup_sched_run_seconds", &["etcd"]), 1.0);
    assert!(is("backup_sched_decision_seconds", &[]) > 0.0);
    later.cancel().unwrap();
}

fn clock_in(clock: &ManualClock, seconds: u64) -> jiff::Timestamp {
    use backup_sched::Clock;
    clock.now().plus(Duration::from_secs(seconds)).wall
}

/// Blocks at its first event until it is released.
struct Stuck(Arc<Barrier>, bool);

impl Hook for Stuck {
    fn name(&self) -> &str {
        "stuck"
    }

    fn event(&mut self, _: &Event) {
        if !std::mem::replace(&mut self.1, true) {
            self.0.wait();
        }
    }
}

/// The same submissions at the same moments lead to the same decisions at the same moments, whether a hook hangs or not.
#[test]
fn a_hook_that_hangs_changes_no_decision_and_no_timing() {
    let decisions = |hook: bool| {
        let clock = ManualClock::default();
        let release = Arc::new(Barrier::new(2));
        let mut builder = quick().clock(clock.clone()).max_running(1);
        if hook {
            builder = builder.hook(Stuck(release.clone(), false));
        }
        let scheduler = builder.start().unwrap();
        let until = backup_sched::core::Order::new("test", "later").until(clock_in(&clock, 60));
        scheduler.hold(Scope::Fleet, until).unwrap();
        let handles: Vec<_> = (0..20)
            .map(|n| scheduler.schedule_backup(format!("db-{n:02}"), "sqlite", Priority::Normal).unwrap())
            .collect();
        clock.advance(Duration::from_secs(61));
        for handle in &handles {
            assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
        }
        let page = scheduler.events_since(0, 4096).unwrap();
        if hook {
            release.wait();
        }
        // What workers report comes when it comes; what is decided does not depend on it.
        let decided = |event: &Arc<Event>| match &event.kind {
            EventKind::Submitted { .. } | EventKind::Admitted { .. } | EventKind::HoldChanged { .. } => {
                Some((event.at, event.to_string()))
            }
            _ => None,
        };
        page.events.iter().filter_map(decided).collect::<Vec<_>>()
    };
    let (with, without) = (decisions(true), decisions(false));
    assert!(with.len() > 40, "{with:?}");
    assert_eq!(with, without);
}

#[test]
fn progress_is_told_with_each_tenth_however_often_it_is_reported() {
    let reports = |ctx: &RunContext| {
        (0..=1000).for_each(|done| ctx.progress(done, 1000));
        Ok(())
    };
    // What is not known in all is told when it has doubled.
    let grows = |ctx: &RunContext| {
        (0..=64).for_each(|done| ctx.progress(done << 20, 0));
        // It is known later after all.
        (64..=1000).for_each(|done| ctx.progress(done << 20, 1000 << 20));
        Ok(())
    };
    // Who only paces what moves need not report.
    let paces = |ctx: &RunContext| (0..8).try_for_each(|_| ctx.pace(1 << 20)).map_err(RunError::from);
    let builder = quick().executor("etcd", reports).executor("redis", grows).executor("mysql", paces);
    let scheduler = builder.start().unwrap();
    let told = |technology: &str| {
        let begin = scheduler.summary().unwrap().next_event;
        let handle = scheduler.schedule_backup(technology, technology, Priority::High).unwrap();
        assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
        let page = scheduler.events_since(begin, 4096).unwrap();
        let done = |event: &Arc<Event>| match &event.kind {
            EventKind::Progress { progress } => Some(progress.done_bytes),
            _ => None,
        };
        page.events.iter().filter_map(done).collect::<Vec<_>>()
    };
    assert_eq!(told("etcd"), [100, 200, 300, 400, 500, 600, 700, 800, 900]);
    let mib = |n: u64| n << 20;
    assert_eq!(told("mysql"), [1, 2, 4, 8].map(|n| n << 20));
    assert_eq!(told("redis"), [1, 2, 4, 8, 16, 32, 64, 100, 200, 300, 400, 500, 600, 700, 800, 900].map(mib));
}

/// A client of the status has a type for it.
#[test]
fn a_status_is_read_as_it_was_written() {
    let (let_go, gate) = bounded::<()>(0);
    let waits = move |ctx: &RunContext| {
        ctx.progress(3, 7);
        gate.recv().ok();
        Ok(())
    };
    let clock = ManualClock::default();
    let builder = quick().executor("etcd", waits).clock(clock.clone()).store(MemoryStore::new());
    let scheduler = builder.start().unwrap();
    scheduler.hold(Scope::Instance("b".into()), Order::new("ana", "it moves")).unwrap();
    scheduler.schedule_backup("a", "etcd", Priority::High).unwrap();
    scheduler.submit(JobSpec::new("b", "etcd").not_before(clock_in(&clock, 3600))).unwrap();
    while scheduler.status().unwrap().running.is_empty() {
        std::thread::yield_now();
    }
    let status = scheduler.status().unwrap();
    assert!(status.engine.waiting == 1 && status.store.is_some() && !status.engine.holds.is_empty());
    let written = serde_json::to_value(&status).unwrap();
    let read: Status = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    assert_eq!((read.engine, read.rates, read.hooks), (status.engine, status.rates, status.hooks));
    let written = serde_json::to_value(scheduler.summary().unwrap()).unwrap();
    let read: Summary = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    drop(let_go);
    scheduler.shutdown(LONG);
}
