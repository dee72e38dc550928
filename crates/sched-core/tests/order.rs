//! Who goes first among many: tenants, classes, the bound of overtaking, and the backlog as it is shown.

mod rig;

use std::sync::Arc;

use rig::{Rig, adjusted, finish, host, jobs, order, secs, spec, terms, with};
use sched_core::{
    EngineConfig, EventKind, JobSpec, PageCursor, PendingFilter, Priority, Reason, SLOTS, Scope,
};

#[test]
fn tenants_share_by_weight() {
    let mut config = EngineConfig::default();
    config.resources.insert(SLOTS.into(), 1);
    config.tenants = [("gold".into(), 3), ("iron".into(), 1)].into();
    let mut rig = Rig::new(config);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    for n in 0..40 {
        // All of gold's are less urgent, yet iron does not crowd it out.
        rig.submit(spec(&format!("i{n}")).tenant("iron"), with(Priority::High));
        rig.submit(spec(&format!("g{n}")).tenant("gold"), with(Priority::Low));
    }
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    let mut gold = 0;
    for _ in 0..40 {
        let attempt = rig.running()[0];
        let status = rig.engine.job_status(attempt.job).unwrap();
        gold += u32::from(status.job.instance.as_str().starts_with('g'));
        finish(&mut rig, attempt.job, Ok(()));
    }
    assert!((29..=31).contains(&gold), "{gold} of 40");
}

#[test]
fn critical_jobs_go_first_but_leave_a_share() {
    let mut rig = Rig::with_slots(10);
    for n in 0..20 {
        rig.submit(spec(&format!("c{n}")), with(Priority::Critical));
        rig.submit(spec(&format!("n{n}")), with(Priority::Normal));
    }
    rig.step();
    let critical = rig.running().iter().filter(|attempt| attempt.job.0 % 2 == 1).count();
    assert_eq!((critical, rig.running().len()), (8, 10));
}

/// The starvation bound: whoever comes later than the latest start plus the boosts does not overtake.
#[test]
fn nobody_overtakes_beyond_the_bound() {
    let mut rig = Rig::with_slots(1);
    let runs = rig.submit(spec("runs"), terms());
    rig.step();
    let waits = rig.submit(spec("waits"), adjusted(with(Priority::Low), |t| t.rpo = secs(7_200)));
    let latest = rig.engine.explain(waits).unwrap().latest_start;
    // 4 h of boost and 24 h for what is overdue.
    rig.clock.advance(secs(latest.as_second().abs_diff(rig.now().wall.as_second()) + 28 * 3600 + 1));
    let long_ago = "2020-01-01T00:00:00Z".parse().unwrap();
    for n in 0..20 {
        rig.submit(spec(&format!("later-{n}")).deadline(long_ago), with(Priority::High));
    }
    rig.step();
    finish(&mut rig, runs, Ok(()));
    assert_eq!(jobs(&rig.running()), [waits]);
}

/// Catch-up storm: after an outage of a day every instance has one pending backup, and they start in order of how
/// overdue they are, no more at once than there is room for.
#[test]
fn regression_no_storm_after_an_outage_of_a_day() {
    let mut rig = Rig::with_slots(3);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    for hour in 0..24_u64 {
        for instance in 0..30_u64 {
            let age = 3600 * (1 + instance % 7);
            let due = sched_core::wall_minus(rig.now().wall, secs(age).saturating_sub(secs(hour * 3600)));
            rig.submit(spec(&format!("db-{instance}")).deadline(due), terms());
        }
        rig.clock.advance(secs(3600));
        rig.step();
    }
    assert_eq!(rig.engine.pending_count(), 30, "missed runs coalesce");
    rig.engine.release(rig.now(), &Scope::Fleet);
    rig.step();
    let mut deadlines = vec![];
    while let Some(attempt) = rig.running().first().copied() {
        assert!(rig.running().len() <= 3);
        deadlines.push(rig.engine.job_status(attempt.job).unwrap().deadline);
        finish(&mut rig, attempt.job, Ok(()));
    }
    assert_eq!(deadlines.len(), 30);
    assert!(deadlines.is_sorted(), "the most overdue go first");
}

