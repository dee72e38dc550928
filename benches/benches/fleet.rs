//! A fleet's week: how long it takes to simulate, and what the scheduler does beside the best of what users have now.
//!
//! `cargo bench -p sched-benches --bench fleet`

use std::process::Command;

use sched_benches::{Row, median, quick, timed, write_results};
use sched_sim::{
    Adaptive, Baseline, Fleet, FleetShape, Measures, Pacing, Simulation, Strategy, Weeks, baselines, best,
    lowest_peaks,
};

const HOUR: f64 = 3600.0;
/// Set in the process that simulates a million instances and nothing else, so that its memory is all its own.
const MILLION_ONLY: &str = "FLEET_BENCH_MILLION";

/// How much is simulated.
struct Size {
    /// Instances of the large fleet.
    million: u32,
    ten_thousand: u32,
    /// Fleets that are compared, and their instances.
    seeds: u64,
    compared: u32,
    days: u32,
    /// Instances on which the laws look every second.
    ticked: u32,
}

impl Size {
    fn wanted() -> Self {
        if quick() {
            Self { million: 5_000, ten_thousand: 1_000, seeds: 2, compared: 500, days: 3, ticked: 20 }
        } else {
            Self {
                million: 1_000_000,
                ten_thousand: 10_000,
                seeds: 20,
                compared: 10_000,
                days: 7,
                ticked: 300,
            }
        }
    }
}

fn fleet(instances: u32, seed: u64) -> Fleet {
    let mut shape = FleetShape::default();
    (shape.instances, shape.seed) = (instances, seed);
    shape.generate()
}

fn ours(simulation: &Simulation<'_>) -> Measures {
    simulation.run_by_link(|_| Adaptive::new(20).planned(&Weeks::own()), &mut |_, _| ())
}

/// Seconds that a week of a fleet takes, without the making of the fleet.
fn week(fleet: &Fleet, days: u32) -> f64 {
    timed(|| ours(&Simulation::new(fleet).days(days))).0 / 1e9
}

/// Prints seconds and the most memory, in MiB, of a week of a million.
fn million(size: &Size) {
    let seconds = week(&fleet(size.million, 1), size.days);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    println!("{seconds} {}", kib.unwrap_or(f64::NAN) / 1024.0);
}

fn speed(size: &Size, rows: &mut Vec<Row>) {
    let ten = fleet(size.ten_thousand, 1);
    let seconds = median((0..3).map(|_| week(&ten, size.days)).collect());
    rows.push(Row::new("sim_10k_7d_s", (seconds, "s"), ("aim", 2.0), 3));
    let this = std::env::current_exe().expect("a path");
    let output = Command::new(this).env(MILLION_ONLY, "1").output().expect("a child process");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().expect("a number"));
    let mut number = || numbers.next().expect("two numbers");
    rows.push(Row::new("sim_1m_7d_s", (number(), "s"), ("aim", 60.0), 1));
    rows.push(Row::new("sim_1m_rss_mib", (number(), "MiB"), ("aim", 2048.0), 1));
}

/// What a strategy did on several fleets.
#[derive(Clone, Default)]
struct Sum {
    due: u64,
    in_time: u64,
    timed_out: u64,
    harm_secs: f64,
    backup_secs: f64,
    low_load: (f64, f64),
    /// Of each fleet, the worst link's busiest hour over its mean, and over the lowest that RPOs allow.
    peak_to_mean: Vec<f64>,
    peak_over_lowest: Vec<f64>,
}

impl Sum {
    fn add(&mut self, of: &Measures, lowest: &[f64]) {
        self.due += of.due;
        self.in_time += of.in_time;
        self.timed_out += of.timed_out;
        self.harm_secs += of.harm_secs;
        self.backup_secs += of.backup_secs;
        self.low_load.0 += of.low_load_secs;
        self.low_load.1 += of.low_load_possible_secs;
        self.peak_to_mean.push(of.peak_to_mean().1);
        self.peak_over_lowest.push(of.peak_over(lowest).1);
    }

    fn hit_pct(&self) -> f64 {
        100.0 * self.in_time as f64 / self.due.max(1) as f64
    }

    /// As one fleet, to be judged like one.
    fn as_measures(&self) -> Measures {
        let mut measures = Measures::default();
        (measures.due, measures.in_time) = (self.due, self.in_time);
        (measures.harm_secs, measures.backup_secs) = (self.harm_secs, self.backup_secs);
        measures
    }
}

/// The scheduler, and all settings of all baselines, on the same fleets.
struct Comparison {
    ours: Sum,
    baselines: Vec<(Baseline, Vec<Sum>)>,
}

