//! Leave to make a backup oneself, awaited: given, refused, and given up.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use backup_sched::{
    AcquireError, EventKind, JobSpec, JobState, PageCursor, PendingFilter, Permit, RunContext, Scheduler,
};

use crate::rig::{LONG, gated, wait_for};
use crate::{at_once, on_one_thread, polled};

fn one_at_a_time() -> Scheduler {
    Scheduler::builder().max_running(1).start().unwrap()
}

fn spec(instance: &str) -> JobSpec {
    JobSpec::new(instance, "sqlite")
}

/// Jobs that wait, by instance.
fn waiting(scheduler: &Scheduler) -> Vec<String> {
    let page = scheduler.pending_page(PendingFilter::default(), PageCursor::default(), 100).unwrap();
    page.jobs.iter().map(|job| job.job.instance.to_string()).collect()
}

#[test]
fn a_permit_comes_when_there_is_room_and_others_run_meanwhile() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        let first = scheduler.acquire_async(spec("a")).await.unwrap();
        let next = tokio::spawn(scheduler.acquire_async(spec("b")));
        // On the one thread: were the waiting one to block it, nobody would give back.
        let giver = tokio::spawn(async move {
            first.pace_async(4096).await.unwrap();
            first.finish_async().await
        });
        let ended = giver.await.unwrap();
        assert_eq!((ended.state, ended.bytes), (JobState::Succeeded, 4096));
        let permit = next.await.unwrap().unwrap();
        assert_eq!(permit.fail_async("no").await.error.as_deref(), Some("no"));
    });
}

#[test]
fn a_permit_is_given_back_though_nobody_awaits_its_end() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        drop(scheduler.acquire_async(spec("a")).await.unwrap().finish_async());
        let permit = scheduler.acquire_async(spec("a")).await.unwrap();
        drop(permit);
        let again = scheduler.acquire_async(spec("a")).await.unwrap();
        assert_eq!(again.finish_async().await.state, JobState::Succeeded);
    });
}

#[test]
fn nothing_is_asked_for_before_it_is_polled() {
    let scheduler = one_at_a_time();
    drop((scheduler.acquire_async(spec("a")), scheduler.submit_async(spec("b"))));
    assert_eq!(scheduler.status().unwrap().engine.ended.len(), 0);
    assert!(waiting(&scheduler).is_empty());
}

#[test]
fn a_request_that_is_dropped_is_withdrawn() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        let events = scheduler.subscribe(1000).unwrap();
        let first = scheduler.acquire_async(spec("a")).await.unwrap();
        let pending = tokio::spawn(scheduler.acquire_async(spec("b")));
        while waiting(&scheduler) != ["b"] {
            tokio::task::yield_now().await;
        }
        let refused = scheduler.acquire_async(spec("b")).await;
        assert!(matches!(refused, Err(AcquireError::AlreadyPending(_))), "{refused:?}");
        pending.abort();
        assert!(pending.await.unwrap_err().is_cancelled());
        wait_for(&events, |kind| matches!(kind, EventKind::Cancelled { .. }));
        assert!(waiting(&scheduler).is_empty());
        first.finish_async().await;
        let permit = scheduler.acquire_async(spec("b")).await.unwrap();
        assert_eq!(permit.finish_async().await.state, JobState::Succeeded);
    });
}

/// Whether the request had come to the dispatcher, been answered or been admitted when its future was dropped, with room for
/// it or without.
#[test]
fn whenever_a_request_is_dropped_nothing_waits_or_runs_for_it_afterwards() {
    on_one_thread(|| async {
        for room in [1, 1000] {
            let scheduler = Scheduler::builder().max_running(room).start().unwrap();
            let held = scheduler.acquire_async(spec("held")).await.unwrap();
            for n in 0..300 {
                let mut request = Box::pin(scheduler.acquire_async(spec(&format!("db-{n}"))));
                for _ in 0..n % 4 {
                    if polled(request.as_mut()).is_ready() {
                        break;
                    }
                    // The dispatcher goes on by nothing, something, or all that there is to do.
                    (0..n % 5).for_each(|_| drop(scheduler.summary()));
                }
            }
            loop {
                let engine = scheduler.status().unwrap().engine;
                if (engine.waiting, engine.active) == (0, 1) {
                    assert!(!engine.ended.contains_key(&JobState::Succeeded));
                    break;
                }
                tokio::task::yield_now().await;
            }
            held.finish_async().await;
        }
    });
}

