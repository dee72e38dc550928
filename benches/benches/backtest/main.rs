//! Where backups would have been put on recorded loads, by the learned week and by others, and how many peaks would have
//! been seen.
//!
//! `cargo bench -p sched-benches --bench backtest -- --dir DIR` reads every `timestamp,value` file of a folder; by
//! default the traces that are shipped, and generated ones. `BENCH_QUICK=1` leaves MSTL out.

mod class;
mod compare;
mod generated;
mod peaks;
mod report;
mod rivals;
mod score;
mod traces;

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use compare::compare;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use peaks::{Case, Seen, total};
use report::{Costs, Peaks, Report};
use sched_benches::{median, quick, timed};
use sched_workload::{LearnedWeek, LocalClock, OwnLoad};
use traces::{Trace, read_dir};

/// Bursts as large as the load's own range, from its 5th to its 95th percentile.
const BURST: f32 = 1.0;
const SMALL_BURST: f32 = 0.5;

/// Runs `work` on all items with as many threads as there are processors, and returns the results in their order.
fn parallel<T: Sync, R: Send>(what: &'static str, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let style =
        ProgressStyle::with_template("{msg:<22} {bar:40} {pos}/{len} {eta}").expect("a good template");
    let bar = ProgressBar::new(items.len() as u64).with_style(style).with_message(what);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    results.lock().expect("no worker panicked").push((at, result));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut results = results.into_inner().expect("no worker panicked");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Bursts of two sizes at thresholds of one false alarm a day, and alarms at the default ones.
fn peaks(traces: &[Trace]) -> Option<Peaks> {
    let cases: Vec<Case> = traces.iter().filter_map(|trace| Case::new(trace, BURST)).collect();
    let small: Vec<Case> = traces.iter().filter_map(|trace| Case::new(trace, SMALL_BURST)).collect();
    if cases.is_empty() {
        return None;
    }
    let alarms = |seen: &Seen| seen.alarms / seen.days;
    let run = |cases: &[Case], scale: f32| total(&parallel("peaks", cases, |case| case.run(scale)));
    let (mut low, mut high) = (0.3_f32, 3.0_f32);
    for _ in 0..12 {
        let middle = (low * high).sqrt();
        if alarms(&run(&cases, middle)) > 1.0 { low = middle } else { high = middle }
    }
    let scale = high;
    Some(Peaks {
        cases: cases.len(),
        scale,
        seen: run(&cases, scale),
        small: run(&small, scale),
        normal: run(&cases, 1.0),
    })
}

/// Nanoseconds of a sample, at one a minute, and of a forecast of a day by the hour.
fn costs() -> Costs {
    let (mut week, mut clock) = (LearnedWeek::new(), LocalClock::utc());
    let start: Timestamp = "2024-03-04T00:00:00Z".parse().expect("a time");
    let minutes = 10 * 1440;
    let mut updates = Vec::new();
    for round in 0..9_i64 {
        let (took, ()) = timed(|| {
            for minute in round * minutes..(round + 1) * minutes {
                let slot = clock.slot(start + SignedDuration::from_mins(minute));
                week.update(slot, black_box((minute * 7919 % 97) as f64), OwnLoad::None);
            }
        });
        updates.push(took / minutes as f64);
    }
    let from = start + SignedDuration::from_mins(9 * minutes);
    let mut forecasts = Vec::new();
    for _ in 0..9 {
        let (took, ()) = timed(|| {
            for _ in 0..1_000 {
                black_box(week.forecast(&mut clock, black_box(from), Duration::from_secs(3600), 24));
            }
        });
        forecasts.push(took / 1_000.0);
    }
    Costs { update_ns: median(updates), forecast_day_ns: median(forecasts) }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = args.iter().position(|arg| arg == "--dir").and_then(|at| args.get(at + 1));
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/traces");
    let traces = match dir {
        Some(dir) => read_dir(dir.as_ref()),
        None => read_dir(shipped.as_ref()).map(|shipped| [shipped, generated::generated()].concat()),
    };
    let traces = match traces {
        Ok(traces) if !traces.is_empty() => traces,
        Ok(_) => return eprintln!("no .csv files with `timestamp,value` rows were found"),
        Err(error) => return eprintln!("{error}"),
    };
    let gridded: Vec<Trace> = traces.iter().map(Trace::gridded).collect();
    let scores = parallel("windows", &gridded, |trace| compare(trace, !quick()));
    let report = Report { traces: &gridded, scores: &scores, peaks: peaks(&traces), costs: costs() };
    report.print();
    report.write();
}
