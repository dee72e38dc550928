//! A start with the week of others: [`LearnedWeek::from_prior`], [`LearnedWeek::merged`].

use super::blend::EXPERTS;
use super::code::{Scale, UNSEEN};
use super::tables::CODES;
use super::{FITTING, LearnedWeek, MAX_LOAD};

/// Steps of a scale in an octave.
const OCTAVE: f32 = 16.0;
/// How far a prior is scaled by one hour: 60 octaves.
const FARTHEST: f32 = 60.0 * OCTAVE;

impl LearnedWeek {
    /// The start for a new instance that is taken to be like another, or like a [merged](Self::merged) group.
    ///
    /// The shape is taken over; the level is fitted to the instance's own in its first day. The prior counts as much as
    /// one week of the instance's own.
    #[must_use]
    pub fn from_prior(prior: &Self) -> Self {
        let mut week = *prior;
        week.forget_recent();
        let fresh = Self::new();
        (week.sum, week.count, week.quarter, week.day) = (fresh.sum, fresh.count, fresh.quarter, fresh.day);
        (week.bursts, week.lead, week.power) = (0, 0.0, 0.0);
        week.counts = prior.counts.map(|count| count.min(1));
        week.blend.lag_errors = [0; 9];
        week.fitting = if prior.level < 0.0 { u8::MAX } else { 0 };
        week
    }

    /// The common shape of several weeks, such as all of a technology or a group, at a mean level of 1: a prior.
    ///
    /// Each counts the same, however large its load. None when nothing was learned by any of them. Working days are
    /// those of the first.
    pub fn merged<'a>(weeks: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut sums = [(0.0_f32, 0_u32); CODES];
        let (mut noise, mut errors, mut counts) = (0.0, [0.0; EXPERTS], [0; 7]);
        let (mut merged, mut others) = (None, 0.0);
        for week in weeks.into_iter().filter(|week| week.level > 0.0) {
            merged.get_or_insert(Self { weekend: week.weekend, level: 1.0, fitting: u8::MAX, ..Self::new() });
            others += 1.0;
            let share = 1.0 / week.level;
            for (sum, code) in sums.iter_mut().zip(week.tables.codes()) {
                if let Some(load) = week.scale.decode(code) {
                    *sum = (sum.0 + load * share, sum.1 + 1);
                }
            }
            noise += week.noise * share;
            let hours = week.blend.hours.max(1.0);
            for (sum, error) in errors.iter_mut().zip(week.blend.errors) {
                *sum += error * share / hours;
            }
            for (most, count) in counts.iter_mut().zip(week.counts) {
                *most = count.max(*most);
            }
        }
        let mut merged = merged?;
        merged.scale = Scale::around(1.0);
        for (code, (sum, count)) in merged.tables.codes_mut().zip(sums) {
            let mean = sum / count as f32;
            // The middle of the dice: nothing is added up here, so there is nothing to be right on average.
            *code = if count == 0 { UNSEEN } else { merged.scale.encode(mean, u32::MAX / 2) };
        }
        merged.forget_recent();
        merged.noise = noise / others;
        merged.counts = counts;
        merged.blend.errors = errors.map(|error| error / others);
        merged.blend.hours = 1.0;
        Some(merged)
    }

    /// Fits a prior's level to what is seen: by the mean ratio of the first day's hours.
    pub(super) fn fit_prior(&mut self, seen: f32) {
        if self.fitting >= FITTING {
            return;
        }
        self.fitting += 1;
        let number = self.number();
        let expected = self.mixed(&self.experts(number, self.hour, number - 1, self.blend.lag()));
        if seen > 0.0 && expected > 0.0 {
            let octaves = (seen / expected).log2() / f32::from(self.fitting);
            self.scale_by((octaves * OCTAVE).round());
        }
        if self.fitting == FITTING {
            self.fitting = u8::MAX;
        }
    }

    /// Multiplies what was taken over by 2^(steps / 16), about, as far as it stays a load.
    fn scale_by(&mut self, steps: f32) {
        let most = (MAX_LOAD as f32 / self.level.max(f32::MIN_POSITIVE)).log2() * OCTAVE;
        let steps = steps.clamp(-FARTHEST, FARTHEST.min(most.max(0.0)));
        let (scale, by) = self.scale.shifted(steps as i16);
        self.scale = scale;
        let factor = (f32::from(by) / OCTAVE).exp2();
        let scaled = |value: f32| (value * factor).min(MAX_LOAD as f32);
        self.level = scaled(self.level);
        self.noise = scaled(self.noise);
        self.blend.errors = self.blend.errors.map(scaled);
    }
}
