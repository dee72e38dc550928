//! A scheduler on a clock that is moved by hand, with one scripted probe.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod day;

use std::cell::Cell;
use std::time::Duration;

use backup_sched::core::{JobStatus, PageCursor, PendingFilter};
use backup_sched::limits::FnProbe;
use backup_sched::{
    EventKind, JobHandle, ManualClock, Priority, Reading, RunContext, Scheduler, SchedulerBuilder, Scope,
    Subscription,
};
use crossbeam_channel::{Receiver, Sender, unbounded};

pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A scheduler with one scripted probe. Between two steps the probe is being asked and has not answered.
pub(crate) struct Rig {
    pub(crate) clock: ManualClock,
    pub(crate) scheduler: Scheduler,
    pub(crate) events: Subscription,
    answers: Sender<Vec<Reading>>,
    asked: Receiver<()>,
    starts: Receiver<String>,
    seen: Cell<u64>,
    pub(crate) go: Sender<()>,
    period: Duration,
}

impl Rig {
    pub(crate) fn new(period: Duration, change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Self {
        let (started, starts) = unbounded();
        let (go, gate) = unbounded::<()>();
        let executor = move |ctx: &RunContext| {
            started.send(ctx.spec().instance.to_string()).ok();
            loop {
                ctx.checkpoint()?;
                if gate.recv_timeout(Duration::from_millis(1)).is_ok() {
                    return Ok(());
                }
            }
        };
        let (ask, asked) = unbounded();
        let (answers, script) = unbounded::<Vec<Reading>>();
        let probe = FnProbe::new("scripted", period, move |_| {
            ask.send(()).ok();
            Ok(script.recv().unwrap_or_default())
        });
        let clock = ManualClock::default();
        let builder = Scheduler::builder().max_running(8).clock(clock.clone()).probe(probe);
        let builder = change(builder.executor("sqlite", executor.clone()).executor("cassandra", executor));
        let scheduler = builder.start().unwrap();
        let events = scheduler.subscribe(100_000).unwrap();
        asked.recv_timeout(LONG).unwrap();
        Self { clock, scheduler, events, answers, asked, starts, seen: Cell::new(0), go, period }
    }

    /// The probe answers, and all that follows from it has been done. The clock stands still until the answer has come,
    /// so that it is of the time at which it was asked for, whichever thread is the quicker.
    pub(crate) fn say(&self, readings: &[Reading]) {
        let answers = || self.scheduler.status().unwrap().probes[0].answers;
        let before = answers();
        self.answers.send(readings.to_vec()).unwrap();
        while answers() == before {
            std::thread::yield_now();
        }
        self.clock.advance(self.period);
        self.asked.recv_timeout(LONG).unwrap();
        self.scheduler.status().unwrap();
    }

    pub(crate) fn room(&self) -> Option<u32> {
        let rooms = self.scheduler.status().unwrap().rooms;
        rooms.iter().find(|room| room.scope == local()).map(|room| room.jobs)
    }

    pub(crate) fn submit(&self, instance: &str) -> JobHandle {
        self.scheduler.schedule_backup(instance, "sqlite", Priority::Low).unwrap()
    }

    pub(crate) fn started(&self) -> String {
        self.seen.set(self.seen.get() + 1);
        self.starts.recv_timeout(LONG).expect("a job starts")
    }

    /// Lets one running job end and waits until the scheduler knows.
    pub(crate) fn end_one(&self) {
        self.go.send(()).unwrap();
        self.wait_for(|kind| matches!(kind, EventKind::Succeeded { .. }));
    }

    pub(crate) fn wait_for(&self, what: impl Fn(&EventKind) -> bool) -> EventKind {
        loop {
            let event = self.events.recv_timeout(LONG).expect("the event comes");
            if what(&event.kind) {
                return event.kind.clone();
            }
        }
    }

    /// Nobody has started of whom the test does not know, and for all that wait a gate is closed.
    pub(crate) fn nobody_starts(&self) -> bool {
        let status = self.scheduler.status().unwrap();
        let begun = status.running.len() as u64 + status.engine.ended.values().sum::<u64>();
        let waiting = self.scheduler.pending_page(PendingFilter::default(), PageCursor::default(), 1_000);
        let held = |job: &JobStatus| !self.scheduler.explain(job.job.id).unwrap().closed.is_empty();
        begun == self.seen.get() && waiting.unwrap().jobs.iter().all(held)
    }
}

pub(crate) fn local() -> Scope {
    Scope::Host("local".into())
}

/// A reading in percent of what there is.
pub(crate) fn of_hundred(signal: &str, value: f64) -> [Reading; 1] {
    let reading = match signal {
        "cpu" => Reading::share(signal, value / 100.0),
        "memory" => Reading::new(signal, value, "bytes").of(100.0),
        _ => Reading::new(signal, value, "bytes/s").of(100.0),
    };
    [reading.scope(local())]
}

pub(crate) fn quick() -> SchedulerBuilder {
    Scheduler::builder().executor("sqlite", |ctx: &RunContext| {
        ctx.pace(1000)?;
        Ok(())
    })
}

/// An executor that says when it starts and runs until it is let go or cancelled.
pub(crate) fn gated() -> (SchedulerBuilder, Receiver<u32>, crossbeam_channel::Sender<()>) {
    let (started, starts) = unbounded();
    let (go, gate) = unbounded::<()>();
    let builder = Scheduler::builder().executor("sqlite", move |ctx: &RunContext| {
        started.send(ctx.attempt()).ok();
        loop {
            ctx.checkpoint()?;
            if gate.recv_timeout(Duration::from_millis(1)).is_ok() {
                return Ok(());
            }
        }
    });
    (builder, starts, go)
}

pub(crate) fn wait_for(events: &Subscription, what: impl Fn(&EventKind) -> bool) -> EventKind {
    loop {
        let event = events.recv_timeout(LONG).expect("the event comes");
        if what(&event.kind) {
            return event.kind.clone();
        }
    }
}
