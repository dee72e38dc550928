//! What an instance's week looks like, in 384 bytes: [`LearnedWeek`].

mod blend;
mod clock;
mod code;
mod predict;
mod prior;
mod stored;
mod tables;

use jiff::civil::Weekday;
use serde::{Deserialize, Serialize};

use self::blend::{Blend, LAGS};
use self::clock::HOUR;
pub use self::clock::{LocalClock, WEEK_HOURS, WeekSlot};
use self::code::{Scale, UNSEEN, dice, shift};
use self::stored::Stored;
pub use self::stored::StoredWeekError;
use self::tables::{RECENT, Tables};

/// Larger loads count as this.
pub const MAX_LOAD: f64 = 1e15;

/// Residuals beyond so many median deviations are bursts: they teach no more than one of that size would.
const BURST: f32 = 4.5;
/// More than so many bursts in the same direction, one hour after the other, are a new level.
const NEW_LEVEL: i8 = 6;
/// Days after which bursts are told from the usual.
const KNOWN_DAYS: u32 = 3;
/// What the correlation of residuals keeps each hour: two days.
const MEMORY: f32 = 0.98;
/// After a silence of so many hours the old week is only what hours are taken to be that are not seen again yet.
const SILENCE: i32 = 28 * 24;
/// Samples that are so many quarters of an hour older than the newest are late; older ones mean that the clock was
/// wrong.
const LATE: i32 = 24 * 4;
/// Quarter of an hour, in seconds.
const QUARTER: i64 = 900;
/// No hour was begun.
const NEVER: i32 = i32::MIN;
/// Hours in which a prior is fitted to the instance's level.
const FITTING: u8 = 24;

/// How much of a sample is the instance's own backup.
///
/// A backup that were learned would teach that its time is busy, so that the next one moves away, and back again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OwnLoad {
    /// No backup ran.
    #[default]
    None,
    /// A backup ran and took this much of it, in the unit of the load: it is subtracted.
    Known(f64),
    /// A backup ran: the sample is left out.
    Unknown,
}

/// What is learned of an instance's load: when it is low, when high, and how surely.
///
/// Fed with samples of any regular or irregular step, it keeps a mean for each hour of the day, of working days and
/// weekends, and of the week, and the last 28 hours; it watches which of these was right, and weighs them by that. A
/// sample costs a few nanoseconds, nothing is allocated, and the size never changes.
///
/// | what comes | what is done |
/// |---|---|
/// | NaN | is ignored |
/// | a negative load, an infinite one | counts as 0, as [`MAX_LOAD`] |
/// | several samples in an hour, in any order, a duplicate | each counts once in the hour's mean |
/// | a sample of a past hour, up to a day old | is late: ignored |
/// | an older one | the clock was wrong: learning goes on from there |
/// | a gap | hours without samples stay as they are |
/// | more than four weeks of silence | what comes then replaces the old, hour by hour |
/// | a burst (over 4.5 median deviations) | is cut off there, unless it has lasted six hours: then it is a new level |
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use sched_workload::{LearnedWeek, LocalClock, OwnLoad};
/// use std::time::Duration;
///
/// let mut clock = LocalClock::utc();
/// let mut week = LearnedWeek::new();
/// let start: Timestamp = "2024-03-04T00:00:00Z".parse().unwrap();
/// for hour in 0..14 * 24 {
///     let at = start + SignedDuration::from_hours(hour);
///     let load = if (8..18).contains(&(hour % 24)) { 70.0 } else { 10.0 };
///     week.update(clock.slot(at), load, OwnLoad::None);
/// }
/// let hour = Duration::from_secs(3600);
/// let forecast = week.forecast(&mut clock, start + SignedDuration::from_hours(14 * 24), hour, 24);
/// assert!(forecast.slots[12].mean > 65.0 && forecast.slots[3].mean < 15.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct LearnedWeek {
    /// The samples of the hour that has begun.
    sum: f64,
    count: u32,
    /// When that began, in quarters of an hour since 1970.
    quarter: i32,
    /// The local day that was counted last, modulo 2^16.
    day: u16,
    /// Hour of the week that has begun.
    hour: u8,
    /// A bit for each day that is no working day, Monday first.
    weekend: u8,
    /// Days seen, by weekday.
    counts: [u8; 7],
    /// Hours since a prior was taken over; 255 when there was none or it is fitted.
    fitting: u8,
    /// Bursts in a row, upwards or downwards.
    bursts: i8,
    scale: Scale,
    /// Decayed mean of the load; negative when nothing was seen.
    level: f32,
    /// Median deviation of an hour's mean from what was expected.
    noise: f32,
    /// By how much the last hour differed from what was expected, and decayed sums for how that fades.
    residual: f32,
    lead: f32,
    power: f32,
    blend: Blend,
    tables: Tables,
}

