//! An engine that a [`FleetPlanner`] tells when to start, through a day in virtual time.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use sched_core::{
    AttemptEnd, AttemptId, Clock, Engine, EngineConfig, JobId, JobSpec, JobTerms, ManualClock, Output,
    wall_minus, wall_plus,
};
use sched_workload::plan::{FleetPlanner, LinkSet, OpenInterval, PlanSettings, PlanSource, PlannedJob};
use sched_workload::{Forecast, ForecastSlot};

const MINUTE: Duration = Duration::from_secs(60);
const JOBS: u64 = 60;
/// How long each backup runs.
const RUN: Duration = Duration::from_secs(3600);

/// Busy from 08:00 to 20:00, always open.
struct Office;

impl PlanSource for Office {
    fn windows(&self, _: JobId, _: Timestamp, _: Timestamp, into: &mut Vec<OpenInterval>) {
        into.push(OpenInterval::ALWAYS);
    }

    fn forecast(&self, _: JobId, from: Timestamp, into: &mut Forecast) -> bool {
        let hour = from.as_second().div_euclid(3600);
        (into.start, into.step) = (Timestamp::from_second(hour * 3600).unwrap(), RUN);
        let mean = |hour: i64| if (8..20).contains(&hour.rem_euclid(24)) { 80.0 } else { 10.0 };
        into.slots.extend((hour..hour + 48).map(|hour| ForecastSlot { mean: mean(hour), spread: 3.0 }));
        true
    }
}

#[derive(Default)]
struct Day {
    started: HashMap<JobId, Timestamp>,
    running: Vec<(Timestamp, AttemptId)>,
    most: usize,
}

/// One step of what the facade's threads do between them.
fn step(engine: &mut Engine, fleet: &mut FleetPlanner, clock: &ManualClock, day: &mut Day) {
    let now = clock.now();
    let mut changes = Vec::new();
    // All of them: a job without a plan starts at once.
    while fleet.next_replan(now.wall) <= now.wall {
        fleet.replan(now.wall, &Office, 40, &mut changes);
    }
    assert!(engine.plan_all(now, changes).iter().all(Result::is_ok), "plans are of jobs that wait");
    // A call makes a handful of moves, and asks for another at the same time.
    engine.advance(now);
    while engine.next_wakeup().is_some_and(|at| at <= now.mono) {
        engine.advance(now);
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output()).collect();
    for output in outputs {
        match output {
            Output::Start(order) => {
                engine.started(now, order.attempt);
                fleet.started(order.attempt.job, now.wall);
                day.started.insert(order.attempt.job, now.wall);
                day.running.push((wall_plus(now.wall, RUN), order.attempt));
            }
            Output::Ended(status) => fleet.remove(status.job.id),
            _ => {}
        }
    }
    day.most = day.most.max(day.running.len());
    let (ended, running) = day.running.iter().partition(|(end, _)| *end <= now.wall);
    day.running = running;
    let ended: Vec<(Timestamp, AttemptId)> = ended;
    for (_, attempt) in ended {
        engine.ended(now, attempt, AttemptEnd::new(1 << 30, Ok(())));
    }
}

#[test]
fn a_fleet_is_backed_up_at_night_evenly_and_in_time() {
    let clock = ManualClock::default();
    clock.advance(10 * RUN);
    let mut config = EngineConfig::default();
    config.resources.insert("slots".into(), JOBS);
    let mut engine = Engine::new(config, clock.now());
    let mut fleet = FleetPlanner::new(PlanSettings::default(), clock.now().wall).unwrap();
    let links = LinkSet::new([fleet.add_link(3_000_000)]).unwrap();
    let since = clock.now().wall;
    let mut latest = HashMap::new();
    let mut terms = JobTerms::default();
    terms.expected_duration = RUN;
    for n in 0..JOBS {
        // The first ten have to be there before the evening.
        let deadline = since + if n < 10 { 5.hours() } else { 20.hours() };
        let spec = JobSpec::new(format!("db-{n}"), "sqlite").deadline(deadline);
        let job = engine.submit(clock.now(), spec, terms.clone());
        let job = job.unwrap().job();
        let latest_start = wall_minus(deadline, RUN + 15 * MINUTE);
        let (latest_start, duration) = (Some(latest_start), RUN);
        let planned =
            PlannedJob { since, latest_start, may_override: true, duration, bytes: 1 << 30, links, seed: n };
        fleet.insert(job, planned);
        latest.insert(job, (n, latest_start.unwrap()));
    }
    let mut day = Day::default();
    for _ in 0..24 * 60 {
        step(&mut engine, &mut fleet, &clock, &mut day);
        clock.advance(MINUTE);
    }
    assert_eq!(day.started.len() as u64, JOBS);
    for (job, start) in &day.started {
        let (n, latest) = latest[job];
        assert!(*start <= latest, "{n} started at {start}, later than {latest}");
        assert!(n < 10 || *start >= since + 10.hours(), "{n} started at {start}, in office hours");
    }
    // 50 runs of an hour from 20:00 on, all of which would fit at once.
    assert!(day.most <= 12, "{} at once", day.most);
    assert!(fleet.ledger().committed(links.iter().next().unwrap(), clock.now().wall) == 0, "all are gone");
}
