//! Several expectations of an hour, weighed by how right they were: [`Blend`].

use super::LearnedWeek;
use super::code::{half, whole};
use super::recent_at;

/// Hours after which a load may repeat. Jobs that are begun some hours after the last has ended drift around the clock,
/// so what was a day before is not always the best guess.
pub(super) const LAGS: std::ops::RangeInclusive<i64> = 20..=28;
const DAY: usize = 4;
/// How often another lag must have been better than a day, as a ratio of errors, to be taken.
const LAG_PREFERENCE: f32 = 0.9;
/// What is kept of the errors of lags each hour: four days.
const LAG_MEMORY: f32 = 0.99;
/// .95 a day, as the errors of the experts fade.
const MEMORY: f32 = 0.997_865;
/// How sharply less error is preferred, per error of the usual size.
const SHARPNESS: f32 = 5.0;
/// Weights before errors are known: the last day, the day, the kind of day, the week.
const PRIOR: [f32; EXPERTS] = [0.5, 1.0, 1.0, 1.0];
/// Days of a kind, or weekdays, after which their own mean counts as much as the coarser one.
const SHRINK: f32 = 3.0;

pub(super) const EXPERTS: usize = 4;

/// Decayed errors of the experts, and of the lags among which the first of them chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Blend {
    pub(super) errors: [f32; EXPERTS],
    /// How many hours the errors are the sum of, decayed alike.
    pub(super) hours: f32,
    pub(super) lag_errors: [u16; 9],
}

impl Blend {
    pub(super) const NEW: Self = Self { errors: [0.0; EXPERTS], hours: 0.0, lag_errors: [0; 9] };

    pub(super) fn judge(&mut self, experts: &[f32; EXPERTS], seen: f32, worst: f32) {
        for (error, expert) in self.errors.iter_mut().zip(experts) {
            *error = MEMORY * *error + (expert - seen).abs().min(worst);
        }
        self.hours = MEMORY * self.hours + 1.0;
    }

    pub(super) fn judge_lag(&mut self, at: usize, error: f32, dice: u32) {
        let sum = &mut self.lag_errors[at];
        *sum = half(LAG_MEMORY * whole(*sum) + error, dice);
    }

    /// The lag that was best lately; a day, unless another was clearly better.
    pub(super) fn lag(&self) -> i64 {
        // One that was never judged has no errors. Floats that are not negative are ordered as their bits.
        let judged = |errors: u16| if errors == 0 { u16::MAX } else { errors };
        let least = self.lag_errors.iter().fold(u16::MAX, |least, errors| least.min(judged(*errors)));
        let other = whole(least) < LAG_PREFERENCE * whole(self.lag_errors[DAY]);
        let best = self.lag_errors.iter().position(|errors| other && *errors == least);
        LAGS.start() + best.unwrap_or(DAY) as i64
    }

    /// The share of each expert; `usual` is the size of usual errors.
    pub(super) fn weights(&self, usual: f32) -> [f32; EXPERTS] {
        let mut weights = PRIOR;
        if self.hours > 0.0 && usual > 0.0 {
            let least = self.errors.iter().copied().fold(f32::INFINITY, f32::min);
            // Errors may be next to nothing: infinite times zero is not a number.
            let sharpness = (SHARPNESS / (self.hours * usual)).min(f32::MAX);
            for (weight, error) in weights.iter_mut().zip(self.errors) {
                *weight *= (sharpness * (least - error)).exp();
            }
        }
        normal(weights)
    }
}

/// The same weights for hours more than a day ahead: the last day says nothing about them that the others do not.
pub(super) fn beyond_a_day(mut weights: [f32; EXPERTS]) -> [f32; EXPERTS] {
    weights[0] *= 0.05;
    normal(weights)
}

fn normal(weights: [f32; EXPERTS]) -> [f32; EXPERTS] {
    let sum: f32 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

pub(super) fn mix(weights: &[f32; EXPERTS], experts: &[f32; EXPERTS]) -> f32 {
    weights.iter().zip(experts).map(|(weight, expert)| weight * expert).sum()
}

impl LearnedWeek {
    /// 1 for a day that is no working day.
    pub(super) fn kind(&self, hour: u8) -> usize {
        usize::from(self.weekend >> (hour / 24) & 1)
    }

    pub(super) fn days_like(&self, hour: u8) -> u32 {
        u32::from(self.counts[usize::from(hour / 24)])
    }

    pub(super) fn days_of(&self, kind: usize) -> u32 {
        let of_kind = |day: usize| usize::from(self.weekend >> day & 1) == kind;
        self.counts
            .iter()
            .enumerate()
            .map(|(day, days)| if of_kind(day) { u32::from(*days) } else { 0 })
            .sum()
    }

    /// What each expert expects of an hour when `last` was the last one known, and `lag` is the best.
    pub(super) fn experts(&self, number: i64, hour: u8, last: i64, lag: i64) -> [f32; EXPERTS] {
        let day = usize::from(hour % 24);
        let kind = self.kind(hour);
        let known = |code: u8| self.scale.decode(code);
        let shrunk = |coarse: f32, code: u8, days: u32| {
            let share = days as f32 / (days as f32 + SHRINK);
            known(code).map_or(coarse, |own| coarse + share * (own - coarse))
        };
        let daily = known(self.tables.daily[day]).unwrap_or(self.level.max(0.0));
        let kinds = shrunk(daily, self.tables.kinds[kind][day], self.days_of(kind));
        let weekly = shrunk(kinds, self.tables.weekly[usize::from(hour)], self.days_like(hour));
        // As many lags back as it takes to arrive at what is known: one, mostly.
        let ahead = number - last;
        let back = if ahead <= lag { lag } else { (ahead + lag - 1).div_euclid(lag) * lag };
        let then = known(self.tables.recent[recent_at(number - back)]);
        [then.unwrap_or(daily), daily, kinds, weekly]
    }

    pub(super) fn mixed(&self, experts: &[f32; EXPERTS]) -> f32 {
        mix(&self.blend.weights(1.5 * self.noise), experts)
    }
}
