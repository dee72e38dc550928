//! A law in the loop with a simulated machine: [`Scenario::run`].

use std::time::Duration;

use sched_core::{MonoTime, Now};

use super::machine::{Machine, Second};
use super::{Scenario, Sees};
use crate::law::{ControlLaw, Observation};

/// How long the foreground must stay unharmed before it counts as recovered.
const CALM_SECONDS: usize = 30;
/// Capacity counts as used again from this part of what was used before.
const REUSED_FROM: f64 = 0.8;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Share of the time, in per cent, in which the foreground's true p99 was over 1.2 × what it would have been
    /// without backup at that load.
    pub harm_pct: f64,
    /// Backup load as a share of the safe spare capacity, in per cent; what is beyond the safe does not count.
    pub use_pct: f64,
    /// Seconds from the step up until the foreground was unharmed for good. `None` without a step.
    pub recovery_s: Option<f64>,
    /// Seconds from the step down until the backup moved four fifths of what it did before. `None` without a step.
    pub reuse_s: Option<f64>,
    /// The share granted in each second.
    pub shares: Vec<f64>,
    /// Share of the time, in per cent, in which the law asked for a pause.
    pub paused_pct: f64,
}

impl Scenario {
    /// Runs a law through the scenario. The same seed gives the same trace.
    pub fn run(&self, law: &mut dyn ControlLaw, sees: Sees, seed: u64) -> Trial {
        self.run_together(&mut [law], sees, seed).remove(0)
    }

    /// Runs several laws that know nothing of each other on one machine.
    ///
    /// Harm and times are those of the machine; use and shares those of each law.
    pub fn run_together(&self, laws: &mut [&mut dyn ControlLaw], sees: Sees, seed: u64) -> Vec<Trial> {
        let mut machine = Machine::new(self, seed);
        let mut granted = vec![0.0; laws.len()];
        let mut traces = vec![Trace::default(); laws.len()];
        for (law, granted) in laws.iter_mut().zip(&mut granted) {
            *granted = law.step(at(0), None).granted();
        }
        for t in 0..self.seconds {
            let together: f64 = granted.iter().sum();
            let second = machine.run(t, together);
            let now = at(t + 1);
            for ((law, granted), trace) in laws.iter_mut().zip(&mut granted).zip(&mut traces) {
                let part = if together > 0.0 { *granted / together } else { 0.0 };
                trace.add(&second, *granted, part);
                let sample =
                    sees.value(&second).map(|value| Observation { at: now.mono, value, used: *granted });
                let share = law.step(now, sample);
                trace.paused += usize::from(share.pause.is_some());
                *granted = share.granted();
            }
        }
        traces.into_iter().map(|trace| trace.sum_up(self)).collect()
    }
}

#[derive(Clone, Default)]
struct Trace {
    shares: Vec<f64>,
    harmed: Vec<bool>,
    loads: Vec<f64>,
    used: f64,
    safe: f64,
    paused: usize,
}

impl Trace {
    fn add(&mut self, second: &Second, granted: f64, part: f64) {
        self.shares.push(granted);
        self.harmed.push(second.harmed);
        self.loads.push(second.load * part);
        self.used += second.load.min(second.safe) * part;
        self.safe += second.safe;
    }

    fn sum_up(self, scenario: &Scenario) -> Trial {
        let seconds = self.harmed.len() as f64;
        let harmed = self.harmed.iter().filter(|harmed| **harmed).count() as f64;
        let steps = scenario.steps();
        Trial {
            harm_pct: 100.0 * harmed / seconds,
            use_pct: 100.0 * self.used / self.safe,
            recovery_s: steps.map(|(up, _)| self.recovery(up as usize)),
            reuse_s: steps.map(|(up, down)| self.reuse(up as usize, down as usize)),
            paused_pct: 100.0 * self.paused as f64 / seconds,
            shares: self.shares,
        }
    }

    fn recovery(&self, up: usize) -> f64 {
        let after = &self.harmed[up..];
        let calm = |t: &usize| !after[*t..(*t + CALM_SECONDS).min(after.len())].contains(&true);
        (0..after.len()).find(calm).unwrap_or(after.len()) as f64
    }

    fn reuse(&self, up: usize, down: usize) -> f64 {
        let before = &self.loads[up.saturating_sub(100)..up];
        let wanted = REUSED_FROM * before.iter().sum::<f64>() / before.len() as f64;
        let after = &self.loads[down..];
        after.iter().position(|load| *load >= wanted).unwrap_or(after.len()) as f64
    }
}

fn at(second: u32) -> Now {
    let wall = "2026-01-05T00:00:00Z".parse().unwrap_or_default();
    Now { mono: MonoTime::ZERO, wall }.plus(Duration::from_secs(u64::from(second)))
}
