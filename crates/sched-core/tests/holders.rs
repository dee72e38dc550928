//! Random histories of jobs that take one of several members and use several hosts: after every step, what is used at
//! every place is the sum of what the attempts there hold, and no instance is backed up twice at once.

mod rig;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rig::{Rig, secs};
use sched_core::{
    AttemptId, JobId, JobSpec, JobState, JobTerms, LoadLevel, LoadState, Order, Reason, RetryPolicy,
    RunError, SLOTS, Scope, Submission,
};

/// Two hosts a link; the links hang under the fleet.
const HOSTS: u8 = 4;

#[derive(Clone, Debug)]
enum Op {
    Submit { instance: u8, host: u8, members: u8, together: u8, slots: u64, memory: u64, volume: bool },
    End { which: usize, result: u8 },
    Acknowledge { which: usize },
    Cancel { job: u64 },
    Load { scope: u8, level: LoadLevel },
    Hold { scope: u8 },
    Release { scope: u8 },
    Down { scope: u8, down: bool },
    Slots { scope: u8, total: u64 },
    Move { host: u8, link: u8 },
    Wait { secs: u64 },
    Wake,
}

fn op() -> impl Strategy<Value = Op> {
    let level = prop_oneof![Just(LoadLevel::Calm), Just(LoadLevel::Busy), Just(LoadLevel::Peak)];
    let submit = (0..8u8, 0..HOSTS, 0..8u8, 0..8u8, 1..3u64, 0..3u64, any::<bool>());
    prop_oneof![
        8 => submit.prop_map(|(instance, host, members, together, slots, memory, volume)| {
            Op::Submit { instance, host, members, together, slots, memory, volume }
        }),
        6 => (any::<usize>(), 0..5u8).prop_map(|(which, result)| Op::End { which, result }),
        4 => any::<usize>().prop_map(|which| Op::Acknowledge { which }),
        1 => (1..40u64).prop_map(|job| Op::Cancel { job }),
        3 => (0..16u8, level).prop_map(|(scope, level)| Op::Load { scope, level }),
        1 => (0..16u8).prop_map(|scope| Op::Hold { scope }),
        2 => (0..16u8).prop_map(|scope| Op::Release { scope }),
        2 => (3..16u8, any::<bool>()).prop_map(|(scope, down)| Op::Down { scope, down }),
        2 => (0..7u8, 1..6u64).prop_map(|(scope, total)| Op::Slots { scope, total }),
        1 => (0..HOSTS, 0..2u8).prop_map(|(host, link)| Op::Move { host, link }),
        3 => (0..2_000u64).prop_map(|secs| Op::Wait { secs }),
        3 => Just(Op::Wake),
    ]
}

fn host_name(n: u8) -> String {
    format!("host-{}", n % HOSTS)
}

fn instance_name(n: u8) -> String {
    format!("db-{n}")
}

fn link(n: u8) -> Scope {
    Scope::Link(format!("link-{n}").into())
}

fn scope(n: u8) -> Scope {
    match n {
        0 => Scope::Fleet,
        1 | 2 => link(n - 1),
        3..=6 => Scope::Host(host_name(n - 3).into()),
        n => Scope::Instance(instance_name(n - 7).into()),
    }
}

