//! Starts that are planned by learned weeks, through the scheduler, on a clock that is moved by hand.

use backup_sched::core::EngineConfig;
use backup_sched::workload::plan::Fit;
use backup_sched::{
    EventKind, Gate, JobHandle, JobSpec, JobState, Policies, Priority, SchedulerBuilder, Scope,
};

mod rig;

use rig::day::{Day, HOUR, MINUTE, STEP, host, hour_of, office, week};

#[test]
fn a_learned_week_defers_to_the_quiet_hours_and_says_why() {
    let day = Day::learned(|builder| builder);
    day.until(9, office);
    let job = day.submit("orders");
    let plan = day.plan(&job).expect("a plan is there with the submission");
    assert_eq!(hour_of(plan.start), 20, "{plan:?}");
    assert!(plan.why.text.contains("less of load and links"), "{plan:?}");
    let explained = job.explain().unwrap();
    assert_eq!((explained.state, &explained.closed[0].gate), (JobState::Scheduled, &Gate::Plan));
    let told = day.wait_for(|kind| matches!(kind, EventKind::Planned { .. }));
    assert_eq!(told, EventKind::Planned { plan: Some(plan.clone()) });

    let explained = day.scheduler.explain_plan(job.id()).unwrap().unwrap();
    assert_eq!((explained.forecast_of.clone(), explained.plan.start), (host(), plan.start));
    assert_eq!(explained.plan.fit, Fit::Whole);
    let load = |hour| {
        let mut considered = explained.plan.considered.iter();
        considered.find(|other| hour_of(other.start) == hour).and_then(|other| other.load)
    };
    assert!(load(9).unwrap() > 50.0 && load(20).unwrap() < 20.0, "{explained:?}");
    let text = explained.to_string();
    assert!(text.contains("by the forecast of host db-1") && text.contains("(chosen)"), "{text}");
    assert_eq!(day.scheduler.status().unwrap().forecast.planned, 1);

    day.until(20, office);
    day.step(10.0);
    assert_eq!(day.started(), "orders");
    assert_eq!(day.scheduler.explain_plan(job.id()), Ok(None), "it does not wait any more");
    assert_eq!(day.scheduler.status().unwrap().forecast.planned, 0);
}

#[test]
fn who_cannot_wait_does_not() {
    let day = Day::learned(|builder| builder);
    day.until(9, office);
    for (instance, priority) in [("high", Priority::High), ("critical", Priority::Critical)] {
        day.scheduler.submit(Day::spec(instance).priority(priority)).unwrap();
        assert_eq!(day.started(), instance);
    }
    // Its latest start has passed.
    day.scheduler.submit(Day::spec("late").deadline(day.now() + HOUR)).unwrap();
    assert_eq!(day.started(), "late");
    // What waits and becomes urgent goes at once; what becomes less urgent is planned.
    let raised = day.submit("raised");
    let held =
        day.scheduler.submit(Day::spec("held").priority(Priority::High).not_before(day.now() + MINUTE));
    let held = held.unwrap();
    assert_eq!([day.held_by(&raised), day.held_by(&held)], [[Gate::Plan], [Gate::Time]]);
    day.scheduler.reprioritize(raised.id(), Priority::Critical).unwrap();
    assert_eq!(day.started(), "raised");
    day.scheduler.reprioritize(held.id(), Priority::Low).unwrap();
    assert_eq!(hour_of(day.plan(&held).unwrap().start), 20);
}

#[test]
fn advice_holds_nobody_back_for_a_plan() {
    let day = Day::learned(|builder| builder.advise_only());
    day.until(9, office);
    day.submit("orders");
    assert_eq!(day.started(), "orders");
    let planned = day.wait_for(|kind| matches!(kind, EventKind::Planned { .. }));
    let EventKind::Planned { plan: Some(plan) } = planned else { panic!("{planned:?}") };
    assert_eq!(hour_of(plan.start), 20, "{plan:?}");
    let advice = |kind: &EventKind| matches!(kind, EventKind::Deferred { by, advice_only: true } if by.gate == Gate::Plan);
    day.wait_for(advice);
}

