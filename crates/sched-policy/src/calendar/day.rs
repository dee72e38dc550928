//! One day of a calendar, by the minutes that the clock shows.

use jiff::civil::{Date, DateTime};

use super::WindowCalendar;
use super::rule::DAY;

/// Whether backups may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Closed,
    /// Which of the blackouts, the first that there is.
    Blackout(usize),
}

/// Minutes of a day from one up to another without a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) state: State,
}

impl WindowCalendar {
    /// The part of a day that contains a minute.
    pub(super) fn part_of_day(&self, date: Date, minute: u16) -> Part {
        let (mut from, mut to) = (0, DAY);
        let mut narrow = |(begin, end): (u16, u16)| {
            for edge in [begin, end] {
                if edge <= minute {
                    from = from.max(edge);
                } else {
                    to = to.min(edge);
                }
            }
            begin <= minute && minute < end
        };
        let mut open = self.rules.windows.is_empty();
        for span in self.rules.windows.iter().flat_map(|rule| rule.on(date)) {
            open |= narrow(span);
        }
        let mut blackout = None;
        for (n, rule) in self.rules.blackouts.iter().enumerate() {
            for span in rule.on(date) {
                if narrow(span) {
                    blackout = blackout.or(Some(n));
                }
            }
        }
        let state = match blackout {
            Some(rule) => State::Blackout(rule),
            None if open => State::Open,
            None => State::Closed,
        };
        Part { from, to, state }
    }

    /// Whether some minute of a day is open.
    pub(super) fn opens_on(&self, date: Date) -> bool {
        let mut minute = 0;
        while minute < DAY {
            let part = self.part_of_day(date, minute);
            if part.state == State::Open {
                return true;
            }
            minute = part.to;
        }
        false
    }

    /// Whether the clock shows a business hour.
    pub(super) fn in_business_hours(&self, local: DateTime) -> bool {
        let minute = super::stretch::minute_of(local);
        let mut spans = self.rules.business_hours.iter().flat_map(|rule| rule.on(local.date()));
        spans.any(|(from, to)| from <= minute && minute < to)
    }
}
