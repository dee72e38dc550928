//! Random histories: the invariants of `docs/architecture.md` hold after every step.

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rig::{Rig, secs};
use sched_core::{
    AttemptEnd, AttemptId, BackupKind, Calendar, CalendarState, Cancellation, CapacityState, EngineConfig,
    EngineStatus, EngineSummary, Event, EventKind, Gate, JobId, JobSpec, JobState, JobTerms, Kinds,
    LoadLevel, LoadState, Needs, Order, Output, Plan, Priority, Reason, Renewed, RetryPolicy, RunError,
    RunPhase, SLOTS, Scope, Stretch, WindowEnd,
};

#[derive(Clone, Debug)]
enum Op {
    Submit {
        instance: u8,
        host: u8,
        priority: Priority,
        slots: u64,
        tape: u64,
        io: u64,
        minutes: u64,
        start_in: Option<u64>,
        pausable: bool,
        incremental: bool,
    },
    End {
        which: usize,
        result: u8,
    },
    Acknowledge {
        which: usize,
    },
    Cancel {
        job: u64,
    },
    CancelAttempt {
        which: usize,
    },
    Stale {
        which: usize,
        back: u32,
    },
    Slow(bool),
    Reprioritize {
        job: u64,
        to: Priority,
    },
    Load {
        scope: u8,
        level: LoadLevel,
    },
    Capacity {
        scope: u8,
        open: bool,
    },
    Hold {
        scope: u8,
    },
    Release {
        scope: u8,
    },
    Slots {
        total: u64,
    },
    Wait {
        secs: u64,
    },
    Wake,
    /// Open in the first `open` hours of every `round`, a blackout in the last.
    Windows {
        open: i64,
        round: i64,
    },
    Phase {
        which: usize,
        pausable: bool,
        io: u64,
    },
    Plan {
        job: u64,
        start_in: Option<u64>,
    },
    StepWall {
        secs: i64,
    },
    Renew {
        job: u64,
        host: u8,
        priority: Priority,
        slots: u64,
        tape: u64,
        runs: u64,
        pausable: bool,
    },
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High), Just(Priority::Critical)]
}

fn op() -> impl Strategy<Value = Op> {
    let level = prop_oneof![Just(LoadLevel::Calm), Just(LoadLevel::Busy), Just(LoadLevel::Peak)];
    // Large amounts that share a band, and durations that share a span, though one may fit where another does not.
    let size = (1..3u64, 0..3u64, prop_oneof![Just(0), 960..1_040u64], prop_oneof![Just(10), 20..60u64]);
    let flags = (any::<bool>(), prop::bool::weighted(0.3));
    let submit = (0..12u8, 0..3u8, priority(), size, prop::option::of(0..90_000u64), flags);
    prop_oneof![
        8 => submit.prop_map(|(instance, host, priority, (slots, tape, io, minutes), start_in, (pausable, incremental))| {
            Op::Submit { instance, host, priority, slots, tape, io, minutes, start_in, pausable, incremental }
        }),
        6 => (any::<usize>(), 0..4u8).prop_map(|(which, result)| Op::End { which, result }),
        3 => any::<usize>().prop_map(|which| Op::Acknowledge { which }),
        2 => (1..60u64).prop_map(|job| Op::Cancel { job }),
        1 => any::<usize>().prop_map(|which| Op::CancelAttempt { which }),
        2 => (any::<usize>(), 0..3u32).prop_map(|(which, back)| Op::Stale { which, back }),
        1 => any::<bool>().prop_map(Op::Slow),
        2 => (1..60u64, priority()).prop_map(|(job, to)| Op::Reprioritize { job, to }),
        3 => (0..5u8, level).prop_map(|(scope, level)| Op::Load { scope, level }),
        2 => (0..5u8, any::<bool>()).prop_map(|(scope, open)| Op::Capacity { scope, open }),
        1 => (0..5u8).prop_map(|scope| Op::Hold { scope }),
        2 => (0..5u8).prop_map(|scope| Op::Release { scope }),
        1 => (1..5u64).prop_map(|total| Op::Slots { total }),
        3 => (0..40_000u64).prop_map(|secs| Op::Wait { secs }),
        4 => Just(Op::Wake),
        1 => (0..5i64, 1..8i64).prop_map(|(open, round)| Op::Windows { open, round }),
        2 => (any::<usize>(), any::<bool>(), 0..600u64)
            .prop_map(|(which, pausable, io)| Op::Phase { which, pausable, io }),
        2 => (1..60u64, prop::option::weighted(0.8, 0..60_000u64)).prop_map(|(job, start_in)| Op::Plan { job, start_in }),
        1 => (-90_000..90_000i64).prop_map(|secs| Op::StepWall { secs }),
        3 => (1..60u64, 0..3u8, priority(), 1..3u64, 0..3u64, 1..3u64, any::<bool>()).prop_map(
            |(job, host, priority, slots, tape, runs, pausable)| {
                Op::Renew { job, host, priority, slots, tape, runs, pausable }
            }
        ),
    ]
}

