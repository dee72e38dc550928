//! The scheduler is dropped or shut down by the host's own code that it calls, on whichever thread that is: it ends, within its
//! time, and nobody waits for ever. A deadlock would be the end of the test by its limits.

mod rig;

use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::Wake;
use backup_sched::limits::{ControlLaw, FnProbe, Observation, Share};
use backup_sched::workload::{DetectError, LoadDetector, LoadReading};
use backup_sched::{
    Clock, Event, Hook, JobError, JobHandle, JobState, LoadLevel, ManualClock, Now, Priority, Reading,
    Reason, RunContext, RunError, Scheduler, SchedulerBuilder, ShutdownReport, SystemClock,
};
use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use rig::{LONG, SECOND, gated, quick};
use sched_drivers::command::{ExternalCommand, ProcessMark};

/// The only clone of a scheduler, for whoever comes first to drop it.
#[derive(Clone, Debug, Default)]
struct Last(Arc<Mutex<Option<Scheduler>>>);

impl Last {
    /// Nobody before there is a scheduler, and one after.
    fn drop_it(&self) {
        let last = self.0.lock().take();
        drop(last);
    }

    /// Starts it, and asks for a backup.
    fn start(&self, builder: SchedulerBuilder) -> JobHandle {
        let scheduler = builder.start().unwrap();
        let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
        *self.0.lock() = Some(scheduler);
        handle
    }
}

/// The scheduler of a job ends, and tells how the job has ended before that.
fn ends(handle: &JobHandle) {
    let ended = handle.wait_timeout(LONG).expect("nobody waits for ever");
    assert!(matches!(ended.state, JobState::Succeeded | JobState::Cancelled), "{ended:?}");
    let until = SystemClock.now().mono + LONG;
    while handle.explain() != Err(JobError::Stopped) {
        assert!(SystemClock.now().mono < until, "it goes on");
        std::thread::yield_now();
    }
}

#[test]
fn the_last_scheduler_may_be_dropped_by_a_hook() {
    struct Drops(Last);
    impl Hook for Drops {
        fn event(&mut self, _: &Event) {
            self.0.drop_it();
        }
    }
    let last = Last::default();
    let (builder, _starts, _go) = gated();
    let handle = last.start(builder.hook(Drops(last.clone())));
    // An event that comes when it is there.
    handle.cancel().ok();
    ends(&handle);
}

#[test]
fn the_last_scheduler_may_be_dropped_by_an_executor() {
    let last = Last::default();
    let (go, gate) = bounded::<()>(1);
    let drops = last.clone();
    let handle = last.start(Scheduler::builder().executor("sqlite", move |ctx: &RunContext| {
        gate.recv().ok();
        drops.drop_it();
        Ok(ctx.checkpoint()?)
    }));
    go.send(()).unwrap();
    ends(&handle);
}

#[test]
fn the_last_scheduler_may_be_dropped_by_a_probe() {
    let last = Last::default();
    let drops = last.clone();
    let probe = FnProbe::new("drops", Duration::from_millis(1), move |_| {
        drops.drop_it();
        Ok(vec![Reading::share("cpu", 0.1)])
    });
    let (builder, _starts, _go) = gated();
    ends(&last.start(builder.probe(probe)));
}

#[test]
fn the_last_scheduler_may_be_dropped_by_a_detector() {
    struct Drops(Last);
    impl LoadDetector for Drops {
        fn name(&self) -> &str {
            "drops"
        }
        fn period(&self) -> Duration {
            Duration::from_millis(1)
        }
        fn detect(&mut self, _: Now) -> Result<LoadReading, DetectError> {
            self.0.drop_it();
            Ok(LoadReading::new(LoadLevel::Calm, Reason::new("told by a test")))
        }
    }
    let last = Last::default();
    let (builder, _starts, _go) = gated();
    ends(&last.start(builder.detector(Drops(last.clone()))));
}

/// On the dispatcher's own thread, and when there is no room for another message: nobody but that thread could make some.
#[test]
fn the_last_scheduler_may_be_dropped_by_a_control_law() {
    #[derive(Debug)]
    struct Drops(Last, ManualClock);
    impl ControlLaw for Drops {
        fn step(&mut self, _: Now, _: Option<Observation>) -> Share {
            if self.0.0.lock().is_some() {
                // Each is a message, as long as there is room for it.
                (0..2_000).for_each(|_| self.1.advance(Duration::from_nanos(1)));
                self.0.drop_it();
            }
            Share { share: 1.0, pause: None, reason: Reason::new("told by a test") }
        }
    }
    let (last, clock) = (Last::default(), ManualClock::default());
    let (say, said) = bounded::<()>(1);
    let probe = FnProbe::new("gauge", SECOND, move |_| {
        said.recv().ok();
        Ok(vec![Reading::new("gauge", 1.0, "shares")])
    });
    let (builder, starts, _go) = gated();
    let law = Drops(last.clone(), clock.clone());
    let builder = builder.clock(clock).rate_ceiling(1_000_000).probe(probe).law("gauge", law);
    let handle = last.start(builder);
    starts.recv_timeout(LONG).unwrap();
    say.send(()).unwrap();
    ends(&handle);
    assert!(last.0.lock().is_none());
}

