//! Random fleets under random policies with random faults, and what must hold at every moment and afterwards.
//!
//! There are two campaigns. In one the engine alone is at work in the simulated world: whatever can be asked of it is
//! asked at random moments, its store is slow, it crashes and goes on from its journal, executors fail, hang, do not stop
//! when told to and report late; a model of its own, which knows nothing of how the engine works, is held against each of
//! its decisions (`book.rs`, `rest.rs`). In the other it is the whole strategy that users simulate their fleets with.
//!
//! `cargo test --release -p sched-sim --test campaign -- --nocapture` runs as many seeds of each as `CAMPAIGN_SEEDS` says.
//! A seed that fails is made smaller as long as it fails (`CAMPAIGN_SHRINK=0`: as it is), and printed with the command that
//! repeats it. `tests/mutations/check` breaks rules of the engine on purpose, and demands that the campaign notices.

mod book;
mod case;
mod desk;
mod disturb;
mod policy;
mod rest;
mod watch;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use case::{Case, Who};

pub(crate) const HOUR: f64 = 3600.0;
pub(crate) const DAY: f64 = 86_400.0;

/// Nothing, or what does not hold.
pub(crate) type Checked = Result<(), String>;

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs the seeds on all cores; the smallest one that fails is told.
fn campaign(who: Who, test: &str, usual: u64) {
    let seeds = match number("CAMPAIGN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CAMPAIGN_SEEDS").unwrap_or(usual),
    };
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end.min(failed.load(Relaxed)) {
                return;
            }
            if Case::random(who, seed).run().is_err() {
                failed.fetch_min(seed, Relaxed);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..cores).for_each(|_| _ = scope.spawn(work)));
    let seed = failed.into_inner();
    if seed == u64::MAX {
        return;
    }
    let case = Case::random(who, seed);
    let broken = case.run().err().unwrap_or_default();
    eprintln!("seed {seed}: {broken}\nit is made smaller as long as it fails");
    let as_it_is = number("CAMPAIGN_SHRINK") == Some(0);
    let (small, why) = if as_it_is { (case, broken.clone()) } else { case.shrink(broken.clone()) };
    panic!(
        "seed {seed}: {broken}\nthe smallest case that fails: {why}\n{small:#?}\nrepeat with \
         CAMPAIGN_SEED={seed} cargo test --release -p sched-sim --test campaign {test} -- --nocapture"
    );
}

#[test]
fn the_engine_keeps_its_promises() {
    campaign(Who::Engine, "the_engine_keeps_its_promises", if cfg!(debug_assertions) { 60 } else { 240 });
}

#[test]
fn the_strategy_keeps_its_promises() {
    campaign(Who::Strategy, "the_strategy_keeps_its_promises", if cfg!(debug_assertions) { 10 } else { 300 });
}
