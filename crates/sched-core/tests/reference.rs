//! The engine against a scheduler that is obviously right and slow: a list of jobs, looked through from the most
//! urgent on after every input. Both must start the same jobs in the same order, and the engine must ask to be
//! woken no later than the list says that something can happen.

mod model;
mod rig;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Cells, EXPECTED_SECS, Job, RETRY_SECS, Reference, weight};
use proptest::prelude::*;
use rig::{Rig, secs};
use sched_core::{
    CalendarName, CapacityState, Engine, EngineConfig, JobId, JobSpec, JobTerms, LoadLevel, LoadState, Needs,
    Order, Plan, Preemption, Priority, Reason, Renewal, Renewed, RetryPolicy, SLOTS, Scope, TenantName,
};

const HOSTS: u8 = 4;

#[derive(Clone, Debug)]
enum Op {
    Submit {
        instance: u8,
        priority: Priority,
        disk: bool,
        group: Option<u8>,
        size: u64,
        tenant: u8,
        due_in: i64,
        start_in: i64,
    },
    End {
        which: usize,
    },
    Cancel {
        job: u64,
    },
    Reprioritize {
        job: u64,
        to: Priority,
    },
    Renew {
        job: u64,
        priority: Priority,
        disk: bool,
        group: Option<u8>,
        size: u64,
        calendar: Option<u8>,
    },
    Load {
        scope: u8,
        technology: Option<u8>,
        level: LoadLevel,
    },
    Room {
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
        place: u8,
        total: u64,
    },
    Limit {
        scope: u8,
        limit: Option<u32>,
    },
    Down {
        scope: u8,
        down: bool,
    },
    Plan {
        job: u64,
        start_in: Option<i64>,
    },
    Calendar {
        which: u8,
        cells: Vec<u8>,
    },
    Wait {
        secs: u64,
    },
    Wake,
}

fn op() -> impl Strategy<Value = Op> {
    let priority = || {
        prop_oneof![
            Just(Priority::Low),
            Just(Priority::Normal),
            Just(Priority::High),
            Just(Priority::Critical)
        ]
    };
    let level = prop_oneof![Just(LoadLevel::Calm), Just(LoadLevel::Busy), Just(LoadLevel::Peak)];
    let request = (0..24u8, priority(), any::<bool>(), prop::option::of(0..2u8), 1..5u64, 0..3u8);
    prop_oneof![
        9 => (request, -4_000..90_000i64, -60_000..30_000i64).prop_map(
            |((instance, priority, disk, group, size, tenant), due_in, start_in)| {
                Op::Submit { instance, priority, disk, group, size, tenant, due_in, start_in }
            }
        ),
        7 => any::<usize>().prop_map(|which| Op::End { which }),
        1 => (1..60u64).prop_map(|job| Op::Cancel { job }),
        1 => (1..60u64, priority()).prop_map(|(job, to)| Op::Reprioritize { job, to }),
        3 => (1..60u64, priority(), any::<bool>(), prop::option::of(0..2u8), 1..5u64, prop::option::of(0..2u8)).prop_map(
            |(job, priority, disk, group, size, calendar)| Op::Renew { job, priority, disk, group, size, calendar }
        ),
        3 => (0..16u8, prop::option::of(0..2u8), level)
            .prop_map(|(scope, technology, level)| Op::Load { scope, technology, level }),
        3 => (0..16u8, prop::bool::weighted(0.7)).prop_map(|(scope, open)| Op::Room { scope, open }),
        1 => (0..16u8).prop_map(|scope| Op::Hold { scope }),
        3 => (0..16u8).prop_map(|scope| Op::Release { scope }),
        2 => (0..7u8, 1..5u64).prop_map(|(place, total)| Op::Slots { place, total }),
        2 => (0..16u8, prop::option::of(1..4u32)).prop_map(|(scope, limit)| Op::Limit { scope, limit }),
        2 => (3..16u8, prop::bool::weighted(0.3)).prop_map(|(scope, down)| Op::Down { scope, down }),
        3 => (1..60u64, prop::option::weighted(0.8, -1_000..60_000i64))
            .prop_map(|(job, start_in)| Op::Plan { job, start_in }),
        1 => (0..2u8, prop::collection::vec(0..5u8, 1..30)).prop_map(|(which, cells)| Op::Calendar { which, cells }),
        3 => (0..20_000u64).prop_map(|secs| Op::Wait { secs }),
        4 => Just(Op::Wake),
    ]
}