const _: () = assert!(size_of::<LearnedWeek>() <= 384);

impl LearnedWeek {
    /// Nothing learned yet; Saturday and Sunday are no working days.
    pub const fn new() -> Self {
        Self {
            sum: 0.0,
            count: 0,
            quarter: NEVER,
            day: 0,
            hour: 0,
            weekend: 0b110_0000,
            counts: [0; 7],
            fitting: u8::MAX,
            bursts: 0,
            scale: Scale(1842),
            level: -1.0,
            noise: 0.0,
            residual: 0.0,
            lead: 0.0,
            power: 0.0,
            blend: Blend::NEW,
            tables: Tables::EMPTY,
        }
    }

    /// Sets which days are no working days. For an instance that is new: what was learned is not sorted again.
    #[must_use]
    pub fn weekend(mut self, days: &[Weekday]) -> Self {
        self.weekend = days.iter().fold(0, |bits, day| bits | 1 << day.to_monday_zero_offset());
        self
    }

    /// Days of which something was seen, no more than 255 of each weekday.
    pub fn days(&self) -> u32 {
        self.counts.iter().map(|count| u32::from(*count)).sum()
    }

    /// Takes in a sample of the load, in any unit in which twice as much is twice as busy.
    ///
    /// The slot is that of the sample's own time, by the instance's [`LocalClock`].
    pub fn update(&mut self, slot: WeekSlot, load: f64, own: OwnLoad) {
        let load = match own {
            OwnLoad::None => load,
            OwnLoad::Known(own) => load - own,
            OwnLoad::Unknown => return,
        };
        if load.is_nan() || !self.turn_to(slot) {
            return;
        }
        // Rounded to f32 first: sums of such in f64 are exact, whatever the order, for a billion of the same size.
        self.sum += f64::from(load.clamp(0.0, MAX_LOAD) as f32);
        self.count = self.count.saturating_add(1);
    }

    /// Makes this the hour that has begun; false when it is long over.
    fn turn_to(&mut self, slot: WeekSlot) -> bool {
        let limits = (i64::from(i32::MIN) + 1, i64::from(i32::MAX));
        let quarter = slot.begin.div_euclid(QUARTER).clamp(limits.0, limits.1) as i32;
        if quarter == self.quarter {
            return true;
        }
        if self.quarter != NEVER {
            let ahead = i64::from(quarter) - i64::from(self.quarter);
            if (-i64::from(LATE)..0).contains(&ahead) {
                return false;
            }
            if ahead < 0 {
                self.forget_recent();
            } else {
                self.close();
                self.pass(i32::try_from(ahead / 4).unwrap_or(i32::MAX));
            }
        }
        self.begin(slot, quarter);
        true
    }

    fn begin(&mut self, slot: WeekSlot, quarter: i32) {
        (self.sum, self.count, self.quarter, self.hour) = (0.0, 0, quarter, slot.hour);
        let day = slot.day.rem_euclid(1 << 16) as u16;
        if day != self.day || self.days() == 0 {
            self.day = day;
            let count = &mut self.counts[slot.weekday()];
            *count = count.saturating_add(1);
            self.shift(-Scale::spare(self.tables.highest()));
        }
    }

    /// So many hours lie between the one that was closed and the next.
    fn pass(&mut self, hours: i32) {
        for skipped in 1..hours.min(RECENT as i32 + 1) {
            self.tables.recent[recent_at(self.number() + i64::from(skipped))] = UNSEEN;
        }
        if hours > 1 {
            self.residual *= self.fading().powi(hours - 1);
        }
        if hours > SILENCE {
            self.counts = [0; 7];
        }
    }

    fn forget_recent(&mut self) {
        self.tables.recent = [UNSEEN; RECENT];
        self.residual = 0.0;
    }

    /// Hours since 1970 of the one that has begun.
    fn number(&self) -> i64 {
        (i64::from(self.quarter) * QUARTER).div_euclid(HOUR)
    }

    /// Mean of the hour that has begun, so far.
    fn so_far(&self) -> Option<f32> {
        (self.count > 0).then(|| (self.sum / f64::from(self.count)) as f32)
    }

    /// The share of a residual that is left an hour later: their correlation, from 0 to .97.
    fn fading(&self) -> f32 {
        if self.power > 0.0 { (self.lead / self.power).clamp(0.0, 0.97) } else { 0.0 }
    }

