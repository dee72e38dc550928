//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use sched_limits::{
    BandwidthTree, CapacityJudge, ConcurrencyLaw, FixedProbe, HostProbe, JobPacer, PiLaw, Rate, Sample,
    Thresholds, Watchdog,
};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<BandwidthTree>();
    shared::<JobPacer>();
    shared::<Rate>();
    shared::<Sample>();
    shared::<Thresholds>();
    shared::<FixedProbe>();
    sent::<CapacityJudge>();
    sent::<ConcurrencyLaw>();
    sent::<HostProbe>();
    sent::<PiLaw>();
    sent::<Watchdog>();
}
