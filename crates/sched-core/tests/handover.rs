//! Jobs that change from one engine to another while both run.

mod rig;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rig::{spec, terms};
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, EngineConfig, JobId, LetGo, ManualClock, Output, Reason, Record,
    ResourceName, RestoreError, RunError, SLOTS, Scope, SubmitError,
};

const SHARES: u8 = 3;

fn engine(range: u64, clock: &ManualClock) -> Engine {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 2);
    config.journal = true;
    config.first_job = range << 40;
    Engine::new(config, clock.now())
}

fn reason() -> Reason {
    Reason::new("the share has moved")
}

/// Several engines, what their store holds, and who owns what.
struct World {
    clock: ManualClock,
    engines: Vec<Engine>,
    /// Of each share its owner.
    owners: Vec<Option<usize>>,
    /// The last record of each job that has not ended.
    store: BTreeMap<JobId, Record>,
    accepted: BTreeSet<JobId>,
    ended: BTreeSet<JobId>,
    /// The newest attempt of each job that has started.
    started: BTreeMap<JobId, u32>,
    /// What runs, where; an attempt that was let go may run on for a while.
    running: BTreeMap<AttemptId, usize>,
    ranges: u64,
}

impl World {
    fn new(engines: u64) -> Self {
        let clock = ManualClock::default();
        let engines: Vec<_> = (1..=engines).map(|range| engine(range, &clock)).collect();
        let (store, accepted, ended, started, running) = Default::default();
        let ranges = engines.len() as u64;
        let owners = (0..usize::from(SHARES)).map(|share| Some(share % engines.len())).collect();
        Self { clock, engines, owners, store, accepted, ended, started, running, ranges }
    }

    fn share(instance: &str) -> usize {
        instance.trim_start_matches("db-").parse::<usize>().unwrap() % usize::from(SHARES)
    }

    fn share_of(&self, job: JobId) -> Option<usize> {
        match self.store.get(&job)? {
            Record::Job(record) => Some(Self::share(record.spec.instance.as_str())),
            _ => None,
        }
    }

    fn jobs_of(&self, share: usize) -> Vec<JobId> {
        self.store.keys().copied().filter(|job| self.share_of(*job) == Some(share)).collect()
    }

    fn submit(&mut self, instance: u8) {
        let name = format!("db-{instance}");
        let Some(owner) = self.owners[Self::share(&name)] else { return };
        let submitted = self.engines[owner].submit(self.clock.now(), spec(&name), terms()).unwrap();
        self.accepted.insert(submitted.job());
    }

    fn settle(&mut self) {
        for at in 0..self.engines.len() {
            for _ in 0..1_000 {
                self.engines[at].advance(self.clock.now());
                self.drain(at);
                if self.engines[at].next_wakeup().is_none_or(|at| at > self.clock.now().mono) {
                    break;
                }
            }
        }
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.engines[at].poll_output() {
            match output {
                Output::Record(lsn, record) => {
                    if let Some(job) = record.job() {
                        let share = match &record {
                            Record::Job(record) => Some(Self::share(record.spec.instance.as_str())),
                            _ => self.share_of(job),
                        };
                        let owner = share.and_then(|share| self.owners[share]);
                        assert_eq!(owner, Some(at), "{job} is written by another than its owner: {record:?}");
                        match record {
                            Record::Ended(_) => {
                                assert!(self.ended.insert(job), "{job} has ended twice");
                                self.store.remove(&job);
                            }
                            record => _ = self.store.insert(job, record),
                        }
                    }
                    self.engines[at].committed(self.clock.now(), lsn);
                }
                Output::Start(order) => {
                    let AttemptId { job, number } = order.attempt;
                    let before = self.started.insert(job, number);
                    assert!(
                        before.is_none_or(|before| before < number),
                        "{job} starts {number} after {before:?}"
                    );
                    assert!(self.engines[at].started(self.clock.now(), order.attempt));
                    self.running.insert(order.attempt, at);
                }
                Output::LetGo(job) => assert!(self.engines[at].job_status(job).is_err()),
                _ => {}
            }
        }
    }

