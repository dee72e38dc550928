//! What backups do to a real server's foreground: nothing, the tool as fast as it can, at fixed rates, with the least
//! weight, and this scheduler, told the SLO or knowing nothing; in random order, in the same run,
//! each between two blocks without a backup.
//!
//! `cargo bench -p sched-benches --bench interference -- [TECHNOLOGY…] [--load PERCENT]… [--part blocks|burst|ledger]…
//! [--method unthrottled|nice|fixed|told|knowing_nothing]… [--rounds N]`
//!
//! Without arguments: all technologies, 40 and 75 % of the measured capacity, all parts, at least ten rounds of blocks.
//! Figures of several runs come together in one file, each with its number of rounds.

mod blocks;
mod burst;
mod clock;
mod ledger;
mod method;
mod plain;
mod report;
mod results;
mod stalls;
mod stats;
mod tech;
mod traffic;

use std::num::NonZeroUsize;
use std::time::Duration;

use backup_sched::SystemClock;
use backup_sched::core::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use sched_benches::quick;

use crate::blocks::{Alone, Plan, compare, rest};
use crate::method::{Contender, Method, Setting};
use crate::results::Outcome;
use crate::tech::Technology;
use crate::traffic::{Listener, Rate, Traffic};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is asked for on the command line.
struct Wanted {
    technologies: Vec<String>,
    loads: Vec<u32>,
    parts: Vec<Part>,
    /// Beside no backup; all where none is named.
    methods: Vec<String>,
    /// Rounds of blocks, where it is not as many as make the figures sure.
    rounds: Option<usize>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Methods against each other at a steady load.
    Blocks,
    /// A step of the foreground in the middle of a backup.
    Burst,
    /// The scheduler's own account beside what is measured from outside.
    Ledger,
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "blocks" => Ok(Self::Blocks),
            "burst" => Ok(Self::Burst),
            "ledger" => Ok(Self::Ledger),
            other => Err(format!("there is no part {other:?}: blocks, burst and ledger are measured")),
        }
    }
}

/// The names of methods that can be asked for.
const METHODS: [&str; 5] = ["unthrottled", "nice", "fixed", "told", "knowing_nothing"];

fn method(name: String) -> Result<String, String> {
    let known = METHODS.contains(&name.as_str());
    known.then_some(name.clone()).ok_or(format!("there is no method {name:?}: {}", METHODS.join(", ")))
}

fn wanted() -> Result<Wanted, lexopt::Error> {
    use lexopt::prelude::*;
    let mut wanted = Wanted {
        technologies: Vec::new(),
        loads: Vec::new(),
        parts: Vec::new(),
        methods: Vec::new(),
        rounds: None,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            // Cargo adds it.
            Long("bench") => {}
            Long("load") => wanted.loads.push(args.value()?.parse()?),
            Long("part") => wanted.parts.push(args.value()?.parse()?),
            Long("method") => wanted.methods.push(method(args.value()?.string()?)?),
            Long("rounds") => wanted.rounds = Some(args.value()?.parse::<NonZeroUsize>()?.get()),
            Value(name) => wanted.technologies.push(name.string()?),
            other => return Err(other.unexpected()),
        }
    }
    if wanted.technologies.is_empty() {
        wanted.technologies = tech::ALL.map(str::to_owned).to_vec();
    }
    if wanted.loads.is_empty() {
        wanted.loads = if quick() { vec![40] } else { vec![40, 75] };
    }
    if wanted.parts.is_empty() {
        wanted.parts =
            if quick() { vec![Part::Blocks] } else { vec![Part::Blocks, Part::Burst, Part::Ledger] };
    }
    Ok(wanted)
}

fn main() -> Result<(), Failure> {
    let wanted = wanted()?;
    for name in &wanted.technologies {
        let outcome = run(name, &wanted)?;
        results::write(&outcome)?;
        report::write(&outcome)?;
        println!("{name}: figures and page are in {}", sched_benches::results_directory().display());
        if quick() {
            outcome.check_pacing()?;
        }
    }
    Ok(())
}

/// Shares of what the tool does unthrottled that are tried as fixed rates.
const SWEEP: [f64; 4] = [0.03, 0.08, 0.2, 0.5];

