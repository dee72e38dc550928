//! The main job, end to end: live SQLite databases under traffic, backed up by a scheduler that watches the traffic.
//!
//! `cargo run --release --example quickstart`, or with `-- --quick` a shorter run on smaller databases.

mod backup;
mod fleet;
mod page;
mod progress;
mod report;
mod rounds;
mod traffic;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_sched::core::wall_until;
use backup_sched::observe::FnHook;
use backup_sched::{
    Clock, Event, EventKind, ForegroundLatency, HostProbe, LatencyGoal, Scheduler, SystemClock,
};
use crossbeam_channel::{Receiver, bounded, never, unbounded};

use page::Picture;
use progress::Progress;
use report::{Figures, backup_rows, ms, table, tail_rows};
use rounds::{Phase, Seen};
use traffic::Traffic;

/// How long and how large a run is.
struct Size {
    rounds: usize,
    block: Duration,
    percent: u64,
}

const FULL: Size = Size { rounds: 3, block: Duration::from_secs(3), percent: 100 };
const QUICK: Size = Size { rounds: 2, block: Duration::from_millis(1500), percent: 40 };
/// The application's share of its capacity.
const LOAD: f64 = 0.4;
/// Foreground alone between two blocks, not counted, until caches, disk and detectors have settled.
const SETTLE: Duration = Duration::from_millis(1000);
/// The SLO that the application gives, over its p99 without backups.
const SLO_OVER_HEALTHY: f64 = 2.0;

/// Set by Ctrl-C.
pub(crate) struct Stop(Receiver<()>);

impl Stop {
    fn on_ctrl_c() -> Result<Self, ctrlc::Error> {
        let (pressed, stop) = bounded(1);
        ctrlc::set_handler(move || {
            // A second press finds the first still waiting.
            let _ = pressed.try_send(());
        })?;
        Ok(Self(stop))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(STOPPED.into()) }
    }

    pub(crate) fn wait(&self, time: Duration) -> Result<(), String> {
        let end = SystemClock.now().mono + time;
        while SystemClock.now().mono < end {
            self.check()?;
            wait(end.since(SystemClock.now().mono).min(Duration::from_millis(50)));
        }
        self.check()
    }
}

const STOPPED: &str = "stopped by Ctrl-C";

pub(crate) fn wait(time: Duration) {
    let _ = never::<()>().recv_timeout(time);
}

