//! Control laws on simulated machines: harm to the foreground and use of what is free, beside laws of other systems.
//! Deterministic: the same figures on every machine.

use std::ops::Range;
use std::time::Duration;

use sched_benches::{Row, quick, write_results};
use sched_core::{Now, Reason};
use sched_limits::plant::{HEALTHY_SECONDS, Scenario, Score, Sees, Table};
use sched_limits::{
    AimdConfig, AimdLaw, ControlLaw, DelayConfig, DelayLaw, FixedLaw, Observation, PiConfig, PiLaw,
    PressureConfig, PressureLaw, Share,
};

/// Seeds of a run whose figures are quoted, and of a quick one. The laws' settings were chosen on others (0 to 799).
const SEEDS: (Range<u64>, Range<u64>) = (20_000..20_200, 20_000..20_012);
/// What a law must not exceed, and what it must reach.
const MOST_HARM_PCT: f64 = 1.0;
const LEAST_USE_PCT: f64 = 65.0;

fn main() {
    let seeds = if quick() { SEEDS.1 } else { SEEDS.0 };
    let mut table = Table::new(&Scenario::ALL, seeds.clone());
    table.add("told", Sees::Latency, || pi(PiConfig::healthy(healthy())));
    table.add("learned", Sees::Latency, || pi(PiConfig::learned()));
    let by_pressure = |target: f64, look_every: Option<Duration>| {
        let mut config = PressureConfig::default();
        (config.target, config.look_every) = (target, look_every);
        // In F the machine feels a pause for eight seconds and more.
        config.settle = Duration::from_secs(12);
        Box::new(PressureLaw::new(config).expect("the settings are in range"))
    };
    let every = PressureConfig::default().look_every;
    table.add("pressure", Sees::Pressure, move || by_pressure(0.05, None));
    table.add("pressure, looks", Sees::Pressure, move || by_pressure(0.03, every));
    table.add("aimd", Sees::Latency, || {
        let config = AimdConfig::new(healthy().mul_f64(1.1));
        Box::new(AimdLaw::new(config).expect("the settings are in range"))
    });
    table.add("delay", Sees::Latency, || {
        let config = DelayConfig::new(healthy().mul_f64(0.2));
        Box::new(DelayLaw::new(config).expect("the settings are in range"))
    });
    table.add("fixed3", Sees::Latency, || Box::new(FixedLaw::new(0.03).expect("a share")));
    // These must fail, or the machines have no teeth.
    table.add("floor5", Sees::Latency, || Box::new(Floor(pi(PiConfig::healthy(healthy())))));
    table.add("idle", Sees::Idle, || Box::new(Idle(0.0)));
    table.add("gradient2", Sees::Latency, || Box::new(Gradient2::default()));
    println!("{table}");
    let rows: Vec<_> =
        table.scores().iter().flat_map(|score| rows(&table, score, seeds.clone().count())).collect();
    write_results("plants", &rows);
}

/// Harm and use, held against the law that is told, or against what that one itself must reach; and its times.
fn rows(table: &Table, score: &Score, seeds: usize) -> Vec<Row> {
    let told = table.score("told", score.scenario).filter(|told| told.law != score.law);
    let row = |measure: &str, (value, unit), (peer, peer_value): (&str, f64)| {
        // A bench runs once, so what it leaks is a few names.
        let name = format!("{}.{}.{measure}", score.law, score.scenario).leak();
        Row::new(name, (value, unit), (peer, peer_value), seeds)
    };
    let least_use = told.map_or(("must reach", LEAST_USE_PCT), |told| ("told", told.use_pct));
    let mut rows = vec![
        row("harm_pct", (score.harm_pct, "%"), ("may be at most", MOST_HARM_PCT)),
        row("use_pct", (score.use_pct, "%"), least_use),
    ];
    let most = if score.scenario == "F" { 20.0 } else { 5.0 };
    rows.extend(score.recovery_s.map(|s| row("recovery_s", (s, "s"), ("may be at most", most))));
    rows.extend(score.reuse_s.map(|s| row("reuse_s", (s, "s"), ("may be at most", 60.0))));
    rows
}

fn healthy() -> Duration {
    Duration::from_secs_f64(HEALTHY_SECONDS)
}

fn pi(config: PiConfig) -> Box<dyn ControlLaw> {
    Box::new(PiLaw::new(config).expect("the settings are in range"))
}

/// A law with a floor of 5 % under it.
#[derive(Debug)]
struct Floor(Box<dyn ControlLaw>);

impl ControlLaw for Floor {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        let share = self.0.step(now, sample);
        Share { share: share.granted().max(0.05), pause: None, reason: share.reason }
    }
}

/// The share that nobody else uses, less a reserve of 20 %, as TiKV takes it.
#[derive(Debug)]
struct Idle(f64);

impl ControlLaw for Idle {
    fn step(&mut self, _: Now, sample: Option<Observation>) -> Share {
        self.0 = sample.map_or(self.0, |sample| (sample.value - 0.2).max(0.0));
        Share::new(self.0, Reason::new("idle"))
    }
}

/// Gradient2 of Netflix's concurrency-limits with its defaults (long window 600, tolerance 1.5, smoothing .2), and 4 %
/// of the ceiling in place of its queue of four.
#[derive(Debug, Default)]
struct Gradient2 {
    long: f64,
    share: f64,
}

impl ControlLaw for Gradient2 {
    fn step(&mut self, _: Now, sample: Option<Observation>) -> Share {
        if let Some(Observation { value, .. }) = sample {
            self.long = if self.long == 0.0 { value } else { self.long + (value - self.long) * 2.0 / 601.0 };
            if self.long / value > 2.0 {
                self.long *= 0.95;
            }
            let gradient = (1.5 * self.long / value).clamp(0.5, 1.0);
            self.share = (0.8 * self.share + 0.2 * (gradient * self.share + 0.04)).clamp(0.0, 1.0);
        }
        Share::new(self.share, Reason::new("gradient2"))
    }
}
