//! A scheduler under a policy file, on a clock that is moved by hand, with an executor that does what the test says.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use backup_sched::core::{JobTerms, RunPhase};
use backup_sched::{
    Event, EventKind, Gate, JobHandle, JobSpec, JobState, ManualClock, Policies, RunContext, RunError,
    Scheduler, SchedulerBuilder, Subscription,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// An attempt that has begun, and what it does next.
pub(crate) struct Run {
    pub(crate) spec: JobSpec,
    pub(crate) terms: JobTerms,
    /// The instance that is backed up.
    pub(crate) instance: String,
    pub(crate) number: u32,
    go: Sender<Step>,
}

enum Step {
    End(Result<(), RunError>),
    Phase(RunPhase),
    Pace(u64, Sender<()>),
}

pub(crate) struct Fleet {
    pub(crate) scheduler: Scheduler,
    pub(crate) clock: ManualClock,
    pub(crate) events: Subscription,
    begun: Receiver<Run>,
    /// Attempts that nobody tells anything run on.
    kept: RefCell<Vec<Sender<Step>>>,
}

/// How a job stands: it runs, or these gates are closed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Runs,
    Waits(Vec<Gate>),
}

pub(crate) fn waits(gate: Gate) -> Stands {
    Stands::Waits(vec![gate])
}

pub(crate) fn policies(file: &str) -> Policies {
    match Policies::builtin().with_toml("policy.toml", file) {
        Ok(policies) => policies,
        Err(problems) => panic!("{problems}"),
    }
}

/// A scheduler with room for nine jobs in which only the file keeps anybody.
pub(crate) fn fleet(file: &str) -> Fleet {
    fleet_with(file, |builder| builder)
}

pub(crate) fn fleet_with(file: &str, change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder) -> Fleet {
    on_clock(ManualClock::default(), file, change)
}

/// [`fleet_with`], from another moment on.
pub(crate) fn fleet_at(
    start: jiff::Timestamp,
    file: &str,
    change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder,
) -> Fleet {
    on_clock(ManualClock::new(start), file, change)
}

fn on_clock(
    clock: ManualClock,
    file: &str,
    change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder,
) -> Fleet {
    let (told, begun) = unbounded();
    let executor = move |ctx: &RunContext| run(ctx, &told);
    let builder = Scheduler::builder().policies(policies(file)).clock(clock.clone()).max_running(9);
    let builder = change(builder.executor("generic", executor.clone()).executor("mysql", executor));
    let scheduler = builder.start().unwrap();
    let events = scheduler.subscribe(10_000).unwrap();
    Fleet { scheduler, clock, events, begun, kept: RefCell::default() }
}

fn run(ctx: &RunContext, told: &Sender<Run>) -> Result<(), RunError> {
    let (go, steps) = unbounded();
    let instance = ctx.instance().to_string();
    let (spec, terms, number) = (ctx.spec().clone(), ctx.terms().clone(), ctx.attempt());
    told.send(Run { spec, terms, instance, number, go }).ok();
    loop {
        ctx.checkpoint()?;
        match steps.recv_timeout(Duration::from_millis(1)) {
            Ok(Step::End(result)) => return result,
            Ok(Step::Phase(phase)) => ctx.phase(phase),
            Ok(Step::Pace(bytes, done)) => {
                ctx.pace(bytes)?;
                done.send(()).ok();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(RunError::Permanent("the test is over".into()));
            }
        }
    }
}

impl Run {
    pub(crate) fn end(&self) {
        self.go.send(Step::End(Ok(()))).unwrap();
    }

    pub(crate) fn fail(&self) {
        self.go.send(Step::End(Err(RunError::Retryable("told to".into())))).unwrap();
    }

    pub(crate) fn go_wrong_for_good(&self) {
        self.go.send(Step::End(Err(RunError::Permanent("told to".into())))).unwrap();
    }

    pub(crate) fn phase(&self, name: &str) {
        self.go.send(Step::Phase(RunPhase::new(name))).unwrap();
    }

    /// Asks for leave to move bytes; the answer comes when they may.
    pub(crate) fn pace(&self, bytes: u64) -> Receiver<()> {
        let (done, paced) = unbounded();
        self.go.send(Step::Pace(bytes, done)).unwrap();
        paced
    }
}

impl Fleet {
    pub(crate) fn submit(&self, spec: JobSpec) -> JobHandle {
        self.scheduler.submit(spec).unwrap()
    }

    /// Asks for a full backup of an instance of `generic`.
    pub(crate) fn ask(&self, instance: &str) -> JobHandle {
        self.submit(JobSpec::new(instance, "generic"))
    }

    /// The next attempt that begins.
    pub(crate) fn begun(&self) -> Run {
        let run = self.begun.recv_timeout(LONG).expect("an attempt begins");
        self.kept.borrow_mut().push(run.go.clone());
        // Its start has been told to the engine by then.
        self.scheduler.status().unwrap();
        run
    }

    /// Asks for a backup and waits until it runs.
    pub(crate) fn start(&self, instance: &str) -> Run {
        self.ask(instance);
        let run = self.begun();
        assert_eq!(run.spec.instance.as_str(), instance);
        run
    }

    /// How a job stands once the scheduler has come to rest.
    pub(crate) fn stands(&self, job: &JobHandle) -> Stands {
        loop {
            let explained = job.explain().unwrap();
            match explained.state {
                JobState::Queued | JobState::Scheduled | JobState::Retryable
                    if explained.closed.is_empty() => {}
                JobState::Queued | JobState::Scheduled | JobState::Retryable => {
                    return Stands::Waits(explained.closed.into_iter().map(|closed| closed.gate).collect());
                }
                _ => return Stands::Runs,
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn wait_for(&self, what: impl Fn(&EventKind) -> bool) -> Arc<Event> {
        loop {
            let event = self.events.recv_timeout(LONG).expect("the event comes");
            if what(&event.kind) {
                return event;
            }
        }
    }
}
