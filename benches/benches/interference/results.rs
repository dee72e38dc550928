//! What was found, as rows: [`Outcome`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use sched_benches::{results_directory, write_json};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::blocks::{Comparison, Measured};
use crate::burst::Burst;
use crate::ledger::Account;
use crate::method::Method;
use crate::stats::{self, Ratio};
use crate::tech::Technology;

/// What p99 a throttle must keep to count.
const KEEPS: f64 = 1.10;

/// Of fewer rounds there is no interval.
pub(crate) const FEWEST_ROUNDS: usize = 5;

/// All that was measured of one technology.
pub(crate) struct Outcome {
    pub(crate) technology: &'static str,
    pub(crate) versions: String,
    pub(crate) capacity: f64,
    pub(crate) loads: Vec<(u32, Comparison)>,
    pub(crate) burst: Option<Burst>,
    pub(crate) ledger: Option<Vec<Account>>,
}

/// A figure in `interference.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    peer: String,
    peer_value: f64,
    ratio: f64,
    samples: usize,
}

impl Outcome {
    pub(crate) fn new(technology: &dyn Technology, capacity: f64) -> Self {
        let (name, versions) = (technology.name(), technology.versions());
        Self { technology: name, versions, capacity, loads: Vec::new(), burst: None, ledger: None }
    }

    /// What is known by now of a load.
    pub(crate) fn set(&mut self, load: u32, comparison: &Comparison) {
        self.loads.retain(|(other, _)| *other != load);
        self.loads.push((load, comparison.clone()));
    }

    pub(crate) fn print(&self, load: u32) {
        self.loads.iter().filter(|(of, _)| *of == load).for_each(|(_, found)| println!("{}", table(found)));
    }

    /// The small form proves little, but a scheduler that no longer paces is seen.
    pub(crate) fn check_pacing(&self) -> Result<(), Failure> {
        for (load, comparison) in &self.loads {
            let (Some(told), Some(unthrottled)) =
                (comparison.of(Method::Told), comparison.of(Method::Unthrottled))
            else {
                continue;
            };
            let (harm, left) = (unthrottled.p99.value, told.p99.value);
            let slower = unthrottled.rate() / told.rate().max(1.0);
            println!(
                "{} at {load} %: p99 × {harm:.2} unthrottled, × {left:.2} told and {slower:.1} times slower",
                self.technology
            );
            // Where the tool does harm, less of it must be left, or else the scheduler must at least have tried.
            if harm < 1.5 {
                println!("the tool does too little harm here to show whether the scheduler paces");
            }
            if harm >= 1.5 && left - 1.0 > 0.8 * (harm - 1.0) && slower < 1.5 {
                return Err(format!("{}: the scheduler does not pace", self.technology).into());
            }
        }
        Ok(())
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (load, comparison) in &self.loads {
            let unthrottled = comparison.of(Method::Unthrottled).map_or(f64::NAN, Measured::rate);
            let best = best_fixed(comparison);
            for measured in &comparison.methods {
                let method = match measured.method {
                    Method::None => continue,
                    Method::Fixed(_) if best.is_none_or(|best| best.method != measured.method) => continue,
                    other => other.kind(),
                };
                let name = |of: &str| format!("{}.{load}.{method}.{of}", self.technology);
                let rounds = measured.blocks.len();
                let none = |quantile| stats::pooled(&measured.alone, quantile) / 1e3;
                let (p99, p999) = (measured.p99, measured.p999);
                let mut add = |of: &str, value: f64, unit: &str, peer: &str, peer_value: f64| {
                    let (name, unit, peer) = (name(of), unit.to_owned(), peer.to_owned());
                    let ratio = value / peer_value;
                    figures.push(Figure { name, value, unit, peer, peer_value, ratio, samples: rounds });
                };
                add("p99_ratio", p99.value, "times", "no backup's p99 in ms", none(0.99));
                if rounds >= FEWEST_ROUNDS {
                    add("p99_ratio_hi95", p99.high, "times", "no backup's p99 in ms", none(0.99));
                }
                add("p999_ratio", p999.value, "times", "no backup's p99.9 in ms", none(0.999));
                let slower = unthrottled / measured.rate();
                add("time_over_unthrottled", slower, "times", "unthrottled, MB/s", unthrottled / 1e6);
                if let Some(best) = best {
                    let slower = best.rate() / measured.rate();
                    let keeps = best.p99.value <= KEEPS;
                    let peer = format!(
                        "{}{}",
                        best.method.name(),
                        if keeps { "" } else { ", which does not keep it" }
                    );
                    add("time_over_best_fixed", slower, "times", &peer, best.rate() / 1e6);
                }
            }
        }
        let mut one = |of: &str, value: f64, unit: &str, peer: &str, peer_value: f64| {
            let name = format!("{}.{of}", self.technology);
            let (unit, peer, ratio) = (unit.to_owned(), peer.to_owned(), value / peer_value);
            figures.push(Figure { name, value, unit, peer, peer_value, ratio, samples: 1 });
        };
        if let Some(burst) = self.burst {
            one("recovery_s", burst.recovery.as_secs_f64(), "s", "CockroachDB's elastic limiter, s", 350.0);
            one("reuse_s", burst.reuse.as_secs_f64(), "s", "the PI law without reclaim, s", 228.0);
        }
        if let Some(accounts) = &self.ledger {
            let agree = accounts.iter().filter(|account| account.agrees).count();
            one("ledger_agrees", agree as f64, "settings", "settings measured", accounts.len() as f64);
        }
        // A block without requests has no quantile, and JSON has no infinity.
        figures.retain(|figure| figure.value.is_finite() && figure.ratio.is_finite());
        figures
    }
}

