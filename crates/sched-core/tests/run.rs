//! What an executor sees of the scheduler: pace, pauses, cancellation.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Wake, Waker};
use std::time::Duration;

use sched_core::{
    Charge, JobId, JobSpec, JobTerms, ManualClock, Pacer, PauseMark, Reason, RunContext, RunControl,
    RunError, RunParts, RunPhase,
};

/// Lets everything through at once and counts it.
#[derive(Debug, Default)]
struct Counting {
    bytes: AtomicU64,
    largest: AtomicU64,
}

impl Pacer for Counting {
    fn charge(&self, bytes: u64) -> Charge {
        self.bytes.fetch_add(bytes, SeqCst);
        self.largest.fetch_max(bytes, SeqCst);
        Charge(0)
    }
    fn wait(&self, _: Charge) -> Option<Duration> {
        Some(Duration::ZERO)
    }
    fn max_chunk(&self) -> u64 {
        10_000
    }
}

/// Lets nothing through.
#[derive(Debug)]
struct Stopped;

impl Pacer for Stopped {
    fn charge(&self, _: u64) -> Charge {
        Charge(0)
    }
    fn wait(&self, _: Charge) -> Option<Duration> {
        None
    }
    fn max_chunk(&self) -> u64 {
        1
    }
}

fn parts(control: RunControl) -> RunParts {
    let clock = Arc::new(ManualClock::default());
    RunParts::new(JobId(1), Arc::new(JobSpec::new("a", "sqlite")), Arc::new(control), clock)
}

fn context(pacer: Arc<dyn Pacer>) -> (RunContext, Receiver<PauseMark>) {
    let (marks, seen) = channel();
    let mut parts = parts(RunControl::new(move |mark| marks.send(mark).unwrap()));
    parts.pacer = pacer;
    (RunContext::new(parts), seen)
}

#[test]
fn a_phase_that_must_not_stand_still_passes_its_checkpoints() {
    let (ctx, marks) = context(Arc::new(Counting::default()));
    ctx.phase(RunPhase::new("commit"));
    ctx.control().set_paused(true);
    assert_eq!(ctx.checkpoint(), Ok(()));
    assert_eq!(ctx.pace(20_000), Ok(()));
    assert!(marks.try_recv().is_err());
    ctx.phase(RunPhase::new("upload").pausable());
    let going_on = std::thread::spawn({
        let ctx = ctx.clone();
        move || ctx.checkpoint()
    });
    assert_eq!(marks.recv(), Ok(PauseMark::Standing));
    ctx.control().set_paused(false);
    assert_eq!(going_on.join().unwrap(), Ok(()));
}

#[test]
fn what_the_terms_say_of_a_phase_counts_more_than_its_executor() {
    let (phases, seen) = channel();
    let mut terms = JobTerms::default();
    terms.phases = vec![RunPhase::new("upload").pausable().floor(7).gives_back("memory", 3)];
    let mut parts = parts(RunControl::new(|_| {}).on_phase(move |phase| phases.send(phase).unwrap()));
    parts.terms = Arc::new(terms.clone());
    let ctx = RunContext::new(parts);
    ctx.phase(RunPhase::new("upload").floor(1).gives_back("io", 1));
    ctx.phase(RunPhase::new("verify").floor(1));
    let told: Vec<_> = seen.try_iter().collect();
    assert_eq!(told, [terms.phases[0].clone(), RunPhase::new("verify").floor(1)]);
}

#[test]
fn every_byte_is_charged_once_and_in_chunks() {
    let pacer = Arc::new(Counting::default());
    let (ctx, _marks) = context(pacer.clone());
    let data: Vec<u8> = (0..1_000_003_u32).map(|n| n as u8).collect();
    let mut read = Vec::new();
    ctx.reader(&data[..]).read_to_end(&mut read).unwrap();
    assert_eq!(read, data);
    let mut writer = ctx.writer(Vec::new());
    writer.write_all(&data).unwrap();
    assert_eq!(writer.into_inner(), data);
    ctx.pace(7).unwrap();
    assert_eq!(pacer.bytes.load(SeqCst), 2 * data.len() as u64 + 7);
    assert!(pacer.largest.load(SeqCst) <= 10_000);
    assert_eq!(
        ctx.control().progress().done_bytes,
        2 * data.len() as u64 + 7,
        "paced bytes are the progress"
    );
    ctx.progress(5, 10);
    assert_eq!(ctx.control().progress().done_bytes, 5);
}

#[test]
fn a_cancellation_goes_through_readers_and_writers() {
    let (ctx, _marks) = context(Arc::new(Counting::default()));
    ctx.control().cancel(Reason::new("no longer needed"));
    ctx.control().cancel(Reason::new("a later reason"));
    assert_eq!(ctx.control().cancel_reason().unwrap().text, "no longer needed");
    let error = io::copy(&mut ctx.reader(&[1_u8; 10][..]), &mut io::sink()).unwrap_err();
    assert_eq!(RunError::from(error), RunError::Cancelled);
    let error = ctx.writer(Vec::new()).write_all(&[1]).unwrap_err();
    assert_eq!(RunError::from(error), RunError::Cancelled);
    assert!(
        matches!(RunError::from(io::Error::other("disk full")), RunError::Retryable(text) if text == "disk full")
    );
}

#[test]
fn a_pause_is_told_when_reached_and_again_when_asked_for_again() {
    let (ctx, marks) = context(Arc::new(Counting::default()));
    let control = ctx.control().clone();
    control.set_paused(true);
    let worker = std::thread::spawn(move || ctx.checkpoint());
    assert_eq!(marks.recv(), Ok(PauseMark::Standing));
    control.set_paused(true);
    assert_eq!(marks.recv(), Ok(PauseMark::Standing), "somebody may have missed the first");
    control.set_paused(false);
    assert_eq!(marks.recv(), Ok(PauseMark::Moving));
    assert_eq!(worker.join().unwrap(), Ok(()));
}

#[test]
fn a_pause_or_a_rate_of_nothing_ends_with_a_cancellation() {
    for paused in [true, false] {
        let (ctx, _marks) = context(Arc::new(Stopped));
        let control = ctx.control().clone();
        control.set_paused(paused);
        let worker = std::thread::spawn(move || ctx.pace(1));
        control.cancel(Reason::new("over"));
        assert!(worker.join().unwrap().is_err());
    }
}

#[test]
fn a_task_that_asks_again_and_again_while_paused_is_remembered_once() {
    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let (ctx, _marks) = context(Arc::new(Counting::default()));
    ctx.control().set_paused(true);
    let task = Arc::new(Task);
    let waker = Waker::from(task.clone());
    for _ in 0..100 {
        assert!(ctx.control().poll_checkpoint(&waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&task), 3, "the test's, its waker's and the one that is remembered");
}
