//! Loads as they were measured: [`Recording`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::{BUSIEST, SLOT_SECS, SLOTS_OF_DAY};

const DAY: usize = SLOTS_OF_DAY as usize;
const WEEK: usize = 7 * DAY;
/// The longest recording, in slots: some 20 KiB.
const MOST: usize = 8 * WEEK;
/// Gaps of so many slots are bridged by a straight line: two hours.
const SHORT_GAP: usize = 8;

/// The load of a host as it was measured, as a share of its capacity, for up to eight weeks. Clones share it; it takes 4
/// bytes a slot.
///
/// Samples come at any step. A slot with samples has their mean. Gaps up to two hours are bridged by a straight line;
/// longer ones have what was measured at the same time a week before or after, else a day before or after, and a
/// straight line where nothing was. The last sample counts for the usual step (the median), at most a day.
///
/// Before and after it goes on as it is: a recording repeats every so many whole weeks, or whole days where it is shorter
/// than a week. What is missing of a day that is the only one is bridged.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The first slot, counted from the simulation's Monday midnight.
    first: i64,
    /// Slots after which it repeats.
    period: i64,
    slots: Arc<[f32]>,
}

/// Why something is no recording.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RecordingError {
    /// There is no sample.
    Empty,
    /// This load is not a number from 0 to 1.
    Load(f64),
    /// This time, in seconds, is not a finite number within a thousand years.
    Time(f64),
    /// From the first sample to the last it is longer than eight weeks.
    TooLong,
}

/// A recording on the way: by slot, the sum of its samples and their number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    first: i64,
    slots: VecDeque<(f32, u32)>,
}

impl Recording {
    /// From samples in any order: seconds from the simulation's Monday midnight (negative ones before it), and a load from
    /// 0 to 1. Loads above .97 count as that, since no foreground is taken to use more of its host.
    ///
    /// # Errors
    /// Without samples, with nonsense among them, and when they span more than eight weeks.
    pub fn new(samples: impl IntoIterator<Item = (f64, f64)>) -> Result<Self, RecordingError> {
        let mut all = Samples::default();
        samples.into_iter().try_for_each(|(secs, load)| all.add(secs, load))?;
        all.finish(0).ok_or(RecordingError::Empty)
    }

    /// The load in a slot, counted from the simulation's Monday midnight: from 0 to .97.
    pub fn at(&self, slot: i64) -> f64 {
        let (since, long) = (slot - self.first, self.slots.len() as i64);
        let at = if since < 0 {
            since.rem_euclid(self.period)
        } else if since < long {
            since
        } else {
            let last = long - self.period;
            last + (since - last).rem_euclid(self.period)
        };
        f64::from(self.slots[at as usize])
    }

    /// The mean load in its quietest hour.
    pub fn quietest(&self) -> f64 {
        let hours = self.slots.chunks_exact(SLOTS_OF_DAY as usize / 24);
        let means = hours.map(|hour| hour.iter().sum::<f32>() / hour.len() as f32);
        means.fold(f32::INFINITY, f32::min).into()
    }

    /// Days from its first slot to its last.
    pub fn days(&self) -> f64 {
        self.slots.len() as f64 / f64::from(SLOTS_OF_DAY)
    }

    /// Days after which it repeats: whole weeks, or fewer than 7 where it is shorter than a week.
    pub fn repeats_after_days(&self) -> u32 {
        self.period as u32 / SLOTS_OF_DAY
    }
}

impl Samples {
    /// Takes a sample in, at so many seconds.
    pub(crate) fn add(&mut self, secs: f64, load: f64) -> Result<(), RecordingError> {
        if !(0.0..=1.0).contains(&load) {
            return Err(RecordingError::Load(load));
        }
        let slot = (secs / f64::from(SLOT_SECS)).floor();
        if slot.is_nan() || slot.abs() > 366_000.0 * f64::from(SLOTS_OF_DAY) {
            return Err(RecordingError::Time(secs));
        }
        let slot = slot as i64;
        if self.slots.is_empty() {
            self.first = slot;
        }
        let (first, end) = (self.first.min(slot), (self.first + self.slots.len() as i64).max(slot + 1));
        if end - first > MOST as i64 {
            return Err(RecordingError::TooLong);
        }
        for _ in first..self.first {
            self.slots.push_front((0.0, 0));
        }
        self.first = first;
        self.slots.resize((end - first) as usize, (0.0, 0));
        let (sum, samples) = &mut self.slots[(slot - first) as usize];
        *sum += load as f32;
        *samples += 1;
        Ok(())
    }