#[test]
fn no_plan_is_later_than_the_latest_start() {
    let day = Day::learned(|builder| builder);
    day.until(9, office);
    // The quiet hours come too late: an hour's run and a minute's retry before 16:00.
    let deadline = day.now() + 7 * HOUR;
    let job = day.scheduler.submit(Day::spec("orders").deadline(deadline)).unwrap();
    let latest = job.explain().unwrap().latest_start;
    if let Some(plan) = day.plan(&job) {
        assert!(plan.start <= latest, "{plan:?}");
    }
    while !day.held_by(&job).is_empty() && day.now() < latest + 2 * STEP {
        day.step(office(day.now()));
    }
    assert_eq!(day.started(), "orders");
    assert!(day.now() <= latest + STEP);
}

#[test]
fn without_anything_learned_nothing_is_deferred() {
    let links = |builder: SchedulerBuilder| builder.rate_ceiling(1_000_000).bandwidth(host(), 500_000);
    let day = Day::new(links);
    for n in 0..3 {
        let job = day.scheduler.submit(Day::spec(&format!("db-{n}")).size_bytes(1 << 30)).unwrap();
        day.started();
        assert_eq!(day.scheduler.explain_plan(job.id()), Ok(None));
    }
    // A day and a half is not enough to plan by: two midnights have to pass.
    day.until(23, office);
    day.until(9, office);
    day.submit("db-9");
    assert_eq!(day.started(), "db-9");
    // Nor is a load that is the same at all hours a reason to wait.
    let flat = Day::new(|builder| builder.learned([(host(), week(|_| 40.0))]));
    flat.submit("orders");
    assert_eq!(flat.started(), "orders");
    assert!(flat.events.try_iter().all(|event| !matches!(event.kind, EventKind::Planned { .. })));
}

#[test]
fn another_host_is_planned_by_its_own_load_or_not_at_all() {
    let day = Day::learned(|builder| builder);
    day.until(9, office);
    day.scheduler.submit(Day::spec("elsewhere").host("db-2")).unwrap();
    assert_eq!(day.started(), "elsewhere");
    // The instance's own week goes before that of its host.
    let night = |at| if office(at) > 20.0 { 10.0 } else { 60.0 };
    day.scheduler.restore_weeks([(Scope::Instance("batch".into()), week(night))]).unwrap();
    day.submit("batch");
    assert_eq!(day.started(), "batch");
}

#[test]
fn many_are_planned_in_portions_and_none_of_them_starts_unplanned() {
    // The quiet hours have room for all of them.
    let quick = |builder: SchedulerBuilder| {
        builder.max_running(64).engine(|engine: &mut EngineConfig| engine.events = false)
    };
    let day = Day::learned(quick);
    day.until(9, office);
    let jobs = (0..2_000).map(|n| Day::spec(&format!("orders-{n}")).expected_duration(10 * MINUTE));
    let jobs: Vec<_> = day.scheduler.submit_all(jobs).into_iter().map(|job| job.unwrap()).collect();
    let held = |job: &JobHandle| day.held_by(job) == [Gate::Plan];
    assert!(jobs.iter().step_by(97).all(held), "before all are planned");
    while day.scheduler.status().unwrap().forecast.to_plan > 0 {}
    assert!(jobs.iter().step_by(97).all(held));
    let plans = jobs.iter().map(|job| day.plan(job).unwrap());
    assert!(plans.step_by(97).all(|plan| hour_of(plan.start) >= 20 || hour_of(plan.start) < 8));
    assert_eq!(day.scheduler.status().unwrap().forecast.planned, 2_000);
}

