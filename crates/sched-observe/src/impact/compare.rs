//! Telling an inflation from none by paired moments: [`Placebos`], [`Comparison`].

use std::collections::VecDeque;

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::estimate::{Ratio, centre, median, quantile};
use super::moment::{Levels, Moment, Seen};
use super::verdict::Verdict;

/// Placebos that are remembered: of the last two minutes, for the foreground's restlessness changes.
const PLACEBOS: usize = 96;
/// With fewer the usual is assumed.
const FEWEST_PLACEBOS: usize = 8;
/// What a pair may be off by, before anything is known.
const ASSUMED: f64 = 0.3;
/// And the least that is believed.
const LEAST: f64 = 0.03;
/// The placebos weigh as much as so many pairs of the comparison itself.
const WEIGHT: f64 = 6.0;
/// Pairs that make a verdict at least: one may have met a burst.
const FEWEST_PAIRS: usize = 2;
/// Pairs of one comparison that are kept.
const PAIRS: usize = 32;
/// Evidence of one quantile that keeps another from acquitting, as ln of a likelihood ratio.
const DOUBT: f64 = 1.0;
/// Standard deviation over median deviation, of a normal distribution.
const PER_MEDIAN_DEVIATION: f64 = 1.4826;
/// 90 % of a normal distribution deviate by less than so many standard deviations.
const Z90: f64 = 1.645;

/// What pairs of moments differ by when nobody paused anything: three stretches of one running backup, laid out as a
/// pause and its surroundings are. They hold all that the foreground does by itself: noise of the quantile, bursts,
/// drift and their persistence.
#[derive(Debug, Default)]
pub(super) struct Placebos(VecDeque<Levels>);

impl Placebos {
    /// Adds what the newest moments show, if they are of one stretch: two before, one amid, two after, and one between
    /// each for the time to settle.
    pub(super) fn add<'a>(&mut self, newest_first: impl Iterator<Item = &'a Seen>) {
        let last: Vec<&Seen> = newest_first.take(7).collect();
        let [g, f, _, d, _, b, a] = last[..] else { return };
        let together = last.windows(2).all(|two| two[0].from == two[1].to && two[0].since == two[1].since);
        if !together || g.moment == Moment::Paused {
            return;
        }
        if self.0.len() == PLACEBOS {
            self.0.pop_front();
        }
        let around = |n: usize| 0.25 * (a.levels[n] + b.levels[n] + f.levels[n] + g.levels[n]);
        self.0.push_back([0, 1, 2].map(|n| around(n) - d.levels[n]));
    }

    /// The standard deviation of a pair that nothing was done to. The larger of what the middle and the tail say, so that
    /// rare bursts count.
    pub(super) fn noise(&self, place: usize) -> f64 {
        if self.0.len() < FEWEST_PLACEBOS {
            return ASSUMED;
        }
        let mut off: Vec<f64> = self.0.iter().map(|pair| pair[place].abs()).collect();
        let middle = PER_MEDIAN_DEVIATION * median(&mut off);
        middle.max(quantile(&off, 0.9) / Z90).max(LEAST)
    }
}

/// Pairs of moments with and without one backup at one quantile, and what they say so far.
#[derive(Clone, Debug)]
struct Test {
    noise: f64,
    pairs: Vec<f64>,
}

/// What is to be told from no effect, and how surely.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hypotheses {
    /// ln of the inflation.
    inflation: f64,
    /// ln of the likelihood ratio that decides.
    decisive: f64,
}

impl Hypotheses {
    pub(super) fn new(inflation: f64, error: f64) -> Self {
        Self { inflation: inflation.ln(), decisive: ((1.0 - error) / error).ln() }
    }
}

/// Whether one backup caused what is felt at a quantile. The next lower one is watched beside it, since it is steadier:
/// either may convict, and to acquit neither may speak against it.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    of: Hypotheses,
    /// From the quantile that counts downwards, with their places.
    tests: Vec<(usize, Test)>,
    verdict: Verdict,
}

impl Comparison {
    /// By the quantile at this place, with what the placebos say of each.
    pub(super) fn new(of: Hypotheses, place: usize, placebos: &Placebos) -> Self {
        let places = (place.saturating_sub(1)..=place).rev();
        let tests = places.map(|place| (place, Test { noise: placebos.noise(place), pairs: Vec::new() }));
        Self { of, tests: tests.collect(), verdict: Verdict::CannotTell }
    }

    /// A pair: ln of the latencies with the backup less those without. A verdict that was reached stays.
    pub(super) fn add(&mut self, differences: &Levels) {
        if self.verdict != Verdict::CannotTell {
            return;
        }
        for (place, test) in &mut self.tests {
            test.add(differences[*place], &self.of);
        }
        let said: Vec<f64> = self.tests.iter().filter_map(|(_, test)| test.evidence(&self.of)).collect();
        let (least, most) = said.iter().fold((f64::MAX, f64::MIN), |(a, b), e| (a.min(*e), b.max(*e)));
        self.verdict = match self.of.decisive {
            _ if said.is_empty() => Verdict::CannotTell,
            decisive if most >= decisive => Verdict::Caused,
            decisive if least <= -decisive && most < DOUBT => Verdict::NotCaused,
            _ => Verdict::CannotTell,
        };
    }