#[test]
fn the_last_scheduler_may_be_dropped_by_who_is_woken_by_its_clock() {
    struct Drops(Last);
    impl Wake for Drops {
        fn wake(&self) {
            self.0.drop_it();
        }
    }
    let (last, clock) = (Last::default(), ManualClock::default());
    let waker: Arc<dyn Wake> = Arc::new(Drops(last.clone()));
    clock.on_move(Arc::downgrade(&waker));
    let (builder, _starts, _go) = gated();
    let handle = last.start(builder.clock(clock.clone()));
    clock.advance(SECOND);
    ends(&handle);
}

/// Shuts a scheduler down, and tells what came of it and how long it took.
struct Ends {
    scheduler: Last,
    told: Sender<(Option<ShutdownReport>, Duration)>,
}

impl Ends {
    fn end(&self) {
        let Some(scheduler) = self.scheduler.0.lock().take() else { return };
        let begun = SystemClock.now().mono;
        let report = scheduler.shutdown(Duration::ZERO);
        self.told.send((report, SystemClock.now().mono.since(begun))).ok();
    }
}

/// The grace, and what is promised beyond it, on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(12);

#[test]
fn a_hook_may_shut_its_scheduler_down() {
    struct Hooked(Ends);
    impl Hook for Hooked {
        fn succeeded(&mut self, _: &Event) {
            self.0.end();
        }
    }
    let last = Last::default();
    let (told, report) = bounded(1);
    let (builder, _starts, go) = gated();
    let handle = last.start(builder.hook(Hooked(Ends { scheduler: last.clone(), told })));
    go.send(()).unwrap();
    let (report, took) = report.recv_timeout(LONG).expect("it comes back");
    assert!(report.is_some_and(|report| report.abandoned.is_empty()));
    assert!(took < SOON, "{took:?}");
    ends(&handle);
}

#[test]
fn an_executor_may_shut_its_scheduler_down() {
    let last = Last::default();
    let (told, report) = bounded(1);
    let (go, gate) = bounded::<()>(1);
    let ends_it = Ends { scheduler: last.clone(), told };
    let handle = last.start(Scheduler::builder().executor("sqlite", move |_: &RunContext| {
        gate.recv().ok();
        ends_it.end();
        Ok(())
    }));
    go.send(()).unwrap();
    let (report, took) = report.recv_timeout(LONG).expect("it comes back");
    // It cannot stop before it has its answer, so it is left behind.
    assert_eq!(report.unwrap().abandoned, [handle.id()]);
    assert!(took < SOON, "{took:?}");
    ends(&handle);
}

#[test]
fn a_tool_does_not_outlive_a_scheduler_that_is_dropped() {
    let (told, begun) = bounded(1);
    let tool = move |ctx: &RunContext| -> Result<(), RunError> {
        let script = "sleep 10000 & echo $$ $!; exec cat /dev/zero";
        let tool = ExternalCommand::new("sh").args(["-c", script]);
        let read = tool.run(ctx, |output| {
            let (mut output, mut line) = (BufReader::new(output), String::new());
            output.read_line(&mut line)?;
            told.send(line).map_err(io::Error::other)?;
            io::copy(&mut output, &mut io::sink())
        });
        read.map(drop).map_err(|error| RunError::Retryable(error.to_string()))
    };
    let scheduler = Scheduler::builder().executor("sqlite", tool).start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    let line: String = begun.recv_timeout(LONG).unwrap();
    let marks: Vec<_> = line.split_whitespace().map(|pid| ProcessMark::of(pid.parse().unwrap())).collect();
    assert_eq!(marks.iter().filter(|mark| mark.runs()).count(), 2, "the tool, and what it has started");
    drop(scheduler);
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Cancelled);
    let until = SystemClock.now().mono + LONG;
    while marks.iter().any(ProcessMark::runs) {
        assert!(SystemClock.now().mono < until, "{marks:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_scheduler_that_nobody_holds_ends_though_nothing_happens_any_more() {
    let scheduler = quick().clock(ManualClock::default()).start().unwrap();
    let handle = scheduler.schedule_backup("a", "sqlite", Priority::Normal).unwrap();
    assert_eq!(handle.wait_timeout(LONG).unwrap().state, JobState::Succeeded);
    drop(scheduler);
    ends(&handle);
}
