//! What a run costs when it starts at a moment: [`Curve`].

use super::grid::{Grid, ceil_ms, duration_ms};
use crate::Forecast;

/// σ of a normal distribution to its median absolute deviation, the noise that the hysteresis was measured with.
const MEDIAN_OF_SIGMA: f64 = 0.6745;

/// Costs by slot as running sums, so that the mean over any stretch is one subtraction.
#[derive(Debug, Default)]
pub(super) struct Curve {
    origin: i64,
    step: i64,
    /// Costs of each slot while they are worked out.
    costs: Vec<f64>,
    /// Cost of all slots before.
    sums: Vec<f64>,
    /// The forecast's median deviation, in the unit of costs.
    pub(super) noise: f64,
}

/// How long a run is, in slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    whole: usize,
    part: f64,
    /// What the cost of the whole run is multiplied with.
    mean: f64,
}

impl Curve {
    /// Begins a curve over these slots with the forecast's load, in multiples of its mean. Where nothing is forecast,
    /// the mean counts.
    pub(super) fn load(&mut self, grid: Grid, slots: std::ops::Range<i64>, forecast: Option<&Forecast>) {
        (self.origin, self.step, self.noise) = (grid.begin(slots.start), grid.step, 0.0);
        let count = (slots.end - slots.start).max(1) as usize;
        self.costs.clear();
        self.costs.resize(count, 1.0);
        let Some(forecast) = forecast.filter(|forecast| !forecast.step.is_zero()) else { return };
        let (mut sum, mut spread, mut known) = (0.0, 0.0, 0.0);
        for slot in forecast.slots.iter().filter(|slot| believable(slot.mean)) {
            sum += f64::from(slot.mean);
            spread += if believable(slot.spread) { f64::from(slot.spread) } else { 0.0 };
            known += 1.0;
        }
        if sum > 0.0 {
            self.noise = MEDIAN_OF_SIGMA * spread / sum;
            self.resample(forecast, known / sum);
        } else if known > 0.0 {
            self.costs.fill(0.0);
        }
    }

    /// The mean of the forecast over each slot, scaled: one walk through both.
    fn resample(&mut self, forecast: &Forecast, scale: f64) {
        let (start, step) = (ceil_ms(forecast.start), duration_ms(forecast.step));
        let end = step.saturating_mul(forecast.slots.len() as i64);
        let mut at = usize::try_from((self.origin - start).div_euclid(step)).unwrap_or(0);
        let mut from = self.origin - start;
        for cost in &mut self.costs {
            let to = from + self.step;
            let (mut time, known_until) = (from.max(0), to.min(end));
            let mut sum = (self.step - (known_until - time).max(0)) as f64;
            while time < known_until {
                let until = (at as i64 + 1).saturating_mul(step);
                let mean = forecast.slots.get(at).map(|slot| slot.mean).filter(|mean| believable(*mean));
                let load = mean.map_or(1.0, |mean| f64::from(mean) * scale);
                sum += load * (until.min(known_until) - time) as f64;
                time = until.min(known_until);
                at += usize::from(time == until);
            }
            *cost = sum / self.step as f64;
            from = to;
        }
    }

    /// Costs of each slot, for what comes on top of the load.
    pub(super) fn costs(&mut self) -> &mut [f64] {
        &mut self.costs
    }

    /// Ends the curve: the running sums of what the slots cost.
    pub(super) fn finish(&mut self) {
        self.sums.clear();
        self.sums.reserve(self.costs.len() + 1);
        let mut sum = 0.0;
        self.sums.push(sum);
        for cost in &self.costs {
            sum += cost;
            self.sums.push(sum);
        }
    }

    /// Mean cost of a run, in the unit of costs. What lies beyond the curve costs nothing.
    pub(super) fn mean(&self, start: i64, duration: i64) -> f64 {
        let slots = duration as f64 / self.step as f64;
        (self.until(start + duration) - self.until(start)) / slots
    }

    /// A run's length on this curve, for [`mean_from`](Self::mean_from) and [`mean_to`](Self::mean_to).
    pub(super) fn length(&self, duration: i64) -> Length {
        let (whole, part) = (duration.div_euclid(self.step), duration.rem_euclid(self.step));
        let (step, whole) = (self.step as f64, usize::try_from(whole).unwrap_or(usize::MAX));
        Length { whole, part: part as f64 / step, mean: step / duration as f64 }
    }

