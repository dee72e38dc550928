//! What a policy file says steers what the scheduler does: for each value a decision that differs because of it.

mod limits;
mod order;
mod places;
mod recurring;
mod reload;
mod restart;
mod rig;
mod runs;

use std::collections::BTreeSet;

use backup_sched::policy::Values;

/// A test for each key, under its name.
macro_rules! keys {
    ($($key:ident in $module:ident;)*) => {
        mod of_key {
            $(#[test] fn $key() { super::$module::$key(); })*
        }
        /// The keys that have a test.
        const TESTED: &[&str] = &[$(stringify!($key)),*];
    };
}

keys! {
    priority in order;
    rpo in order;
    pausable in runs;
    cancellable in order;
    floor in runs;
    ceiling in runs;
    phases in runs;
    demand in limits;
    roles in places;
    every_member in places;
    patience in places;
    max_per_cluster in limits;
    max_per_host in limits;
    max_per_destination in limits;
    never_together in limits;
    window in order;
    open_window_when_late in order;
    window_end in runs;
    timeout in runs;
    retry_attempts in runs;
    retry_base in runs;
    retry_cap in runs;
    schedule in recurring;
    schedule_zone in recurring;
    jitter in recurring;
    overlap in recurring;
    misfire in recurring;
}

/// Keys whose tests are elsewhere, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("expected_rate", "sched-policy/tests/requests.rs"),
    ("expected_duration", "sched-policy/tests/technologies.rs"),
    ("load", "policy_signals.rs"),
    ("latency_factor", "policy_signals.rs"),
];

#[test]
fn every_key_has_a_test() {
    let elsewhere = ELSEWHERE.iter().map(|(key, _)| *key);
    let tested: BTreeSet<_> = TESTED.iter().copied().chain(elsewhere).collect();
    assert_eq!(tested.len(), TESTED.len() + ELSEWHERE.len(), "a key is there twice");
    assert_eq!(tested, Values::keys().collect());
}
