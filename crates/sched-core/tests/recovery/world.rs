//! An engine with a journal, and who carries out what it says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, EngineConfig, JobId, Lsn, ManualClock, Output, Record, RetryPolicy,
    RunError, SLOTS,
};

use crate::rig::{secs, spec, terms};

fn config() -> EngineConfig {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 2);
    config.journal = true;
    config
}

/// An engine, its store, and everything that has left it, in order.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) clock: ManualClock,
    /// The store acknowledges everything but the newest so many records.
    pub(crate) lag: u64,
    pub(crate) said: Vec<Output>,
    /// Up to where each output may have been preceded by acknowledgements.
    pub(crate) acknowledged: Vec<Lsn>,
    pub(crate) committed: Lsn,
    pub(crate) under_way: Vec<AttemptId>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(ManualClock::default())
    }

    pub(crate) fn on(clock: ManualClock) -> Self {
        let engine = Engine::new(config(), clock.now());
        let (said, acknowledged, under_way) = Default::default();
        Self { engine, clock, lag: 0, said, acknowledged, committed: Lsn(0), under_way }
    }

    /// One whose only job has failed once, and may once more after at most ten minutes.
    pub(crate) fn with_a_failure() -> (Self, JobId) {
        let mut world = Self::new();
        let mut twice = terms();
        twice.retry = RetryPolicy::new(2, secs(600), secs(600));
        let job = world.engine.submit(world.clock.now(), spec("a"), twice).unwrap().job();
        world.settle();
        world.finish(world.under_way[0], Err(RunError::Retryable("no route".into())));
        world.settle();
        (world, job)
    }

    /// An engine that goes on from all records, when the wall says so much.
    pub(crate) fn restarted(&self, wall: Timestamp) -> Self {
        let mut next = Self::on(ManualClock::new(wall));
        next.engine.restore(next.clock.now(), self.records()).unwrap();
        next.settle();
        next
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            self.engine.advance(self.clock.now());
            while let Some(output) = self.engine.poll_output() {
                self.hear(output);
            }
            let durable = Lsn(self.engine.journaled().0.saturating_sub(self.lag));
            let news = durable > self.committed;
            if news {
                self.committed = durable;
                self.engine.committed(self.clock.now(), durable);
            }
            if !news && self.engine.next_wakeup().is_none_or(|at| at > self.clock.now().mono) {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    pub(crate) fn hear(&mut self, output: Output) {
        match &output {
            Output::Start(order) => {
                assert!(self.engine.started(self.clock.now(), order.attempt));
                self.under_way.push(order.attempt);
            }
            Output::Event(_) => return,
            _ => {}
        }
        self.said.push(output);
        self.acknowledged.push(self.committed);
    }

    pub(crate) fn finish(&mut self, attempt: AttemptId, result: Result<(), RunError>) {
        self.under_way.retain(|other| *other != attempt);
        assert!(self.engine.ended(self.clock.now(), attempt, AttemptEnd::new(1, result)));
    }

    /// Every job is let run until none is left.
    pub(crate) fn run_out(&mut self) {
        self.lag = 0;
        for _ in 0..1_000 {
            self.settle();
            let instances: BTreeSet<_> =
                self.engine.status().active_jobs.iter().map(|job| job.job.instance.clone()).collect();
            assert_eq!(instances.len(), self.under_way.len(), "two attempts of one backup at once");
            if let Some(attempt) = self.under_way.first().copied() {
                self.finish(attempt, Ok(()));
            } else if let Some(at) = self.engine.next_wakeup() {
                self.clock.advance_to(at);
            } else {
                break;
            }
        }
        let status = self.engine.status();
        assert_eq!((status.waiting, status.active), (0, 0));
        assert_eq!(status.resources[&SLOTS.into()].used, 0);
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        let record = |output: &Output| {
            if let Output::Record(_, record) = output { Some(record.clone()) } else { None }
        };
        self.said.iter().filter_map(record).collect()
    }
}
