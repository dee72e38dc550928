//! Tools that own their loop and ask for leave.

use std::time::Duration;

use backup_sched::{AcquireError, EventKind, JobSpec, JobState, Priority, Scheduler};
use crossbeam_channel::bounded;

use crate::rig::{LONG, gated, wait_for};

#[test]
fn a_tool_that_panics_with_its_permit_has_failed_and_frees_its_slot() {
    let scheduler = Scheduler::builder().max_running(1).start().unwrap();
    let tool = scheduler.clone();
    let job = std::thread::spawn(move || {
        let permit = tool.acquire(JobSpec::new("a", "postgres")).unwrap();
        std::panic::panic_any(permit.job());
    });
    let job = *job.join().unwrap_err().downcast::<backup_sched::JobId>().unwrap();
    let next = scheduler.acquire_within(JobSpec::new("b", "postgres"), LONG).unwrap();
    assert_eq!(scheduler.explain(job).unwrap().state, JobState::Failed);
    assert_eq!(next.finish().state, JobState::Succeeded);
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
fn who_waits_no_longer_leaves_the_job_to_those_who_joined_it() {
    let (builder, starts, go) = gated();
    let scheduler = builder.max_running(1).start().unwrap();
    let events = scheduler.subscribe(1000).unwrap();
    let first = scheduler.schedule_backup("first", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    let tool = scheduler.clone();
    let waits = std::thread::spawn(move || {
        tool.acquire_within(JobSpec::new("a", "sqlite"), Duration::from_millis(100))
    });
    wait_for(&events, |kind| matches!(kind, EventKind::Deferred { .. }));
    let joined = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    wait_for(&events, |kind| matches!(kind, EventKind::Coalesced { .. }));
    let refused = waits.join().unwrap().unwrap_err();
    assert!(matches!(refused, AcquireError::TimedOut(_)), "{refused:?}");
    assert_eq!(joined.explain().unwrap().state, JobState::Queued);
    (0..2).for_each(|_| go.send(()).unwrap());
    assert_eq!(first.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    assert_eq!(joined.wait_timeout(LONG).unwrap().state, JobState::Succeeded, "by its own executor");
}

#[test]
fn an_interrupted_permit_is_over_when_it_is_given_back() {
    let scheduler = Scheduler::builder().max_running(1).start().unwrap();
    let much_later = "2999-01-01T00:00:00Z".parse().unwrap();
    for dropped in [true, false] {
        let permit = scheduler.acquire(JobSpec::new("a", "postgres")).unwrap();
        let job = permit.job();
        assert_eq!(scheduler.interrupt(job, "the window ends", Some(much_later)), Ok(true));
        let (told, ended) = bounded(1);
        std::thread::spawn(move || match dropped {
            true => drop(permit),
            false => told.send(permit.fail("told to stop").state).unwrap(),
        });
        let ended = ended.recv_timeout(LONG);
        assert_eq!(ended.ok(), (!dropped).then_some(JobState::Cancelled));
        assert_eq!(scheduler.explain(job).unwrap().state, JobState::Cancelled);
    }
}
