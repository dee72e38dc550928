//! An engine on a manual clock, with a runtime that does at once what it is told.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use jiff::Timestamp;
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, EngineConfig, Event, EventKind, JobId, JobSpec, JobTerms,
    ManualClock, Now, Order, Output, Priority, RunError, SLOTS, Scope, StartOrder,
};

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn spec(instance: &str) -> JobSpec {
    JobSpec::new(instance, "sqlite")
}

pub(crate) fn terms() -> JobTerms {
    JobTerms::default()
}

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) clock: ManualClock,
    pub(crate) events: Vec<std::sync::Arc<Event>>,
    /// Everything but events and starts.
    pub(crate) outputs: Vec<Output>,
    pub(crate) starts: Vec<StartOrder>,
    under_way: Vec<AttemptId>,
    /// Starts are not answered until [`Rig::answer`].
    pub(crate) is_slow: bool,
}

impl Rig {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let clock = ManualClock::default();
        let engine = Engine::new(config, clock.now());
        Self {
            engine,
            clock,
            events: vec![],
            outputs: vec![],
            starts: vec![],
            under_way: vec![],
            is_slow: false,
        }
    }

    pub(crate) fn with_slots(slots: u64) -> Self {
        let mut config = EngineConfig::default();
        config.resources.insert(SLOTS.into(), slots);
        Self::new(config)
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn submit(&mut self, spec: JobSpec, terms: JobTerms) -> JobId {
        self.engine.submit(self.clock.now(), spec, terms).unwrap().job()
    }

    /// Lets the engine decide until it has nothing more to do at this moment.
    pub(crate) fn step(&mut self) {
        for _ in 0..100_000 {
            self.engine.advance(self.clock.now());
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Start(order) => {
                        assert!(self.is_slow || self.engine.started(self.clock.now(), order.attempt));
                        self.under_way.push(order.attempt);
                        self.starts.push(order);
                    }
                    Output::Event(event) => self.events.push(event),
                    other => self.outputs.push(other),
                }
            }
            if self.engine.next_wakeup().is_none_or(|at| at > self.clock.now().mono) {
                return;
            }
        }
        panic!("the engine does not come to rest: {:?}", self.engine.status());
    }

    /// Attempts under way, oldest first.
    pub(crate) fn running(&self) -> Vec<AttemptId> {
        self.under_way.clone()
    }

    pub(crate) fn finish(&mut self, attempt: AttemptId, result: Result<(), RunError>) {
        self.under_way.retain(|a| *a != attempt);
        assert!(self.engine.ended(self.clock.now(), attempt, AttemptEnd::new(1, result)));
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Event(event) => self.events.push(event),
                other => self.outputs.push(other),
            }
        }
    }

    pub(crate) fn sleep_until_next_wakeup(&mut self) {
        if let Some(at) = self.engine.next_wakeup() {
            self.clock.advance_to(at);
        }
    }

    /// Steps from wake-up to wake-up until the wall reads `until`.
    pub(crate) fn run_until(&mut self, until: Timestamp) {
        loop {
            self.step();
            match self.engine.next_wakeup() {
                Some(at) if self.now().plus(at.since(self.now().mono)).wall <= until => {
                    self.clock.advance_to(at);
                }
                _ => return,
            }
        }
    }

    pub(crate) fn saw(&self, what: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|event| what(&event.kind))
    }
}

pub(crate) fn host(name: &str) -> Scope {
    Scope::Host(name.into())
}

pub(crate) fn with(priority: Priority) -> JobTerms {
    let mut terms = terms();
    terms.priority = priority;
    terms
}

pub(crate) fn adjusted(mut terms: JobTerms, change: impl FnOnce(&mut JobTerms)) -> JobTerms {
    change(&mut terms);
    terms
}

pub(crate) fn jobs(attempts: &[AttemptId]) -> Vec<JobId> {
    attempts.iter().map(|attempt| attempt.job).collect()
}

pub(crate) fn order() -> Order {
    Order::new("ana", "test")
}

pub(crate) fn finish(rig: &mut Rig, job: JobId, result: Result<(), RunError>) {
    let attempt = rig.running().into_iter().find(|attempt| attempt.job == job).expect("it runs");
    rig.finish(attempt, result);
    rig.step();
}
