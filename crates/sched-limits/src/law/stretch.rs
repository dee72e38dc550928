//! Latency against the backups' own rate: [`Stretch`].

/// Queues answer load with a curve that is flat at first: the cube of the share stands for it.
const POWER: i32 = 3;

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

    /// The fit, with readings of this noise, when a share of `good` is guessed to have the effect `theta`, give or
    /// take as much again.
    pub(super) fn fit(&self, noise: f64, good: f64, theta: f64) -> Fit {
        let guess = theta / good.powi(POWER);
        let trust = (noise / guess).powi(2);
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
