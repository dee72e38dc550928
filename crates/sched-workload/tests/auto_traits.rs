//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use sched_workload::plan::{PlanSettings, Planner};
use sched_workload::{
    Combined, Forecast, ForegroundLatency, LatestValue, LearnedWeek, LoadReading, PeakDetector,
    RequestCounter, TimeHint,
};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<ForegroundLatency>();
    shared::<RequestCounter>();
    shared::<LatestValue>();
    shared::<LoadReading>();
    shared::<LearnedWeek>();
    shared::<Forecast>();
    shared::<PlanSettings>();
    sent::<Combined>();
    sent::<TimeHint>();
    sent::<PeakDetector>();
    sent::<Planner>();
}