fn scope(n: u8) -> Scope {
    match n {
        0 => Scope::Fleet,
        1 | 2 => Scope::Link(format!("link-{}", n - 1).into()),
        3..=6 => Scope::Host(format!("host-{}", n - 3).into()),
        7 | 8 => Scope::Technology(technology(n - 7).into()),
        9 | 10 => Scope::Group(format!("group-{}", n - 9).into()),
        n => Scope::Instance(format!("db-{}", n - 11).into()),
    }
}

fn technology(n: u8) -> &'static str {
    ["mysql", "sqlite"][usize::from(n % 2)]
}

fn calendar_name(n: u8) -> CalendarName {
    ["nightly", "weekly"][usize::from(n)].into()
}

fn tenant(n: u8) -> TenantName {
    if n == 0 { TenantName::default() } else { format!("tenant-{n}").into() }
}

fn new_pair() -> (Rig, Reference) {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 4);
    config.preemption = Preemption::Never;
    config.critical_share_percent = 100;
    config.history = 10_000;
    config.tenants = (1..3).map(|n| (tenant(n), weight(n) as u32)).collect();
    let mut rig = Rig::new(config);
    let mut reference = Reference::default();
    reference.totals.insert((Scope::Fleet, SLOTS), 4);
    reference.tenants.insert(0, 0);
    let now = rig.now();
    for host in 0..HOSTS {
        let host_scope = scope(3 + host);
        rig.engine.set_parent(now, &host_scope, &scope(1 + host / 2)).unwrap();
        rig.engine.set_resource(now, &host_scope, "disk".into(), 1).unwrap();
        reference.totals.insert((host_scope, "disk"), 1);
    }
    for group in [9, 10] {
        rig.engine.set_limit(now, &scope(group), Some(2)).unwrap();
        reference.limits.insert(scope(group), 2);
    }
    for which in [0, 1] {
        let cells = Cells(vec![2]);
        rig.engine.set_calendar(now, calendar_name(which), Some(Arc::new(cells.clone()))).unwrap();
        reference.calendars.insert(which, cells);
    }
    (rig, reference)
}

fn terms(priority: Priority, disk: bool, size: u64, calendar: Option<u8>) -> JobTerms {
    let mut terms = JobTerms::default();
    terms.priority = priority;
    terms.retry = RetryPolicy::new(3, secs(RETRY_SECS as u64), secs(RETRY_SECS as u64));
    terms.expected_duration = secs(EXPECTED_SECS as u64);
    if disk {
        terms.demand.add("disk", 1);
    }
    terms.window = calendar.map(calendar_name);
    terms.open_window_when_late = size.is_multiple_of(2);
    terms
}

fn gate(reference: &mut Reference, number: u8, scope: Scope, closed: bool) {
    if closed {
        reference.closed.insert((number, scope));
    } else {
        reference.closed.remove(&(number, scope));
    }
}

