//! From the times that clocks show to moments.
//!
//! Between two moments at which the clock of a zone is set, its offset is the same, so days and minutes can be counted
//! there. A stretch is followed through such segments, part of a day by part of a day.

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Timestamp};

use super::WindowCalendar;
use super::day::State;
use super::rule::DAY;
use crate::zone::Segment;

/// Parts of days that are put together after a moment: eight years of closed days.
const MOST_AFTER: usize = 3_000;
/// Parts of days that are put together before it.
const MOST_BEFORE: usize = 400;

/// The date and the minute that the clock shows.
fn shown(segment: &Segment, at: Timestamp) -> (Date, u16) {
    let local = segment.local(at);
    (local.date(), minute_of(local))
}

/// When the clock would show a minute of a day, if it were never set. `None` beyond all time.
fn moment(segment: &Segment, date: Date, minute: u16) -> Option<Timestamp> {
    let midnight = date.to_datetime(Time::midnight());
    segment.moment(midnight.checked_add(SignedDuration::from_mins(minute.into())).ok()?)
}

pub(super) fn minute_of(local: DateTime) -> u16 {
    u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())
}

/// What holds at a moment; from when to when is worked out when it is asked for.
pub(super) struct Look<'c> {
    calendar: &'c WindowCalendar,
    segment: Segment,
    shown: (Date, u16),
    pub(super) state: State,
}

impl Look<'_> {
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.calendar.end_of(self.state, self.segment, self.shown)
    }

    pub(super) fn from(&self) -> Option<Timestamp> {
        self.calendar.begin_of(self.state, self.segment, self.shown)
    }
}

impl WindowCalendar {
    pub(super) fn look(&self, at: Timestamp) -> Look<'_> {
        let segment = Segment::of(self.rules.zone.time_zone(), at);
        let shown = shown(&segment, at);
        Look { calendar: self, segment, shown, state: self.part_of_day(shown.0, shown.1).state }
    }

    /// The first moment after a minute at which the state is another.
    fn end_of(
        &self,
        state: State,
        mut segment: Segment,
        (mut date, mut minute): (Date, u16),
    ) -> Option<Timestamp> {
        let mut end = None;
        for _ in 0..MOST_AFTER {
            let part = self.part_of_day(date, minute);
            if part.state != state {
                break;
            }
            let next = moment(&segment, date, part.to);
            match segment.until {
                Some(set) if next.is_none_or(|next| next >= set) => {
                    segment = Segment::of(self.rules.zone.time_zone(), set);
                    (date, minute) = shown(&segment, set);
                    end = Some(set);
                }
                _ => {
                    end = Some(next?);
                    (date, minute) = if part.to < DAY { (date, part.to) } else { (date.tomorrow().ok()?, 0) };
                }
            }
        }
        end
    }

    /// The first moment of those before a minute since which the state is this one.
    fn begin_of(
        &self,
        state: State,
        mut segment: Segment,
        (mut date, mut minute): (Date, u16),
    ) -> Option<Timestamp> {
        let mut begin = None;
        for _ in 0..MOST_BEFORE {
            let part = self.part_of_day(date, minute);
            if part.state != state {
                break;
            }
            let first = moment(&segment, date, part.from);
            match segment.from {
                Some(set) if first.is_none_or(|first| first <= set) => {
                    let (before, last) = Segment::before(self.rules.zone.time_zone(), set)?;
                    (date, minute) = shown(&before, last);
                    segment = before;
                    begin = Some(set);
                }
                _ => {
                    begin = Some(first?);
                    (date, minute) =
                        if part.from > 0 { (date, part.from - 1) } else { (date.yesterday().ok()?, DAY - 1) };
                }
            }
        }
        begin
    }
}