    /// The Monday midnight before its first sample, in slots.
    pub(crate) fn monday(&self) -> i64 {
        self.first.div_euclid(WEEK as i64) * WEEK as i64
    }

    /// The recording, with this slot as that of the simulation's Monday midnight; `None` without samples.
    pub(crate) fn finish(self, monday: i64) -> Option<Recording> {
        let mean =
            |&(sum, samples): &(f32, u32)| (samples > 0).then(|| (sum / samples as f32).min(BUSIEST as f32));
        let mut loads: Vec<Option<f32>> = self.slots.iter().map(mean).collect();
        let last = *loads.last()?;
        let measured: Vec<usize> = (0..loads.len()).filter(|at| loads[*at].is_some()).collect();
        let mut steps: Vec<usize> = measured.windows(2).map(|two| two[1] - two[0]).collect();
        steps.sort_unstable();
        let step = steps.get(steps.len().saturating_sub(1) / 2).copied().unwrap_or(1);
        loads.resize((loads.len() + step.min(DAY) - 1).min(MOST), last);
        loads.resize(loads.len().max(DAY), None);
        let whole = if loads.len() >= WEEK { WEEK } else { DAY };
        let period = (loads.len() / whole * whole) as i64;
        Some(Recording { first: self.first - monday, period, slots: filled(loads).into() })
    }
}

/// Without gaps. The first load is there.
fn filled(mut loads: Vec<Option<f32>>) -> Vec<f32> {
    let mut gaps = Vec::new();
    let mut from = 0;
    while let Some(begin) = loads[from..].iter().position(Option::is_none).map(|at| from + at) {
        let end = loads[begin..].iter().position(Option::is_some).map_or(loads.len(), |at| begin + at);
        gaps.push(begin..end);
        from = end;
    }
    let (short, long): (Vec<_>, Vec<_>) = gaps.into_iter().partition(|gap| gap.len() <= SHORT_GAP);
    let load = |loads: &[Option<f32>], at: usize| loads.get(at).copied().flatten();
    let line = |loads: &[Option<f32>], gap: &std::ops::Range<usize>, at: usize| {
        let before = load(loads, gap.start.wrapping_sub(1)).unwrap_or_default();
        // After the end of the only day it begins again.
        let after = load(loads, gap.end).or(load(loads, 0)).unwrap_or(before);
        before + (after - before) * (at - gap.start + 1) as f32 / (gap.len() + 1) as f32
    };
    for gap in short {
        let bridged: Vec<f32> = gap.clone().map(|at| line(&loads, &gap, at)).collect();
        gap.zip(bridged).for_each(|(at, load)| loads[at] = Some(load));
    }
    let measured = loads.clone();
    for gap in long {
        for at in gap.clone() {
            let elsewhere = [at.wrapping_sub(WEEK), at + WEEK, at.wrapping_sub(DAY), at + DAY]
                .map(|at| load(&measured, at));
            let found = elsewhere.into_iter().flatten().next();
            loads[at] = Some(found.unwrap_or_else(|| line(&measured, &gap, at)));
        }
    }
    loads.into_iter().flatten().collect()
}