    pub(super) fn has_pairs(&self) -> bool {
        self.tests.iter().any(|(_, test)| !test.pairs.is_empty())
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The inflation with an interval at 95 %, by the quantile that says it most exactly; `None` without a pair.
    pub(super) fn ratio(&self) -> Option<Ratio> {
        let estimates = self.tests.iter().filter_map(|(_, test)| Some((test.estimate()?, test.pairs.len())));
        let ((centre, error), pairs) = estimates.min_by(|a, b| a.0.1.total_cmp(&b.0.1))?;
        let t = StudentsT::new(0.0, 1.0, WEIGHT + pairs as f64 - 1.0).ok()?;
        Some(Ratio::from_ln(centre, t.inverse_cdf(0.975) * error))
    }
}

impl Test {
    fn add(&mut self, difference: f64, of: &Hypotheses) {
        if self.pairs.len() < PAIRS {
            // What is far beyond both hypotheses says no more than what is beyond them.
            self.pairs.push(difference.clamp(-of.inflation, 2.0 * of.inflation));
        }
    }

    /// ln of how much likelier the inflation is than no effect (Wald's sequential test, 1945, of normal differences):
    /// (d − δ/2) δ / s², with s the standard error of the centre d and δ = ln of the inflation.
    fn evidence(&self, of: &Hypotheses) -> Option<f64> {
        let (centre, error) = self.estimate().filter(|_| self.pairs.len() >= FEWEST_PAIRS)?;
        Some((centre - 0.5 * of.inflation) * of.inflation / (error * error))
    }

    /// The centre of the pairs and its standard error, from the placebos and the pairs' own scatter.
    fn estimate(&self) -> Option<(f64, f64)> {
        let n = self.pairs.len() as f64;
        if self.pairs.is_empty() {
            return None;
        }
        let centre = centre(&self.pairs);
        let scatter: f64 = self.pairs.iter().map(|pair| (pair - centre).powi(2)).sum();
        let variance = (WEIGHT * self.noise.powi(2) + scatter) / (WEIGHT + n - 1.0);
        Some((centre, (variance / n).sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pairs: &[Levels], noise: Levels) -> Comparison {
        let placebos =
            Placebos((0..PLACEBOS).map(|n| noise.map(|x| if n % 2 == 0 { x } else { -x })).collect());
        let mut comparison = Comparison::new(Hypotheses::new(1.5, 0.02), 2, &placebos);
        pairs.iter().for_each(|pair| comparison.add(pair));
        comparison
    }

    fn verdict(pair: f64, pairs: usize, noise: f64) -> Verdict {
        // ±noise has a middle deviation of 1.4826 noise.
        after(&vec![[pair; 3]; pairs], [noise / PER_MEDIAN_DEVIATION; 3]).verdict()
    }

    #[test]
    fn verdicts_need_as_many_pairs_as_the_foreground_is_restless() {
        let inflation = 1.5_f64.ln();
        assert_eq!(verdict(inflation, 1, 0.05), Verdict::CannotTell);
        assert_eq!(verdict(inflation, 2, 0.1), Verdict::Caused);
        assert_eq!(verdict(0.0, 2, 0.1), Verdict::NotCaused);
        assert_eq!(verdict(inflation, 2, 0.3), Verdict::CannotTell);
        assert_eq!(verdict(inflation, 6, 0.3), Verdict::Caused);
        assert_eq!(verdict(0.5 * inflation, PAIRS, 0.1), Verdict::CannotTell);
    }

    #[test]
    fn a_verdict_is_in_keeping_with_its_interval() {
        for noise in [0.05, 0.1, 0.2, 0.3] {
            for step in -20..40 {
                let comparison = after(&[[f64::from(step) * 0.02; 3]; 8], [noise; 3]);
                let ratio = comparison.ratio().unwrap();
                match comparison.verdict() {
                    Verdict::Caused => assert!(ratio.low > 1.0, "{ratio:?}"),
                    Verdict::NotCaused => assert!(ratio.high < 1.5, "{ratio:?}"),
                    Verdict::CannotTell => {}
                }
            }
        }
    }

    #[test]
    fn what_is_felt_in_the_tail_alone_is_not_acquitted_by_what_lies_below() {
        let tail = [[0.0, 0.0, 1.5_f64.ln()]; 4];
        assert_eq!(after(&tail, [0.05, 0.05, 0.1]).verdict(), Verdict::Caused);
        assert_eq!(after(&tail[..3], [0.05, 0.05, 0.2]).verdict(), Verdict::CannotTell);
        assert_eq!(after(&[[0.0; 3]; 4], [0.05, 0.05, 0.3]).verdict(), Verdict::NotCaused);
    }
}
