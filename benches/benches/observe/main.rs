//! What the impact ledger says of foregrounds of which the truth is known: how often it blames a backup wrongly, how many
//! true rises it finds, and how often it cannot tell. On seeds that nothing was chosen by. And what it costs the deciding
//! thread to be observed.
//!
//! `cargo bench -p sched-benches --bench observe`

mod cost;

use std::time::Duration;

use sched_benches::{Row, quick, timed, write_results};
use sched_core::{BackupKind, Clock, JobId, ManualClock};
use sched_observe::impact::plant::{Scenario, Score};
use sched_observe::impact::{Backup, ImpactLedger, ImpactSettings};

/// Who calls every rise a backup's while one runs finds all of them, and is wrong about all others.
const NAIVE: &str = "all that rises meanwhile is blamed";
/// Settings were chosen on seeds below 1,000.
const HELD_OUT: u64 = 1_000_000;

fn main() {
    let trials = if quick() { 200 } else { 2_000 };
    let at_500 = score(500.0, trials);
    println!("{at_500:#?}");
    let percent = |name, value, naive, of| Row::new(name, (value, "%"), (NAIVE, naive), of);
    let noticed = 100.0 - at_500.unnoticed_pct;
    let mut rows = vec![
        percent("false_attribution_pct", at_500.false_attribution_pct, 100.0, at_500.by_themselves),
        percent("detection_pct", at_500.detection_pct, noticed, at_500.trials / 2),
        Row::new("cannot_tell_pct", (at_500.cannot_tell_pct, "%"), ("what is promised", 5.0), at_500.trials),
        Row::new(
            "duty_pct",
            (100.0 * at_500.duty, "%"),
            ("what is allowed", 100.0 * ImpactSettings::default().duty),
            at_500.trials,
        ),
        Row::new("verdict_s_500", (at_500.decided_after_s, "s"), ("the rise lasts", 30.0), at_500.trials),
    ];
    // With fewer samples fewer rises are found in time; the time is that of those that are.
    let fewer = [("verdict_s_200", "detection_pct_200", 200.0), ("verdict_s_50", "detection_pct_50", 50.0)];
    for (time, found, rate) in fewer {
        let score = score(rate, trials / 5);
        println!("{rate} samples/s: {score:#?}");
        let peer = |value| ("at 500 samples/s", value);
        rows.push(Row::new(time, (score.decided_after_s, "s"), peer(at_500.decided_after_s), score.trials));
        rows.push(Row::new(found, (score.detection_pct, "%"), peer(at_500.detection_pct), score.trials / 2));
    }
    rows.push(recording());
    rows.extend(cost::rows());
    write_results("observe", &rows);
}

fn score(rate: f64, trials: u64) -> Score {
    on_two(trials, move |seeds| Score::of(|truth| Scenario::new(rate, truth), seeds))
}

/// Half of the seeds on another thread.
fn on_two(trials: u64, run: impl Fn(std::ops::Range<u64>) -> Score + Send + Copy) -> Score {
    let middle = HELD_OUT + trials / 2;
    std::thread::scope(|scope| {
        let other = scope.spawn(move || run(middle..HELD_OUT + trials));
        run(HELD_OUT..middle).join(&other.join().expect("a trial does not panic"))
    })
}

/// What recording a request costs, beside asking the clock for its time.
fn recording() -> Row {
    let requests = 1_000_000_u64;
    let clock = ManualClock::default();
    let mut ledger = ImpactLedger::new(ImpactSettings::default()).expect("defaults make sense");
    let backup = Backup { job: JobId(1), instance: "db".into(), kind: BackupKind::Full, pausable: true };
    ledger.begin(clock.now(), backup);
    let (start, instance) = (clock.now(), "db".into());
    let record = |n: u64| {
        let latency = Duration::from_micros(1_000 + n * 7_919 % 1_000);
        ledger.record(start.plus(Duration::from_micros(n * 500)), &instance, latency);
    };
    let per_request = timed(|| (0..requests).for_each(record)).0 / requests as f64;
    let reading = timed(|| (0..requests).for_each(|_| _ = std::hint::black_box(clock.now()))).0;
    Row::new("record_ns", (per_request, "ns"), ("reading a clock", reading / requests as f64), 1)
}
