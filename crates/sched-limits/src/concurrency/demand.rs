//! What a running job uses of something: configured, or learned from jobs that start and end.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::lower_median;

/// Readings at an unchanged number of jobs that make a level.
const LEVEL: usize = 5;
/// Readings after a start or an end that are still on the way to the new level.
const SETTLING: usize = 2;
/// Steps between two levels that are remembered.
const STEPS: usize = 9;
/// What is learned is not believed below this part of what was assumed: it would let a herd in.
const LEAST: f64 = 1.0 / 16.0;

/// How much of a signal one running job uses on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobDemand {
    /// As much as this, in the unit of the signal's readings; positive.
    Fixed(f64),
    /// Learned from how the readings change when jobs start and end; assumed to be this share of the capacity, over 0
    /// up to 1, until then.
    Learned(f64),
}

impl JobDemand {
    pub(super) fn is_usable(self) -> bool {
        match self {
            Self::Fixed(amount) => amount.is_finite() && amount > 0.0,
            Self::Learned(share) => share > 0.0 && share <= 1.0,
        }
    }
}

/// An estimate of the demand of a job as a share of the capacity.
///
/// The use by others cannot be told from a job's by looking at one reading, but a job that starts or ends makes a step
/// between two levels. The median of the last steps is robust against a foreground that moves meanwhile. Steps near
/// saturation teach nothing: there a job takes from others what it uses, and the sum does not move.
#[derive(Debug)]
pub(super) struct DemandEstimate {
    demand: JobDemand,
    /// Shares of the capacity a job, newest last.
    steps: VecDeque<f64>,
    /// The level before the last start or end, with its number of jobs.
    before: Option<(u32, f64)>,
    running: u32,
    level: VecDeque<f64>,
    settling: usize,
}

impl DemandEstimate {
    pub(super) fn new(demand: JobDemand) -> Self {
        Self { demand, steps: VecDeque::new(), before: None, running: 0, level: VecDeque::new(), settling: 0 }
    }

    /// Takes a reading while `running` jobs run. One that is `saturated` ends the level.
    pub(super) fn observe(&mut self, utilization: f64, running: u32, saturated: bool) {
        if running != self.running {
            self.before = self.level().map(|level| (self.running, level));
            self.running = running;
            self.level.clear();
            self.settling = SETTLING;
        }
        if saturated {
            (self.before, self.settling) = (None, SETTLING);
            self.level.clear();
        } else if self.settling > 0 {
            self.settling -= 1;
        } else {
            push(&mut self.level, utilization, LEVEL);
            self.learn();
        }
    }

    fn learn(&mut self) {
        let (Some((before, from)), Some(to)) = (self.before, self.level()) else { return };
        self.before = None;
        let jobs = f64::from(self.running) - f64::from(before);
        push(&mut self.steps, (to - from) / jobs, STEPS);
    }

    fn level(&self) -> Option<f64> {
        let full = self.level.len() == LEVEL;
        full.then(|| lower_median(self.level.iter().copied(), f64::total_cmp)).flatten()
    }

    /// The demand of a job as a share of `capacity`, positive.
    pub(super) fn share_of(&self, capacity: f64) -> f64 {
        match self.demand {
            JobDemand::Fixed(amount) => amount / capacity,
            JobDemand::Learned(assumed) => {
                // What was assumed counts as one step. Of an even number the larger of the middle ones counts.
                let shares = self.steps.iter().copied().chain([assumed]);
                let median = lower_median(shares, |a, b| b.total_cmp(a)).unwrap_or(assumed);
                median.clamp(assumed * LEAST, 1.0)
            }
        }
    }
}

/// Adds a value and drops the oldest of more than `most`.
pub(super) fn push<T>(values: &mut VecDeque<T>, value: T, most: usize) {
    values.push_back(value);
    if values.len() > most {
        values.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `readings` of a machine on which jobs really use `job` beside a noisy foreground.
    fn level(estimate: &mut DemandEstimate, rng: &mut fastrand::Rng, foreground: f64, jobs: u32, job: f64) {
        for _ in 0..20 {
            let noise = 0.04 * (rng.f64() - 0.5);
            estimate.observe(foreground + f64::from(jobs) * job + noise, jobs, false);
        }
    }

    #[test]
    fn what_a_job_uses_is_learned_from_starts_and_ends_whatever_the_foreground_does() {
        for seed in 0..12 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut estimate = DemandEstimate::new(JobDemand::Learned(0.125));
            for _ in 0..8 {
                for jobs in [0, 1, 3, 2] {
                    let foreground = 0.2 + 0.1 * rng.f64();
                    level(&mut estimate, &mut rng, foreground, jobs, 0.06);
                }
            }
            let learned = estimate.share_of(1.0);
            assert!((0.03..0.11).contains(&learned), "seed {seed}: {learned}");
        }
    }

    #[test]
    fn a_saturated_machine_teaches_nothing() {
        let mut estimate = DemandEstimate::new(JobDemand::Learned(0.25));
        for jobs in [0, 1, 2, 1, 0, 4, 0] {
            (0..20).for_each(|_| estimate.observe(0.99, jobs, true));
        }
        assert_eq!(estimate.share_of(1.0), 0.25);
    }

    #[test]
    fn jobs_that_seem_to_use_nothing_still_count() {
        let mut estimate = DemandEstimate::new(JobDemand::Learned(0.16));
        for round in 0..20 {
            (0..20).for_each(|_| estimate.observe(0.5, round % 2, false));
        }
        assert_eq!(estimate.share_of(1.0), 0.01);
    }

    #[test]
    fn a_fixed_demand_stays_and_follows_the_capacity() {
        let mut estimate = DemandEstimate::new(JobDemand::Fixed(2.0));
        (0..50).for_each(|round| estimate.observe(f64::from(round % 7) / 10.0, round % 5, false));
        assert_eq!((estimate.share_of(8.0), estimate.share_of(4.0)), (0.25, 0.5));
    }
}
