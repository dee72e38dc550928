//! How many run follows what probes leave room for: through the whole scheduler, with scripted probes on a clock that
//! is moved by hand.

use std::time::Duration;

use backup_sched::limits::{JobDemand, Threshold};
use backup_sched::{
    BackupKind, Clock, EventKind, Gate, JobSpec, JobState, Priority, Reading, SchedulerBuilder, Thresholds,
};

mod rig;

use rig::{LONG, Rig, SECOND, local, of_hundred};

/// A builder for which a job takes 20 % of `signal`.
fn twenty_of(signal: &'static str) -> impl FnOnce(SchedulerBuilder) -> SchedulerBuilder {
    let job = if signal == "cpu" { 0.2 } else { 20.0 };
    move |builder| builder.concurrency(|c| c.demands = [(signal.into(), JobDemand::Fixed(job))].into())
}

#[test]
fn each_resource_alone_lets_fewer_run_and_then_as_many_again() {
    for signal in ["cpu", "memory", "disk", "network"] {
        let rig = Rig::new(SECOND, twenty_of(signal));
        rig.say(&of_hundred(signal, 10.0));
        assert_eq!(rig.room(), Some(3), "{signal}");
        let jobs: Vec<_> = (0..6).map(|n| rig.submit(&format!("db-{n}"))).collect();
        (0..3).for_each(|_| _ = rig.started());
        assert!(rig.nobody_starts(), "{signal}");
        let waiting = jobs.iter().find(|job| job.explain().unwrap().state == JobState::Queued).unwrap();
        let explanation = waiting.explain().unwrap();
        assert_eq!(explanation.closed[0].gate, Gate::Resource("room".into()));
        assert_eq!(explanation.closed[0].scope, local());
        let text = explanation.to_string();
        assert!(
            text.contains(&format!("{signal} of host local leaves room for 3 jobs: 10 % in use")),
            "{text}"
        );
        assert_eq!(explanation.closed[0].reason.measured.as_ref().unwrap().signal.as_str(), signal);

        // The number stays while the values change: the newest are said.
        rig.say(&of_hundred(signal, 15.0));
        let text = waiting.explain().unwrap().to_string();
        assert!(text.contains("leaves room for 3 jobs: 15 % in use"), "{text}");

        // The foreground grows: the three that run go on, but who ends is not replaced.
        (0..10).for_each(|_| rig.say(&of_hundred(signal, 97.0)));
        assert_eq!(rig.room(), Some(2), "{signal}");
        (0..3).for_each(|_| rig.end_one());
        (0..10).for_each(|_| rig.say(&of_hundred(signal, 97.0)));
        assert_eq!((rig.room(), rig.nobody_starts()), (Some(0), true), "{signal}");
        assert_eq!(rig.scheduler.status().unwrap().engine.ended.get(&JobState::Cancelled), None);

        // It leaves: one starts at once, the others one by one.
        rig.say(&of_hundred(signal, 10.0));
        rig.started();
        assert!(rig.nobody_starts(), "{signal}");
        (0..29).for_each(|_| rig.say(&of_hundred(signal, 30.0)));
        assert_eq!((rig.room(), rig.nobody_starts()), (Some(1), true), "{signal}");
        (0..3).for_each(|_| rig.say(&of_hundred(signal, 30.0)));
        rig.started();
        (0..33).for_each(|_| rig.say(&of_hundred(signal, 50.0)));
        rig.started();
        assert_eq!((rig.room(), rig.nobody_starts()), (Some(3), true), "{signal}");
        (0..3).for_each(|_| rig.end_one());
        assert!(jobs.iter().all(|job| job.wait_timeout(LONG).unwrap().state == JobState::Succeeded));
    }
}

#[test]
fn the_event_of_a_job_that_lacks_room_says_what_leaves_none() {
    let rig = Rig::new(SECOND, twenty_of("disk"));
    rig.say(&of_hundred("disk", 50.0));
    rig.submit("runs");
    rig.started();
    rig.submit("waits");
    let EventKind::Deferred { by, .. } = rig.wait_for(|kind| matches!(kind, EventKind::Deferred { .. }))
    else {
        unreachable!()
    };
    let measured = by.reason.measured.expect("a value");
    assert_eq!((by.gate, by.scope), (Gate::Resource("room".into()), local()));
    assert_eq!((measured.signal.as_str(), measured.value), ("disk", 0.5));
}

#[test]
fn jobs_that_ran_before_the_first_reading_are_counted_in_it() {
    let rig = Rig::new(SECOND, twenty_of("disk"));
    let uploads = ["a", "b"].map(|name| JobSpec::new(name, "cassandra").kind(BackupKind::Upload));
    let jobs = uploads.map(|spec| rig.scheduler.submit(spec).unwrap());
    (0..2).for_each(|_| _ = rig.started());
    rig.say(&of_hundred("disk", 50.0));
    assert_eq!(rig.room(), Some(3), "50 are in use by two that take 20 each, and up to 75 may be");
    assert!(jobs.iter().all(|job| job.explain().unwrap().state == JobState::Running));
}

