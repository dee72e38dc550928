//! The learned week and peaks, through the scheduler, on a clock that is moved by hand.

use std::time::Duration;

use backup_sched::workload::LearnedWeek;
use backup_sched::{
    BackupKind, EventKind, ForecastConfig, Gate, JobSpec, JobState, LoadLevel, Priority, Scheduler, Scope,
};
use jiff::SignedDuration;

mod rig;

use rig::day::{Day, HOUR, MINUTE, STEP, host, hour_of, monday, office};

#[test]
fn a_peak_closes_the_gate_and_its_end_opens_it() {
    let day = Day::learned(|builder| builder);
    day.until(1, office);
    (0..3).for_each(|_| day.step(70.0));
    let closed = day.wait_for(|kind| matches!(kind, EventKind::LoadChanged { .. }));
    let text = format!("{closed:?}");
    let peak = |kind: &EventKind| matches!(kind, EventKind::LoadChanged { scope, state, .. } if *scope == host() && state.level == LoadLevel::Peak);
    if !peak(&closed) {
        day.wait_for(peak);
    }
    assert!(text.contains("usual at this hour"), "{text}");
    let low = day.submit("low");
    let high = day.scheduler.submit(Day::spec("high").priority(Priority::High)).unwrap();
    assert_eq!(day.started(), "high");
    day.end_one();
    assert_eq!(high.wait().state, JobState::Succeeded);
    let gate = low.explain().unwrap().closed.into_iter().find(|closed| closed.gate == Gate::Load);
    let gate = gate.expect("the load gate is closed");
    assert_eq!(gate.scope, host());
    let measured = gate.reason.measured.clone().expect("with numbers");
    assert!(measured.value > measured.threshold && measured.value == 70.0, "{gate:?}");
    let state = day.scheduler.status().unwrap().forecast.scopes[0].state.clone().unwrap();
    assert_eq!(state.level, LoadLevel::Peak);
    (0..12).for_each(|_| day.step(10.0));
    assert_eq!(day.started(), "low");
}

#[test]
fn a_peak_ends_while_somebody_runs() {
    let day = Day::learned(|builder| builder);
    day.until(1, office);
    (0..4).for_each(|_| day.step(70.0));
    day.scheduler.submit(Day::spec("high").priority(Priority::High)).unwrap();
    assert_eq!(day.started(), "high");
    let low = day.submit("low");
    assert_eq!(day.level(), Some(LoadLevel::Peak));
    // What runs adds nothing.
    (0..12).for_each(|_| day.step(10.0));
    assert_eq!(day.level(), Some(LoadLevel::Calm), "{}", low.explain().unwrap());
    assert_eq!(day.started(), "low");
}

#[test]
fn a_peak_that_nobody_tells_of_any_more_is_unknown_and_closes_nothing() {
    let day = Day::learned(|builder| builder);
    day.until(1, office);
    (0..4).for_each(|_| day.step(70.0));
    let job = day.submit("orders");
    assert!(day.held_by(&job).contains(&Gate::Load));
    *day.load.lock() = f64::NAN;
    while day.starts.is_empty() {
        day.clock.advance(MINUTE);
        day.scheduler.status().unwrap();
        assert!(day.now() < monday() + 4 * HOUR, "{}", job.explain().unwrap());
    }
    assert_eq!(day.started(), "orders");
    assert_eq!(day.scheduler.status().unwrap().forecast.scopes[0].state, None);
}

#[test]
fn a_wall_that_is_wrong_for_a_while_leaves_what_is_known() {
    // The engine trusts the second one after a while, and then the true one again.
    for (hours, steps) in [(40 * 24, 2), (-12, 2), (12, 10), (40 * 24, 10)] {
        let day = Day::learned(|builder| builder);
        day.until(1, office);
        (0..4).for_each(|_| day.step(70.0));
        assert_eq!(day.level(), Some(LoadLevel::Peak));
        let days = day.scope().days;
        day.step_wall(hours);
        (0..steps).for_each(|_| day.step_by_any_wall(70.0));
        day.step_wall(-hours);
        (0..24).for_each(|_| day.step_by_any_wall(office(day.now())));
        let scope = day.scope();
        assert_eq!((scope.trusted, scope.days), (true, days), "{hours} {steps}");
        assert_eq!(day.level(), Some(LoadLevel::Calm), "{hours} {steps}");
        let job = day.submit("orders");
        day.started();
        day.end_one();
        job.wait();
        day.until(9, office);
        let job = day.submit("orders");
        assert_eq!(hour_of(day.plan(&job).unwrap().start), 20, "{hours} {steps}");
    }
}

#[test]
fn a_pausable_backup_stands_through_a_load_at_the_cap() {
    let cap = |forecast: &mut ForecastConfig| {
        forecast.peaks = forecast.peaks.map(|peaks| peaks.cap(90.0));
    };
    let day = Day::learned(|builder| builder.forecast(cap));
    day.until(1, office);
    let upload = JobSpec::new("ring", "cassandra").kind(BackupKind::Upload).host("db-1");
    day.scheduler.submit(upload).unwrap();
    assert_eq!(day.started(), "ring");
    (0..3).for_each(|_| day.step(95.0));
    let paused = day.wait_for(|kind| matches!(kind, EventKind::Pausing { .. }));
    assert!(format!("{paused:?}").contains("the load is at the cap"), "{paused:?}");
    day.wait_for(|kind| matches!(kind, EventKind::Paused));
    (0..6).for_each(|_| day.step(10.0));
    day.wait_for(|kind| matches!(kind, EventKind::Resumed { .. }));
}

