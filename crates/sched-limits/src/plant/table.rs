//! Laws beside each other: [`Table`].

use std::fmt;
use std::ops::Range;

use super::{Scenario, Sees, Trial};
use crate::law::ControlLaw;

/// A law in a scenario: the means over all seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The law.
    pub law: String,
    /// The scenario.
    pub scenario: &'static str,
    /// As [`Trial::harm_pct`].
    pub harm_pct: f64,
    /// As [`Trial::use_pct`].
    pub use_pct: f64,
    /// As [`Trial::recovery_s`].
    pub recovery_s: Option<f64>,
    /// As [`Trial::reuse_s`].
    pub reuse_s: Option<f64>,
    /// As [`Trial::paused_pct`].
    pub paused_pct: f64,
}

/// Runs laws through scenarios and shows harm and use: one line a law, one column a scenario.
#[derive(Clone, Debug)]
pub struct Table {
    scenarios: Vec<Scenario>,
    seeds: Range<u64>,
    scores: Vec<Score>,
}

impl Table {
    /// An empty table over these scenarios, each with these seeds: 12 and more for a figure to be quoted, and others than
    /// those that a law's settings were chosen on. A score without any seed is NaN.
    pub fn new(scenarios: &[Scenario], seeds: Range<u64>) -> Self {
        Self { scenarios: scenarios.to_vec(), seeds, scores: Vec::new() }
    }

    /// Runs a law; `make` gives a fresh one for every run.
    pub fn add(&mut self, name: &str, sees: Sees, make: impl Fn() -> Box<dyn ControlLaw>) {
        for scenario in &self.scenarios {
            let run = |seed| scenario.run(&mut *make(), sees, seed);
            let trials: Vec<_> = self.seeds.clone().map(run).collect();
            let mean = |f: fn(&Trial) -> f64| trials.iter().map(f).sum::<f64>() / trials.len() as f64;
            let mean_of = |f: fn(&Trial) -> Option<f64>| {
                let all: Option<Vec<f64>> = trials.iter().map(f).collect();
                all.map(|all| all.iter().sum::<f64>() / all.len() as f64)
            };
            self.scores.push(Score {
                law: name.to_owned(),
                scenario: scenario.name,
                harm_pct: mean(|trial| trial.harm_pct),
                use_pct: mean(|trial| trial.use_pct),
                recovery_s: mean_of(|trial| trial.recovery_s),
                reuse_s: mean_of(|trial| trial.reuse_s),
                paused_pct: mean(|trial| trial.paused_pct),
            });
        }
    }

    /// What a law reached in a scenario.
    pub fn score(&self, law: &str, scenario: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.law == law && score.scenario == scenario)
    }

    /// All scores, in the order in which they were added.
    pub fn scores(&self) -> &[Score] {
        &self.scores
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| harm % / use % |")?;
        for scenario in &self.scenarios {
            write!(f, " {} |", scenario.name)?;
        }
        write!(f, "\n|---|{}", "---|".repeat(self.scenarios.len()))?;
        for law in self.scores.chunks(self.scenarios.len().max(1)) {
            write!(f, "\n| {} |", law[0].law)?;
            for Score { harm_pct, use_pct, .. } in law {
                write!(f, " {harm_pct:.1} / {use_pct:.0} |")?;
            }
        }
        Ok(())
    }
}
