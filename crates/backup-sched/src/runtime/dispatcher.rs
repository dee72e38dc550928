//! The one thread that owns the engine: takes messages, lets the engine decide, carries out what it says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, Event, JobId, JobState, JobStatus, MonoTime, Output, PauseMark,
    PlaceError, Reason, ResourceName, RunContext, RunControl, RunError, RunParts, Scope, StartOrder, Wake,
};
use sched_limits::{BandwidthTree, JobPacer, Rate};
use sched_observe::{EventSink, HookRunner};

use super::bandwidth::{FleetRate, ceiling, place, share};
use super::command::Accepted;
use super::command::Request;
use super::sampler::SamplerEnd;
use super::signals::{Directive, Signals};
use super::worker::{Work, Workers};
use super::{Command, Grant, Link, Presence, ROOM, Route};
use crate::clock::SystemClock;
use crate::error::AcquireError;
use crate::handle::Outcome;
use crate::scheduler::{RunningJob, ShutdownReport, Status};

/// Messages taken between two decisions, so that a flood of submissions cannot keep running jobs from ending.
const BATCH: usize = 256;
/// Steps of the engine between two looks at messages and signals.
const MOVES: usize = 64;
/// How long cancelled attempts may take to stop at shutdown before they are left behind.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long hooks may take at shutdown to deal with the events that are left.
const HOOKS_WITHIN: Duration = Duration::from_secs(2);

/// What a dispatcher is made of.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) inbox: Receiver<Command>,
    pub(crate) link: Link,
    pub(crate) bandwidth: BandwidthTree,
    pub(crate) fleet_rate: FleetRate,
    pub(crate) signals: Signals,
    pub(crate) samplers: Vec<Arc<SamplerEnd>>,
    pub(crate) sink: EventSink,
    pub(crate) hooks: HookRunner,
    /// Last: whoever asked is told that nobody answers when that is final.
    pub(crate) _presence: Presence,
}

pub(crate) struct Dispatcher {
    parts: Parts,
    jobs: Jobs,
    running: BTreeMap<JobId, Running>,
    workers: Workers,
    subscribers: Vec<Sender<Arc<Event>>>,
    missed_by_subscribers: u64,
    /// Bytes paced by attempts that have ended.
    paced_before: u64,
    wakeups: u64,
    closing: Option<Closing>,
    _waker: Arc<Link>,
}

/// An attempt under way.
struct Running {
    attempt: AttemptId,
    control: Arc<RunControl>,
    pacer: Arc<JobPacer>,
    /// What the request asked for.
    own_ceiling: Option<u64>,
    floor: u64,
}

struct Closing {
    replies: Vec<Sender<ShutdownReport>>,
    report: ShutdownReport,
    step: ClosingStep,
    /// On the real clock, whatever clock the scheduler runs on: shutting down never hangs.
    until: MonoTime,
}

#[derive(PartialEq)]
enum ClosingStep {
    Draining,
    Cancelling,
}

impl Dispatcher {
    pub(crate) fn new(parts: Parts) -> Self {
        let waker = Arc::new(parts.link.clone());
        parts.clock.on_move(Arc::<Link>::downgrade(&waker) as std::sync::Weak<dyn Wake>);
        let workers = Workers::new(parts.link.commands.clone());
        Self {
            parts,
            jobs: Jobs::default(),
            running: BTreeMap::new(),
            workers,
            subscribers: Vec::new(),
            missed_by_subscribers: 0,
            paced_before: 0,
            wakeups: 0,
            closing: None,
            _waker: waker,
        }
    }

    /// Runs until shut down.
    pub(crate) fn run(mut self) {
        self.settle();
        while !self.closed() {
            let first = self.next_message();
            self.wakeups += 1;
            if let Some(message) = first {
                self.take(message);
                self.take_waiting_messages();
            }
            self.settle();
        }
        self.finish();
    }

    /// Waits for a message or for the engine's next moment.
    fn next_message(&self) -> Option<Command> {
        let clock = &self.parts.clock;
        let wakeups = [self.parts.engine.next_wakeup(), self.parts.signals.next_look()];
        let by_clock = wakeups.into_iter().flatten().min().and_then(|at| clock.sleep_for(at));
        let by_closing = self.closing.as_ref().map(|c| c.until.since(SystemClock.now().mono));
        match by_clock.into_iter().chain(by_closing).min() {
            Some(real) => self.parts.inbox.recv_timeout(real).ok(),
            None => self.parts.inbox.recv().ok(),
        }
    }

