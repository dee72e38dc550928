//! What a learned week expects: [`LearnedWeek::forecast`].

use std::time::Duration;

use jiff::Timestamp;
use sched_core::wall_plus;

use super::blend::{EXPERTS, beyond_a_day, mix};
use super::clock::{HOUR, LocalClock, WeekSlot};
use super::{BURST, LearnedWeek};
use crate::forecast::{Forecast, ForecastSlot};

/// Standard deviation over mean deviation, of a normal distribution.
const PER_MEAN_DEVIATION: f32 = 1.25;
/// The same over the median deviation.
const PER_MEDIAN_DEVIATION: f32 = 1.48;

impl LearnedWeek {
    /// The load expected in so many steps from a moment on, and how far it usually lies from that.
    ///
    /// What is learned is by the hour; a longer step is the mean of its hours. Each hour ahead costs the same, however
    /// much was learned. By how much the last hour differed from the expected is expected to fade as it did before.
    /// Before anything is learned, the load seen so far, or zero. A step under a second counts as a second.
    pub fn forecast(
        &self,
        clock: &mut LocalClock,
        from: Timestamp,
        step: Duration,
        steps: usize,
    ) -> Forecast {
        let step = step.max(Duration::from_secs(1));
        let mut outlook = Outlook::new(self, from);
        let hours = step.as_secs_f64() / HOUR as f64;
        let points = hours.ceil().clamp(1.0, 10_000.0) as u32;
        let stride = hours / f64::from(points);
        let faded = self.fading().powf(stride as f32);
        outlook.fade(faded.sqrt());
        let mut ahead = stride / 2.0;
        let mut slots = Vec::with_capacity(steps);
        for _ in 0..steps {
            let mut slot = ForecastSlot::default();
            for _ in 0..points {
                let point = outlook.at(clock, ahead);
                slot.mean += point.mean / points as f32;
                slot.spread += point.spread / points as f32;
                outlook.fade(faded);
                ahead += stride;
            }
            slots.push(slot);
        }
        Forecast { start: from, step, slots }
    }

    /// The load that is usual in an hour, whatever it is just now; none before a whole day was seen.
    pub fn usual(&self, slot: WeekSlot) -> Option<f32> {
        (self.days() > 1)
            .then(|| self.mixed(&self.experts(slot.number(), slot.hour, self.last(), self.blend.lag())))
    }

    /// The last hour that is over.
    fn last(&self) -> i64 {
        self.number() - 1
    }

    /// By how much the load now exceeds the expected: the last sixty minutes of it.
    fn excess(&self, from: i64) -> f32 {
        let begin = i64::from(self.quarter) * super::QUARTER;
        let Some(so_far) = self.so_far().filter(|_| self.level >= 0.0) else { return self.residual };
        let expected = self.mixed(&self.experts(self.number(), self.hour, self.last(), self.blend.lag()));
        let limit = BURST * self.noise;
        let now = (so_far - expected).clamp(-limit, limit);
        let passed = (from - begin) as f32 / HOUR as f32;
        let share = passed.clamp(0.0, 1.0);
        let silent = (passed - 1.0).clamp(0.0, 1e4);
        ((1.0 - share) * self.residual + share * now) * self.fading().powf(silent)
    }
}

/// A forecast in the making.
struct Outlook<'a> {
    week: &'a LearnedWeek,
    from: Timestamp,
    lag: i64,
    weights: [f32; EXPERTS],
    later: [f32; EXPERTS],
    excess: f32,
    /// What is left of the present after the hours ahead, from 1 to 0.
    faded: f32,
    /// The hour looked at last: when it began, what is usual, and its deviation.
    hour: Option<(WeekSlot, f32, f32)>,
}

impl<'a> Outlook<'a> {
    fn new(week: &'a LearnedWeek, from: Timestamp) -> Self {
        let weights = week.blend.weights(1.5 * week.noise);
        let later = beyond_a_day(weights);
        let (lag, excess) = (week.blend.lag(), week.excess(from.as_second()));
        Self { week, from, lag, weights, later, excess, faded: 1.0, hour: None }
    }

    fn at(&mut self, clock: &mut LocalClock, ahead: f64) -> ForecastSlot {
        let seconds = Duration::try_from_secs_f64(ahead * HOUR as f64).unwrap_or(Duration::MAX);
        let second = wall_plus(self.from, seconds).as_second();
        let slot = clock.slot_of(second);
        let (_, usual, deviation) = match self.hour {
            Some(hour) if hour.0 == slot => hour,
            _ => *self.hour.insert(self.look(slot, ahead)),
        };
        let mean = (usual + self.excess).max(0.0);
        let spread = deviation * (1.0 - self.faded * self.faded).max(0.0).sqrt();
        ForecastSlot { mean, spread }
    }

    fn look(&self, slot: WeekSlot, ahead: f64) -> (WeekSlot, f32, f32) {
        let week = self.week;
        let weights = if ahead > 24.0 { &self.later } else { &self.weights };
        let usual = mix(weights, &week.experts(slot.number(), slot.hour, week.last(), self.lag));
        let own = week.scale.decode(week.tables.deviation[usize::from(slot.hour % 24)]);
        let deviation = own.map_or(PER_MEDIAN_DEVIATION * week.noise, |own| PER_MEAN_DEVIATION * own);
        (slot, usual, deviation)
    }

    fn fade(&mut self, by: f32) {
        self.excess *= by;
        self.faded *= by;
    }
}
