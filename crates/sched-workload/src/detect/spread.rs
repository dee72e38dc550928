//! What a quantile of moments says of one of minutes: [`LatencySpread`].

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::foreground::{LatencyWindow, histogram};

/// Windows that are taken together …
const TOGETHER: usize = 15;
/// … and how many such groups are remembered.
const GROUPS: usize = 4;
/// Requests beyond the quantile that a window needs: with fewer its quantile is that of a few requests, and lower than
/// that of many by itself.
const FEWEST_BEYOND: f64 = 5.0;
/// A spread beyond this is a disturbance, and no property of the foreground.
const MOST: f64 = 2.0;

/// How much higher a quantile of a longer time is than the typical one of its windows.
///
/// Who promises a p99 counts it over minutes or days. A few bad moments make it: that of all requests of a minute is
/// higher than the mean of its seconds' p99s, by a tenth and more where a database waits for a disk. A law that steers by
/// seconds needs to know by how much, or it fills this gap with backups.
///
/// The spread is that of groups of fifteen windows, the lower median of the last four, so that one bad moment, of which a
/// backup begins with one, does not count for a minute. It lies between 1 and 2.
#[derive(Clone, Debug)]
pub struct LatencySpread {
    quantile: f64,
    pool: Histogram<u64>,
    /// Sum of the logarithms of the windows' quantiles, and their number.
    sum: f64,
    windows: usize,
    spreads: VecDeque<f64>,
}

impl LatencySpread {
    /// For a quantile over 0 and below 1, such as .99; nothing is known yet.
    pub fn new(quantile: f64) -> Self {
        Self { quantile, pool: histogram(), sum: 0.0, windows: 0, spreads: VecDeque::new() }
    }

    /// Takes a window in, and says by what its quantile is to be multiplied to stand for that of minutes. A window with
    /// fewer than five requests beyond the quantile, of a p99 500 in all, says nothing and stands for itself.
    pub fn observe(&mut self, window: &LatencyWindow) -> f64 {
        let beyond = window.samples() as f64 * (1.0 - self.quantile);
        let own = window.quantile(self.quantile).as_secs_f64();
        // The share is not exact in binary.
        if beyond < FEWEST_BEYOND - 1e-6 || own <= 0.0 || !window.add_to(&mut self.pool) {
            return 1.0;
        }
        self.learn(own);
        self.factor()
    }

    fn learn(&mut self, own: f64) {
        self.sum += own.ln();
        self.windows += 1;
        if self.windows < TOGETHER {
            return;
        }
        let pooled = self.pool.value_at_quantile(self.quantile) as f64 / 1e6;
        let spread = pooled / (self.sum / self.windows as f64).exp();
        if self.spreads.len() == GROUPS {
            self.spreads.pop_front();
        }
        self.spreads.push_back(spread.clamp(1.0, MOST));
        self.pool.reset();
        (self.sum, self.windows) = (0.0, 0);
    }

    /// The quantile of minutes over the mean of those of windows; 1 while too few windows were seen.
    pub fn factor(&self) -> f64 {
        let mut spreads: Vec<f64> = self.spreads.iter().copied().collect();
        spreads.sort_by(f64::total_cmp);
        spreads.get(spreads.len().saturating_sub(1) / 2).copied().unwrap_or(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ForegroundLatency;
    use super::*;

    fn window(requests: u64, slow: u64, slow_ms: u64) -> LatencyWindow {
        let latency = ForegroundLatency::new();
        (0..requests - slow).for_each(|_| latency.record(Duration::from_millis(1)));
        (0..slow).for_each(|_| latency.record(Duration::from_millis(slow_ms)));
        latency.drain()
    }

    fn spread(windows: impl IntoIterator<Item = LatencyWindow>) -> f64 {
        let mut spread = LatencySpread::new(0.99);
        windows.into_iter().for_each(|window| {
            spread.observe(&window);
        });
        spread.factor()
    }

    #[test]
    fn equal_moments_have_no_spread() {
        assert_eq!(spread([]), 1.0);
        assert!((spread((0..60).map(|_| window(1000, 20, 5))) - 1.0).abs() < 0.02);
    }

    #[test]
    fn moments_that_differ_have_one() {
        // Every third moment has a p99 of 2 ms, the others of 1 ms: that of all is 2 ms, their mean 1.26.
        let uneven = spread((0..60).map(|n| window(1000, if n % 3 == 0 { 50 } else { 0 }, 2)));
        assert!((uneven - 2.0 / 2.0_f64.powf(1.0 / 3.0)).abs() < 0.05, "{uneven}");
    }

    #[test]
    fn one_bad_moment_is_none() {
        let one = spread((0..60).map(|n| window(1000, if n == 30 { 900 } else { 0 }, 500)));
        assert!((one - 1.0).abs() < 0.02, "{one}");
        let all = spread((0..60).map(|n| window(1000, if n % 7 == 0 { 900 } else { 0 }, 500)));
        assert_eq!(all, MOST, "beyond what a foreground does by itself");
    }

    #[test]
    fn moments_with_few_requests_say_nothing() {
        let latency = ForegroundLatency::new();
        assert_eq!(spread((0..60).map(|_| latency.drain())), 1.0);
        // Of 400 requests a moment's p99 is the fourth largest: moments differ by chance alone.
        assert_eq!(spread((0..60).map(|n| window(400, n % 8, 5))), 1.0);
        let mut known = LatencySpread::new(0.99);
        (0..60).for_each(|n| _ = known.observe(&window(1000, if n % 3 == 0 { 50 } else { 0 }, 2)));
        assert!(known.factor() > 1.5);
        assert_eq!(known.observe(&window(100, 0, 1)), 1.0, "whatever is known of others");
    }
}