    fn take_waiting_messages(&mut self) {
        for _ in 0..BATCH {
            let Ok(message) = self.parts.inbox.try_recv() else { return };
            self.take(message);
        }
    }

    fn take(&mut self, message: Command) {
        let now = self.parts.clock.now();
        let engine = &mut self.parts.engine;
        // A caller that no longer waits for its reply is no concern of the dispatcher's.
        match message {
            Command::Submit(requests, reply) => {
                let accepted = requests.into_iter().map(|request| self.submit(request)).collect();
                let _ = reply.send(accepted);
            }
            Command::Engine(call) => call(engine, now),
            Command::Explain(job, reply) => {
                let mut explained = engine.explain(job);
                if let Ok(explanation) = &mut explained {
                    self.parts.signals.rooms.say_why(explanation);
                }
                let _ = reply.send(explained);
            }
            Command::Status(reply) => drop(reply.send(self.status())),
            Command::Subscribe(events, reply) => {
                self.subscribers.push(events);
                let _ = reply.send(());
            }
            Command::Mark(attempt, PauseMark::Standing) => _ = engine.paused(now, attempt),
            Command::Mark(attempt, PauseMark::Moving) => _ = engine.resumed(now, attempt),
            Command::Ended(attempt, end) => _ = engine.ended(now, attempt, end),
            Command::Sample(probe, result) => {
                let paced = self.paced_bytes();
                let Parts { signals, engine, .. } = &mut self.parts;
                let directives = signals.sample(now, probe, result, paced, engine);
                self.follow(directives);
            }
            Command::Load(detector, result) => {
                let paced = self.paced_bytes();
                let Parts { signals, engine, .. } = &mut self.parts;
                let directives = signals.load(now, detector, result, paced, engine);
                self.follow(directives);
            }
            Command::Bandwidth(place, rate, reply) => drop(reply.send(self.set_bandwidth(place, rate))),
            Command::Shutdown(grace, reply) => self.close(grace, reply),
            Command::Look => self.wake_all(),
        }
    }

    fn submit(&mut self, request: Request) -> Result<Accepted, AcquireError> {
        let Request { spec, terms, route } = request;
        let now = self.parts.clock.now();
        let engine = &mut self.parts.engine;
        if let (Route::Pull(_), Some(job)) = (&route, engine.pending(&spec.instance, spec.kind)) {
            return Err(AcquireError::AlreadyPending(job));
        }
        let submission = engine.submit(now, spec, terms).map_err(crate::SubmitError::from)?;
        let job = submission.job();
        let outcome = match self.jobs.0.get(&job) {
            Some(entry) => entry.outcome.clone(),
            None => {
                let outcome = Arc::<Outcome>::default();
                if let Ok(last) = engine.job_status(job) {
                    self.jobs.0.insert(job, Entry { route, outcome: outcome.clone(), last });
                }
                outcome
            }
        };
        Ok(Accepted { job, outcome })
    }