/// What the engine is held against.
struct World {
    rig: Rig,
    above: BTreeMap<Scope, Scope>,
    asked: BTreeMap<JobId, (JobSpec, JobTerms)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self { rig: Rig::with_slots(5), above: BTreeMap::new(), asked: BTreeMap::new() };
        let now = world.rig.now();
        for n in 0..HOSTS {
            world.apply(&Op::Move { host: n, link: n / 2 });
            world.rig.engine.set_resource(now, &scope(3 + n), SLOTS.into(), 3).unwrap();
        }
        for n in 0..3 {
            world.rig.engine.set_resource(now, &scope(n), "memory".into(), 5).unwrap();
        }
        world
    }

    fn submit(&mut self, spec: JobSpec, slots: u64, memory: u64) {
        let mut terms = JobTerms::default();
        terms.demand = Default::default();
        terms.demand.add(SLOTS, slots);
        terms.demand.add("memory", memory);
        terms.pausable = true;
        terms.retry = RetryPolicy::new(3, secs(60), secs(600));
        let submitted = self.rig.engine.submit(self.rig.now(), spec.clone(), terms.clone());
        match submitted {
            Ok(Submission::New(job)) => _ = self.asked.insert(job, (spec, terms)),
            Ok(Submission::Coalesced(job)) => {
                let (_, kept) = self.asked.get_mut(&job).unwrap();
                let both: Vec<_> = kept.demand.iter().chain(terms.demand.iter()).collect();
                let larger =
                    |name| both.iter().filter(|d| d.0.as_str() == name).map(|d| d.1).max().unwrap_or(0);
                let (slots, memory) = (larger(SLOTS), larger("memory"));
                kept.demand = Default::default();
                kept.demand.add(SLOTS, slots);
                kept.demand.add("memory", memory);
            }
            // Its demand cannot be met by now, or it contradicts the one that waits.
            Err(_) => {}
        }
    }

    fn apply(&mut self, op: &Op) {
        let now = self.rig.now();
        let running = self.rig.running();
        let engine = &mut self.rig.engine;
        match op.clone() {
            Op::Submit { instance, host, members, together, slots, memory, volume } => {
                let mut spec = JobSpec::new(instance_name(instance), "sqlite").host(host_name(host));
                spec = if volume { spec.volume("v") } else { spec };
                if members < 3 {
                    spec = spec.member(instance_name(instance + 1), host_name(host));
                    spec = spec.member(instance_name(members), host_name(host + members + 1));
                    spec = spec.patience(secs(300));
                }
                for n in (0..2).filter(|n| together < 4 && together >> n & 1 == 1) {
                    spec = spec.together_with(host_name(host + n + 1));
                }
                self.submit(spec, slots, memory);
            }
            Op::End { which, result } if !running.is_empty() => {
                let attempt = running[which % running.len()];
                let what = scope(3 + which as u8 % HOSTS);
                let result = match result {
                    0 | 1 => Ok(()),
                    2 => Err(RunError::Retryable("r".into())),
                    3 => Err(RunError::Unavailable { what, error: "u".into() }),
                    _ => Err(RunError::Permanent("p".into())),
                };
                self.rig.finish(attempt, result);
            }
            Op::Acknowledge { which } if !running.is_empty() => {
                let attempt = running[which % running.len()];
                let _ = engine.paused(now, attempt) || engine.resumed(now, attempt);
            }
            // One that stands and is told to stop has given back what it will not take again.
            Op::Cancel { job } => {
                let state = engine.job_status(JobId(job)).map(|status| status.state);
                if state.is_ok_and(|state| state != JobState::Paused) {
                    _ = engine.cancel(now, JobId(job), Reason::new("c"));
                }
            }
            Op::Load { scope: s, level } => {
                engine.set_load(now, scope(s), LoadState::new(level, Reason::new("l")));
            }
            Op::Hold { scope: s } => engine.hold(now, scope(s), Order::new("o", "h")),
            Op::Release { scope: s } => _ = engine.release(now, &scope(s)),
            Op::Down { scope: s, down } => engine.set_down(now, scope(s), down.then(|| Reason::new("d"))),
            Op::Slots { scope: s, total } => {
                engine.set_resource(now, &scope(s), SLOTS.into(), total).unwrap()
            }
            Op::Move { host, link: to } => {
                if engine.set_parent(now, &scope(3 + host), &link(to)).is_ok() {
                    self.above.insert(scope(3 + host), link(to));
                }
            }
            Op::Wait { secs: s } => self.rig.clock.advance(secs(s)),
            Op::Wake => self.rig.sleep_until_next_wakeup(),
            Op::End { .. } | Op::Acknowledge { .. } => {}
        }
        self.rig.step();
    }

    /// The instances and the places that an attempt uses.
    fn uses(&self, attempt: AttemptId) -> (BTreeSet<String>, BTreeSet<Scope>) {
        let start = self.rig.starts.iter().rfind(|start| start.attempt == attempt).unwrap();
        let (spec, _) = &self.asked[&attempt.job];
        let mut places = BTreeSet::from([Scope::Fleet]);
        for host in spec.together.iter().chain([&start.spec.host]) {
            let host = Scope::Host(host.clone());
            places.extend([self.above[&host].clone(), host]);
        }
        let instances = [Some(&spec.instance), start.member.as_ref()];
        (instances.into_iter().flatten().map(|name| name.as_str().to_string()).collect(), places)
    }

    fn check(&self) {
        let mut used: BTreeMap<(Scope, &str), u64> = BTreeMap::new();
        let mut instances = BTreeSet::new();
        for attempt in self.rig.running() {
            let (names, places) = self.uses(attempt);
            for name in names {
                assert!(instances.insert(name.clone()), "{name} is backed up twice at once");
            }
            let stands = self.rig.engine.job_status(attempt.job).unwrap().state == JobState::Paused;
            let (_, terms) = &self.asked[&attempt.job];
            for (place, (name, amount)) in
                places.iter().flat_map(|p| terms.demand.iter().map(move |d| (p, d)))
            {
                if !stands || name.as_str() == "memory" {
                    *used.entry((place.clone(), name.as_str())).or_default() += amount;
                }
            }
        }
        for (place, name, capacity) in (3..7).flat_map(|n| self.rig.engine.resources(&scope(n))) {
            let expected = used.get(&(place.clone(), name.as_str())).copied().unwrap_or_default();
            assert_eq!(capacity.used, expected, "{name} at {place}");
        }
        for job in &self.rig.engine.status().waiting_jobs {
            let why = self.rig.engine.explain(job.job.id).unwrap();
            assert!(!why.closed.is_empty(), "waits for nothing: {why}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_used_is_what_attempts_hold(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.check();
        }
    }
}
