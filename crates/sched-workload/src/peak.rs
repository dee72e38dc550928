//! When the load is higher than it ever is at this hour: [`PeakDetector`].

use std::time::Duration;

use jiff::Timestamp;
use sched_core::{LoadLevel, LoadState, Measured, Reason};
use serde::{Deserialize, Serialize};

use crate::week::{LearnedWeek, OwnLoad, WeekSlot};

/// Standard deviation over mean deviation, of a normal distribution.
const PER_MEAN_DEVIATION: f32 = 1.25;
/// Residuals beyond so many deviations teach no more than one of that size would.
const BURST: f32 = 4.4;
/// What a single sample can add to the sum of excesses.
const MOST_A_SAMPLE: f32 = 5.0;
/// What excess is expected of the sum's samples: it grows by what lies above that.
const SLACK: f32 = 1.0;
/// The sum grows no further, so that it is soon gone after a peak.
const SUM_LIMIT: f32 = 30.0;
/// The level follows with a time constant of three hours.
const LEVEL_SECONDS: f32 = 3.0 * 3600.0;
/// The usual deviation of an hour follows with this share a sample of five minutes.
const DEVIATION_SECONDS: f32 = 300.0 / 0.02;
/// A peak ends after so many calm samples.
const CALM_SAMPLES: u8 = 3;

/// When a [`PeakDetector`] calls a load a peak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PeakSettings {
    /// A peak begins when the median of the last three samples is so many usual deviations above the expected. Default
    /// 2.4, which with the default below is about one false alarm a day at a sample every five minutes.
    pub median_above: f32,
    /// Or when the sum of excesses over one deviation reaches this (CUSUM: Page, 1954). Default 6.
    pub sum_above: f32,
    /// It ends when the median has stayed below this for three samples. Default 1.5. Meanwhile the sum is halved with each.
    pub median_below: f32,
    /// While the sum is below this. Default 2.
    pub sum_below: f32,
    /// A load from here on is a peak, whatever is usual, in the unit of the load. Default none.
    pub cap: Option<f32>,
    /// Smaller deviations than this are never looked at, in the unit of the load. Default .5, which suits percentages.
    pub least_deviation: f32,
    /// Without a sample for so long nothing is known. Default 15 min.
    pub stale_after: Duration,
}

impl Default for PeakSettings {
    fn default() -> Self {
        Self {
            median_above: 2.4,
            sum_above: 6.0,
            median_below: 1.5,
            sum_below: 2.0,
            cap: None,
            least_deviation: 0.5,
            stale_after: Duration::from_secs(900),
        }
    }
}

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "a peak needs 0 <= median_below < median_above, 0 <= sum_below < sum_above < 30, least_deviation > 0, a positive \
     stale_after and a cap that is not negative; got {0:?}"
)]
#[non_exhaustive]
pub struct PeakSettingsError(pub PeakSettings);

impl PeakSettings {
    /// With a load that is a peak whatever is usual.
    #[must_use]
    pub fn cap(mut self, cap: f32) -> Self {
        self.cap = Some(cap);
        self
    }

    /// Sets what begins a peak, in usual deviations: the median of three, and the sum.
    #[must_use]
    pub fn above(mut self, median: f32, sum: f32) -> Self {
        (self.median_above, self.sum_above) = (median, sum);
        self
    }

    /// Whether they make sense together.
    ///
    /// # Errors
    /// When one is not a number, or they are out of order.
    pub fn check(self) -> Result<(), PeakSettingsError> {
        let ordered = (0.0..self.median_above).contains(&self.median_below)
            && (0.0..self.sum_above).contains(&self.sum_below)
            && self.median_above.is_finite()
            && self.sum_above < SUM_LIMIT
            && self.least_deviation > 0.0
            && self.least_deviation.is_finite()
            && !self.stale_after.is_zero()
            && self.cap.is_none_or(|cap| cap >= 0.0);
        if ordered { Ok(()) } else { Err(PeakSettingsError(self)) }
    }
}