#[test]
fn memory_that_a_control_group_takes_away_counts_like_memory_in_use() {
    let rig = Rig::new(SECOND, twenty_of("memory"));
    let memory = |used: f64, limit: f64| [Reading::new("memory", used, "bytes").of(limit).scope(local())];
    rig.say(&memory(10.0, 100.0));
    assert_eq!(rig.room(), Some(3));
    (0..5).for_each(|_| rig.say(&memory(10.0, 50.0)));
    assert_eq!(rig.room(), Some(1), "10 of 50 are in use, and 46 may be");
    (0..65).for_each(|_| rig.say(&memory(10.0, 100.0)));
    assert_eq!(rig.room(), Some(3));
}

#[test]
fn a_job_waits_for_the_signal_and_not_for_a_timer() {
    let millisecond = Duration::from_millis(1);
    let rig = Rig::new(millisecond, |builder| builder);
    let cpu = |share| [Reading::share("cpu", share).scope(local())];
    (0..5).for_each(|_| rig.say(&cpu(0.97)));
    let job = rig.scheduler.schedule_backup("a", "sqlite", Priority::Critical).unwrap();
    let EventKind::Deferred { by, .. } = rig.wait_for(|kind| matches!(kind, EventKind::Deferred { .. }))
    else {
        unreachable!()
    };
    assert_eq!((by.gate, by.scope, by.until), (Gate::Capacity, local(), None));
    let measured = by.reason.measured.unwrap();
    assert_eq!((measured.signal.as_str(), measured.value), ("cpu", 0.97));
    assert!(job.explain().unwrap().to_string().contains("cpu of host local must fall below"));
    // Between its thresholds it stays closed.
    rig.say(&cpu(0.90));
    assert!(rig.nobody_starts());
    let before = rig.clock.now().mono;
    rig.say(&cpu(0.20));
    rig.started();
    assert_eq!(rig.clock.now().mono.since(before), millisecond, "no time but that of one reading has passed");
    rig.end_one();
}

#[test]
fn what_an_operator_allows_counts_beside_it() {
    let rig = Rig::new(SECOND, twenty_of("cpu"));
    rig.scheduler.set_limit(local(), Some(1)).unwrap();
    rig.say(&of_hundred("cpu", 10.0));
    let jobs = ["a", "b", "c", "d"].map(|name| rig.submit(name));
    rig.started();
    // The room changes while the limit stands.
    (0..5).for_each(|_| rig.say(&of_hundred("cpu", 85.0)));
    (0..70).for_each(|_| rig.say(&of_hundred("cpu", 20.0)));
    assert_eq!((rig.room(), rig.nobody_starts()), (Some(3), true));
    let texts = jobs.iter().map(|job| job.explain().unwrap().to_string());
    assert_eq!(texts.filter(|text| text.contains("1 of at most 1 run")).count(), 3);
    rig.scheduler.set_limit(local(), None).unwrap();
    (0..2).for_each(|_| _ = rig.started());
    rig.scheduler.set_max_running(1).unwrap();
    (0..2).for_each(|_| rig.end_one());
    assert!(rig.nobody_starts());
    (0..2).for_each(|_| rig.end_one());
}

#[test]
fn what_is_too_much_pauses_if_it_may_and_goes_on_later() {
    let rig = Rig::new(SECOND, twenty_of("disk"));
    rig.say(&of_hundred("disk", 10.0));
    let upload = |name| JobSpec::new(name, "cassandra").kind(BackupKind::Upload);
    let (first, second) = (rig.submit("keeps-on"), rig.scheduler.submit(upload("can-pause")).unwrap());
    (0..2).for_each(|_| _ = rig.started());
    (0..5).for_each(|_| rig.say(&of_hundred("disk", 95.0)));
    let pausing = rig.wait_for(|kind| matches!(kind, EventKind::Pausing { .. }));
    let EventKind::Pausing { reason } = pausing else { unreachable!() };
    let measured = reason.measured.clone().expect("a value");
    assert_eq!((measured.signal.as_str(), measured.value), ("disk", 0.95), "{reason}");
    rig.wait_for(|kind| matches!(kind, EventKind::Paused));
    assert_eq!(second.explain().unwrap().state, JobState::Paused);
    assert_eq!(first.explain().unwrap().state, JobState::Running);
    let text = second.explain().unwrap().to_string();
    assert!(text.contains("disk of host local"), "{text}");
    (0..70).for_each(|_| rig.say(&of_hundred("disk", 20.0)));
    rig.wait_for(|kind| matches!(kind, EventKind::Resumed { .. }));
    (0..2).for_each(|_| rig.go.send(()).unwrap());
    assert!([first, second].iter().all(|job| job.wait_timeout(LONG).unwrap().state == JobState::Succeeded));
}