fn apply(rig: &mut Rig, reference: &mut Reference, op: &Op) {
    let now = rig.now();
    let at_ms = now.wall.as_millisecond();
    match op.clone() {
        Op::Submit { instance, priority, disk, group, size, tenant: of, due_in, start_in } => {
            if reference.waiting.values().any(|job| job.instance == instance) {
                return;
            }
            let host = instance % HOSTS;
            let deadline_ms = at_ms + due_in * 1000;
            let not_before_ms = (start_in > 0 && start_in < due_in).then_some(at_ms + start_in * 1000);
            let stamp = |ms| jiff::Timestamp::from_millisecond(ms).unwrap();
            let mut spec = JobSpec::new(format!("db-{instance}"), technology(instance))
                .host(format!("host-{host}"))
                .size_bytes(size)
                .tenant(tenant(of))
                .deadline(stamp(deadline_ms));
            spec.not_before = not_before_ms.map(stamp);
            let mut scopes = BTreeSet::from([
                Scope::Fleet,
                scope(1 + host / 2),
                scope(3 + host),
                scope(7 + instance % 2),
                Scope::Instance(format!("db-{instance}").into()),
            ]);
            if let Some(group) = group {
                spec = spec.group(format!("group-{group}"));
                scopes.insert(scope(9 + group));
            }
            let calendar = [None, Some(0), Some(1)][usize::from(instance % 3)];
            let terms = terms(priority, disk, size, calendar);
            spec.expected_duration = Some(terms.expected_duration);
            // Refused where a shrunk resource could never meet it, or a group lost its limit.
            let Ok(submission) = rig.engine.submit(now, spec, terms) else { return };
            let id = submission.job().0;
            let mut job = Job {
                key: (true, 0, 0, 0),
                instance,
                priority,
                disk,
                size,
                tenant: of,
                own_class: false,
                submitted_ms: at_ms,
                deadline_ms,
                not_before_ms,
                planned_ms: None,
                calendar,
                opens_when_late: size % 2 == 0,
                latest_ms: 0,
                scopes,
            };
            job.heed(&reference.calendars);
            job.rekey(id);
            reference.tenants.entry(of).or_insert(0);
            reference.waiting.insert(id, job);
        }
        Op::End { which } => {
            let running = rig.running();
            if !running.is_empty() {
                let attempt = running[which % running.len()];
                rig.finish(attempt, Ok(()));
                reference.running.remove(&attempt.job.0);
            }
        }
        Op::Cancel { job } => {
            if reference.waiting.remove(&job).is_some() {
                rig.engine.cancel(now, JobId(job), Reason::new("c")).unwrap();
            }
        }
        Op::Reprioritize { job, to } => {
            if let Some(entry) = reference.waiting.get_mut(&job) {
                entry.own_class |= entry.priority != to;
                entry.priority = to;
                entry.rekey(job);
                rig.engine.reprioritize(now, JobId(job), to).unwrap();
            }
        }
        Op::Renew { job, priority, disk, group, size, calendar } => {
            let Some(entry) = reference.waiting.get_mut(&job) else { return };
            let stamp = |ms| jiff::Timestamp::from_millisecond(ms).unwrap();
            let terms = terms(priority, disk, size, calendar);
            let mut spec = JobSpec::new(format!("db-{}", entry.instance), technology(entry.instance))
                .host(format!("host-{}", entry.instance % HOSTS))
                .size_bytes(size)
                .tenant(tenant(entry.tenant))
                .deadline(stamp(entry.deadline_ms));
            spec.expected_duration = Some(terms.expected_duration);
            let mut needs = Needs::default();
            entry.scopes.retain(|scope| !matches!(scope, Scope::Group(_)));
            if let Some(group) = group {
                spec = spec.group(format!("group-{group}"));
                entry.scopes.insert(scope(9 + group));
                needs.limits.push((format!("group-{group}").into(), 2));
                reference.limits.insert(scope(9 + group), 2);
            }
            // An operator's class outlasts new terms.
            if !entry.own_class {
                entry.priority = priority;
            }
            (entry.disk, entry.size, entry.calendar, entry.opens_when_late) =
                (disk, size, calendar, size % 2 == 0);
            entry.heed(&reference.calendars);
            entry.rekey(job);
            let mut renewed = Renewed { spec, terms: terms.into(), needs };
            assert_eq!(rig.engine.renew(now, JobId(job), &mut renewed), Ok(Renewal::PlacedAnew));
        }
        Op::Load { scope: s, technology: of, level } => {
            let state = LoadState::new(level, Reason::new("l"));
            rig.engine.set_load_for(now, scope(s), of.map(|of| technology(of).into()), state);
            reference.loads.insert((scope(s), of), level);
        }
        Op::Room { scope: s, open } => {
            let closed = CapacityState::Closed { reason: Reason::new("full") };
            rig.engine.set_capacity(now, scope(s), if open { CapacityState::Open } else { closed });
            gate(reference, 0, scope(s), !open);
        }
        Op::Hold { scope: s } => {
            rig.engine.hold(now, scope(s), Order::new("o", "h"));
            gate(reference, 1, scope(s), true);
        }
        Op::Release { scope: s } => {
            rig.engine.release(now, &scope(s));
            gate(reference, 1, scope(s), false);
        }
        Op::Down { scope: s, down } => {
            rig.engine.set_down(now, scope(s), down.then(|| Reason::new("down")));
            gate(reference, 2, scope(s), down);
        }
        Op::Slots { place, total } => {
            rig.engine.set_resource(now, &scope(place), SLOTS.into(), total).unwrap();
            reference.totals.insert((scope(place), SLOTS), total);
        }
        Op::Limit { scope: s, limit } => {
            rig.engine.set_limit(now, &scope(s), limit).unwrap();
            match limit {
                Some(limit) => _ = reference.limits.insert(scope(s), limit),
                None => _ = reference.limits.remove(&scope(s)),
            }
        }
        Op::Plan { job, start_in } => {
            if let Some(entry) = reference.waiting.get_mut(&job) {
                entry.planned_ms = start_in.map(|start_in| at_ms + start_in * 1000);
                let start = entry.planned_ms.map(|ms| jiff::Timestamp::from_millisecond(ms).unwrap());
                let plan = start.map(|start| Plan::new(start, Reason::new("a calm hour")));
                assert!(rig.engine.plan(now, JobId(job), plan).unwrap());
            }
        }
        Op::Calendar { which, cells } => {
            let cells = Cells(cells);
            rig.engine.set_calendar(now, calendar_name(which), Some(Arc::new(cells.clone()))).unwrap();
            reference.calendars.insert(which, cells);
            for (id, job) in reference.waiting.iter_mut().filter(|(_, job)| job.calendar == Some(which)) {
                job.heed(&reference.calendars);
                job.rekey(*id);
            }
        }
        Op::Wait { secs: s } => rig.clock.advance(secs(s)),
        Op::Wake => rig.sleep_until_next_wakeup(),
    }
}