/// Compares an instance's load with what is usual at this hour, and says when it is a peak.
///
/// What is compared is the load less what the [`LearnedWeek`] expects and less the level of the last hours, in usual
/// deviations of this hour of the day. Two tests watch it: the median of three samples sees a steep rise at once and no
/// single straggler, the sum of excesses sees a slight one that lasts. Before a day was learned only the cap counts.
///
/// While the instance's own backup adds an unknown part, a load within one deviation is still a calm one, since the
/// others' share is no more than the whole: a peak ends, and none begins. One of which nothing could be said for three
/// hours is over, as the level would have followed by then.
///
/// A time that does not advance is ignored, as is a load that is not a number. After one that lies back by more than
/// [`stale_after`](PeakSettings::stale_after) the clock was wrong before, and it goes on from there.
#[derive(Clone, Debug, PartialEq)]
pub struct PeakDetector {
    settings: PeakSettings,
    /// By how much the load has been above the expected in the last hours.
    level: f32,
    /// Mean deviation by hour of the day; not a number before there is one.
    deviations: [f32; 24],
    /// The last three samples, in usual deviations, the newest last.
    last: [f32; 3],
    sum: f32,
    calm: u8,
    peak: bool,
    /// Seconds since others' load was last told from the own backup's.
    blind: f32,
    seen: Option<Seen>,
    slot: Option<(WeekSlot, Option<f32>)>,
}

/// The newest sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    at: Timestamp,
    load: f32,
    usual: Option<f32>,
    deviation: f32,
}

