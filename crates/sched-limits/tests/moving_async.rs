//! Paced tokio readers and writers, in the runtime's own virtual time.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sched_core::{
    Clock, JobId, JobSpec, MonoTime, Now, PauseMark, Reason, RunContext, RunControl, RunError, RunParts,
    Scope,
};
use sched_limits::{BandwidthTree, JobShare, Rate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Now {
        Now {
            mono: MonoTime::ZERO + Instant::now().duration_since(self.0),
            wall: jiff::Timestamp::UNIX_EPOCH,
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

/// Steps the runtime's clock, which stands otherwise, by the milliseconds of its timers. No real time passes.
async fn pass(time: Duration) {
    for _ in 0..time.as_millis() {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
}

fn context(rate: u64) -> (RunContext, BandwidthTree, Receiver<PauseMark>) {
    let clock = Arc::new(RuntimeClock(Instant::now()));
    let tree = BandwidthTree::new(clock.clone(), Rate::BytesPerSec(rate));
    let (marks, seen) = channel();
    let control = Arc::new(RunControl::new(move |mark| marks.send(mark).unwrap()));
    let mut parts = RunParts::new(JobId(1), Arc::new(JobSpec::new("a", "sqlite")), control, clock);
    parts.pacer = Arc::new(tree.join(&Scope::Fleet, JobShare::default()).unwrap());
    (RunContext::new(parts), tree, seen)
}

#[test]
fn readers_and_writers_hold_the_rate_and_the_runtime_goes_on() {
    run(async {
        let data: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let (ctx, _tree, _marks) = context(1_000_000);
        let from = Instant::now();
        let ticks = tokio::spawn(async move {
            let mut ticks = 0;
            while from.elapsed() < Duration::from_millis(1900) {
                pass(Duration::from_millis(10)).await;
                ticks += 1;
            }
            ticks
        });
        let mut read = Vec::new();
        ctx.async_reader(&data[..]).read_to_end(&mut read).await.unwrap();
        assert_eq!(read, data);
        let took = from.elapsed();
        assert!(took.abs_diff(Duration::from_secs(1)) < Duration::from_millis(30), "reading took {took:?}");
        let mut writer = ctx.async_writer(Vec::new());
        writer.write_all(&data).await.unwrap();
        let took = from.elapsed() - took;
        assert!(took.abs_diff(Duration::from_secs(1)) < Duration::from_millis(60), "writing took {took:?}");
        assert_eq!(ticks.await.unwrap(), 190, "nobody blocked the one thread");
        drop(writer);
        assert_eq!(ctx.control().progress().paced_bytes, 2_000_000);
    });
}

#[test]
fn a_pause_stops_it_and_a_new_rate_or_a_cancellation_is_felt_at_once() {
    run(async {
        let (ctx, tree, marks) = context(1);
        let control = ctx.control().clone();
        let task = tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.async_writer(Vec::new()).write_all(&[7; 1000]).await }
        });
        pass(Duration::from_secs(5)).await;
        control.set_paused(true);
        pass(Duration::from_secs(1)).await;
        assert_eq!(marks.try_recv(), Ok(PauseMark::Standing));
        tree.set_rate(&Scope::Fleet, Rate::Unlimited).unwrap();
        pass(Duration::from_secs(1)).await;
        assert!(!task.is_finished(), "it stands");
        control.set_paused(false);
        pass(Duration::from_millis(1)).await;
        assert!(task.is_finished());
        assert_eq!(marks.try_recv(), Ok(PauseMark::Moving));
        task.await.unwrap().unwrap();

        tree.set_rate(&Scope::Fleet, Rate::BytesPerSec(0)).unwrap();
        let task = tokio::spawn(async move { ctx.async_writer(Vec::new()).write_all(&[7; 1000]).await });
        // Between two looks by itself.
        pass(Duration::from_millis(1_050)).await;
        control.cancel(Reason::new("over"));
        pass(Duration::from_millis(1)).await;
        assert!(task.is_finished());
        assert_eq!(RunError::from(task.await.unwrap().unwrap_err()), RunError::Cancelled);
        assert_eq!(tree.waiting(&Scope::Fleet), Some(0), "what was charged is given up with it");
    });
}

#[test]
fn bytes_without_a_stream_wait_at_the_rate_and_smaller_chunks_are_called_for_when_it_falls() {
    run(async {
        let (ctx, tree, _marks) = context(1_000_000);
        let from = Instant::now();
        ctx.pace_async(1_000_000).await.unwrap();
        let took = from.elapsed();
        assert!(took.abs_diff(Duration::from_secs(1)) < Duration::from_millis(110), "it took {took:?}");
        assert_eq!(ctx.control().progress().paced_bytes, 1_000_000);

        let task = tokio::spawn({
            let ctx = ctx.clone();
            async move { ctx.pace_async(100_000).await }
        });
        pass(Duration::from_millis(1)).await;
        tree.set_rate(&Scope::Fleet, Rate::BytesPerSec(100)).unwrap();
        pass(Duration::from_secs(30)).await;
        let slowly = ctx.control().progress().paced_bytes - 1_000_000;
        assert!(!task.is_finished() && slowly < 100_000, "{slowly} bytes in 30 s at 100 a second");
        tree.set_rate(&Scope::Fleet, Rate::Unlimited).unwrap();
        pass(Duration::from_millis(200)).await;
        task.await.unwrap().unwrap();
        assert_eq!(ctx.control().progress().paced_bytes, 1_100_000, "each byte was let through once");
    });
}

#[test]
fn bytes_whose_wait_is_cancelled_or_dropped_are_given_back() {
    run(async {
        let (ctx, tree, marks) = context(0);
        let waiting = |ctx: RunContext| tokio::spawn(async move { ctx.pace_async(1000).await });
        let dropped = waiting(ctx.clone());
        pass(Duration::from_millis(50)).await;
        assert_ne!(tree.waiting(&Scope::Fleet), Some(0));
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
        assert_eq!(tree.waiting(&Scope::Fleet), Some(0));

        ctx.control().set_paused(true);
        let standing = waiting(ctx.clone());
        pass(Duration::from_millis(50)).await;
        assert_eq!(marks.try_recv(), Ok(PauseMark::Standing));
        ctx.control().set_paused(false);
        pass(Duration::from_millis(50)).await;
        assert_eq!(marks.try_recv(), Ok(PauseMark::Moving));
        ctx.control().cancel(Reason::new("over"));
        pass(Duration::from_millis(1)).await;
        assert!(standing.is_finished(), "it is felt at once");
        assert!(standing.await.unwrap().is_err());
        assert_eq!(tree.waiting(&Scope::Fleet), Some(0));
        assert_eq!(ctx.control().progress().paced_bytes, 0);
    });
}