    fn end(&mut self, which: usize, how: u8) {
        let Some((attempt, at)) = self.running.iter().nth(which % self.running.len().max(1)) else { return };
        let (attempt, at) = (*attempt, *at);
        self.running.remove(&attempt);
        let result = match how {
            0 => Err(RunError::Retryable("broken".into())),
            1 => Err(RunError::Cancelled),
            _ => Ok(()),
        };
        self.engines[at].ended(self.clock.now(), attempt, AttemptEnd::new(1, result));
        self.drain(at);
    }

    /// A share moves: its owner has lost it, whatever runs there; the next one goes on from the store. Which an engine may
    /// only do when nothing of its own runs there any more.
    fn move_share(&mut self, share: usize, to: usize) {
        if let Some(from) = self.owners[share].take() {
            for job in self.jobs_of(share) {
                let let_go = self.engines[from].let_go(self.clock.now(), job, reason()).unwrap();
                let runs = self.running.iter().any(|(attempt, at)| attempt.job == job && *at == from);
                assert_eq!(let_go == LetGo::Stopping, runs, "{job}");
            }
            self.drain(from);
        }
        let to = to % self.engines.len();
        let jobs = self.jobs_of(share);
        if self.running.iter().any(|(attempt, at)| *at == to && jobs.contains(&attempt.job)) {
            return;
        }
        self.owners[share] = Some(to);
        let records: Vec<_> = jobs.iter().map(|job| self.store[job].clone()).collect();
        assert_eq!(self.engines[to].take_over(self.clock.now(), records), Ok(jobs.len()));
        self.drain(to);
    }

    /// An engine is gone without a word, and another one comes in its place.
    fn crash(&mut self, at: usize) {
        let at = at % self.engines.len();
        self.ranges += 1;
        self.engines[at] = engine(self.ranges, &self.clock);
        self.running.retain(|_, place| *place != at);
        self.owners.iter_mut().filter(|owner| **owner == Some(at)).for_each(|owner| *owner = None);
    }

