//! The plans of a fleet, kept up to date.

mod timeline;

use jiff::Timestamp;
use sched_core::{JobId, Plan};
use sched_workload::Forecast;
use sched_workload::plan::{
    FleetPlanner, LinkId, LinkLedger, LinkSet, OpenInterval, PlanRequest, PlanSettings, PlanSource,
    PlannedJob, Planner,
};
use timeline::{Night, at, exact, forecast, minute, nightly, windows};

/// What a fleet was told of its jobs, in order.
fn tell(fleet: &mut FleetPlanner, now: i64, source: &dyn PlanSource) -> Vec<(JobId, Option<Timestamp>)> {
    let mut changes = Vec::new();
    while fleet.next_replan(at(now)) <= at(now) {
        fleet.replan(at(now), source, 7, &mut changes);
    }
    let start = |(job, plan): (JobId, Option<Plan>)| (job, plan.map(|plan| plan.start));
    changes.into_iter().map(start).collect()
}

#[test]
fn a_herd_of_equals_levels_its_link_over_the_window() {
    let mut fleet = FleetPlanner::new(PlanSettings::default(), at(600)).unwrap();
    let links = LinkSet::new([fleet.add_link(1_000)]).unwrap();
    (0..400).for_each(|id| fleet.insert(JobId(id), nightly(links, id)));
    let changes = tell(&mut fleet, 600, &Night);
    assert_eq!(changes.len(), 400);
    let slots = || (0..32).map(|slot| fleet.ledger().fill(LinkId(0), at(1320 + slot * 15)));
    // The first and the last hour cannot be full: no run begins before the window or ends after it.
    let (most, mean) = (slots().fold(0.0, f64::max), slots().sum::<f64>() / 32.0);
    assert!(most / mean < 1.35, "{most} {mean}");
    let mut starts: Vec<Timestamp> = changes.iter().map(|(_, start)| start.unwrap()).collect();
    starts.sort();
    starts.dedup();
    assert!(starts.len() > 300, "{}: not everybody at the edge of a slot", starts.len());
}

#[test]
fn a_fleet_that_nothing_happens_to_keeps_its_plans() {
    let mut fleet = FleetPlanner::new(PlanSettings::default(), at(600)).unwrap();
    let links = LinkSet::new([fleet.add_link(2_000)]).unwrap();
    (0..100).for_each(|id| fleet.insert(JobId(id), nightly(links, id)));
    assert_eq!(tell(&mut fleet, 600, &Night).len(), 100);
    let moved: usize = (1..40).map(|quarter| tell(&mut fleet, 600 + quarter * 15, &Night).len()).sum();
    assert!(moved <= 10, "{moved} moves");
}

#[test]
fn who_is_due_stays_due_and_counts_from_now_on() {
    let mut fleet = FleetPlanner::new(PlanSettings::default(), at(1320)).unwrap();
    let link = fleet.add_link(2_000);
    let job = PlannedJob { latest_start: Some(at(1320)), ..nightly(LinkSet::new([link]).unwrap(), 1) };
    fleet.insert(JobId(1), job);
    assert_eq!(tell(&mut fleet, 1320, &Night), [(JobId(1), Some(at(1320)))]);
    assert_eq!(tell(&mut fleet, 1350, &Night), []);
    assert_eq!(fleet.ledger().committed(link, at(1395)), 15_000);
    fleet.started(JobId(1), at(1365));
    assert_eq!(fleet.ledger().committed(link, at(1365)), 15_000);
    assert_eq!(fleet.ledger().committed(link, at(1410)), 15_000);
    fleet.remove(JobId(1));
    assert_eq!(fleet.ledger().committed(link, at(1410)), 0);
}