#[test]
fn the_load_of_the_own_backups_teaches_nothing() {
    let day = Day::learned(|builder| builder);
    let expected = |day: &Day| {
        let forecast = day.scheduler.forecast(host(), HOUR, 24).unwrap().unwrap();
        forecast.slots.iter().map(|slot| slot.mean).fold(0.0, f32::max)
    };
    // A backup of eight hours every night, which makes the host seem eight times as busy.
    for _ in 0..7 {
        day.until(22, office);
        day.scheduler.submit(Day::spec("orders").priority(Priority::High)).unwrap();
        day.started();
        day.until(6, |at| office(at) + 70.0);
        day.end_one();
        day.until(7, office);
    }
    let most = expected(&day);
    assert!(most < 70.0, "the nights are still known to be calm: {most}");
    // The same load from somebody else is learned.
    for _ in 0..7 {
        day.until(22, office);
        day.until(6, |at| office(at) + 70.0);
        day.until(7, office);
    }
    assert!(expected(&day) > 70.0, "{}", expected(&day));
}

#[test]
fn nights_of_too_few_requests_to_measure_are_known_to_be_quiet() {
    let day = Day::new(|builder| builder);
    let measured = |at| if office(at) > 20.0 { 50.0 } else { -1.0 };
    for _ in 0..4 {
        day.until(23, measured);
        day.until(9, measured);
    }
    let job = day.submit("orders");
    assert_eq!(hour_of(day.plan(&job).expect("the night is better").start), 20);
    assert_eq!(day.level(), Some(LoadLevel::Calm));
}

#[test]
fn short_frequent_backups_leave_something_to_learn() {
    let day = Day::new(|builder| builder);
    for _ in 0..4 * 288 {
        day.step(office(day.now()));
        // A log segment that takes no time at all.
        let log = Day::spec("orders").kind(BackupKind::Log).priority(Priority::High);
        let job = day.scheduler.submit(log).unwrap();
        day.started();
        day.end_one();
        job.wait();
    }
    assert!(day.scope().days > 2, "{:?}", day.scope());
    let forecast = day.scheduler.forecast(host(), HOUR, 24).unwrap().unwrap();
    assert!(forecast.slots[12].mean > 50.0 && forecast.slots[3].mean < 20.0, "{forecast:?}");
}

#[test]
fn samples_handed_in_of_a_run_teach_nothing() {
    let day = Day::learned(|builder| builder);
    day.until(22, office);
    let backup = JobSpec::new("orders", "cassandra").kind(BackupKind::Upload).host("db-1");
    day.scheduler.submit(backup.priority(Priority::High)).unwrap();
    day.started();
    let began = day.now();
    day.until(6, |at| office(at) + 70.0);
    // Nothing was known of this scope when the run began.
    let orders = Scope::Instance("orders".into());
    let samples = (1..96).map(|n| (began + n * STEP, 80.0));
    assert_eq!(day.scheduler.learn(orders.clone(), samples.clone()), Ok(95));
    assert_eq!(day.scheduler.learned_week(orders.clone()).unwrap().map(|week| week.days()), Some(0));
    day.scheduler.learn(orders.clone(), [(began - HOUR, 10.0)]).unwrap();
    assert_eq!(day.scheduler.learned_week(orders.clone()).unwrap().map(|week| week.days()), Some(1));
}

#[test]
fn what_was_learned_survives_and_the_host_may_teach() {
    let day = Day::learned(|builder| builder);
    day.until(2, office);
    let kept = serde_json::to_string(&day.scheduler.learned_weeks().unwrap()).unwrap();
    let again: Vec<(Scope, LearnedWeek)> = serde_json::from_str(&kept).unwrap();
    assert_eq!(again, day.scheduler.learned_weeks().unwrap());
    assert_eq!(day.scheduler.learned_week(host()).unwrap(), Some(again[0].1));
    assert_eq!(day.scheduler.learned_week(Scope::Fleet), Ok(None));
    assert_eq!(day.scheduler.forecast(Scope::Fleet, HOUR, 24), Ok(None));

    let group = Scope::Group("shop".into());
    let hours = (1..=24 * 7).rev().map(|ago| day.now() - SignedDuration::from_hours(ago));
    let samples: Vec<_> = hours.map(|at| (at, office(at))).chain([(day.now(), f64::NAN)]).collect();
    assert_eq!(day.scheduler.learn(group.clone(), samples).unwrap(), 24 * 7);
    let forecast = day.scheduler.forecast(group, HOUR, 24).unwrap().unwrap();
    assert!(forecast.slots[9].mean > 50.0 && forecast.slots[0].mean < 20.0);
    assert!(day.scheduler.learn(Scope::Host("".into()), []).is_err());
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |change: fn(&mut ForecastConfig)| {
        Scheduler::builder().forecast(change).start().err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(|forecast| forecast.min_days = 0).starts_with("forecast: min_days is 0"));
    assert!(refused(|forecast| forecast.sample = Duration::ZERO).contains("1 s to 1 h"));
    assert!(
        refused(|forecast| forecast.peaks.iter_mut().for_each(|p| p.least_deviation = -1.0))
            .contains("least_deviation")
    );
    assert!(
        refused(|forecast| forecast.plans.iter_mut().for_each(|p| p.link_weight = -1.0))
            .contains("link_weight")
    );
}
