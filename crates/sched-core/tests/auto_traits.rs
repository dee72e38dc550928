//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use sched_core::store::{Fleet, MemoryStore};
use sched_core::{
    Engine, EngineConfig, Event, JobSpec, JobStatus, ManualClock, RunContext, RunControl, RunParts,
};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<RunContext>();
    shared::<RunControl>();
    shared::<RunParts>();
    shared::<ManualClock>();
    shared::<Event>();
    shared::<JobSpec>();
    shared::<JobStatus>();
    shared::<EngineConfig>();
    shared::<MemoryStore>();
    sent::<Engine>();
    sent::<Fleet>();
}