    /// Learns from the hour that has begun.
    fn close(&mut self) {
        let Some(seen) = self.so_far() else { return };
        if self.level < 0.0 {
            self.level = seen;
        } else {
            self.fit_prior(seen);
        }
        self.make_room(seen);
        let number = self.number();
        let experts = self.experts(number, self.hour, number - 1, self.blend.lag());
        let expected = self.mixed(&experts);
        let residual = self.judge(seen - expected);
        if self.days() > 1 {
            // No single hour says more about a method than twenty usual ones.
            let worst = if self.noise > 0.0 { 20.0 * self.noise } else { f32::INFINITY };
            self.blend.judge(&experts, seen, worst);
            self.judge_lags(number, seen, worst);
        }
        let usual = if self.days() > KNOWN_DAYS { expected + residual } else { seen };
        let rate = (1.0 / (24.0 * self.days().clamp(1, 7) as f32)).max(0.006);
        self.level += rate * (usual - self.level);
        self.learn(number, seen, usual.max(0.0), residual.abs());
    }

    /// Takes in by how much an hour differed, and returns as much of it as is to be believed.
    fn judge(&mut self, residual: f32) -> f32 {
        let limit = BURST * self.noise;
        let burst = self.noise > 0.0 && residual.abs() > limit;
        let direction = if residual > 0.0 { 1 } else { -1 };
        self.bursts = match self.bursts {
            _ if !burst => 0,
            run if run.signum() == direction => run.saturating_add(direction),
            _ => direction,
        };
        let believed =
            if burst && self.bursts.abs() <= NEW_LEVEL { limit.copysign(residual) } else { residual };
        self.lead = MEMORY * self.lead + believed * self.residual;
        self.power = MEMORY * self.power + believed * believed;
        self.residual = believed;
        // The median rises while half of the deviations are above it.
        self.noise = match residual.abs() {
            above if self.noise == 0.0 => above,
            above if above > self.noise => self.noise * 1.05,
            _ => self.noise * 0.95,
        };
        self.noise = self.noise.max(1e-3 * self.level);
        believed
    }

    fn judge_lags(&mut self, number: i64, seen: f32, worst: f32) {
        let dice = dice((number * 16 + 8) as u64);
        let mut remembered = recent_at(number - LAGS.start());
        for at in 0..LAGS.count() {
            if let Some(then) = self.scale.decode(self.tables.recent[remembered]) {
                self.blend.judge_lag(at, (then - seen).abs().min(worst), dice);
            }
            remembered = remembered.checked_sub(1).unwrap_or(RECENT - 1);
        }
    }

    fn learn(&mut self, number: i64, seen: f32, usual: f32, deviation: f32) {
        let (hour, day, kind) = (usize::from(self.hour), usize::from(self.hour % 24), self.kind(self.hour));
        let days = self.days();
        let rate = |least: f32, seen: u32| least.max(1.0 / seen.max(1) as f32);
        let (daily, weekly) = (rate(0.2, days), rate(0.35, self.days_like(self.hour)));
        let kinds = rate(0.2, self.days_of(kind));
        let scale = self.scale;
        let dice = |table: i64| dice((number * 16 + table) as u64);
        let toward = |code: &mut u8, rate: f32, load: f32, dice: u32| {
            let old = scale.decode(*code);
            *code = scale.encode(old.map_or(load, |old| old + rate * (load - old)), dice);
        };
        let tables = &mut self.tables;
        // By its own code: of a constant load the last hour is exactly what was seen before.
        tables.recent[recent_at(number)] = scale.encode(seen, dice(0));
        toward(&mut tables.daily[day], daily, usual, dice(1));
        toward(&mut tables.kinds[kind][day], kinds, usual, dice(2));
        toward(&mut tables.weekly[hour], weekly, usual, dice(3));
        toward(&mut tables.deviation[day], rate(0.1, days), deviation, dice(4));
    }

    /// Moves the scale so that a load has a code.
    fn make_room(&mut self, load: f32) {
        let lacks = self.scale.lacks(load);
        let below = load > 0.0 && self.scale.encode(load, 0) <= 1;
        if (lacks > 0 || below) && self.tables.highest() == 0 {
            self.scale = Scale::around(load);
        } else {
            self.shift(lacks);
        }
    }

    fn shift(&mut self, by: i16) {
        let (scale, by) = self.scale.shifted(by);
        self.scale = scale;
        if by != 0 {
            self.tables.codes_mut().for_each(|code| *code = shift(*code, by));
        }
    }
}

impl Default for LearnedWeek {
    fn default() -> Self {
        Self::new()
    }
}

/// Where an hour is remembered.
fn recent_at(number: i64) -> usize {
    // Below 28, so it fits.
    number.rem_euclid(RECENT as i64) as usize
}

#[cfg(test)]
mod tests;
