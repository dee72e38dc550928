//! Taking back capacity that was free before: [`Reclaim`].

use super::integral::Step;

/// How far back, as a part of the last good share: the rest is left to the slow integral.
const RECLAIMED: f64 = 0.85;
/// Growth a period while taking back.
const GROWTH: f64 = 1.1;
/// The least that growth starts from.
const LEAST: f64 = 0.01;
/// Weight of a good share in the memory of good shares, a period.
const MEMORY: f64 = 0.05;
/// Clearly below the target, in units of error: taking back begins there.
const CLEARLY: f64 = 0.5;
/// It ends so many standard errors above the target.
const DEVIATIONS: f64 = 1.25;

/// An integral alone takes minutes to come back after a peak. Once the signal is clearly below its target, the share
/// grows by a tenth a period, up to 85 % of what was good before, until the signal says that it is too much. What was
/// taken back since the mean has been late is given up then, and what is left is all that is good.
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

    /// The integral after a step with this error.
    pub(super) fn step(&mut self, integral: f64, error: f64, step: Step) -> f64 {
        if error < -DEVIATIONS * step.doubt {
            // What was taken back turned out to be too much: it is not good any more.
            if std::mem::take(&mut self.active) {
                self.good = self.good.min(integral);
                return integral * GROWTH.powf(-step.late);
            }
            return integral;
        }
        let goal = RECLAIMED * self.good;
        self.active = step.reclaim && (self.active || error > CLEARLY) && integral < goal;
        if self.active {
            let grown = integral.max(LEAST) * GROWTH.powf(step.periods);
            return grown.min(goal).max(integral);
        }
        if integral >= goal {
            self.good += (integral - self.good) * (MEMORY * step.periods).min(1.0);
        }
        integral
    }
}