#[test]
fn who_is_asked_for_again_with_many_others_keeps_its_plan() {
    let day = Day::learned(|builder| builder.max_running(64));
    day.until(9, office);
    let job = day.submit("orders");
    let plan = day.plan(&job).unwrap();
    let others = (0..300).map(|n| Day::spec(&format!("other-{n}")).expected_duration(10 * MINUTE));
    let burst = day.scheduler.submit_all(others.chain([Day::spec("orders")]));
    assert!(burst.into_iter().all(|job| job.is_ok()));
    assert_eq!(day.plan(&job), Some(plan.clone()), "before its turn");
    while day.scheduler.status().unwrap().forecast.to_plan > 0 {}
    assert_eq!(day.plan(&job).unwrap().start, plan.start);
    (0..3).for_each(|_| day.step(office(day.now())));
    assert_eq!(day.held_by(&job), [Gate::Plan]);
}

/// When the next plan that is told has the job start.
fn told(day: &Day) -> Option<i64> {
    match day.wait_for(|kind| matches!(kind, EventKind::Planned { .. })) {
        EventKind::Planned { plan } => plan.map(|plan| hour_of(plan.start)),
        _ => unreachable!(),
    }
}

fn night(at: jiff::Timestamp) -> f64 {
    70.0 - office(at)
}

#[test]
fn who_came_before_anything_was_learned_is_planned_once_it_is_and_by_what_is_nearest() {
    let day = Day::new(|builder| builder);
    day.clock.advance(8 * HOUR);
    let later = Day::spec("orders").not_before(day.now() + HOUR);
    let job = day.scheduler.submit(later).unwrap();
    day.scheduler.restore_weeks([(host(), week(office))]).unwrap();
    assert_eq!(told(&day), Some(20));
    day.clock.advance(HOUR + MINUTE);
    assert!(day.held_by(&job).contains(&Gate::Plan));
    // Its own week goes before that of its host.
    day.scheduler.restore_weeks([(Scope::Instance("orders".into()), week(night))]).unwrap();
    assert_eq!(told(&day), None);
    assert_eq!(day.started(), "orders");
}

#[test]
fn a_job_that_policies_move_is_planned_by_the_load_where_it_is_by_now() {
    let of = |host: &str, rpo: &str| {
        let orders = format!(
            "[instances.orders]\ntechnology = 'sqlite'\nhost = '{host}'\npriority = 'low'\nrpo = '{rpo}'\n"
        );
        Policies::builtin().with_toml("policy.toml", &orders).unwrap()
    };
    let evening = |at| if (18..20).contains(&hour_of(at)) { 10.0 } else { 60.0 };
    let other = Scope::Host("db-2".into());
    let two = (other.clone(), week(evening));
    let day = Day::learned(|builder| builder.policies(of("db-1", "2d")).learned([two]));
    day.until(9, office);
    let spec = JobSpec::new("orders", "sqlite").expected_duration(HOUR);
    let job = day.scheduler.submit(spec).unwrap();
    assert_eq!(told(&day), Some(20));
    day.scheduler.reload(of("db-2", "2d")).unwrap();
    assert_eq!(told(&day), Some(18));
    assert_eq!(day.scheduler.explain_plan(job.id()).unwrap().unwrap().forecast_of, other);
    // Its deadline is before the quiet hours there.
    day.scheduler.reload(of("db-2", "3h")).unwrap();
    told(&day);
    assert!(day.plan(&job).is_none_or(|plan| plan.start < day.now() + 3 * HOUR));
}

#[test]
fn a_job_that_waits_is_planned_over_the_links_that_become_known() {
    let day = Day::learned(|builder| builder.rate_ceiling(1_000_000));
    day.until(9, office);
    let job = day.scheduler.submit(Day::spec("orders").size_bytes(1 << 30)).unwrap();
    let links = || -> Vec<String> {
        day.scheduler.explain_plan(job.id()).unwrap().unwrap().links.into_values().collect()
    };
    let before = links();
    assert!(!before.contains(&host().to_string()), "{before:?}");
    day.scheduler.set_bandwidth(host(), Some(500_000)).unwrap();
    while !links().contains(&host().to_string()) {
        std::thread::yield_now();
    }
}