#[test]
fn one_that_is_admitted_as_it_is_dropped_gives_its_slot_back() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        let events = scheduler.subscribe(1000).unwrap();
        let first = scheduler.acquire_async(spec("a")).await.unwrap();
        let mut request = Box::pin(scheduler.acquire_async(spec("b")));
        while waiting(&scheduler) != ["b"] {
            assert!(polled(request.as_mut()).is_pending());
        }
        assert!(polled(request.as_mut()).is_pending());
        first.finish_async().await;
        // The permit is on its way, and nobody has looked.
        wait_for(&events, |kind| matches!(kind, EventKind::Succeeded { .. }));
        wait_for(&events, |kind| matches!(kind, EventKind::Started));
        drop(request);
        wait_for(&events, |kind| matches!(kind, EventKind::Failed { .. }));
        assert!(scheduler.acquire_async(spec("c")).await.is_ok());
    });
}

#[test]
fn others_who_asked_for_the_backup_get_it_when_the_request_is_dropped() {
    on_one_thread(|| async {
        let (builder, _starts, go) = gated();
        let scheduler = builder.max_running(1).start().unwrap();
        let first: Permit = scheduler.acquire_async(spec("a")).await.unwrap();
        let pending = tokio::spawn(scheduler.acquire_async(spec("b")));
        while waiting(&scheduler) != ["b"] {
            tokio::task::yield_now().await;
        }
        let joined = scheduler.submit_async(spec("b")).await.unwrap();
        pending.abort();
        assert!(pending.await.unwrap_err().is_cancelled());
        first.finish_async().await;
        go.send(()).unwrap();
        assert_eq!(joined.await.state, JobState::Succeeded);
    });
}

#[test]
fn who_waits_for_a_permit_is_told_when_the_scheduler_ends() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        let first = scheduler.acquire_async(spec("a")).await.unwrap();
        let pending = tokio::spawn(scheduler.acquire_async(spec("b")));
        while waiting(&scheduler) != ["b"] {
            tokio::task::yield_now().await;
        }
        let mut shutdown = pin!(scheduler.shutdown_async(LONG));
        assert!(polled(shutdown.as_mut()).is_pending());
        let Err(AcquireError::Ended(status)) = pending.await.unwrap() else { panic!("it was admitted") };
        assert_eq!(status.state, JobState::Cancelled);
        first.finish_async().await;
        let report = shutdown.await.unwrap();
        assert_eq!((report.finished, report.cancelled), (1, 1));
        let late = scheduler.acquire_async(spec("c")).await;
        assert!(matches!(late, Err(AcquireError::Submit(_))));
    });
}

#[test]
fn a_permit_tells_its_task_when_it_is_to_stop() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        let permit = scheduler.acquire_async(spec("a")).await.unwrap();
        let (ctx, job): (RunContext, _) = (RunContext::clone(&permit), permit.job());
        let told = tokio::spawn(ctx.cancelled());
        tokio::task::yield_now().await;
        assert!(!told.is_finished());
        scheduler.cancel(job).unwrap();
        told.await.unwrap();
        at_once(async { permit.checkpoint_async().await.unwrap_err() });
        assert_eq!(permit.fail_async("told to stop").await.state, JobState::Cancelled);
        assert!(scheduler.shutdown_async(Duration::ZERO).await.unwrap().abandoned.is_empty());
    });
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    on_one_thread(|| async {
        let scheduler = one_at_a_time();
        let mut refused = pin!(scheduler.acquire_async(JobSpec::new("a", "no-such-thing")));
        assert!(matches!(polled(refused.as_mut()), Poll::Ready(Err(AcquireError::Submit(_)))));
    });
}