/// The fastest fixed rate that keeps the p99, or else the gentlest.
pub(crate) fn best_fixed(comparison: &Comparison) -> Option<&Measured> {
    let fixed = || comparison.methods.iter().filter(|measured| matches!(measured.method, Method::Fixed(_)));
    let fastest = fixed()
        .filter(|measured| measured.p99.value <= KEEPS)
        .max_by(|one, other| one.rate().total_cmp(&other.rate()));
    fastest.or_else(|| fixed().min_by(|one, other| one.p99.value.total_cmp(&other.p99.value)))
}

/// A table for people.
pub(crate) fn table(comparison: &Comparison) -> String {
    let mut text = format!(
        "{:<18} {:>6} {:>6} {:>20} {:>20} {:>7} {:>5} {:>5} {:>8}\n",
        "method", "p50", "p90", "p99 (95 %)", "p99.9 (95 %)", "MB/s", "cpu", "io", "backups"
    );
    let range = |ratio: Ratio| match comparison.none().blocks.len() {
        FEWEST_ROUNDS.. => format!("{:.2} ({:.2}-{:.2})", ratio.value, ratio.low, ratio.high),
        _ => format!("{:.2}", ratio.value),
    };
    for measured in &comparison.methods {
        let (cpu, io) = measured.stalls();
        text += &format!(
            "{:<18} {:>6.2} {:>6.2} {:>20} {:>20} {:>7.1} {cpu:>5.2} {io:>5.2} {:>8}\n",
            measured.method.name(),
            stats::paired(&measured.blocks, &measured.alone, 0.5),
            stats::paired(&measured.blocks, &measured.alone, 0.9),
            range(measured.p99),
            range(measured.p999),
            measured.rate() / 1e6,
            measured.finished,
        );
    }
    text
}

/// Where the databases and their backups are: on the disk that the workspace is built on.
pub(crate) fn data_directory() -> Result<PathBuf, Failure> {
    let directory = results_directory();
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Merges the figures into `interference.json`: those of other technologies and loads stay, and those of more rounds than
/// these have yet.
pub(crate) fn write(outcome: &Outcome) -> Result<(), Failure> {
    let path = results_directory().join("interference.json");
    let known: Vec<Figure> = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => Vec::new(),
    };
    let mut all: BTreeMap<String, Figure> =
        known.into_iter().map(|figure| (figure.name.clone(), figure)).collect();
    for figure in outcome.figures() {
        if all.get(&figure.name).is_none_or(|known| known.samples <= figure.samples) {
            all.insert(figure.name.clone(), figure);
        }
    }
    let all: Vec<Figure> = all.into_values().collect();
    write_json("interference", &all);
    Ok(())
}
