//! One trace, day after day: where each method would have put a backup, and what that was worth.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::wall_plus;
use sched_workload::plan::{LinkLedger, OpenInterval, PlanRequest, PlanSettings, Planner};
use sched_workload::{Forecast, LearnedWeek, LocalClock, OwnLoad};

use crate::rivals::{CHEAP, Rival, mstl_ets};
use crate::score::{Score, Stretch, WINDOWS, argmin, window_means};
use crate::traces::{DAY, Trace};

/// Days of history that a choice needs, unless it is a cold start.
const WARM: usize = 7;
/// Hours of the window that is looked for in a week.
const WEEKLY_WINDOW: i64 = 4;

/// What every method scored, by name. `live` and `day_ahead` are the learned week's.
pub(crate) type Scores = BTreeMap<&'static str, Score>;

/// The learned week beside the trace that it learns from.
struct Learner<'a> {
    trace: &'a Trace,
    week: LearnedWeek,
    clock: LocalClock,
}

impl<'a> Learner<'a> {
    fn new(trace: &'a Trace) -> Self {
        Self { trace, week: LearnedWeek::new(), clock: LocalClock::utc() }
    }

    fn time(&self, at: usize) -> Timestamp {
        Timestamp::from_second(self.trace.time(at)).expect("traces are of our time")
    }

    fn learn(&mut self, at: usize) {
        let slot = self.clock.slot(self.time(at));
        self.week.update(slot, f64::from(self.trace.values[at]), OwnLoad::None);
    }

    fn forecast(&mut self, from: usize, step: i64, steps: usize) -> Forecast {
        let step = Duration::from_secs(step.unsigned_abs());
        let from = self.time(from);
        self.week.forecast(&mut self.clock, from, step, steps)
    }
}

fn means(forecast: &Forecast) -> Vec<f32> {
    forecast.slots.iter().map(|slot| slot.mean).collect()
}

/// A backup without links, deadline or windows but the stretch in which it is to run, planned again at every step until
/// it begins, by the planner that the scheduler uses.
struct Plan {
    planner: Planner,
    ledger: LinkLedger,
    within: [OpenInterval; 1],
    hours: i64,
    start: Option<Timestamp>,
    begun: bool,
}

impl Plan {
    fn new(hours: i64, from: Timestamp, until: Timestamp) -> Self {
        let settings = PlanSettings::default().horizon(Duration::from_secs(7 * DAY.unsigned_abs()));
        let planner = Planner::new(settings).expect("the horizon is in range");
        let ledger = LinkLedger::new(&settings, from);
        Self { planner, ledger, within: [OpenInterval { from, until }], hours, start: None, begun: false }
    }

    fn update(&mut self, now: Timestamp, forecast: &Forecast) {
        let duration = Duration::from_secs(self.hours.unsigned_abs() * 3600);
        if self.begun || wall_plus(now, duration) > self.within[0].until {
            return;
        }
        let mut request = PlanRequest::new(now);
        (request.windows, request.duration) = (&self.within, duration);
        (request.forecast, request.current) = (Some(forecast), self.start);
        let plan = self.planner.plan(&request, &self.ledger);
        self.start = plan.map(|plan| plan.start);
        // Until the next step it is told nothing new.
        let next = wall_plus(now, self.planner.settings().step);
        self.begun = self.start.is_some_and(|start| start < next);
    }
}

/// Runs all methods over a trace.
pub(crate) fn compare(trace: &Trace, with_mstl: bool) -> Scores {
    let mut scores = Scores::new();
    let mut learner = Learner::new(trace);
    let day = trace.per_day();
    for number in 0..trace.values.len() / day {
        let from = number * day;
        let windows =
            WINDOWS.map(|hours| (trace.hours(hours), Stretch::new(trace, from, day, trace.hours(hours))));
        let warm = number >= WARM;
        if number > 0 {
            let forecast = means(&learner.forecast(from, trace.step, day));
            let name = if warm { "day_ahead" } else { "cold_day_ahead" };
            add(&mut scores, name, trace, &windows, &forecast);
            rivals(&mut scores, trace, &windows, number);
        }
        if warm {
            weekly(&mut scores, trace, &learner, from);
        }
        if with_mstl && warm {
            let forecast = mstl_ets(trace, from, day);
            add(&mut scores, "mstl_ets", trace, &windows, &forecast);
        }
        live(&mut scores, &mut learner, &windows, number);
    }
    scores
}