#[derive(Debug)]
struct Rounds {
    open: i64,
    round: i64,
}

impl Calendar for Rounds {
    fn at(&self, at: jiff::Timestamp) -> Stretch {
        let hour = at.as_second().div_euclid(3_600);
        let edge = |hour: i64| jiff::Timestamp::from_second(hour * 3_600).ok();
        let reason = Reason::new("w");
        let state = match hour.rem_euclid(self.round) {
            n if n < self.open => CalendarState::Open,
            n if n + 1 < self.round => CalendarState::Closed { reason },
            _ => CalendarState::Blackout { reason },
        };
        Stretch { from: edge(hour), until: edge(hour + 1), state }
    }
}

fn scope(n: u8) -> Scope {
    match n {
        0 => Scope::Fleet,
        1..=2 => Scope::Host(format!("host-{}", n - 1).into()),
        n => Scope::Instance(format!("db-{n}").into()),
    }
}

/// Every second instance keeps its two kinds apart.
fn apart(instance: u8) -> Kinds {
    let kinds = [BackupKind::Full, BackupKind::Incremental];
    kinds.into_iter().filter(|_| instance % 2 == 1).collect()
}

fn new_rig() -> Rig {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 3);
    config.resources.insert("tape".into(), 2);
    config.resources.insert("io".into(), 2_000);
    config.history = 10_000;
    let mut rig = Rig::new(config);
    set_windows(&mut rig, 1, 1);
    rig
}

fn set_windows(rig: &mut Rig, open: i64, round: i64) {
    let rounds = Arc::new(Rounds { open, round });
    rig.engine.set_calendar(rig.now(), "rounds".into(), Some(rounds)).unwrap();
}