fn run(name: &str, wanted: &Wanted) -> Result<Outcome, Failure> {
    let bytes = if quick() { 128 << 20 } else { 1 << 30 };
    let mut plan = if quick() {
        Plan {
            calibrations: 2,
            warm_up: Duration::from_secs(15),
            wash_out: Duration::from_secs(5),
            settle: Duration::from_secs(1),
            measured: Duration::from_secs(4),
            alone: Duration::from_secs(3),
            least_rounds: 2,
            most_rounds: 2,
            narrow: 0.1,
        }
    } else {
        Plan {
            calibrations: 4,
            warm_up: Duration::from_secs(180),
            wash_out: Duration::from_secs(15),
            settle: Duration::from_secs(2),
            measured: Duration::from_secs(10),
            alone: Duration::from_secs(5),
            least_rounds: 10,
            most_rounds: 20,
            narrow: 0.1,
        }
    };
    if let Some(rounds) = wanted.rounds {
        (plan.least_rounds, plan.most_rounds) = (rounds, rounds);
    }
    let directory = tempfile::Builder::new().prefix("interference").tempdir_in(results::data_directory()?)?;
    let progress = ProgressBar::new(0);
    progress.set_style(ProgressStyle::with_template("{elapsed_precise} {msg}")?);
    progress.enable_steady_tick(Duration::from_millis(500));
    progress.set_message(format!("{name}: filling {} MB", bytes >> 20));
    let technology = tech::start(name, directory.path(), bytes)?;
    let technology = &*technology;
    // Else the kernel writes the data while the first blocks are measured.
    rustix::fs::syncfs(std::fs::File::open(directory.path())?)?;

    progress.set_message(format!("{name}: capacity"));
    let capacity = traffic::capacity(technology, plan.measured)?;
    println!("{name}: {}; {capacity:.0} requests/s at most", technology.versions());
    let backups = directory.path().join("backups");
    std::fs::create_dir(&backups)?;

    let mut outcome = Outcome::new(technology, capacity);
    let loads = if wanted.parts.contains(&Part::Blocks) { &wanted.loads[..] } else { &[] };
    for load in loads {
        let per_second = capacity * f64::from(*load) / 100.0;
        let (alone, full_speed) = calibrate(technology, per_second, &backups, plan)?;
        println!(
            "{name} at {load} %: p99 {:.2} ms alone, the tool moves {:.0} MB/s",
            alone.p99().as_secs_f64() * 1e3,
            full_speed / 1e6
        );
        let setting = Setting { technology, directory: backups.clone(), slo: alone.slo() };
        let sweep = if quick() { &SWEEP[2..3] } else { &SWEEP[..] };
        let fixed = sweep.iter().map(|share| Method::Fixed(full_speed * share));
        let all = [Method::Unthrottled, Method::Nice].into_iter().chain(fixed);
        let all = all.chain([Method::Told, Method::KnowingNothing]);
        let wanted = |method: &Method| {
            wanted.methods.is_empty() || wanted.methods.iter().any(|name| *name == method.kind())
        };
        let methods: Vec<Method> = all.filter(wanted).collect();
        compare(per_second, &setting, &methods, alone, plan, &progress, |comparison| {
            outcome.set(*load, comparison);
            results::write(&outcome)?;
            report::write(&outcome)
        })?;
        outcome.print(*load);
    }
    let slo = |load: f64| -> Result<Duration, Failure> {
        Ok(calibrate(technology, capacity * load, &backups, plan)?.0.slo())
    };
    if wanted.parts.contains(&Part::Burst) {
        let setting = Setting { technology, directory: backups.clone(), slo: slo(burst::HIGH)? };
        outcome.burst = Some(burst::measure(technology, capacity, &setting, &progress)?);
    }
    if wanted.parts.contains(&Part::Ledger) {
        let setting = Setting { technology, directory: backups.clone(), slo: slo(0.4)? };
        outcome.ledger = Some(ledger::check(technology, capacity * 0.4, &setting, &progress)?);
    }
    progress.finish_and_clear();
    Ok(outcome)
}

/// Other requests than in the blocks: a row that is set to what it is already may cost nothing.
const FIRST_SEED: u64 = 1_000_000;

/// The foreground's p99 without any backup, and the bytes a second that the tool moves unthrottled beside it: both by turns,
/// as they will be in the blocks.
fn calibrate(
    technology: &dyn Technology,
    per_second: f64,
    backups: &std::path::Path,
    plan: Plan,
) -> Result<(Alone, f64), Failure> {
    let setting = Setting { technology, directory: backups.to_owned(), slo: Duration::MAX };
    let tool = Contender::new(Method::Unthrottled, &setting)?;
    let rate = Rate::new(per_second);
    let mut alone = Alone::default();
    for seed in (0..plan.calibrations).map(|turn| u64::from(turn) * 2) {
        let traffic = Traffic::start(technology, &rate, &Listener::default(), FIRST_SEED + seed)?;
        rest(plan.settle);
        tool.run(true);
        rest(plan.measured / 2);
        tool.run(false);
        traffic.stop()?;
        let traffic = Traffic::start(technology, &rate, &Listener::default(), FIRST_SEED + seed + 1)?;
        // Nobody knows yet what is calm.
        rest(plan.wash_out / 2);
        let from = SystemClock.mono();
        rest(plan.measured);
        let mut latencies = stats::empty();
        for sample in traffic.stop()?.iter().filter(|sample| sample.due >= from) {
            latencies.saturating_record(u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX));
        }
        alone.add(latencies);
    }
    let full_speed = tool.moved() as f64 / tool.elapsed().as_secs_f64();
    match tool.failure() {
        Some(error) => Err(error.into()),
        None if full_speed > 0.0 => Ok((alone, full_speed)),
        None => Err("the tool moved nothing".into()),
    }
}