impl std::error::Error for RecordingError {}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "there is no sample"),
            Self::Load(load) if (1.0..=100.0).contains(load) => {
                write!(f, "{load} is not a number from 0 to 1; if it is in percent, divide by 100")
            }
            Self::Load(load) => write!(f, "{load} is not a number from 0 to 1"),
            Self::Time(secs) => write!(f, "{secs} is not a time in seconds within a thousand years"),
            Self::TooLong => {
                write!(f, "this is more than eight weeks from the host's other samples; take fewer weeks")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3600.0;

    /// A sample each `step` hours, from one hour to another.
    fn recorded(hours: std::ops::Range<u32>, step: usize, load: impl Fn(u32) -> f64) -> Recording {
        Recording::new(hours.step_by(step).map(|hour| (f64::from(hour) * HOUR, load(hour)))).unwrap()
    }

    #[track_caller]
    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }

    #[test]
    fn a_slot_has_the_mean_of_its_samples_in_whatever_order() {
        let recording = Recording::new([(1_000.0, 0.4), (0.0, 0.1), (899.0, 0.3), (1_801.0, 1.0)]).unwrap();
        near(recording.at(0), 0.2);
        near(recording.at(1), 0.4);
        // Nobody uses more of his host.
        near(recording.at(2), 0.97);
    }

    #[test]
    fn short_gaps_are_bridged_and_long_ones_have_what_is_usual() {
        let ramp = |hour: u32| f64::from(hour % 24) / 24.0;
        let hourly = recorded(0..48, 1, ramp);
        near(hourly.at(4 * 7 + 1), (7.0 + 0.25) / 24.0);
        let gap = |hour: u32| (30..36).contains(&hour);
        let samples = (0..72).filter(|hour| !gap(*hour)).map(|hour| (f64::from(hour) * HOUR, ramp(hour)));
        let recording = Recording::new(samples).unwrap();
        // As a day before.
        near(recording.at(4 * 32), 8.0 / 24.0);
        near(recording.at(4 * 32 + 2), 8.5 / 24.0);
        // Nothing to take it from: from 5/24 straight to 20/24.
        let day = (0..24).filter(|hour| !(6..20).contains(hour));
        let recording = Recording::new(day.map(|hour| (f64::from(hour) * HOUR, ramp(hour)))).unwrap();
        near(recording.at(4 * 12 + 2), 12.5 / 24.0);
        let weekly = |hour: u32| if hour < 168 { 0.25 } else { 0.75 };
        let samples = (0..336).filter(|hour| !(200..212).contains(hour));
        let recording = Recording::new(samples.map(|hour| (f64::from(hour) * HOUR, weekly(hour)))).unwrap();
        // A week before goes before a day before.
        near(recording.at(4 * 205), 0.25);
    }

    #[test]
    fn it_repeats_by_whole_weeks_or_days() {
        let by_day = |hour: u32| f64::from(hour / 24) / 20.0;
        let day = |recording: &Recording, day: i64| recording.at(96 * day + 48) * 20.0;
        let week = recorded(0..168, 1, by_day);
        assert_eq!((week.days(), week.repeats_after_days()), (7.0, 7));
        near(day(&week, 8), 1.0);
        near(day(&week, -1), 6.0);
        // Ten days, from Wednesday on: what comes after, and what was before, is of the same day of the week.
        let ten = recorded(48..288, 1, by_day);
        for (asked, found) in
            [(2, 2.0), (11, 11.0), (12, 5.0), (15, 8.0), (16, 9.0), (19, 5.0), (0, 7.0), (-6, 8.0)]
        {
            near(day(&ten, asked), found);
        }
        let three = recorded(0..84, 1, by_day);
        assert_eq!(three.repeats_after_days(), 3);
        near(day(&three, 4), 1.0);
    }

    #[test]
    fn a_part_of_a_day_is_a_day() {
        let recording = recorded(9..17, 1, |hour| if hour < 13 { 0.2 } else { 0.6 });
        assert_eq!((recording.days(), recording.repeats_after_days()), (1.0, 1));
        near(recording.at(4 * 10), 0.2);
        near(recording.at(4 * 34), 0.2);
        // Sixteen hours from .6 back to .2.
        assert!((recording.at(4 * 25) - 0.4).abs() < 0.02, "{}", recording.at(4 * 25));
    }

    #[test]
    fn nonsense_is_no_recording() {
        let of = |samples: &[(f64, f64)]| Recording::new(samples.iter().copied()).unwrap_err();
        assert_eq!(of(&[]), RecordingError::Empty);
        assert_eq!(of(&[(0.0, 1.5)]), RecordingError::Load(1.5));
        assert!(matches!(of(&[(0.0, f64::NAN)]), RecordingError::Load(_)));
        assert!(matches!(of(&[(f64::NAN, 0.5)]), RecordingError::Time(_)));
        assert_eq!(of(&[(f64::INFINITY, 0.5)]), RecordingError::Time(f64::INFINITY));
        assert_eq!(of(&[(0.0, 0.5), (57.0 * 86_400.0, 0.5)]), RecordingError::TooLong);
        assert!(RecordingError::Load(45.0).to_string().contains("divide by 100"));
    }
}
