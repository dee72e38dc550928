//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use backup_sched::{
    JobHandle, NoEvent, Permit, Scheduler, SchedulerBuilder, Status, Subscription, Summary, SystemClock,
};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<Scheduler>();
    shared::<JobHandle>();
    shared::<Permit>();
    shared::<Subscription>();
    shared::<NoEvent>();
    shared::<Status>();
    shared::<Summary>();
    shared::<SystemClock>();
    sent::<SchedulerBuilder>();
}
