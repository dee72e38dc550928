//! Latency against the backups' own rate: [`Stretch`].

/// Queues answer load with a curve that is flat at first: the cube of the share stands for it.
const POWER: i32 = 3;
/// Standard deviation of the guessed effect, in guesses: what is seen counts more than what was aimed at.
const DOUBT: f64 = 1.5;

/// Least squares of y = b + a · share³ over a stretch of readings: b is ln latency without backups.
///
/// Readings at two rates tell b from the backups' own effect, whatever their number at each. Where all were taken at
/// one rate, the effect is only guessed, from what the law aims at, and the error says so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stretch {
    count: f64,
    load: f64,
    load_squared: f64,
    value: f64,
    value_squared: f64,
    product: f64,
}

/// A level of ln latency and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) mean: f64,
    pub(super) error: f64,
}

/// The level without backups, and the effect of a share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub(super) alone: Level,
    effect: f64,
}

impl Stretch {
    pub(super) fn add(&mut self, share: f64, value: f64) {
        let load = share.powi(POWER);
        self.count += 1.0;
        self.load += load;
        self.load_squared += load * load;
        self.value += value;
        self.value_squared += value * value;
        self.product += load * value;
    }

    pub(super) fn count(&self) -> f64 {
        self.count
    }

    /// The fit, with readings of this noise, when a share of `good` is guessed to have the effect `theta`, with a standard
    /// deviation of [`DOUBT`] times that.
    pub(super) fn fit(&self, noise: f64, good: f64, theta: f64) -> Fit {
        // A floor may have kept backups far over what is known to be good; the guess must not be stretched that far.
        let guess = theta / good.powi(POWER).max(self.load / self.count);
        let trust = (noise / (DOUBT * guess)).powi(2);
        let spread = self.load_squared + trust;
        let determinant = self.count * spread - self.load * self.load;
        let mean = (self.value * spread - self.load * (self.product + trust * guess)) / determinant;
        let effect = (self.product + trust * guess - mean * self.load) / spread;
        let error = noise.max(self.misfit(mean, effect)) * (spread / determinant).sqrt();
        Fit { alone: Level { mean, error }, effect }
    }

    /// Root of the mean square of what a line leaves unexplained: more than noise when the load itself changed.
    fn misfit(&self, mean: f64, effect: f64) -> f64 {
        let explained = 2.0 * (mean * self.value + effect * self.product)
            - mean * mean * self.count
            - 2.0 * mean * effect * self.load
            - effect * effect * self.load_squared;
        ((self.value_squared - explained).max(0.0) / (self.count - 2.0).max(1.0)).sqrt()
    }
}

impl Fit {
    /// What a reading at this share should be.
    pub(super) fn expected(&self, share: f64) -> f64 {
        self.alone.mean + self.effect * share.powi(POWER)
    }
}

impl Level {
    /// Below this with near certainty.
    pub(super) fn upper_bound(&self) -> f64 {
        self.mean + 3.0 * self.error
    }

    /// Standard error of a difference.
    pub(super) fn error_beside(&self, other: Self) -> f64 {
        self.error.hypot(other.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THETA: f64 = 0.095;

    #[test]
    fn readings_at_two_rates_tell_the_level_whatever_was_guessed() {
        let mut stretch = Stretch::default();
        (0..30).for_each(|_| stretch.add(0.0, -6.0));
        (0..300).for_each(|_| stretch.add(0.3, -5.8));
        let fit = stretch.fit(0.02, 0.3, THETA);
        assert!((fit.alone.mean + 6.0).abs() < 0.01 && fit.alone.error < 0.01, "{fit:?}");
        assert!((fit.expected(0.3) + 5.8).abs() < 0.01, "{fit:?}");
    }

    #[test]
    fn a_rate_far_over_what_is_known_to_be_good_does_not_stretch_the_guess() {
        let mut stretch = Stretch::default();
        (0..300).for_each(|_| stretch.add(0.05, -6.0));
        let fit = stretch.fit(0.1, 0.01, THETA);
        assert!(
            (-6.0 - 1.1 * THETA..-6.0).contains(&fit.alone.mean) && fit.alone.error < 3.0 * THETA,
            "{fit:?}"
        );
    }
}