fn main() -> ExitCode {
    let size = match std::env::args().nth(1).as_deref() {
        None => FULL,
        Some("--quick") => QUICK,
        Some(other) => {
            eprintln!("unknown argument {other:?}; the only one is --quick");
            return ExitCode::from(2);
        }
    };
    match run(&size) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.to_string() == STOPPED => {
            eprintln!("{STOPPED}; the databases and copies are removed");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("quickstart failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every backup was made and verified.
fn run(size: &Size) -> Result<bool, Box<dyn Error>> {
    println!(
        "Seven live SQLite databases are backed up while an application uses them, in three ways, by turns:"
    );
    println!(
        "no backup, all at once at full speed, and as the scheduler decides. What does the application notice?"
    );
    println!();
    let stop = Stop::on_ctrl_c()?;
    let dir = tempfile::tempdir()?;
    let fleet = fleet::create(dir.path(), size.percent, |db| {
        println!("  {:10} {:6.1} MB  {}", db.name, db.bytes as f64 / 1e6, db.priority)
    })?;
    let total: u64 = fleet.iter().map(|db| db.bytes).sum();
    stop.check()?;

    let capacity = traffic::capacity(&fleet, Duration::from_secs(1))?;
    let per_second = (LOAD * capacity).clamp(50.0, 2000.0);
    let latency = ForegroundLatency::new();
    let traffic = Traffic::start(&fleet, per_second, &latency);
    stop.wait(SETTLE)?;
    latency.drain();
    stop.wait(SETTLE * 2)?;
    let healthy = latency.drain().quantile(0.99);
    let slo = healthy.mul_f64(SLO_OVER_HEALTHY).max(Duration::from_millis(1));
    let about = format!(
        "The application sends {per_second:.0} requests a second, {:.0} % of what it can answer; alone its p99 is {:.1} ms, \
         and it tells the scheduler to keep {:.1} ms. At full speed every database is copied again and again until the block \
         ends; the scheduler makes one round of backups a block.",
        LOAD * 100.0,
        ms(healthy),
        ms(slo)
    );
    println!("\n{about}\n");

    let copies_dir: Arc<Path> = dir.path().into();
    let (made, copies) = unbounded();
    let decisions = Arc::new(Mutex::new(Vec::new()));
    let heard = decisions.clone();
    let scheduler = Scheduler::builder()
        .executor("sqlite", rounds::executor(fleet.clone(), copies_dir.clone(), made))
        .max_running(2)
        .rate_ceiling(total)
        .foreground(latency, LatencyGoal::p99(slo).period(Duration::from_millis(250)).min_samples(100))
        .probe(HostProbe::new("local"))
        .hook(FnHook(move |event: &Event| {
            if let Ok(mut heard) = heard.lock() {
                heard.push(event.clone());
            }
        }))
        .start()?;

    let progress = Progress::new(3 * size.rounds as u64);
    let mut seen = Seen::default();
    let mut rng = fastrand::Rng::with_seed(7);
    let began = SystemClock.now();
    for round in 0..size.rounds {
        let mut phases = Phase::EACH;
        rng.shuffle(&mut phases);
        for phase in phases {
            stop.wait(SETTLE)?;
            progress.block(phase.title());
            match phase {
                Phase::None => rounds::none(size.block, &mut seen, &stop)?,
                Phase::All => rounds::all(&fleet, &copies_dir, size.block, &mut seen, &stop)?,
                Phase::Scheduled => {
                    rounds::scheduled(&fleet, &scheduler, &copies, &mut seen, &progress, &stop)?;
                    if round == 0 {
                        tell_decisions(&decisions, began, &progress);
                    }
                }
            }
            progress.block_done();
            progress.say(format!("round {}: {} done", round + 1, phase.title()));
        }
    }
    progress.finish();
    scheduler.shutdown(Duration::from_secs(5));
    let samples = traffic.stop()?;

    let figures = Figures::new(&samples, &seen);
    let picture = Picture { samples: &samples, seen: &seen, fleet: &fleet, figures: &figures, about: &about };
    let results = results_dir()?;
    std::fs::write(results.join("quickstart.html"), picture.html())?;
    std::fs::write(results.join("quickstart.svg"), picture.svg())?;
    figures.write_json(&results.join("quickstart.json"))?;
    println!(
        "\nThe scheduled backups of the last round:\n{}",
        table(&backup_rows(&seen.backups, fleet.len()))
    );
    println!("{}", table(&tail_rows(&figures)));
    let (_, verdict) = figures.verdict();
    println!("{verdict}.\n");
    println!("The picture:  {}", results.join("quickstart.html").display());
    println!("The figures:  {}", results.join("quickstart.json").display());
    Ok(figures.verified == figures.backups && figures.restarts == 0)
}

/// Says what was decided in the first scheduled block, and why.
fn tell_decisions(decisions: &Mutex<Vec<Event>>, began: backup_sched::Now, progress: &Progress) {
    let Ok(decisions) = decisions.lock() else { return };
    progress.say("what the scheduler decided, and why (first round):");
    let mut rerated = 0;
    for event in decisions.iter() {
        let what = match &event.kind {
            EventKind::Deferred { by, .. } => format!("waits: {by}"),
            EventKind::Admitted { waited } => format!("starts after {:.2} s", waited.as_secs_f64()),
            EventKind::Succeeded { ran, bytes } => {
                format!("done: {:.1} MB in {:.2} s", *bytes as f64 / 1e6, ran.as_secs_f64())
            }
            EventKind::LoadChanged { state, .. } => format!("load is {}: {}", state.level, state.reason),
            EventKind::CapacityChanged { state, .. } => format!("capacity: {state:?}"),
            EventKind::Rerated { bytes_per_sec: Some(rate), reason, .. } => {
                rerated += 1;
                if rerated > 5 {
                    continue;
                }
                format!("rate {:.1} MB/s: {reason}", *rate as f64 / 1e6)
            }
            EventKind::RpoAtRisk { reason, .. } => format!("at risk: {reason}"),
            _ => continue,
        };
        let at = wall_until(began.wall, event.at.wall).as_secs_f64();
        let who = event.job.as_ref().map_or("", |job| job.instance.as_str());
        progress.say(format!("  {at:6.2} s  {who:10} {what}"));
    }
    if rerated > 5 {
        progress.say(format!("          and {} more changes of the rate", rerated - 5));
    }
}

fn results_dir() -> std::io::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/results");
    std::fs::create_dir_all(&dir)?;
    dir.canonicalize()
}