/// Applies an operation and lets the engine settle.
fn apply(rig: &mut Rig, op: &Op) {
    let now = rig.now();
    match op.clone() {
        Op::Submit {
            instance,
            host,
            priority,
            slots,
            tape,
            io,
            minutes,
            start_in,
            pausable,
            incremental,
        } => {
            let mut terms = JobTerms::default();
            terms.apart = apart(instance);
            terms.priority = priority;
            terms.demand = Default::default();
            terms.demand.add(SLOTS, slots);
            terms.demand.add("tape", tape);
            terms.demand.add("io", io);
            terms.expected_duration = secs(60 * minutes);
            terms.pausable = pausable;
            terms.retry = RetryPolicy::new(3, secs(60), secs(600));
            terms.window = (host == 1).then(|| "rounds".into());
            terms.open_window_when_late = instance % 2 == 0;
            terms.window_end =
                [WindowEnd::Finish, WindowEnd::Pause, WindowEnd::Stop][usize::from(instance % 3)];
            terms.timeout = (host == 2).then(|| secs(20_000));
            let mut spec = JobSpec::new(format!("db-{instance}"), "sqlite").host(format!("host-{host}"));
            if incremental {
                spec = spec.kind(BackupKind::Incremental);
            }
            if let Some(start_in) = start_in.filter(|s| s % 3 == 0) {
                spec = spec.not_before(now.plus(secs(start_in)).wall);
            }
            // Refusals (a shrunk resource, another host for the same instance) change nothing.
            let _ = rig.engine.submit(now, spec, terms);
        }
        Op::End { which, result } => {
            let running = rig.running();
            if !running.is_empty() {
                let result = match result {
                    0 | 1 => Ok(()),
                    2 => Err(RunError::Retryable("r".into())),
                    _ => Err(RunError::Permanent("p".into())),
                };
                rig.finish(running[which % running.len()], result);
            }
        }
        Op::Acknowledge { which } => {
            let running = rig.running();
            if !running.is_empty() {
                let attempt = running[which % running.len()];
                let _ = rig.engine.started(now, attempt)
                    || rig.engine.paused(now, attempt)
                    || rig.engine.resumed(now, attempt);
            }
        }
        Op::CancelAttempt { which } => {
            let running = rig.running();
            if !running.is_empty() {
                let attempt = running[which % running.len()];
                let told = rig.engine.cancel(now, attempt.job, Reason::new("c"));
                assert_eq!(told, Ok(Cancellation::Requested), "whatever it is doing");
                let state = rig.engine.job_status(attempt.job).unwrap().state;
                assert_eq!(state, JobState::Cancelling);
            }
        }
        Op::Stale { which, back } => report_stale(rig, which, back),
        Op::Slow(slow) => rig.is_slow = slow,
        Op::Cancel { job } => _ = rig.engine.cancel(now, JobId(job), Reason::new("c")),
        Op::Reprioritize { job, to } => _ = rig.engine.reprioritize(now, JobId(job), to),
        Op::Load { scope: s, level } => {
            rig.engine.set_load(now, scope(s), LoadState::new(level, Reason::new("l")));
        }
        Op::Capacity { scope: s, open } => {
            let closed = CapacityState::Closed { reason: Reason::new("full") };
            rig.engine.set_capacity(now, scope(s), if open { CapacityState::Open } else { closed });
        }
        Op::Hold { scope: s } => rig.engine.hold(now, scope(s), Order::new("h", "h")),
        Op::Release { scope: s } => _ = rig.engine.release(now, &scope(s)),
        Op::Slots { total } => rig.engine.set_resource(now, &Scope::Fleet, SLOTS.into(), total).unwrap(),
        Op::Wait { secs: s } => rig.clock.advance(secs(s)),
        Op::Wake => rig.sleep_until_next_wakeup(),
        Op::Windows { open, round } => set_windows(rig, open, round),
        Op::Phase { which, pausable, io } => {
            let running = rig.running();
            if !running.is_empty() {
                let phase = RunPhase::new("p").gives_back("io", io).gives_back(SLOTS, 1);
                let phase = if pausable { phase.pausable() } else { phase };
                rig.engine.phase(now, running[which % running.len()], phase);
            }
        }
        Op::Plan { job, start_in } => {
            let start = start_in.map(|start_in| now.plus(secs(start_in)).wall);
            let plan = start.map(|start| Plan::new(start, Reason::new("p")));
            _ = rig.engine.plan(now, JobId(job), plan);
        }
        Op::Renew { job, host, priority, slots, tape, runs, pausable } => {
            let Ok(status) = rig.engine.job_status(JobId(job)) else { return };
            let mut terms = JobTerms::default();
            terms.priority = priority;
            terms.demand = Default::default();
            terms.demand.add(SLOTS, slots);
            terms.demand.add("tape", tape);
            terms.pausable = pausable;
            let (_, number) = status.job.instance.as_str().split_at(3);
            terms.apart = apart(number.parse().unwrap());
            terms.window = (host == 1).then(|| "rounds".into());
            let host: sched_core::HostName = format!("host-{host}").into();
            // What a host counts runs by has its number in its name.
            let counted = sched_core::ResourceName::from(format!("{runs} of sqlite"));
            terms.demand.add(counted.clone(), 1);
            let spec =
                JobSpec::new(&status.job.instance, "sqlite").host(host.clone()).group(format!("g-{runs}"));
            let spec = spec.kind(status.job.kind);
            let needs = Needs {
                limits: vec![(format!("g-{runs}").into(), runs as u32)],
                resources: vec![(host, counted, runs)],
            };
            let mut renewed = Renewed { spec, terms: terms.into(), needs };
            rig.engine.renew(now, JobId(job), &mut renewed).unwrap();
        }
        Op::StepWall { secs } => {
            let to = if secs < 0 {
                sched_core::wall_minus(now.wall, Duration::from_secs(secs.unsigned_abs()))
            } else {
                sched_core::wall_plus(now.wall, Duration::from_secs(secs.unsigned_abs()))
            };
            let (before, told) = (rig.running(), rig.events.len());
            rig.clock.step_wall(to);
            rig.step();
            let suspect = |event: &Event| matches!(event.kind, EventKind::WallStepped { .. });
            if rig.events[told..].iter().any(|event| suspect(event)) {
                assert_eq!(rig.running(), before, "a step that nobody believes yet has started something");
            }
        }
    }
    rig.step();
}