#[test]
fn slots_are_filled_and_not_exceeded_whatever_the_runs_send() {
    let settings = PlanSettings::default().prompt(true);
    let mut fleet = FleetPlanner::new(settings, at(1320)).unwrap();
    let slots = fleet.add_slots(3);
    let links = LinkSet::new([slots]).unwrap();
    (0..12).for_each(|id| fleet.insert(JobId(id), PlannedJob { bytes: id, ..nightly(links, id) }));
    let starts: Vec<i64> =
        tell(&mut fleet, 1320, &Night).into_iter().map(|(_, start)| minute(start.unwrap())).collect();
    // Three at once, those next to come within a fifth of a slot after the former have ended.
    for (wave, three) in starts.chunks(3).enumerate() {
        let from = 1320 + 60 * wave as i64;
        assert!(three.iter().all(|start| (from..from + 15 * wave as i64 + 1).contains(start)), "{starts:?}");
    }
    let fill = |minute| fleet.ledger().fill(slots, at(minute));
    assert_eq!(fill(1320), 1.0);
    assert!((1320..1560).step_by(15).all(|minute| fill(minute) <= 1.2), "{starts:?}");
    assert!(fleet.ledger().committed(slots, at(1320)) == 3 * 900_000, "in milliseconds");
    (0..12).for_each(|id| fleet.remove(JobId(id)));
    assert!((1320..2000).all(|minute| fleet.ledger().committed(slots, at(minute)) == 0));
}

#[test]
fn a_job_that_is_planned_at_once_is_planned_as_in_its_turn() {
    let fleet = || {
        let mut fleet = FleetPlanner::new(PlanSettings::default(), at(600)).unwrap();
        let links = LinkSet::new([fleet.add_link(500)]).unwrap();
        (0..3).for_each(|id| fleet.insert(JobId(id), nightly(links, id)));
        fleet
    };
    let (mut one, mut all) = (fleet(), fleet());
    assert_eq!((one.backlog(), one.len(), one.is_empty()), (3, 3, false));
    let (job, plan) = one.replan_job(JobId(0), at(600), &Night).unwrap();
    let told = tell(&mut all, 600, &Night);
    assert_eq!((job, plan.map(|plan| plan.start)), told[0]);
    assert_eq!(one.replan_job(JobId(0), at(600), &Night), None, "its start has not changed");
    assert_eq!(one.replan_job(JobId(9), at(600), &Night), None);
    assert_eq!(tell(&mut one, 600, &Night), told[1..]);
}

#[test]
fn a_job_for_which_no_window_opens_has_a_plan_only_while_a_deadline_asks() {
    struct Closed;
    impl PlanSource for Closed {
        fn windows(&self, _: JobId, _: Timestamp, _: Timestamp, _: &mut Vec<OpenInterval>) {}
        fn forecast(&self, _: JobId, _: Timestamp, _: &mut Forecast) -> bool {
            false
        }
    }
    let mut fleet = FleetPlanner::new(PlanSettings::default(), at(0)).unwrap();
    let job = nightly(LinkSet::default(), 1);
    fleet.insert(JobId(1), job);
    assert_eq!(tell(&mut fleet, 0, &Closed), [(JobId(1), None)], "whatever holds it so far");
    assert_eq!(tell(&mut fleet, 20, &Closed), []);
    fleet.insert(JobId(1), PlannedJob { latest_start: Some(at(99)), ..job });
    assert_eq!(tell(&mut fleet, 20, &Closed), [(JobId(1), Some(at(99)))]);
    fleet.insert(JobId(1), job);
    assert_eq!(tell(&mut fleet, 20, &Closed), [(JobId(1), None)]);
}

