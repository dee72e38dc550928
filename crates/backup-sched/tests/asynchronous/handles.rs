//! Jobs that are awaited.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use backup_sched::core::store::{Entry, JobStore, MemoryStore, StoreError};
use backup_sched::{JobId, JobSpec, JobState, JobStatus, Priority, RunContext, Scheduler, SubmitError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::rig::{LONG, gated, quick};
use crate::{at_once, on_one_thread, polled};

#[test]
fn who_awaits_a_job_does_not_keep_others_from_running() {
    on_one_thread(|| async {
        let (builder, starts, go) = gated();
        let scheduler = builder.max_running(1).start().unwrap();
        let handle = scheduler.submit_async(JobSpec::new("a", "sqlite")).await.unwrap();
        let (release, released) = oneshot::channel::<()>();
        let waiting = tokio::spawn(async move { (&handle).await });
        // Only a task that runs beside the waiting one lets the job end.
        let other = tokio::spawn(async move {
            released.await.unwrap();
            go.send(()).unwrap();
        });
        let starter = tokio::task::spawn_blocking(move || starts.recv_timeout(LONG));
        assert_eq!(starter.await.unwrap(), Ok(1));
        assert!(!waiting.is_finished());
        release.send(()).unwrap();
        other.await.unwrap();
        assert_eq!(waiting.await.unwrap().state, JobState::Succeeded);
    });
}

#[test]
fn a_thousand_tasks_await_one_job_and_each_is_told() {
    on_one_thread(|| async {
        let (builder, _starts, go) = gated();
        let scheduler = builder.start().unwrap();
        let handle = scheduler.submit_async(JobSpec::new("a", "sqlite")).await.unwrap();
        let tasks: Vec<_> = (0..1000).map(|_| tokio::spawn((&handle).into_future())).collect();
        tokio::task::yield_now().await;
        // Every third leaves.
        tasks.iter().step_by(3).for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        let mut told = 0;
        for task in tasks {
            told += usize::from(task.await.is_ok_and(|status| status.state == JobState::Succeeded));
        }
        assert_eq!(told, 666);
    });
}

#[test]
fn a_future_that_is_dropped_leaves_its_job_alone() {
    let (builder, starts, go) = gated();
    let scheduler = builder.start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    starts.recv_timeout(LONG).unwrap();
    assert!(polled(pin!((&handle).into_future())).is_pending());
    go.send(()).unwrap();
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
}

#[test]
fn a_future_that_was_ready_is_ready_again_and_so_is_one_of_a_job_that_has_ended() {
    let scheduler = quick().start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    let ended = handle.wait();
    let mut future = pin!((&handle).into_future());
    assert_eq!(polled(future.as_mut()), Poll::Ready(ended.clone()));
    assert_eq!(polled(future.as_mut()), Poll::Ready(ended));
}

#[test]
fn a_future_that_another_task_goes_on_with_wakes_that_one() {
    on_one_thread(|| async {
        let (builder, _starts, go) = gated();
        let scheduler = builder.start().unwrap();
        let handle = scheduler.submit_async(JobSpec::new("a", "sqlite")).await.unwrap();
        let mut future = Box::pin(handle.into_future());
        assert!(polled(future.as_mut()).is_pending());
        let task = tokio::spawn(future);
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        assert_eq!(task.await.unwrap().state, JobState::Succeeded);
    });
}

#[test]
fn who_awaits_a_job_is_told_when_the_scheduler_ends() {
    on_one_thread(|| async {
        let (builder, _starts, _go) = gated();
        let scheduler = builder.max_running(1).start().unwrap();
        let handles: Vec<_> = scheduler
            .submit_all_async(["a", "b"].map(|name| JobSpec::new(name, "sqlite")))
            .await
            .into_iter()
            .collect::<Result<_, _>>()
            .unwrap();
        let report = scheduler.shutdown_async(Duration::ZERO).await.unwrap();
        assert_eq!((report.cancelled, report.finished), (2, 0));
        for handle in handles {
            assert_eq!(handle.await.state, JobState::Cancelled);
        }
        assert_eq!(scheduler.shutdown_async(Duration::ZERO).await, None);
        let late = scheduler.submit_async(JobSpec::new("c", "sqlite")).await;
        assert_eq!(late.unwrap_err(), SubmitError::Stopped);
    });
}

#[test]
fn an_ordered_end_keeps_its_grace_when_nobody_else_is_left() {
    on_one_thread(|| async {
        let (builder, starts, go) = gated();
        let scheduler = builder.max_running(1).start().unwrap();
        let handle = scheduler.submit_async(JobSpec::new("a", "sqlite")).await.unwrap();
        starts.recv_timeout(LONG).unwrap();
        let mut end = Box::pin(scheduler.shutdown_async(LONG));
        assert!(polled(end.as_mut()).is_pending());
        drop(scheduler);
        go.send(()).unwrap();
        let report = end.await.unwrap();
        assert_eq!((report.finished, report.cancelled), (1, 0));
        assert_eq!(handle.await.state, JobState::Succeeded);
    });
}

#[test]
fn each_of_many_requests_has_an_answer_of_its_own_in_their_order() {
    on_one_thread(|| async {
        let scheduler = quick().start().unwrap();
        let specs = [("a", "sqlite"), ("b", "no-such-thing"), ("c", "etcd"), ("d", "sqlite")];
        let answers = scheduler.submit_all_async(specs.map(|(name, of)| JobSpec::new(name, of))).await;
        let [Ok(first), Err(SubmitError::Policy(_)), Err(SubmitError::NoExecutor { .. }), Ok(last)] =
            &answers[..]
        else {
            panic!("{answers:?}");
        };
        for (handle, name) in [(first, "a"), (last, "d")] {
            let status: JobStatus = handle.await;
            assert_eq!((status.job.instance.as_str(), status.state), (name, JobState::Succeeded));
        }
        assert!(scheduler.submit_all_async([]).await.is_empty());
    });
}

/// A store whose commits wait until they may.
struct Held(MemoryStore, Arc<Mutex<()>>);

impl JobStore for Held {
    fn place(&self) -> String {
        self.0.place()
    }
    fn open(&mut self) -> Result<(), StoreError> {
        self.0.open()
    }
    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        self.0.load(take)
    }
    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        let _may = self.1.lock();
        self.0.commit(group)
    }
}