type Windows = [(usize, Option<Stretch>); 3];

/// Adds the choice that a forecast of the day leads to.
fn add(scores: &mut Scores, name: &'static str, trace: &Trace, windows: &Windows, forecast: &[f32]) {
    for (window, stretch) in windows {
        if let Some(stretch) = stretch {
            let chosen = argmin(&window_means(forecast, *window));
            scores.entry(name).or_default().add(&stretch.truth, chosen, stretch.mean, trace.point());
        }
    }
}

fn rivals(scores: &mut Scores, trace: &Trace, windows: &Windows, number: usize) {
    let cold: [(&str, Rival); 1] = [("cold_previous_day", CHEAP[1].1)];
    let methods = if number >= WARM { &CHEAP[..] } else { &cold[..] };
    for (name, rival) in methods {
        let day = trace.per_day();
        let forecast = rival(trace, number * day, day);
        add(scores, name, trace, windows, &forecast);
    }
}

/// Lets the day pass: the plan is made anew at each step, with all that was seen by then, until the window begins.
fn live(scores: &mut Scores, learner: &mut Learner<'_>, windows: &Windows, number: usize) {
    let trace = learner.trace;
    let day = trace.per_day();
    let from = number * day;
    let (start, end) = (learner.time(from), learner.time(from + day));
    let mut plans = WINDOWS.map(|hours| Plan::new(hours, start, end));
    for step in from..from + day {
        if number > 0 && plans.iter().any(|plan| !plan.begun) {
            let forecast = learner.forecast(step, trace.step, from + day - step);
            let now = learner.time(step);
            plans.iter_mut().for_each(|plan| plan.update(now, &forecast));
        }
        learner.learn(step);
    }
    for (plan, (_, stretch)) in plans.iter().zip(windows) {
        if let (Some(start), Some(stretch)) = (plan.start, stretch) {
            let name = if number >= WARM { "live" } else { "cold" };
            let chosen = step_of(trace, from, start).min(stretch.truth.len() - 1);
            scores.entry(name).or_default().add(&stretch.truth, chosen, stretch.mean, trace.point());
        }
    }
}

/// The step in which a moment lies, from another one on.
fn step_of(trace: &Trace, from: usize, moment: Timestamp) -> usize {
    usize::try_from((moment.as_second() - trace.time(from)) / trace.step).unwrap_or_default()
}

/// The best window of the next seven days, chosen again every hour until it begins.
fn weekly(scores: &mut Scores, trace: &Trace, learner: &Learner<'_>, from: usize) {
    let (hour, week) = (trace.hours(1), 7 * trace.per_day());
    let Some(stretch) = Stretch::new(trace, from, week, trace.hours(WEEKLY_WINDOW)) else { return };
    let mut add = |name, chosen: usize| {
        let chosen = chosen.min(stretch.truth.len() - 1);
        scores.entry(name).or_default().add(&stretch.truth, chosen, stretch.mean, trace.point());
    };
    if let Some(before) = from.checked_sub(week) {
        add(
            "weekly_previous",
            argmin(&window_means(&trace.values[before..from], trace.hours(WEEKLY_WINDOW))),
        );
    }
    let mut learner = Learner { trace, week: learner.week, clock: LocalClock::utc() };
    let mut plan = Plan::new(WEEKLY_WINDOW, learner.time(from), learner.time(from + week));
    for now in (from..from + week).step_by(hour) {
        let hours = (from + week - now).div_ceil(hour);
        plan.update(learner.time(now), &learner.forecast(now, 3600, hours));
        if plan.begun {
            break;
        }
        (now..now + hour).for_each(|step| learner.learn(step));
    }
    if let Some(start) = plan.start {
        add("weekly", step_of(trace, from, start));
    }
}