impl PeakDetector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn new(settings: PeakSettings) -> Result<Self, PeakSettingsError> {
        settings.check()?;
        Ok(Self {
            settings,
            level: 0.0,
            deviations: [f32::NAN; 24],
            last: [0.0; 3],
            sum: 0.0,
            calm: 0,
            peak: false,
            blind: 0.0,
            seen: None,
            slot: None,
        })
    }

    /// Takes in a sample; `slot` is that of its time, `week` what was learned of the instance.
    ///
    /// The samples are those that the week learns from, in either order. What the instance's own backup adds is no
    /// peak: it is subtracted where it is known, otherwise the load can reach the cap or be calm, and teaches nothing.
    pub fn update(&mut self, week: &LearnedWeek, at: Timestamp, slot: WeekSlot, load: f64, own: OwnLoad) {
        let others = match own {
            OwnLoad::Known(own) => load - own,
            OwnLoad::None | OwnLoad::Unknown => load,
        };
        let since = self.seen.map(|seen| at.duration_since(seen.at).as_secs_f32());
        let late = -self.settings.stale_after.as_secs_f32()..=0.0;
        if others.is_nan() || since.is_some_and(|since| late.contains(&since)) {
            return;
        }
        let load = others.clamp(0.0, crate::week::MAX_LOAD) as f32;
        // What is usual is looked up once an hour.
        let usual = match self.slot {
            Some((known, usual)) if known == slot => usual,
            _ => self.slot.insert((slot, week.usual(slot))).1,
        };
        let deviation = self.deviation(slot);
        self.seen = Some(Seen { at, load, usual, deviation });
        let Some(usual) = usual else { return };
        let step = since.unwrap_or(0.0).max(0.0);
        let residual = load - usual - self.level;
        let z = residual / deviation;
        if own != OwnLoad::Unknown {
            self.learn(slot, residual, deviation, step.min(LEVEL_SECONDS));
            self.judge(z);
        } else if z <= SLACK {
            self.judge(z);
        } else {
            self.wait(step);
        }
    }

    /// The usual deviation now, and no less than the least that is looked at.
    fn deviation(&self, slot: WeekSlot) -> f32 {
        let hour = usize::from(slot.hour_of_week() % 24);
        // Unseen hours deviate as those that were seen.
        let own = self.deviations[hour];
        let known = self.deviations.iter().filter(|known| !known.is_nan());
        let usual = if own.is_nan() { known.sum::<f32>() / known_count(&self.deviations) } else { own };
        (PER_MEAN_DEVIATION * usual).max(self.settings.least_deviation)
    }

    fn learn(&mut self, slot: WeekSlot, residual: f32, deviation: f32, step: f32) {
        let usual = residual.clamp(-BURST * deviation, BURST * deviation);
        self.level += usual * (step / LEVEL_SECONDS).min(1.0);
        let own = &mut self.deviations[usize::from(slot.hour_of_week() % 24)];
        *own = match *own {
            none if none.is_nan() => usual.abs(),
            mean => mean + (step / DEVIATION_SECONDS).min(0.5) * (usual.abs() - mean),
        };
    }

    /// Decides by a sample that is `z` deviations above the expected.
    fn judge(&mut self, z: f32) {
        let PeakSettings { median_above, sum_above, median_below, sum_below, .. } = self.settings;
        self.blind = 0.0;
        self.last = [self.last[1], self.last[2], z];
        self.sum = (self.sum + z.min(MOST_A_SAMPLE) - SLACK).clamp(0.0, SUM_LIMIT);
        let median = self.median();
        if median > median_above || self.sum > sum_above {
            self.peak = true;
        }
        if self.peak && median < median_below {
            // The sum has done its work; left alone it would hold the alarm for hours after a high peak.
            self.sum /= 2.0;
        }
        let calm = median < median_below && self.sum < sum_below;
        self.calm = if calm { self.calm.saturating_add(1) } else { 0 };
        if self.calm >= CALM_SAMPLES {
            self.peak = false;
        }
    }

    /// Nobody knows how much of a sample is others' load: what was found before holds for a while.
    fn wait(&mut self, step: f32) {
        self.blind += step;
        if self.blind >= LEVEL_SECONDS {
            (self.last, self.sum, self.calm, self.peak) = ([0.0; 3], 0.0, 0, false);
        }
    }

    /// The middle one of the last three samples, in usual deviations.
    fn median(&self) -> f32 {
        let [a, b, c] = self.last;
        a.min(b).max(a.max(b).min(c))
    }

    /// Whether there is a peak, and why; none when nothing is known: no sample is of about this time, or only the cap could
    /// be compared and there is none.
    ///
    /// A load at the cap, or above the expected by the settings, is a [`LoadLevel::Peak`]; one that begins to be, by
    /// half of what makes a peak, is [`LoadLevel::Busy`].
    pub fn state(&self, now: Timestamp) -> Option<LoadState> {
        let seen = self.seen?;
        if now.duration_since(seen.at).unsigned_abs() > self.settings.stale_after {
            return None;
        }
        if let Some(cap) = self.settings.cap.filter(|cap| seen.load >= *cap) {
            let reason = measured("the load is at the cap", seen.load, cap);
            return Some(LoadState::new(LoadLevel::Peak, reason));
        }
        let Some(usual) = seen.usual else {
            let cap = self.settings.cap?;
            let reason =
                measured("the load is below the cap; what is usual is not learned yet", seen.load, cap);
            return Some(LoadState::new(LoadLevel::Calm, reason));
        };
        let PeakSettings { median_above, sum_above, .. } = self.settings;
        let rising = self.median() > median_above / 2.0 && self.sum > sum_above / 2.0;
        let (level, what) = match (self.peak, rising) {
            (true, _) => (LoadLevel::Peak, "a peak: more than is usual at this hour"),
            (false, true) => (LoadLevel::Busy, "rising above what is usual at this hour"),
            (false, false) => (LoadLevel::Calm, "as usual at this hour"),
        };
        let threshold = usual + self.level + median_above * seen.deviation;
        Some(LoadState::new(level, measured(what, seen.load, threshold.max(0.0))))
    }
}

fn known_count(deviations: &[f32; 24]) -> f32 {
    deviations.iter().filter(|known| !known.is_nan()).count().max(1) as f32
}

fn measured(text: &'static str, value: f32, threshold: f32) -> Reason {
    let (value, threshold) = (f64::from(value), f64::from(threshold));
    Reason::measured(text, Measured::new("load", value, threshold, ""))
}

#[cfg(test)]
mod tests;