/// Reports about an attempt that ended, or has not begun, change nothing.
fn report_stale(rig: &mut Rig, which: usize, back: u32) {
    let now = rig.now();
    let status = rig.engine.status();
    let jobs: Vec<_> = status.active_jobs.iter().chain(&status.waiting_jobs).collect();
    if jobs.is_empty() {
        return;
    }
    let job = &jobs[which % jobs.len()].job;
    let number = (job.attempt + 1).saturating_sub(back);
    let attempt = AttemptId { job: job.id, number };
    if rig.running().contains(&attempt) {
        return;
    }
    let end = AttemptEnd::new(9, Ok(()));
    let heard = [
        rig.engine.started(now, attempt),
        rig.engine.paused(now, attempt),
        rig.engine.resumed(now, attempt),
        rig.engine.ended(now, attempt, end),
    ];
    assert_eq!(heard, [false; 4], "{attempt:?}");
    assert_eq!(rig.engine.poll_output(), None);
    assert_eq!(rig.engine.status(), status);
}

/// What is counted as jobs come and go is what looking at all of them finds.
fn summary_is_what_is_listed(summary: &EngineSummary, status: &EngineStatus) {
    let mut backlog = BTreeMap::<_, usize>::new();
    for job in &status.waiting_jobs {
        *backlog.entry((job.job.technology.clone(), job.job.priority)).or_default() += 1;
    }
    let counted = summary.backlog.iter().map(|of| ((of.technology.clone(), of.priority), of.waiting));
    assert!(counted.eq(backlog), "{summary:?}");
    let mut active = BTreeMap::<_, usize>::new();
    status.active_jobs.iter().for_each(|job| *active.entry(job.state).or_default() += 1);
    assert_eq!(summary.active, active);
    assert_eq!((summary.waiting, &summary.ended), (status.waiting, &status.ended));
}