#[test]
fn asking_why_changes_nothing() {
    let mut fleet = FleetPlanner::new(PlanSettings::default(), at(600)).unwrap();
    let link = fleet.add_link(500);
    let links = LinkSet::new([link]).unwrap();
    (0..20).for_each(|id| fleet.insert(JobId(id), nightly(links, id)));
    let told = tell(&mut fleet, 600, &Night);
    let slots = |fleet: &FleetPlanner| -> Vec<u64> {
        (0..200).map(|slot| fleet.ledger().committed(link, at(600 + slot * 15))).collect()
    };
    let before = slots(&fleet);
    for (id, start) in told {
        let explained = fleet.explain(id, at(610), &Night).unwrap();
        assert!(explained.kept && Some(explained.start) == start);
    }
    assert_eq!(slots(&fleet), before);
    fleet.started(JobId(3), at(1320));
    assert_eq!(fleet.explain(JobId(3), at(1320), &Night), None);
    assert_eq!(fleet.explain(JobId(99), at(1320), &Night), None);
}

#[test]
fn a_clock_that_goes_back_frees_nothing_and_plans_from_then() {
    let settings = PlanSettings::default();
    let mut fleet = FleetPlanner::new(settings, at(1440)).unwrap();
    let link = fleet.add_link(2_000);
    fleet.insert(JobId(1), nightly(LinkSet::new([link]).unwrap(), 1));
    let start = tell(&mut fleet, 1440, &Night)[0].1.unwrap();
    assert_eq!(tell(&mut fleet, 1400, &Night), []);
    let slots = |fleet: &FleetPlanner| -> u64 {
        (0..200).map(|slot| fleet.ledger().committed(link, at(1440 + slot * 15))).sum()
    };
    assert!(start >= at(1440) && slots(&fleet) == 60_000);
    fleet.remove(JobId(1));
    assert_eq!(slots(&fleet), 0);
}

#[test]
fn a_clock_that_was_far_ahead_leaves_the_links_levelled() {
    let mut fleet = FleetPlanner::new(PlanSettings::default(), at(1440)).unwrap();
    let link = fleet.add_link(2_000);
    let links = LinkSet::new([link]).unwrap();
    (1..3).for_each(|id| fleet.insert(JobId(id), nightly(links, id)));
    tell(&mut fleet, 1440, &Night);
    fleet.started(JobId(1), at(1440));
    let committed = |fleet: &FleetPlanner| -> u64 {
        (0..200).map(|slot| fleet.ledger().committed(link, at(1440 + slot * 15))).sum()
    };
    let year = 365 * 1440;
    tell(&mut fleet, 1440 + year, &Night);
    assert_eq!(committed(&fleet), 0, "all of it has passed");
    tell(&mut fleet, 1445, &Night);
    assert_eq!(committed(&fleet), 2 * 60_000, "of the one that runs, and of the one that waits");
    fleet.insert(JobId(3), nightly(links, 3));
    tell(&mut fleet, 1445, &Night);
    assert_eq!(committed(&fleet), 3 * 60_000);
    (1..4).for_each(|id| fleet.remove(JobId(id)));
    assert_eq!(committed(&fleet), 0);
}

#[test]
fn a_job_is_put_off_no_further_than_a_horizon_after_it_began_to_wait() {
    let ledger = LinkLedger::new(&exact(), at(0));
    let mut planner = Planner::new(exact()).unwrap();
    let mut start = |now, windows: &[(i64, i64)]| {
        // The later, the less load: whoever looks a horizon ahead never starts.
        let means: Vec<f32> = (0..200).map(|slot| (300 - slot) as f32).collect();
        let forecast = forecast(now / 15 * 15, 15, &means, 0.0);
        let windows = self::windows(windows);
        let request = PlanRequest {
            since: at(0),
            windows: &windows,
            forecast: Some(&forecast),
            ..PlanRequest::new(at(now))
        };
        minute(planner.plan(&request, &ledger).unwrap().start)
    };
    let always = [(-3000, 9000)];
    assert_eq!([start(0, &always), start(900, &always), start(1439, &always)], [1440; 3]);
    assert_eq!([start(1441, &always), start(2000, &always)], [1441, 2000]);
    // Nothing opens within the horizon: the next window counts, and it alone.
    assert_eq!(start(100, &[(2000, 300), (3000, 300)]), 2285);
    assert_eq!(start(2100, &[(2000, 300), (3000, 300)]), 2285);
}