    /// As [`mean`](Self::mean), of a run that starts at the beginning of a slot, counted from the curve's first.
    pub(super) fn mean_from(&self, slot: usize, run: Length) -> f64 {
        let end = slot.saturating_add(run.whole);
        let after = self.costs.get(end).map_or(0.0, |cost| run.part * cost);
        (self.before(end) + after - self.before(slot)) * run.mean
    }

    /// As [`mean`](Self::mean), of a run that ends with a slot, and whose first whole slot is this one.
    pub(super) fn mean_to(&self, slot: usize, run: Length) -> f64 {
        let partly = slot.checked_sub(1).and_then(|before| self.costs.get(before));
        let before = partly.map_or(0.0, |cost| run.part * cost);
        (self.before(slot.saturating_add(run.whole)) + before - self.before(slot)) * run.mean
    }

    /// Cost of all slots before one.
    fn before(&self, slot: usize) -> f64 {
        self.sums[slot.min(self.costs.len())]
    }

    fn until(&self, ms: i64) -> f64 {
        let slots = ((ms - self.origin).max(0) as f64 / self.step as f64).min(self.costs.len() as f64);
        let whole = (slots as usize).min(self.costs.len() - 1);
        self.sums[whole] + (slots - whole as f64) * self.costs[whole]
    }
}

fn believable(value: f32) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::ForecastSlot;

    fn curve(forecast: &Forecast, slots: std::ops::Range<i64>) -> Curve {
        let mut curve = Curve::default();
        curve.load(Grid { step: 60_000 }, slots, Some(forecast));
        curve.finish();
        curve
    }

    fn forecast(start_s: i64, step_s: u64, means: &[f32]) -> Forecast {
        let slots = means.iter().map(|&mean| ForecastSlot { mean, spread: 0.5 }).collect();
        let start = Timestamp::from_second(start_s).unwrap();
        Forecast { start, step: Duration::from_secs(step_s), slots }
    }

    #[test]
    fn loads_are_in_multiples_of_their_mean() {
        let curve = curve(&forecast(0, 60, &[1.0, 2.0, 6.0]), 0..4);
        assert_eq!(curve.mean(0, 60_000), 1.0 / 3.0);
        assert_eq!(curve.mean(30_000, 60_000), 0.5);
        assert_eq!(curve.mean(120_000, 60_000), 2.0);
        assert_eq!(curve.mean(180_000, 60_000), 1.0, "nothing is forecast there");
        assert!((curve.noise - MEDIAN_OF_SIGMA * 0.5 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn slots_of_another_length_are_weighed_by_their_time() {
        // From 30 s on, slots of 90 s; the grid has minutes.
        let curve = curve(&forecast(30, 90, &[1.0, 3.0]), 0..4);
        let slot = |at: i64| curve.mean(at * 60_000, 60_000);
        assert_eq!([slot(0), slot(1), slot(2), slot(3)], [0.75, 0.5, 1.5, 1.25]);
    }

    #[test]
    fn runs_from_and_to_edges_cost_as_any_other() {
        let curve = curve(&forecast(0, 60, &[1.0, 5.0, 2.0, 0.5, 4.0, 3.0]), 0..6);
        for duration in [1, 20_000, 60_000, 90_000, 150_000, 240_000, 500_000] {
            let run = curve.length(duration);
            for slot in 0..7 {
                let (edge, part) = (slot as i64 * 60_000, duration % 60_000);
                let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b} {duration} {slot}");
                close(curve.mean_from(slot, run), curve.mean(edge, duration));
                if edge >= part {
                    close(curve.mean_to(slot, run), curve.mean(edge - part, duration));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_believed_counts_as_the_mean() {
        let curve = curve(&forecast(0, 60, &[f32::NAN, 2.0, -1.0, f32::INFINITY]), 0..4);
        assert!((0..4).all(|at| curve.mean(at * 60_000, 60_000) == 1.0));
        let idle = self::curve(&forecast(0, 60, &[0.0, 0.0]), 0..3);
        assert_eq!(idle.mean(0, 180_000), 0.0);
    }
}
