//! Concurrent code of this workspace in every order of its threads, by `loom`; not published.
//!
//! The files of the other crates are compiled here once more, as they are: they take atomics and locks from `crate::sync`,
//! which in their own crate has those of `std` and `parking_lot`, and here those of `loom`. So the models need no flags and
//! run in `cargo test`. What weak memory may do with relaxed atomics is tried, too.
//!
//! `LOOM_MAX_PREEMPTIONS` says how often a thread may be interrupted (2 unless said); a release tries 3.

#![warn(missing_docs)]

#[cfg(test)]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "all of another crate's module, of which a part is modelled"
)]
#[path = "../../sched-limits/src/bandwidth/mod.rs"]
mod bandwidth;
#[cfg(test)]
#[allow(dead_code, clippy::duplicate_mod, reason = "as above; what is private to it is modelled by itself")]
#[path = "../../sched-limits/src/bandwidth/gate.rs"]
mod gate;
#[cfg(test)]
mod gates;
#[cfg(test)]
mod handles;
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../../sched-limits/src/rate.rs"]
mod rate;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod sync;
#[cfg(test)]
#[allow(dead_code, reason = "as above; there is no time in a model")]
#[path = "../../backup-sched/src/told.rs"]
mod told;

/// Tries every order in which threads may run that are interrupted no more often than is said.
#[cfg(test)]
fn in_every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(model);
}