#[test]
fn a_critical_job_takes_the_room_of_one_that_may_pause() {
    let rig = Rig::new(SECOND, twenty_of("cpu"));
    rig.say(&of_hundred("cpu", 60.0));
    assert_eq!(rig.room(), Some(1));
    let upload = JobSpec::new("can-pause", "cassandra").kind(BackupKind::Upload);
    rig.scheduler.submit(upload.priority(Priority::Low)).unwrap();
    assert_eq!(rig.started(), "can-pause");
    rig.scheduler.schedule_backup("critical", "sqlite", Priority::Critical).unwrap();
    assert_eq!(rig.started(), "critical");
}

#[test]
fn a_busy_host_defers_what_can_wait_and_lets_high_ones_through() {
    let busy = Thresholds::none().with("cpu", Threshold::new(0.7, 0.5).unwrap());
    let small = |builder: SchedulerBuilder| {
        builder.concurrency(|c| c.demands = [("cpu".into(), JobDemand::Fixed(0.01))].into())
    };
    let rig = Rig::new(SECOND, |builder| small(builder).busy_thresholds(busy));
    let cpu = |share| [Reading::share("cpu", share).scope(local())];
    rig.say(&cpu(0.8));
    let low = rig.submit("low");
    let high = rig.scheduler.schedule_backup("high", "sqlite", Priority::High).unwrap();
    assert_eq!(rig.started(), "high");
    let explanation = low.explain().unwrap();
    assert_eq!(explanation.closed[0].gate, Gate::Load);
    let text = explanation.to_string();
    assert!(text.contains("busy load, calm tolerated: cpu of host local is 80 % in use"), "{text}");
    rig.say(&cpu(0.6));
    assert!(rig.nobody_starts(), "between the thresholds");
    rig.say(&cpu(0.4));
    assert_eq!(rig.started(), "low");
    (0..2).for_each(|_| rig.go.send(()).unwrap());
    assert_eq!(high.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_signal_that_is_lost_lets_nobody_more_in() {
    let rig = Rig::new(SECOND, twenty_of("memory"));
    (0..5).for_each(|_| rig.say(&of_hundred("memory", 80.0)));
    assert_eq!(rig.room(), Some(0));
    // It would fit now, but is told of something else only.
    rig.submit("a");
    (0..3).for_each(|_| rig.say(&[Reading::share("other", 0.1).scope(local())]));
    assert_eq!((rig.room(), rig.nobody_starts()), (Some(0), true));
    // After five periods nobody knows, and one may try.
    (0..3).for_each(|_| rig.say(&[Reading::share("other", 0.1).scope(local())]));
    rig.started();
    rig.submit("b");
    (0..200).for_each(|_| rig.say(&[Reading::share("other", 0.1).scope(local())]));
    assert_eq!((rig.room(), rig.nobody_starts()), (Some(1), true));
    (0..70).for_each(|_| rig.say(&of_hundred("memory", 10.0)));
    assert_eq!(rig.started(), "b");
}

#[test]
fn no_more_run_than_the_rate_feeds() {
    let rig = Rig::new(SECOND, |builder| {
        builder.rate_ceiling(30_000_000).concurrency(|c| c.job_bytes_per_sec = Some(10_000_000))
    });
    rig.say(&[]);
    let jobs: Vec<_> = (0..5).map(|n| rig.submit(&format!("db-{n}"))).collect();
    (0..3).for_each(|_| _ = rig.started());
    assert!(rig.nobody_starts());
    let texts = jobs.iter().map(|job| job.explain().unwrap().to_string());
    let told = texts.filter(|text| text.contains("a rate of 30.0 MB/s feeds 3 jobs of 10.0 MB/s each"));
    assert_eq!(told.count(), 2);
    (0..3).for_each(|_| rig.end_one());
    (0..2).for_each(|_| _ = rig.started());
}

#[test]
fn advise_tells_how_many_have_room_and_keeps_nobody() {
    let rig = Rig::new(SECOND, |builder| twenty_of("cpu")(builder).advise_only());
    (0..5).for_each(|_| rig.say(&of_hundred("cpu", 97.0)));
    rig.wait_for(|kind| matches!(kind, EventKind::RoomChanged { jobs: 0, .. }));
    (0..3).for_each(|n| _ = rig.submit(&format!("db-{n}")));
    (0..3).for_each(|_| _ = rig.started());
}