/// A flapping fleet gate moves a bounded number of entries, however many jobs stand behind it.
#[test]
fn a_flapping_gate_does_not_touch_the_backlog() {
    let mut config = EngineConfig::default();
    config.events = false;
    let mut rig = Rig::new(config);
    let full = |open: bool| match open {
        true => sched_core::CapacityState::Open,
        false => sched_core::CapacityState::Closed { reason: Reason::new("full") },
    };
    for n in 0..5_000 {
        let request = spec(&format!("db-{n}")).host(format!("host-{}", n % 1_000));
        rig.engine.submit(rig.now(), request, terms()).unwrap();
    }
    rig.step();
    let before = rig.engine.moves();
    for flap in 0..100 {
        rig.engine.set_capacity(rig.now(), Scope::Fleet, full(flap % 2 == 1));
        rig.step();
    }
    assert!(rig.engine.moves() - before <= 300, "{} moves", rig.engine.moves() - before);
}

#[test]
fn pages_show_every_waiting_job_once_while_others_come_and_go() {
    let mut rig = Rig::with_slots(1);
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let requests =
        (0..500).map(|n| (spec(&format!("db-{n}")).host(format!("h{}", n % 5)), Arc::new(terms())));
    let answers = rig.engine.submit_all(rig.now(), requests);
    let all: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().job()).collect();
    let (mut seen, mut from) = (vec![], Some(PageCursor::default()));
    while let Some(cursor) = from {
        let page = rig.engine.pending_page(&PendingFilter::all().scope(host("h3")), cursor, 7);
        seen.extend(page.jobs.into_iter().map(|status| status.job.id));
        from = page.next;
        // Others go while somebody reads.
        let gone: Vec<_> = all.iter().copied().filter(|job| job.0 % 5 == 1).collect();
        rig.engine.cancel_all(rig.now(), gone, &Reason::new("c"));
        rig.submit(spec(&format!("new-{}", seen.len())).host("h1"), terms());
    }
    seen.sort();
    let expected: Vec<_> = all.iter().copied().filter(|job| (job.0 - 1) % 5 == 3).collect();
    assert_eq!(seen, expected);
    let raised = rig.engine.reprioritize_all(rig.now(), expected.clone(), Priority::High);
    assert!(raised.iter().all(|answer| *answer == Ok(true)));
    let high = PendingFilter::all().priority(Priority::High);
    assert_eq!(rig.engine.pending_page(&high, PageCursor::default(), 1_000).jobs.len(), expected.len());
}

#[test]
fn durations_are_learned_and_the_past_can_be_asked() {
    let mut rig = Rig::with_slots(1);
    for _ in 0..6 {
        let job = rig.submit(spec("a"), terms());
        rig.step();
        rig.clock.advance(secs(300));
        finish(&mut rig, job, Ok(()));
    }
    rig.engine.hold(rig.now(), Scope::Fleet, order());
    let job = rig.submit(spec("a"), terms());
    let expected = rig.engine.job_status(job).unwrap().expected_duration;
    assert!(expected < secs(900), "{expected:?}, not the hour of the terms");
    let told: Vec<_> = rig.engine.decisions(job).map(|event| event.kind.clone()).collect();
    assert!(matches!(told[..], [EventKind::Submitted { .. }, EventKind::Deferred { .. }]), "{told:?}");
    rig.engine.cancel(rig.now(), job, Reason::new("c")).unwrap();
    assert!(rig.engine.forget(&"a".into()));
    assert!(!rig.engine.forget(&"a".into()));
    let fresh = rig.submit(JobSpec::new("a", "sqlite"), terms());
    assert_eq!(rig.engine.job_status(fresh).unwrap().expected_duration, terms().expected_duration);
}
