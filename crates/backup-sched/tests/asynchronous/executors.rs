//! Executors that are futures, on the host's runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use backup_sched::core::{OnRuntime, RetryPolicy, RunFuture};
use backup_sched::{
    AsyncExecutor, Clock, Executor, JobSpec, JobState, ManualClock, Policies, Profile, RunContext, RunError,
    Scheduler, SchedulerBuilder, Scope,
};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::on_one_thread;

/// A scheduler on this runtime, with one attempt a job.
fn builder<E: AsyncExecutor + 'static>(executor: E) -> SchedulerBuilder {
    let once = Profile::new().retry(RetryPolicy::new(1, Duration::ZERO, Duration::ZERO));
    Scheduler::builder()
        .policies(Policies::builtin().with("sqlite", once).unwrap())
        .executor("sqlite", OnRuntime::new(Handle::current(), executor))
}

fn spec() -> JobSpec {
    JobSpec::new("a", "sqlite")
}

#[test]
fn an_attempt_runs_on_the_runtime_at_the_granted_rate_and_blocks_nobody() {
    on_one_thread(|| async {
        let here = thread::current().id();
        let clock = ManualClock::default();
        let scheduler = builder(move |ctx: RunContext| async move {
            assert_eq!(thread::current().id(), here);
            ctx.pace_async(5_000).await?;
            ctx.async_writer(tokio::io::sink()).write_all(&[7; 5_000]).await?;
            Ok(())
        })
        .rate_ceiling(1_000)
        .clock(clock.clone())
        .start()
        .unwrap();
        let from = clock.now().mono;
        let job = tokio::spawn(scheduler.submit_async(spec()).await.unwrap().into_future());
        // The time is moved on by a task on the thread that the attempt would block.
        while !job.is_finished() {
            clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
        let status = job.await.unwrap();
        assert_eq!((status.state, status.bytes), (JobState::Succeeded, 10_000));
        let took = clock.now().mono.since(from);
        assert!(took >= Duration::from_secs(9), "10 000 bytes at 1000 a second took {took:?}");
    });
}

#[test]
fn an_attempt_that_may_move_nothing_keeps_nobody_else_from_running() {
    on_one_thread(|| async {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let scheduler = builder(move |ctx: RunContext| {
            begun.send(()).unwrap();
            async move { Ok(ctx.pace_async(1 << 20).await?) }
        })
        .start()
        .unwrap();
        scheduler.set_bandwidth(Scope::Fleet, Some(0)).unwrap();
        let job = tokio::spawn(scheduler.submit_async(spec()).await.unwrap().into_future());
        begins.recv().await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!job.is_finished());
        scheduler.set_bandwidth(Scope::Fleet, None).unwrap();
        assert_eq!(job.await.unwrap().state, JobState::Succeeded);
    });
}

#[test]
fn an_attempt_awaits_its_cancellation_and_has_time_to_clean_up() {
    on_one_thread(|| async {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let cleaned = Arc::<AtomicU32>::default();
        let counted = cleaned.clone();
        let scheduler = builder(move |ctx: RunContext| {
            let (begun, cleaned) = (begun.clone(), counted.clone());
            async move {
                begun.send(()).unwrap();
                tokio::select! {
                    () = std::future::pending() => unreachable!("it never comes"),
                    told = ctx.cancelled() => {
                        tokio::task::yield_now().await;
                        cleaned.fetch_add(1, SeqCst);
                        Err(told.into())
                    }
                }
            }
        })
        .start()
        .unwrap();
        let handle = scheduler.submit_async(spec()).await.unwrap();
        begins.recv().await.unwrap();
        handle.cancel().unwrap();
        assert_eq!(handle.await.state, JobState::Cancelled);
        assert_eq!(cleaned.load(SeqCst), 1);
    });
}

#[test]
fn an_attempt_that_panics_has_failed_and_gives_its_slot_back() {
    on_one_thread(|| async {
        let scheduler = builder(|ctx: RunContext| async move {
            assert_ne!(ctx.instance().as_str(), "bad", "on purpose");
            Ok(())
        })
        .max_running(1)
        .start()
        .unwrap();
        let bad = scheduler.submit_async(JobSpec::new("bad", "sqlite")).await.unwrap().await;
        assert_eq!(bad.state, JobState::Failed);
        assert!(bad.error.unwrap().contains("on purpose"));
        assert_eq!(scheduler.submit_async(spec()).await.unwrap().await.state, JobState::Succeeded);
    });
}

#[test]
fn an_attempt_whose_runtime_ends_has_failed() {
    on_one_thread(|| async {
        let (begun, begins) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (handed, other) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            handed.send(runtime.handle().clone()).unwrap();
            runtime.block_on(stopped).unwrap();
        });
        let begun = std::sync::Mutex::new(Some(begun));
        let never = move |_: RunContext| {
            begun.lock().unwrap().take().into_iter().for_each(|begun| begun.send(()).unwrap());
            std::future::pending()
        };
        let scheduler = builder(|_: RunContext| async { Ok(()) })
            .executor("sqlite", OnRuntime::new(other.await.unwrap(), never))
            .start()
            .unwrap();
        let handle = scheduler.submit_async(spec()).await.unwrap();
        begins.await.unwrap();
        stop.send(()).unwrap();
        let status = (&handle).await;
        thread.join().unwrap();
        assert_eq!(status.state, JobState::Failed);
        assert!(status.error.unwrap().contains("shut down"), "it says why");
        // With the runtime gone before it begins.
        let again = scheduler.submit_async(spec()).await.unwrap().await;
        assert_eq!(again.state, JobState::Failed);
    });
}

#[test]
fn what_a_former_attempt_left_is_removed_on_the_runtime_too() {
    struct Cleaner(mpsc::UnboundedSender<thread::ThreadId>);
    impl AsyncExecutor for Cleaner {
        fn run(&self, _: RunContext) -> RunFuture {
            Box::pin(async { Err(RunError::Permanent("not asked for".into())) })
        }
        fn clean_up(&self, _: RunContext) -> RunFuture {
            let told = self.0.clone();
            Box::pin(async move {
                told.send(thread::current().id()).unwrap();
                Ok(())
            })
        }
    }
    on_one_thread(|| async {
        let (told, mut cleaned) = mpsc::unbounded_channel();
        let executor = OnRuntime::new(Handle::current(), Cleaner(told));
        let attempt = thread::spawn(move || {
            executor.clean_up(&RunContext::detached(spec(), Arc::new(ManualClock::default())))
        });
        assert_eq!(cleaned.recv().await, Some(thread::current().id()));
        assert_eq!(attempt.join().unwrap(), Ok(()));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn the_builder_takes_one_as_it_is() {
    on_one_thread(|| async {
        let executor = |_: RunContext| async { Ok(()) };
        let scheduler =
            Scheduler::builder().async_executor("sqlite", Handle::current(), executor).start().unwrap();
        assert_eq!(scheduler.submit_async(spec()).await.unwrap().await.state, JobState::Succeeded);
    });
}
