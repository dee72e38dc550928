//! Taking back capacity that was free before: [`Reclaim`].

/// How far back, as a part of the last good share: the rest is left to the slow integral.
const RECLAIMED: f64 = 0.85;
/// Growth a period while taking back.
const GROWTH: f64 = 0.08;
/// The least that growth starts from.
const LEAST: f64 = 0.01;
/// Weight of a good share in the memory of good shares, a period.
const MEMORY: f64 = 0.05;
/// Clearly below the target, in units of error.
const CLEARLY: f64 = 0.5;

/// An integral alone takes minutes to come back after a peak. While the signal is quiet and clearly below its
/// target, the share grows by 8 % a period, up to 85 % of what was good before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reclaim {
    good: f64,
    active: bool,
}

impl Reclaim {
    /// A share that was harmless.
    pub(super) fn good(&self) -> f64 {
        self.good
    }

    /// The integral after a step with this error; `speed` is 1 for a quiet signal and 0 for one that is too noisy.
    pub(super) fn step(&mut self, integral: f64, error: f64, periods: f64, speed: f64) -> f64 {
        if error < 0.0 {
            // What was taken back turned out to be too much: it is not good any more.
            if std::mem::take(&mut self.active) {
                self.good = self.good.min(integral);
            }
            return integral;
        }
        let goal = RECLAIMED * self.good;
        self.active = speed > 0.0 && error > CLEARLY && integral < goal;
        if self.active {
            let grown = integral.max(LEAST) * (1.0 + GROWTH * speed * periods);
            return grown.min(goal).max(integral);
        }
        if integral >= goal {
            self.good += (integral - self.good) * (MEMORY * periods).min(1.0);
        }
        integral
    }
}