fn check(rig: &Rig, shrunk: bool) {
    let status = rig.engine.status();
    let running: BTreeSet<_> = rig.running().iter().map(|attempt| attempt.job).collect();
    let active: BTreeSet<_> = status.active_jobs.iter().map(|job| job.job.id).collect();
    assert_eq!(running, active, "what was started and has not ended is what is under way");
    assert_eq!((status.waiting, status.active), (status.waiting_jobs.len(), status.active_jobs.len()));
    summary_is_what_is_listed(&rig.engine.summary(), &status);
    let mut instances = BTreeSet::new();
    for job in &status.active_jobs {
        assert!(
            instances.insert((job.job.instance.clone(), job.job.kind)),
            "an instance overlaps itself: {job:?}"
        );
    }
    for (instance, _) in &instances {
        let (_, number) = instance.as_str().split_at(3);
        let both = BackupKind::ALL.iter().filter(|kind| instances.contains(&(instance.clone(), **kind)));
        assert!(
            number.parse::<u8>().unwrap() % 2 == 0 || both.count() == 1,
            "{instance}: kinds are kept apart"
        );
    }
    for (name, capacity) in &status.resources {
        assert!(shrunk || capacity.used <= capacity.total, "{name} is used above its total: {capacity:?}");
        assert!(!status.active_jobs.is_empty() || capacity.used == 0, "{name} is held by nobody");
    }
    let next = rig.engine.next_wakeup();
    let mut fresh: BTreeMap<_, u32> = BTreeMap::new();
    for job in &status.waiting_jobs {
        let explained = rig.engine.explain(job.job.id).unwrap();
        let Some(first) = explained.closed.first() else { panic!("{job:?} waits for nothing") };
        let told = job.waits_for.as_ref().expect("a waiting job says what it waits for");
        assert!(
            explained.closed.iter().any(|gate| gate.gate == told.gate && gate.scope == told.scope),
            "{} waits for {told}, which is open; closed is {first}",
            job.job.id
        );
        let by_time = [Gate::Time, Gate::Plan, Gate::Load, Gate::Window, Gate::Blackout].contains(&told.gate);
        if by_time && told.until.is_some() {
            assert!(next.is_some(), "time alone can open {told}, and nobody would look");
        }
        if job.job.attempt == 0 {
            *fresh.entry((job.job.instance.clone(), job.job.kind)).or_default() += 1;
        }
    }
    assert!(fresh.values().all(|n| *n == 1), "one pending job an instance and kind");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_step(ops in prop::collection::vec(op(), 1..120)) {
        let mut rig = new_rig();
        let mut shrunk = false;
        for op in &ops {
            apply(&mut rig, op);
            shrunk |= matches!(op, Op::Slots { .. });
            check(&rig, shrunk);
        }
    }

    #[test]
    fn the_same_history_gives_the_same_outputs(ops in prop::collection::vec(op(), 1..80)) {
        let run = || {
            let mut rig = new_rig();
            ops.iter().for_each(|op| apply(&mut rig, op));
            (rig.events, rig.outputs)
        };
        prop_assert_eq!(run(), run());
    }

    /// When everything opens and every attempt ends, every accepted job ends: nothing is lost, nothing stuck.
    #[test]
    fn every_job_ends_once_the_troubles_are_over(ops in prop::collection::vec(op(), 1..120)) {
        let mut rig = new_rig();
        ops.iter().for_each(|op| apply(&mut rig, op));
        for n in 0..5 {
            apply(&mut rig, &Op::Release { scope: n });
            apply(&mut rig, &Op::Capacity { scope: n, open: true });
            apply(&mut rig, &Op::Load { scope: n, level: LoadLevel::Calm });
        }
        apply(&mut rig, &Op::Slots { total: 3 });
        apply(&mut rig, &Op::Windows { open: 1, round: 4 });
        let mut rounds = 0;
        while rig.engine.status().waiting + rig.engine.status().active > 0 {
            rounds += 1;
            prop_assert!(rounds < 1_000, "stuck: {:?}", rig.engine.status());
            for attempt in rig.running() {
                rig.finish(attempt, Ok(()));
            }
            rig.step();
            if rig.running().is_empty() {
                rig.sleep_until_next_wakeup();
                rig.step();
            }
        }
        let ended = rig.outputs.iter().filter_map(|o| match o {
            Output::Ended(status) => Some(status.job.id),
            _ => None,
        });
        let ended: Vec<_> = ended.collect();
        let distinct: BTreeSet<_> = ended.iter().collect();
        prop_assert_eq!(ended.len(), distinct.len(), "a job ended twice");
        prop_assert!(rig.engine.status().resources.values().all(|capacity| capacity.used == 0));
        let finals = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];
        for id in distinct {
            prop_assert!(finals.contains(&rig.engine.job_status(*id).unwrap().state));
        }
    }
}

#[test]
fn kinds_of_one_instance_are_apart() {
    let mut rig = Rig::with_slots(2);
    rig.submit(JobSpec::new("a", "sqlite"), JobTerms::default());
    rig.submit(JobSpec::new("a", "sqlite").kind(BackupKind::Log), JobTerms::default());
    rig.step();
    assert_eq!(rig.running().len(), 2);
}