    /// Lets the engine decide until it has nothing more to do now, and carries out what it says.
    fn settle(&mut self) {
        loop {
            let now = self.parts.clock.now();
            let directives = self.parts.signals.tick(now);
            self.follow(directives);
            for _ in 0..MOVES {
                self.parts.engine.advance(now);
                if self.parts.engine.next_wakeup().is_none_or(|at| at > now.mono) {
                    break;
                }
            }
            self.carry_out_all();
            let floors = self.running.values().fold(0_u64, |sum, r| sum.saturating_add(r.floor));
            let directives = self.parts.signals.set_floor(floors);
            self.follow(directives);
            self.step_closing();
            let due = self.parts.engine.next_wakeup().is_some_and(|at| at <= now.mono);
            // Messages come between two bounded steps of a long settlement.
            if !due || !self.parts.inbox.is_empty() {
                return;
            }
        }
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.parts.engine.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Start(order) => self.start(order),
            Output::Pause(attempt) => self.with_control(attempt, |control| control.set_paused(true)),
            Output::Resume(attempt) => self.with_control(attempt, |control| control.set_paused(false)),
            Output::Cancel(attempt, reason) => self.with_control(attempt, |control| control.cancel(reason)),
            Output::Ceiling(attempt, rate) => {
                if let Some(running) = self.running.get(&attempt.job).filter(|r| r.attempt == attempt) {
                    running.pacer.set_ceiling(ceiling(running.own_ceiling, rate));
                    running.control.wake();
                }
            }
            Output::Event(event) => self.publish(&event),
            Output::Ended(status) => self.forget(&status),
            // Without a store everything is as durable as it will be.
            Output::Record(lsn, _) => self.parts.engine.committed(self.parts.clock.now(), lsn),
        }
    }

    fn with_control(&self, attempt: AttemptId, f: impl FnOnce(&RunControl)) {
        if let Some(running) = self.running.get(&attempt.job).filter(|r| r.attempt == attempt) {
            f(&running.control);
        }
    }

    fn start(&mut self, order: StartOrder) {
        let attempt = order.attempt;
        let Some(route) = self.jobs.0.get(&attempt.job).map(|entry| entry.route.clone()) else { return };
        let floor = order.terms.floor_bytes_per_sec;
        let own_ceiling = order.spec.max_bytes_per_sec;
        let pacer = match self.parts.bandwidth.join(&place(&order), share(&order)) {
            Ok(pacer) => Arc::new(pacer),
            // Names were checked with the request.
            Err(error) => {
                let result = Err(RunError::Permanent(error.to_string()));
                let now = self.parts.clock.now();
                self.parts.engine.started(now, attempt);
                self.parts.engine.ended(now, attempt, AttemptEnd { bytes: 0, result });
                return;
            }
        };
        let ctx = self.context(order, pacer.clone());
        let control = ctx.control().clone();
        let begun = match route {
            Route::Push(executor) => self
                .workers
                .run(Work { executor, ctx, attempt })
                .map_err(|e| RunError::Retryable(format!("cannot start a thread for the attempt: {e}"))),
            Route::Pull(host) => host
                .try_send(Grant(ctx))
                .map_err(|_| RunError::Permanent("the caller no longer waits for its permit".into())),
        };
        if let Some(before) =
            self.running.insert(attempt.job, Running { attempt, control, pacer, own_ceiling, floor })
        {
            self.paced_before += before.control.progress().paced_bytes;
        }
        let now = self.parts.clock.now();
        self.parts.engine.started(now, attempt);
        if let Err(error) = begun {
            self.parts.engine.ended(now, attempt, AttemptEnd { bytes: 0, result: Err(error) });
        }
    }

    fn context(&self, order: StartOrder, pacer: Arc<JobPacer>) -> RunContext {
        let StartOrder { attempt, spec, terms, member, .. } = order;
        let commands = self.parts.link.commands.clone();
        let control = RunControl::new(move |mark| drop(commands.send(Command::Mark(attempt, mark))));
        let clock = self.parts.clock.clone();
        RunContext::new(RunParts {
            job: attempt.job,
            attempt: attempt.number,
            spec,
            terms,
            control: Arc::new(control),
            member,
            pacer,
            clock,
        })
    }

    fn publish(&mut self, event: &Arc<Event>) {
        let told = self.parts.signals.rooms.say_why_deferred(event).map(Arc::new);
        let event = told.as_ref().unwrap_or(event);
        self.subscribers.retain(|subscriber| match subscriber.try_send(event.clone()) {
            Ok(()) => true,
            Err(e) if e.is_full() => {
                self.missed_by_subscribers += 1;
                true
            }
            Err(_) => false,
        });
        self.parts.sink.send(event.clone());
    }

    fn forget(&mut self, status: &JobStatus) {
        let job = status.job.id;
        if let Some(running) = self.running.remove(&job) {
            self.paced_before += running.control.progress().paced_bytes;
            if let Some(closing) = &mut self.closing {
                match status.state {
                    JobState::Cancelled => closing.report.cancelled += 1,
                    _ => closing.report.finished += 1,
                }
            }
        } else if let Some(closing) = &mut self.closing {
            closing.report.cancelled += 1;
        }
        if let Some(entry) = self.jobs.0.remove(&job) {
            entry.outcome.tell(status.clone());
        }
    }

    fn follow(&mut self, directives: Vec<Directive>) {
        let now = self.parts.clock.now();
        for directive in directives {
            match directive {
                Directive::Load(scope, state) => self.parts.engine.set_load(now, scope, state),
                Directive::Capacity(scope, state) => self.parts.engine.set_capacity(now, scope, state),
                Directive::Room(scope, jobs) => {
                    let name = ResourceName::from(ROOM);
                    let set = self.parts.engine.set_resource(now, &scope, name, u64::from(jobs));
                    debug_assert!(set.is_ok(), "room is measured only where there may be resources: {set:?}");
                }
                Directive::Rate(rate) => {
                    self.parts.fleet_rate.steered = rate;
                    self.apply_rate(&Scope::Fleet, self.parts.fleet_rate.least());
                }
                Directive::Note(kind) => self.parts.engine.note(now, kind),
            }
        }
    }

    fn set_bandwidth(&mut self, place: Scope, rate: Rate) -> Result<(), PlaceError> {
        if place == Scope::Fleet {
            self.parts.fleet_rate.set = rate;
            self.apply_rate(&place, self.parts.fleet_rate.least());
            return Ok(());
        }
        self.parts.bandwidth.set_rate(&place, rate)?;
        self.wake_all();
        Ok(())
    }

    fn apply_rate(&self, place: &Scope, rate: Rate) {
        // Only names can be wrong, and the fleet has none.
        let _ = self.parts.bandwidth.set_rate(place, rate);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.running.values().for_each(|running| running.control.wake());
    }

    fn paced_bytes(&self) -> u64 {
        let live = self.running.values().map(|r| r.control.progress().paced_bytes);
        self.paced_before + live.sum::<u64>()
    }

    fn status(&self) -> Status {
        let engine = self.parts.engine.status();
        let running = engine.active_jobs.iter().map(|job| {
            let control = self.running.get(&job.job.id).map(|r| &r.control);
            RunningJob { status: job.clone(), progress: control.map(|c| c.progress()).unwrap_or_default() }
        });
        Status {
            running: running.collect(),
            engine,
            rate: self.parts.signals.rate(),
            probes: self.parts.signals.probes(self.parts.clock.now()),
            rooms: self.parts.signals.rooms.list(),
            hooks: self.parts.hooks.stats(),
            missed_by_subscribers: self.missed_by_subscribers,
            wakeups: self.wakeups,
        }
    }

    fn close(&mut self, grace: Duration, reply: Sender<ShutdownReport>) {
        let now = self.parts.clock.now();
        let until = SystemClock.now().mono + grace;
        match &mut self.closing {
            Some(closing) => {
                closing.replies.push(reply);
                closing.until = closing.until.min(until);
            }
            None => {
                let report = ShutdownReport::default();
                let step = ClosingStep::Draining;
                self.closing = Some(Closing { replies: vec![reply], report, step, until });
            }
        }
        self.parts.engine.close(now, &Reason::new("the scheduler is shutting down"));
    }

    fn step_closing(&mut self) {
        let Some(closing) = &mut self.closing else { return };
        if SystemClock.now().mono < closing.until {
            return;
        }
        let now = self.parts.clock.now();
        let attempts: Vec<_> = self.parts.engine.active_attempts().collect();
        if closing.step == ClosingStep::Draining {
            closing.step = ClosingStep::Cancelling;
            closing.until = SystemClock.now().mono + STOP_WITHIN;
            for attempt in attempts {
                let reason = Reason::new("still running when the grace of the shutdown was over");
                let _ = self.parts.engine.cancel(now, attempt.job, reason);
            }
        } else {
            for attempt in attempts {
                closing.report.abandoned.push(attempt.job);
                let text = "did not stop when cancelled at shutdown; its thread was left behind";
                let result = Err(RunError::Permanent(text.into()));
                self.parts.engine.ended(now, attempt, AttemptEnd { bytes: 0, result });
            }
        }
        self.carry_out_all();
    }

    fn closed(&self) -> bool {
        let engine = &self.parts.engine;
        self.closing.is_some() && engine.active_count() == 0 && engine.pending_count() == 0
    }

    fn finish(mut self) {
        let Parts { samplers, sink, hooks, .. } = self.parts;
        drop((samplers, sink));
        hooks.stop(HOOKS_WITHIN);
        if let Some(closing) = self.closing.take() {
            for reply in closing.replies {
                drop(reply.send(closing.report.clone()));
            }
        }
    }
}

/// Jobs that somebody may wait for. Should the dispatcher itself fail, nobody waits for ever.
#[derive(Default)]
struct Jobs(HashMap<JobId, Entry>);

struct Entry {
    route: Route,
    outcome: Arc<Outcome>,
    last: JobStatus,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for (_, Entry { outcome, mut last, .. }) in self.0.drain() {
            last.state = JobState::Failed;
            last.error = Some("the scheduler ended before the job did".into());
            outcome.tell(last);
        }
    }
}
