//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use sched_policy::{
    Cron, Effective, Policies, PolicyError, Problems, Profile, Timetable, WindowCalendar, WindowRules, Zone,
};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<Policies>();
    shared::<PolicyError>();
    shared::<Problems>();
    shared::<Profile>();
    shared::<Effective>();
    shared::<Cron>();
    shared::<Zone>();
    shared::<WindowCalendar>();
    shared::<WindowRules>();
    sent::<Timetable>();
}
