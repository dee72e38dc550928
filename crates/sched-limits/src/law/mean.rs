//! The running mean of ln latency, which notices changes: [`Mean`].

/// What a mean that begins at an assumed value is worth, in readings.
const ASSUMED: f64 = 3.0;
/// Evidence of one reading counts up to so many standard deviations: a spike is no change.
const MOST_EVIDENCE: f64 = 2.0;
/// Half of the change that is looked for, in standard deviations.
const DRIFT: f64 = 0.75;
/// Evidence, in standard deviations, from which there is a change. Without one it is reached every few hours.
const CHANGED_FROM: f64 = 5.0;
/// A median that is so many standard deviations away from the mean is a step by itself …
const STEP_DEVIATIONS: f64 = 5.0;
/// … if it is also so many of the law's units away.
const STEP_UNITS: f64 = 3.0;

/// Exponentially weighted mean that begins anew where the latency has changed.
///
/// Under noise a mean must be long, and a long one takes most of a minute to see that a peak is over. So two cumulative
/// sums (Page 1954, "Continuous inspection schemes"), one for each direction, add up by how much readings are off. A
/// change is seen after about seven readings at twice the noise, and the mean becomes that of the readings since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    value: Option<f64>,
    /// Readings that the mean stands for.
    count: f64,
    up: Run,
    down: Run,
}

/// A reading, and how far it can be relied on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// As it came, in ln seconds.
    pub(super) raw: f64,
    /// The median that it made.
    pub(super) median: f64,
    /// Standard deviation of a raw reading; infinite while it is not known.
    pub(super) noise: f64,
    /// Weight in a long mean.
    pub(super) weight: f64,
    /// Time since the reading before.
    pub(super) periods: f64,
}

impl Mean {
    pub(super) fn value(&self) -> Option<f64> {
        self.value
    }

    /// Forgets everything: what comes next has nothing to do with what was.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes a reading; `assumed` is where a mean begins, `unit` the law's. A higher reading never gives a lower mean.
    pub(super) fn step(&mut self, assumed: f64, unit: f64, reading: Reading) {
        let Reading { raw, median, noise, weight, periods } = reading;
        if self.value.is_none() {
            self.count = ASSUMED;
        }
        let mean = self.value.unwrap_or(assumed);
        self.count += 1.0;
        let weight = weight.max(self.count.recip());
        let mut next = mean + (1.0 - (1.0 - weight).powf(periods)) * (median - mean);
        if noise.is_finite() {
            let off = (raw - mean) / noise;
            if self.up.add(off, median) {
                next = next.max(self.up.mean());
                self.begin_anew(self.up.count);
            }
            if self.down.add(-off, median) {
                next = next.min(self.down.mean());
                self.begin_anew(self.down.count);
            }
            let step = (STEP_DEVIATIONS * noise).max(STEP_UNITS * unit);
            if (median - mean).abs() > step {
                next = if median > mean { next.max(median) } else { next.min(median) };
                self.begin_anew(ASSUMED);
            }
        }
        self.value = Some(next);
    }

    fn begin_anew(&mut self, count: f64) {
        *self = Self { value: self.value, count, ..Self::default() };
    }
}

/// Readings that are off in one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    evidence: f64,
    total: f64,
    count: f64,
}

impl Run {
    /// Adds a reading that is so many deviations off; whether the run is a change by now.
    fn add(&mut self, off: f64, value: f64) -> bool {
        self.evidence += off.clamp(-MOST_EVIDENCE, MOST_EVIDENCE) - DRIFT;
        if self.evidence <= 0.0 {
            *self = Self::default();
            return false;
        }
        self.total += value;
        self.count += 1.0;
        self.evidence > CHANGED_FROM
    }

    fn mean(&self) -> f64 {
        self.total / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(value: f64, noise: f64) -> Reading {
        Reading { raw: value, median: value, noise, weight: 0.06, periods: 1.0 }
    }

    /// Readings at `level` with a deviation of .3, in an order that has no runs.
    fn noisy(level: f64, n: usize) -> f64 {
        level + [0.4, -0.3, 0.1, -0.4, 0.3, -0.1][n % 6]
    }

    #[test]
    fn a_change_of_twice_the_noise_is_seen_within_ten_readings() {
        for to in [-0.6, 0.6] {
            let mut mean = Mean::default();
            (0..600).for_each(|n| mean.step(0.0, 0.1, reading(noisy(0.0, n), 0.3)));
            assert!(mean.value().unwrap().abs() < 0.05, "{mean:?}");
            (0..10).for_each(|n| mean.step(0.0, 0.1, reading(noisy(to, n), 0.3)));
            assert!((mean.value().unwrap() - to).abs() < 0.15, "{mean:?}");
        }
    }

    #[test]
    fn two_spikes_and_unknown_noise_change_nothing_at_once() {
        let mut mean = Mean::default();
        (0..600).for_each(|n| mean.step(0.0, 0.1, reading(noisy(0.0, n), 0.3)));
        let spike = |mean: &mut Mean| mean.step(0.0, 0.1, reading(1.1, 0.3));
        spike(&mut mean);
        spike(&mut mean);
        assert!(mean.value().unwrap() < 0.2, "{mean:?}");
        let mut unknown = Mean::default();
        unknown.step(0.0, 0.1, reading(9.0, f64::INFINITY));
        assert!(unknown.value().unwrap() < 2.5, "{unknown:?}");
    }
}
