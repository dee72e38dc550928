//! A soak: schedulers with real threads, the real clock and a real file live under faults of every kind, for as long as the
//! environment says, and at the end nothing is lost, nothing was made twice at the same time, and nothing has grown.
//!
//! Two hosts run side by side. The lasting one keeps one scheduler all the time, so that what grows within a life is seen. The
//! brief one ends its scheduler after two seconds, in one way or another, and starts the next on the same file, so that what is
//! left of a life is seen.
//!
//! ```sh
//! SOAK_SECONDS=1800 cargo test --release -p backup-sched --test soak -- --nocapture
//! ```
//!
//! `SOAK_SEED` chooses what goes wrong. Threads and clocks are real, so the same seed is not the same run.
#![cfg(target_os = "linux")]

mod book;
mod callers;
mod faults;
mod fleet;
mod holdings;
mod host;
mod ledger;
mod operators;
mod senses;
mod series;

use std::sync::Arc;
use std::time::Duration;

use backup_sched::{Clock, SystemClock};
use crossbeam_channel::{bounded, never};

use faults::{Chaos, pass};
use holdings::{Done, Holdings, Measure};
use host::Host;
use series::{Point, Series};

/// The brief host's scheduler lives so long …
const LIFE: Duration = Duration::from_secs(2);
/// … and its threads have so long to end before it is looked at what is left. Only then does the next one begin.
const REST: Duration = Duration::from_millis(200);
/// How often it is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A whole number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() {
        default
    } else {
        text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, no number"))
    }
}

/// The columns of what is held.
fn row(of: impl Fn(Measure) -> String) -> String {
    Measure::ALL.iter().map(|measure| format!(" {:>12}", of(*measure))).collect()
}

#[test]
fn under_faults_nothing_is_lost_and_nothing_grows() {
    let length = Duration::from_secs(setting("SOAK_SECONDS", 20));
    let seed = setting("SOAK_SEED", 1);
    println!("a soak of {length:?} with SOAK_SEED={seed}");
    let chaos = Arc::new(Chaos::new(seed));
    let directory = tempfile::tempdir().unwrap();
    let mut lasting = Host::new("lasting", directory.path(), &chaos, length);
    let mut brief = Host::new("brief", directory.path(), &chaos, length);
    let ledgers = [lasting.ledger.clone(), brief.ledger.clone()];
    let counts = || {
        let [lasting, brief] = ledgers.each_ref().map(|ledger| ledger.counts());
        std::array::from_fn::<_, 3, _>(|n| lasting[n] + brief[n])
    };
    let begun = SystemClock.now().mono;
    let passed = || SystemClock.now().mono.since(begun);
    let mut series = Series::new(length);
    println!(
        "{:>12} {:>12} {:>12} {:>12}{}",
        "s",
        "jobs ended",
        "attempts",
        "faults",
        row(|m| m.to_string())
    );
    std::thread::scope(|scope| {
        // The lasting host goes on until this is dropped: at the end, or at once if anything is wrong.
        let (_go_on, stop) = bounded::<()>(0);
        scope.spawn(|| {
            let stop = stop;
            lasting.live(&stop, Duration::MAX, || {});
        });
        let mut told = Duration::ZERO;
        while passed() < length {
            brief.live(&never(), LIFE, || {
                series.add(passed(), Point::HalfWay, Holdings::now(), Done::by_now(counts()[0]))
            });
            pass(&never(), REST);
            let holds = Holdings::now();
            series.add(passed(), Point::Between, holds, Done::by_now(counts()[0]));
            ledgers.iter().for_each(|ledger| assert_eq!(ledger.wrong(), Vec::<String>::new()));
            if passed() >= told + TOLD_EVERY {
                told = passed();
                let ([ended, attempts, _], faults) = (counts(), chaos.total());
                let holds = row(|measure| format!("{:.1}", holds.of(measure)));
                println!("{:>12} {ended:>12} {attempts:>12} {faults:>12}{holds}", told.as_secs());
            }
        }
    });
    chaos.end();
    lasting.finish();
    brief.finish();
    let [ended, attempts, recurred] = counts();
    println!("{ended} jobs ended after {attempts} attempts, {recurred} were due; {series}");
    println!("{} faults: {chaos}", chaos.total());
    ledgers.iter().for_each(|ledger| assert_eq!(ledger.wrong(), Vec::<String>::new()));
    assert_eq!(series.wrong(), Vec::<String>::new());
    assert!(recurred > 0, "nothing recurs");
    // Some come in one of a hundred attempts, or once in six lives: in a short soak of a slow machine not all have to come.
    if length >= Duration::from_secs(600) {
        assert_eq!(chaos.missing(), Vec::<&str>::new(), "never went wrong in so long a time");
    }
}