impl Comparison {
    fn new(size: &Size) -> Self {
        let with_sums = |of: Baseline| {
            let sums = vec![Sum::default(); of.settings.len()];
            (of, sums)
        };
        let mut all =
            Self { ours: Sum::default(), baselines: baselines().into_iter().map(with_sums).collect() };
        for seed in 1..=size.seeds {
            let fleet = fleet(size.compared, seed);
            let simulation = Simulation::new(&fleet).days(size.days);
            let lowest = lowest_peaks(&fleet, None, 24 * size.days as usize);
            all.ours.add(&ours(&simulation), &lowest);
            for (baseline, sums) in &mut all.baselines {
                for (setting, sum) in baseline.settings.iter().zip(sums) {
                    sum.add(&simulation.run_by_link(|_| setting.clone(), &mut |_, _| ()), &lowest);
                }
            }
            eprintln!("fleet {seed} of {}", size.seeds);
        }
        all
    }

    /// Of each baseline the best setting over all fleets: its names, and what it did.
    fn best_settings(&self) -> Vec<(String, &Sum)> {
        let best_of = |(baseline, sums): &'_ (Baseline, Vec<Sum>)| {
            let at =
                best(&sums.iter().map(Sum::as_measures).collect::<Vec<_>>()).expect("there are settings");
            (format!("{}: {}", baseline.name, baseline.settings[at].name()), at)
        };
        self.baselines.iter().map(|of| (best_of(of), of)).map(|((name, at), of)| (name, &of.1[at])).collect()
    }

    fn rows(&self, rows: &mut Vec<Row>) {
        let (ours, settings) = (&self.ours, self.best_settings());
        println!(
            "\n{:<60} {:>8} {:>10} {:>10} {:>9} {:>9} {:>8} {:>8}",
            "", "RPO %", "harm h", "backup h", "timed out", "low load", "peak/mean", "/lowest"
        );
        let print = |name: &str, sum: &Sum| {
            println!(
                "{name:<60} {:>8.3} {:>10.1} {:>10.0} {:>9} {:>9.3} {:>8.2} {:>8.2}",
                sum.hit_pct(),
                sum.harm_secs / HOUR,
                sum.backup_secs / HOUR,
                sum.timed_out,
                sum.low_load.0 / sum.low_load.1.max(1.0),
                median(sum.peak_to_mean.clone()),
                median(sum.peak_over_lowest.clone())
            );
        };
        print("this scheduler", ours);
        settings.iter().for_each(|(name, sum)| print(name, sum));

        let measures: Vec<Measures> = settings.iter().map(|(_, sum)| sum.as_measures()).collect();
        let (name, rival) = &settings[best(&measures).expect("there are baselines")];
        let fleets = ours.peak_to_mean.len();
        let over = |of: fn(&Sum) -> f64| of(ours) / of(rival);
        let of = |sum: &Sum| median(sum.peak_to_mean.clone());
        rows.push(Row::new("rpo_hit_pct", (ours.hit_pct(), "%"), (name, rival.hit_pct()), fleets));
        let lowest = median(ours.peak_over_lowest.clone());
        rows.push(Row::new("link_peak_over_lower_bound", (lowest, "×"), ("aim", 1.25), fleets));
        rows.push(Row::new("link_peak_to_mean", (of(ours), "×"), (name, of(rival)), fleets));
        let harm = over(|sum| sum.harm_secs.max(1.0));
        rows.push(Row::new("harm_over_best_baseline", (harm, "×"), ("aim", 0.1), fleets));
        rows.push(Row::new(
            "backup_time_over_best_baseline",
            (over(|sum| sum.backup_secs), "×"),
            ("aim", 1.2),
            fleets,
        ));
        let low_load = |sum: &Sum| 100.0 * sum.low_load.0 / sum.low_load.1.max(1.0);
        rows.push(Row::new("low_load_pct", (low_load(ours), "%"), (name, low_load(rival)), fleets));
    }
}

/// The scheduler with rates at once where the law comes to rest, and with the law itself second by second.
fn fluid_against_ticks(size: &Size, rows: &mut Vec<Row>) {
    let mut shape = FleetShape::default();
    (shape.instances, shape.per_link) = (size.ticked, 50);
    let fleet = shape.generate();
    let simulation = Simulation::new(&fleet).days(1);
    let fluid = ours(&simulation);
    let ticks = ours(&simulation.pacing(Pacing::EverySecond));
    let (a, b) = (fluid.backup_secs / HOUR, ticks.backup_secs / HOUR);
    rows.push(Row::new("fluid_backup_h", (a, "h"), ("laws look every second", b), fleet.instances.len()));
    let (a, b) = (fluid.bytes() / 1e9, ticks.bytes() / 1e9);
    rows.push(Row::new("fluid_gb", (a, "GB"), ("laws look every second", b), fleet.instances.len()));
}

fn main() {
    let size = Size::wanted();
    if std::env::var_os(MILLION_ONLY).is_some() {
        return million(&size);
    }
    let mut rows = Vec::new();
    speed(&size, &mut rows);
    fluid_against_ticks(&size, &mut rows);
    Comparison::new(&size).rows(&mut rows);
    write_results("fleet", &rows);
}