fn check(rig: &mut Rig, reference: &mut Reference, op: &Op) {
    let before = rig.running();
    rig.step();
    let at_ms = rig.now().wall.as_millisecond();
    let started: Vec<_> =
        rig.running().iter().filter(|a| !before.contains(a)).map(|attempt| attempt.job.0).collect();
    let expected = reference.settle(at_ms);
    assert_eq!(started, expected, "after {op:?} at {at_ms}");
    assert_eq!(rig.engine.pending_count(), reference.waiting.len());
    if let Some(act) = reference.next_act(at_ms) {
        let wakeup = rig.engine.next_wakeup().expect("somebody must look when time opens a gate");
        let wakes = rig.now().plus(wakeup.since(rig.now().mono)).wall.as_millisecond();
        assert!(wakes <= act, "woken {} ms late", wakes - act);
    }
    for (id, job) in &reference.waiting {
        let explained = rig.engine.explain(JobId(*id)).unwrap();
        assert!(!explained.closed.is_empty(), "{id} waits without a reason: {job:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn starts_what_a_look_through_the_whole_list_would_start(ops in prop::collection::vec(op(), 1..250)) {
        let (mut rig, mut reference) = new_pair();
        for op in &ops {
            apply(&mut rig, &mut reference, op);
            check(&mut rig, &mut reference, op);
        }
    }
}

/// A few histories of thousands of steps, where slow leaks show.
#[test]
fn long_histories_agree_too() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    for seed in 0..4_u8 {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let (mut rig, mut reference) = new_pair();
        for step in 0..3_000 {
            let op = op().new_tree(&mut runner).unwrap().current();
            apply(&mut rig, &mut reference, &op);
            check(&mut rig, &mut reference, &op);
            // Or sooner or later everything is closed.
            for s in (0..16).filter(|_| step % 30 == 0) {
                let openings = [
                    Op::Release { scope: s },
                    Op::Room { scope: s, open: true },
                    Op::Down { scope: s, down: false },
                    Op::Load { scope: s, technology: None, level: LoadLevel::Calm },
                    Op::Load { scope: s, technology: Some(s % 2), level: LoadLevel::Calm },
                    Op::Limit { scope: s, limit: Some(3) },
                    Op::Calendar { which: s % 2, cells: vec![2, 2, 0, 2] },
                ];
                for op in openings {
                    apply(&mut rig, &mut reference, &op);
                    check(&mut rig, &mut reference, &op);
                }
            }
        }
        let ended = rig.engine.status().ended.values().sum::<u64>();
        assert!(ended > 200, "the history did something: {ended}");
    }
}

/// Inputs of the same moment about hosts that share nothing may come in any order.
#[test]
fn the_order_of_inputs_about_disjoint_hosts_does_not_matter() {
    let run = |swapped: bool| {
        let (mut rig, _) = new_pair();
        let now = rig.now();
        let load = |level| LoadState::new(level, Reason::new("l"));
        let one = |engine: &mut Engine| engine.set_load(now, scope(3), load(LoadLevel::Peak));
        let other = |engine: &mut Engine| engine.set_down(now, scope(5), Some(Reason::new("down")));
        for instance in 0..4 {
            rig.submit(
                JobSpec::new(format!("db-{instance}"), "mysql").host(format!("host-{instance}")),
                JobTerms::default(),
            );
        }
        if swapped {
            other(&mut rig.engine);
            one(&mut rig.engine);
        } else {
            one(&mut rig.engine);
            other(&mut rig.engine);
        }
        rig.step();
        rig.running()
    };
    let first = run(false);
    assert_eq!(first.len(), 2);
    assert_eq!(first, run(true));
}
