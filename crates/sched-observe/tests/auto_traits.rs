//! What hosts hand between their threads stays so: nothing that comes into these types may cost them `Send`, `Sync` or
//! `Debug`. Compiling is the test.

use std::fmt::Debug;

use sched_observe::impact::{ImpactLedger, ImpactReport, ImpactSettings};
use sched_observe::{
    AttemptHistory, AuditLog, DecisionLog, EventSink, Feed, FeedPage, HookRunner, TracingHook,
};

fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send + Debug>() {}

#[test]
fn handles_go_between_threads() {
    shared::<EventSink>();
    shared::<AuditLog>();
    shared::<DecisionLog>();
    shared::<Feed>();
    shared::<FeedPage>();
    shared::<AttemptHistory>();
    shared::<ImpactReport>();
    shared::<ImpactSettings>();
    #[cfg(feature = "webhook")]
    shared::<sched_observe::Webhook>();
    sent::<HookRunner>();
    sent::<ImpactLedger>();
    sent::<TracingHook>();
}