    fn run_out(&mut self) {
        while let Some(attempt) = self.running.keys().next().copied() {
            let at = self.running.remove(&attempt).unwrap();
            self.engines[at].ended(self.clock.now(), attempt, AttemptEnd::new(1, Ok(())));
            self.drain(at);
        }
        (0..usize::from(SHARES))
            .filter(|s| self.owners[*s].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|share| self.move_share(share, share));
        for _ in 0..1_000 {
            self.settle();
            if !self.running.is_empty() {
                self.end(0, 2);
            } else if let Some(at) = self.engines.iter().filter_map(Engine::next_wakeup).min() {
                self.clock.advance_to(at);
            } else {
                break;
            }
        }
        assert_eq!(self.ended, self.accepted, "each job has ended once");
        assert!(self.store.is_empty());
        for engine in &self.engines {
            assert_eq!((engine.pending_count(), engine.active_count()), (0, 0));
            let fleet = engine.resources(&Scope::Fleet);
            assert!(fleet.iter().all(|(_, _, capacity)| capacity.used == 0), "{fleet:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Submit(u8),
    Settle,
    End(usize, u8),
    Move(u8, usize),
    Crash(usize),
    Cancel(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_u8..6).prop_map(Op::Submit),
        4 => Just(Op::Settle),
        3 => (0_usize..4, 0_u8..4).prop_map(|(which, how)| Op::End(which, how)),
        3 => (0..SHARES, 0_usize..3).prop_map(|(share, to)| Op::Move(share, to)),
        1 => (0_usize..3).prop_map(Op::Crash),
        1 => (0_usize..8).prop_map(Op::Cancel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever moves, fails or crashes when: every accepted job ends once, and only its owner writes of it.
    #[test]
    fn shares_move_and_no_job_is_lost(engines in 2_u64..4, ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new(engines);
        for op in ops {
            match op {
                Op::Submit(instance) => world.submit(instance),
                Op::Settle => world.settle(),
                Op::End(which, how) => world.end(which, how),
                Op::Move(share, to) => world.move_share(share.into(), to),
                Op::Crash(at) => world.crash(at),
                Op::Cancel(which) => {
                    let Some(job) = world.store.keys().nth(which).copied() else { continue };
                    let Some(owner) = world.share_of(job).and_then(|share| world.owners[share]) else { continue };
                    world.engines[owner].cancel(world.clock.now(), job, Reason::new("no need")).unwrap();
                }
            }
            (0..world.engines.len()).for_each(|at| world.drain(at));
        }
        world.run_out();
    }
}

#[test]
fn an_attempt_that_ends_after_it_was_let_go_ends_nothing_else() {
    let mut world = World::new(1);
    world.submit(0);
    world.settle();
    let (attempt, _) = world.running.pop_first().unwrap();
    let (engine, now) = (&mut world.engines[0], world.clock.now());
    assert_eq!(engine.let_go(now, attempt.job, reason()), Ok(LetGo::Stopping));
    assert!(matches!(engine.poll_output(), Some(Output::Cancel(..))));
    // A request to cancel comes too late, and changes nothing.
    engine.cancel(now, attempt.job, Reason::new("no need")).unwrap();
    assert!(engine.ended(now, attempt, AttemptEnd::new(9, Ok(()))));
    let said: Vec<_> = std::iter::from_fn(|| engine.poll_output()).collect();
    assert!(said.contains(&Output::LetGo(attempt.job)), "{said:?}");
    assert!(!said.iter().any(|output| matches!(output, Output::Record(..) | Output::Ended(_))), "{said:?}");
    assert!(engine.job_status(attempt.job).is_err());
}

#[test]
fn what_is_known_is_not_taken_over_again() {
    let mut world = World::new(1);
    world.submit(0);
    world.settle();
    let (job, record) = world.store.first_key_value().map(|(job, record)| (*job, record.clone())).unwrap();
    let twice = world.engines[0].take_over(world.clock.now(), [record.clone()]);
    assert_eq!(twice, Err(RestoreError::Known(job)));
    let mut other = engine(9, &world.clock);
    assert_eq!(other.take_over(world.clock.now(), [record.clone(), record]), Err(RestoreError::Known(job)));
    assert_eq!(other.pending_count(), 0);
}

#[test]
fn ranges_begin_where_they_are_told_to() {
    let clock = ManualClock::default();
    let mut engine = engine(3, &clock);
    let first = engine.submit(clock.now(), spec("db-1"), terms()).unwrap().job();
    assert_eq!(first, JobId(3 << 40));
    let second = engine.submit(clock.now(), spec("db-2"), terms()).unwrap().job();
    assert_eq!(second, JobId((3 << 40) + 1));
}

#[test]
fn a_job_that_needs_more_than_the_part_waits_for_it() {
    let clock = ManualClock::default();
    let mut engine = engine(1, &clock);
    let (net, now) = (ResourceName::from("net"), clock.now());
    let asks = |amount| spec("db-1").demand("net", amount);
    let mut needs = terms();
    needs.demand.add("net", 6);
    engine.set_part(now, &Scope::Fleet, net.clone(), 4, 10).unwrap();
    assert!(matches!(
        engine.submit(now, asks(1), {
            let mut t = terms();
            t.demand.add("net", 11);
            t
        }),
        Err(SubmitError::Demand(_))
    ));
    let job = engine.submit(now, spec("db-1"), needs).unwrap().job();
    let settle = |engine: &mut Engine| {
        let mut said = Vec::new();
        while engine.next_wakeup().is_some_and(|at| at <= now.mono) {
            engine.advance(now);
            said.extend(std::iter::from_fn(|| engine.poll_output()));
        }
        said
    };
    settle(&mut engine);
    assert_eq!(engine.active_count(), 0);
    let wants = engine.wants(&Scope::Fleet, &net);
    assert_eq!((wants.used, wants.waiting, wants.first.map(|(_, amount)| amount)), (0, 1, Some(6)));
    let told = engine.explain(job).unwrap().to_string();
    assert!(told.contains("other schedulers have the rest of it"), "{told}");
    engine.set_part(now, &Scope::Fleet, net.clone(), 6, 10).unwrap();
    settle(&mut engine);
    let wants = engine.wants(&Scope::Fleet, &net);
    assert_eq!((engine.active_count(), wants.used, wants.waiting, wants.first), (1, 6, 0, None));
}