#[test]
fn a_job_is_confirmed_when_it_is_durable_and_not_before() {
    on_one_thread(|| async {
        let (store, gate) = (MemoryStore::new(), Arc::new(Mutex::new(())));
        let held = Held(store.clone(), gate.clone());
        let scheduler =
            Scheduler::builder().executor("sqlite", |_: &RunContext| Ok(())).store(held).start().unwrap();
        let closed = gate.lock();
        let handle = scheduler.submit_unconfirmed([JobSpec::new("a", "sqlite")]).pop().unwrap().unwrap();
        let mut confirmed = pin!(handle.confirm_async());
        let mut submitted = pin!(scheduler.submit_async(JobSpec::new("b", "sqlite")));
        assert!(polled(confirmed.as_mut()).is_pending() && polled(submitted.as_mut()).is_pending());
        assert!(polled(pin!(handle.confirm_async())).is_pending(), "one that is dropped changes nothing");
        // Both have come to the dispatcher by now.
        scheduler.status().unwrap();
        assert!(polled(confirmed.as_mut()).is_pending() && polled(submitted.as_mut()).is_pending());
        drop(closed);
        assert_eq!(confirmed.await, Ok(()));
        assert_eq!(submitted.await.unwrap().await.state, JobState::Succeeded);
        assert_eq!(at_once(handle.confirm_async()), Ok(()));

        let fault = StoreError::Full { place: "memory".into(), error: "no space left".into() };
        store.fail(Some(fault));
        let refused = scheduler.submit_async(JobSpec::new("c", "sqlite")).await;
        assert!(matches!(refused, Err(SubmitError::Store(_))), "{refused:?}");
        store.fail(None);
    });
}
