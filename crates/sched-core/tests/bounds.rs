//! Bounds that hold for every history: how far anybody overtakes, and what an event costs.

mod rig;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rig::{Rig, secs};
use sched_core::{
    CapacityState, EngineConfig, JobSpec, JobTerms, LoadLevel, LoadState, Order, Priority, Reason, SLOTS,
    Scope,
};

/// The largest boost, and what overdue jobs are placed ahead of their submission.
const AHEAD: Duration = Duration::from_secs((4 + 24) * 3_600);

#[derive(Clone, Debug)]
enum Request {
    Submit { priority: Priority, rpo_hours: u64, minutes: u64, overdue: bool },
    End,
    Wait { minutes: u64 },
}

fn request() -> impl Strategy<Value = Request> {
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    prop_oneof![
        6 => (priority, 2..96u64, 1..600u64, any::<bool>()).prop_map(|(priority, rpo_hours, minutes, overdue)| {
            Request::Submit { priority, rpo_hours, minutes, overdue }
        }),
        3 => Just(Request::End),
        2 => (0..2_000u64).prop_map(|minutes| Request::Wait { minutes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// The starvation bound, for jobs that nothing but their turn keeps waiting.
    #[test]
    fn nobody_overtakes_who_came_later_than_the_latest_start_and_the_boosts(
        requests in prop::collection::vec(request(), 1..200),
    ) {
        let mut rig = Rig::with_slots(1);
        let mut submitted = BTreeMap::new();
        let mut started = 0;
        for (n, request) in requests.into_iter().enumerate() {
            match request {
                Request::Submit { priority, rpo_hours, minutes, overdue } => {
                    let mut terms = JobTerms::default();
                    terms.priority = priority;
                    terms.rpo = secs(3_600 * rpo_hours);
                    terms.expected_duration = secs(60 * minutes);
                    let mut spec = JobSpec::new(format!("db-{n}"), "sqlite");
                    if overdue {
                        spec = spec.deadline(rig.now().wall - terms.rpo);
                    }
                    let job = rig.submit(spec, terms);
                    submitted.insert(job, rig.now().wall);
                }
                Request::End => {
                    if let Some(attempt) = rig.running().first() {
                        rig.finish(*attempt, Ok(()));
                    }
                }
                Request::Wait { minutes } => rig.clock.advance(secs(60 * minutes)),
            }
            let waiting = rig.engine.status().waiting_jobs;
            let before = rig.running();
            rig.step();
            let starts = rig.running().into_iter().filter(|attempt| !before.contains(attempt));
            for start in starts {
                started += 1;
                let came = submitted[&start.job];
                for other in waiting.iter().filter(|other| other.job.id != start.job) {
                    prop_assert!(
                        came <= other.latest_start.max(submitted[&other.job.id]) + AHEAD,
                        "{} overtakes {}", start.job, other.job.id
                    );
                }
            }
        }
        prop_assert!(started > 0 || submitted.is_empty());
    }
}

/// What flaps.
#[derive(Clone, Debug)]
enum Flap {
    Hold { scope: u8 },
    Release { scope: u8 },
    Room { scope: u8, open: bool },
    Load { scope: u8, level: LoadLevel },
    Limit { group: u8, limit: u32 },
    End,
    Rest { secs: u64 },
}

fn flap() -> impl Strategy<Value = Flap> {
    let level = prop_oneof![Just(LoadLevel::Calm), Just(LoadLevel::Busy), Just(LoadLevel::Peak)];
    prop_oneof![
        2 => (0..SCOPES).prop_map(|scope| Flap::Hold { scope }),
        3 => (0..SCOPES).prop_map(|scope| Flap::Release { scope }),
        3 => (0..SCOPES, any::<bool>()).prop_map(|(scope, open)| Flap::Room { scope, open }),
        2 => (0..SCOPES, level).prop_map(|(scope, level)| Flap::Load { scope, level }),
        2 => (0..2u8, 1..40u32).prop_map(|(group, limit)| Flap::Limit { group, limit }),
        6 => Just(Flap::End),
        1 => (0..60u64).prop_map(|secs| Flap::Rest { secs }),
    ]
}

const SCOPES: u8 = 11;
const BACKLOG: usize = 600;
/// Two technologies, three destinations, two tenants, two loads that are tolerated and two demands.
const CLASSES: u64 = 2 * 3 * 2 * 2 * 2;
/// A class that a gate touches is shut and shown again at each of three levels, at most, and a job that starts is
/// let in, considered and started.
const MOVES: u64 = 6;

fn scope(n: u8) -> Scope {
    match n {
        0 => Scope::Fleet,
        1 => Scope::Link("wan".into()),
        2..=3 => Scope::Host(format!("host-{}", n - 2).into()),
        4..=5 => Scope::Technology(["mysql", "sqlite"][usize::from(n - 4)].into()),
        6..=8 => Scope::Destination(format!("bucket-{}", n - 6).into()),
        n => Scope::Group(format!("group-{}", n - 9).into()),
    }
}

/// Jobs of every class, host and group; each is parked at its closed group once before counting begins.
fn with_a_backlog() -> Rig {
    let mut config = EngineConfig::default();
    config.events = false;
    config.resources.insert(SLOTS.into(), 6);
    let mut rig = Rig::new(config);
    let now = rig.now();
    for n in 0..2 {
        rig.engine.set_parent(now, &scope(2 + n), &scope(1)).unwrap();
        rig.engine.set_limit(now, &scope(9 + n), Some(10)).unwrap();
        rig.engine.hold(now, scope(9 + n), Order::new("ana", "until all have come"));
    }
    for n in 0..BACKLOG {
        let mut terms = JobTerms::default();
        terms.priority = if n % 5 == 0 { Priority::High } else { Priority::Normal };
        terms.demand.add(SLOTS, (n % 7 == 0).into());
        let mut spec = JobSpec::new(format!("db-{n}"), ["mysql", "sqlite"][n / 3 % 2])
            .host(format!("host-{}", n % 2))
            .destination(format!("bucket-{}", n % 3));
        if n % 4 == 0 {
            spec = spec.tenant("other");
        }
        if n % 2 == 0 {
            spec = spec.group(format!("group-{}", n / 2 % 2));
        }
        rig.submit(spec, terms);
    }
    rig.step();
    rig
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// The backlog is never looked through: not by a gate that flaps, nor by one that opens for a whole group.
    #[test]
    fn what_flaps_moves_no_more_than_it_starts_and_the_classes_that_it_touches(
        flaps in prop::collection::vec(flap(), 1..150),
    ) {
        let mut rig = with_a_backlog();
        let started = |rig: &Rig| BACKLOG - rig.engine.pending_count();
        for flap in flaps {
            let now = rig.now();
            let (moves, starts) = (rig.engine.moves(), started(&rig));
            match flap.clone() {
                Flap::Hold { scope: s } => rig.engine.hold(now, scope(s), Order::new("ana", "a test")),
                Flap::Release { scope: s } => _ = rig.engine.release(now, &scope(s)),
                Flap::Room { scope: s, open } => {
                    let closed = CapacityState::Closed { reason: Reason::new("full") };
                    rig.engine.set_capacity(now, scope(s), if open { CapacityState::Open } else { closed });
                }
                Flap::Load { scope: s, level } => {
                    rig.engine.set_load(now, scope(s), LoadState::new(level, Reason::new("a test")));
                }
                Flap::Limit { group, limit } => rig.engine.set_limit(now, &scope(9 + group), Some(limit)).unwrap(),
                Flap::End => {
                    if let Some(attempt) = rig.running().first() {
                        rig.finish(*attempt, Ok(()));
                    }
                }
                Flap::Rest { secs: s } => rig.clock.advance(secs(s)),
            }
            rig.step();
            let (moved, starts) = (rig.engine.moves() - moves, (started(&rig) - starts) as u64);
            prop_assert!(
                moved <= MOVES * (starts + CLASSES),
                "{moved} moves for {starts} starts after {flap:?}"
            );
        }
    }
}
