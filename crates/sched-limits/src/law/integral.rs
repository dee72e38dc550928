//! The proportional-integral part that laws share: [`Integral`].

use super::reclaim::Reclaim;

/// The proportional part counts errors from this many units below the target …
const MOST_BELOW: f64 = 3.0;
/// … and the integral up to this many above it, so that one lucky reading does not open the gate.
const MOST_ABOVE: f64 = 3.0;
/// An error counts in full from so many times its own standard error.
const CERTAIN_FROM: f64 = 4.0;

/// Gains, as shares a unit of error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gains {
    pub(super) proportional: f64,
    /// A period.
    pub(super) integral: f64,
    pub(super) cap: f64,
}

/// What one sample says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// How far below the target the signal is, in the law's unit; negative above it.
    pub(super) error: f64,
    /// Time since the sample before.
    pub(super) periods: f64,
    /// Whether backups use what they are granted: only then does a higher share mean anything.
    pub(super) demand: bool,
    /// How much the integral may move close to the target, from 0 to 1: less when the signal is noisy.
    pub(super) near: f64,
    /// Standard error of `error`, 0 when it is exact.
    pub(super) doubt: f64,
    /// Periods by which the mean behind `error` is late.
    pub(super) late: f64,
    /// Whether capacity may be taken back in leaps.
    pub(super) reclaim: bool,
}

/// u = clamp(i + Kp · clamp(e, −3, 1), 0, cap), i += Ki · e.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integral {
    value: f64,
    reclaim: Reclaim,
}

impl Integral {
    pub(super) fn new(value: f64) -> Self {
        Self { value, reclaim: Reclaim::default() }
    }

    /// The share after a step.
    pub(super) fn step(&mut self, gains: Gains, step: Step) -> f64 {
        let error = step.error.min(MOST_ABOVE);
        if error <= 0.0 || step.demand {
            let near = (error.abs() / (CERTAIN_FROM * step.doubt).max(1.0)).clamp(step.near, 1.0);
            let moved = self.value + near * gains.integral * error * step.periods;
            self.value = moved.clamp(0.0, gains.cap);
            self.value = self.reclaim.step(self.value, error, step).min(gains.cap);
        }
        let proportional = gains.proportional * error.clamp(-MOST_BELOW, 1.0);
        (self.value + proportional).clamp(0.0, gains.cap)
    }

    /// Multiplies the share: growth that waits for no error.
    pub(super) fn grow(&mut self, factor: f64, cap: f64) {
        self.value = (self.value * factor).min(cap);
    }

    /// Follows a share that was granted instead, downwards only.
    pub(super) fn follow(&mut self, granted: f64) {
        if granted < self.value {
            self.value = granted.max(0.0);
        }
    }

    /// A share that was harmless.
    pub(super) fn good(&self) -> f64 {
        self.reclaim.good()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAINS: Gains = Gains { proportional: 0.0, integral: 0.01, cap: 1.0 };

    fn step(error: f64, doubt: f64) -> Step {
        Step { error, periods: 1.0, demand: true, near: 0.1, doubt, late: 1.0, reclaim: false }
    }

    #[test]
    fn an_error_counts_as_far_as_it_is_certain() {
        let moved = |error, doubt| Integral::new(0.5).step(GAINS, step(error, doubt)) - 0.5;
        let is = |moved: f64, part: f64| (moved - 0.02 * part).abs() < 1e-12;
        assert!(is(moved(2.0, 0.0), 1.0), "in full: it is exact");
        assert!(is(moved(2.0, 1.0), 0.5), "half of four standard errors: {}", moved(2.0, 1.0));
        assert!(is(moved(-2.0, 1.0), -0.5) && is(moved(2.0, 100.0), 0.1), "never less than near the target");
    }

    #[test]
    fn a_share_is_good_as_slowly_as_it_is_harmless() {
        let mut integral = Integral::new(0.5);
        assert_eq!(integral.good(), 0.0);
        integral.step(GAINS, step(0.0, 0.0));
        assert!((integral.good() - 0.05 * 0.5).abs() < 1e-12, "{}", integral.good());
    }
}
