//! Minutes from a Monday midnight, and forecasts and windows on them.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::time::Duration;

use jiff::Timestamp;
use sched_core::JobId;
use sched_workload::plan::{LinkSet, OpenInterval, PlanSettings, PlanSource, PlannedJob};
use sched_workload::{Forecast, ForecastSlot};

pub(crate) const MINUTE: i64 = 60;
/// 2026-03-02, a Monday, at midnight.
pub(crate) const EPOCH: i64 = 1_772_409_600;

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(EPOCH + minute * MINUTE).unwrap()
}

pub(crate) fn minute(when: Timestamp) -> i64 {
    (when.as_second() - EPOCH).div_euclid(MINUTE)
}

pub(crate) fn minutes(count: i64) -> Duration {
    Duration::from_secs(count as u64 * 60)
}

pub(crate) fn forecast(start: i64, step: i64, means: &[f32], spread: f32) -> Forecast {
    let slots = means.iter().map(|&mean| ForecastSlot { mean, spread }).collect();
    Forecast { start: at(start), step: minutes(step), slots }
}

pub(crate) fn windows(of: &[(i64, i64)]) -> Vec<OpenInterval> {
    of.iter().map(|&(from, length)| OpenInterval { from: at(from), until: at(from + length) }).collect()
}

pub(crate) fn exact() -> PlanSettings {
    PlanSettings::default().hysteresis(0.5).min_gain(0.0)
}

/// A window from 22:00 to 06:00 each day, and a load that is the same at all times.
pub(crate) struct Night;

impl PlanSource for Night {
    fn windows(&self, _: JobId, from: Timestamp, until: Timestamp, into: &mut Vec<OpenInterval>) {
        let days = minute(from).div_euclid(1440) - 1..=minute(until).div_euclid(1440);
        into.extend(days.map(|day| windows(&[(day * 1440 + 1320, 480)])[0]));
    }

    fn forecast(&self, _: JobId, from: Timestamp, into: &mut Forecast) -> bool {
        let slot = ForecastSlot { mean: 10.0, spread: 1.0 };
        (into.start, into.step, into.slots) = (from, minutes(60), vec![slot; 24]);
        true
    }
}

pub(crate) fn nightly(links: LinkSet, id: u64) -> PlannedJob {
    PlannedJob {
        since: at(600),
        latest_start: None,
        may_override: true,
        duration: minutes(60),
        bytes: 60_000,
        links,
        seed: id,
    }
}
