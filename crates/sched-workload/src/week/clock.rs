//! Which hour of the local week it is: [`LocalClock`].

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Hours in a week.
pub const WEEK_HOURS: u8 = 168;
pub(super) const HOUR: i64 = 3600;

/// One hour of the local week, and when it began.
///
/// Hours begin where the wall clock shows a full hour, so a zone of :30 has slots of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeekSlot {
    /// When the hour began, in seconds since 1970.
    pub(super) begin: i64,
    /// Local days since 1970.
    pub(super) day: i64,
    /// Monday 00:00 is 0; below 168.
    pub(super) hour: u8,
}

impl WeekSlot {
    /// The hour of a moment, where local time is so many seconds ahead of UTC.
    pub fn new(at: Timestamp, offset_secs: i32) -> Self {
        Self::of(at.as_second(), offset_secs)
    }

    pub(super) fn of(second: i64, offset_secs: i32) -> Self {
        let local = second + i64::from(offset_secs);
        let hours = local.div_euclid(HOUR);
        // 1970 began on a Thursday, 72 hours after Monday. Below 168, so it fits.
        let hour = (hours + 72).rem_euclid(i64::from(WEEK_HOURS)) as u8;
        Self { begin: second - local.rem_euclid(HOUR), day: hours.div_euclid(24), hour }
    }

    /// The hour of the week: 0 is Monday 00:00 to 01:00, 167 Sunday 23:00 to 24:00.
    pub fn hour_of_week(self) -> u8 {
        self.hour
    }

    pub(super) fn weekday(self) -> usize {
        usize::from(self.hour / 24)
    }

    /// Hours since 1970 of no zone: what one hour after the other is counted in.
    pub(super) fn number(self) -> i64 {
        self.begin.div_euclid(HOUR)
    }
}

/// A time zone that remembers its offset until the next change, so that asking it costs a comparison.
///
/// One serves all instances of a zone.
#[derive(Clone, Debug)]
pub struct LocalClock {
    zone: TimeZone,
    /// The seconds for which `offset` holds: from the first, up to the second.
    holds: (i64, i64),
    offset: i32,
}

impl LocalClock {
    /// The clock of a zone.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone, holds: (0, 0), offset: 0 }
    }

    /// UTC, for instances whose zone is not known.
    pub fn utc() -> Self {
        Self::new(TimeZone::UTC)
    }

    /// The hour that a moment lies in.
    pub fn slot(&mut self, at: Timestamp) -> WeekSlot {
        self.slot_of(at.as_second())
    }

    pub(super) fn slot_of(&mut self, second: i64) -> WeekSlot {
        if second < self.holds.0 || second >= self.holds.1 {
            self.look_up(second);
        }
        WeekSlot::of(second, self.offset)
    }

    fn look_up(&mut self, second: i64) {
        let at = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        self.offset = self.zone.to_offset(at).seconds();
        // A change at `second` itself is not before it: look back from a nanosecond later.
        let just_after = at.saturating_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
        let from = self.zone.preceding(just_after).next().map(|change| change.timestamp().as_second());
        let until = self.zone.following(at).next().map(|change| change.timestamp().as_second());
        self.holds = (from.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(zone: &str, at: &str) -> WeekSlot {
        LocalClock::new(TimeZone::get(zone).unwrap()).slot(at.parse().unwrap())
    }

    #[test]
    fn hours_count_from_monday_midnight_where_the_instance_is() {
        assert_eq!(slot("UTC", "2024-03-04T00:00:00Z").hour, 0);
        assert_eq!(slot("UTC", "2024-03-10T23:59:59Z").hour, 167);
        assert_eq!(slot("America/New_York", "2024-03-04T04:30:00Z").hour, 167);
        let india = slot("Asia/Kolkata", "2024-03-04T00:15:00Z");
        assert_eq!((india.hour, india.begin.rem_euclid(HOUR)), (5, 1800), "05:45 there, since 05:00");
    }

    #[test]
    fn an_hour_is_left_out_in_spring_and_comes_twice_in_autumn() {
        let mut clock = LocalClock::new(TimeZone::get("Europe/Berlin").unwrap());
        let mut hours = |from: &str| {
            let from: Timestamp = from.parse().unwrap();
            [0, 1, 2, 3].map(|n| clock.slot_of(from.as_second() + n * HOUR).hour % 24)
        };
        assert_eq!(hours("2024-03-31T00:00:00Z"), [1, 3, 4, 5]);
        assert_eq!(hours("2024-10-26T23:00:00Z"), [1, 2, 2, 3]);
        assert_eq!(hours("2024-03-31T00:00:00Z"), [1, 3, 4, 5], "and back again");
    }

    #[test]
    fn the_remembered_offset_is_the_zones_at_any_moment() {
        for zone in ["Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC", "Asia/Kathmandu"] {
            let zone = TimeZone::get(zone).unwrap();
            let mut clock = LocalClock::new(zone.clone());
            let mut at: i64 = -3_000_000_000;
            for n in 0..6_000_i64 {
                // Forward with leaps back, over 190 years.
                at += if n % 7 == 0 { -20_000_003 } else { 4_567_891 };
                let when = Timestamp::from_second(at).unwrap();
                let plain = WeekSlot::new(when, zone.to_offset(when).seconds());
                assert_eq!(clock.slot(when), plain, "{when}");
            }
        }
        let mut clock = LocalClock::new(TimeZone::get("Europe/Berlin").unwrap());
        clock.slot(Timestamp::MIN);
        clock.slot(Timestamp::MAX);
    }
}
