//! Days and times of day, as people write them: [`Rule`].

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use serde::{Deserialize, Serialize};

use super::text::{Cursor, RuleError};

/// Minutes of a day.
pub(super) const DAY: u16 = 24 * 60;

/// Days, and a time on each of them: `mon-fri 22:00-06:00`.
///
/// | days | text |
/// |---|---|
/// | weekdays | `mon`, `mon-fri`, `sat,sun`, `fri-mon`; none or `daily` for every day |
/// | dates | `2026-12-24`, `2026-12-24/2026-12-26` with both ends |
/// | dates of every year | `12-25`, `12-24/01-06` with both ends; 29 February comes in leap years |
/// | of every month | `first mon`, `second`, `third`, `fourth`, `last fri`, `last day` |
///
/// The time is from one minute up to another, not including it; one that is not later than the first lies on the next
/// day. `00:00-24:00`, or no time at all, is the whole day.
///
/// ```
/// use sched_policy::Rule;
/// let rule: Rule = "mon-fri 22:00-06:00".parse()?;
/// assert_eq!(rule.to_string(), "mon-fri 22:00-06:00");
/// let error = "mon-fry 22:00-06:00".parse::<Rule>().unwrap_err();
/// assert_eq!(error.to_string(), "at 5: \"fry\" is no weekday, did you mean \"fri\"?");
/// # Ok::<(), sched_policy::RuleError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    pub(super) days: Days,
    /// The first minute of the day, below 1440.
    pub(super) from: u16,
    /// How many minutes it lasts, from 1 to 1440.
    pub(super) minutes: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Days {
    /// A bit for each weekday, Monday the lowest.
    Weekdays(u8),
    /// Both ends included.
    Dates(Date, Date),
    /// Month and day of the first and of the last; over the end of the year when the last is the earlier one.
    Yearly((i8, i8), (i8, i8)),
    /// The first is 1, the last −1.
    OfMonth(i8, Weekday),
    LastDay,
}

pub(super) const EVERY_DAY: u8 = 0b111_1111;
pub(super) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
pub(super) const ORDINALS: [(&str, i8); 5] =
    [("first", 1), ("second", 2), ("third", 3), ("fourth", 4), ("last", -1)];

impl Rule {
    /// Whether it begins on this day.
    pub(super) fn begins_on(&self, date: Date) -> bool {
        match self.days {
            Days::Weekdays(set) => set & bit(date.weekday()) != 0,
            Days::Dates(first, last) => (first..=last).contains(&date),
            Days::Yearly(first, last) => {
                let day = (date.month(), date.day());
                if first <= last { first <= day && day <= last } else { first <= day || day <= last }
            }
            Days::OfMonth(-1, weekday) => date.weekday() == weekday && date.day() + 7 > date.days_in_month(),
            Days::OfMonth(nth, weekday) => date.weekday() == weekday && (date.day() - 1) / 7 + 1 == nth,
            Days::LastDay => date.day() == date.days_in_month(),
        }
    }

    /// When it lasts on this day, as minutes: what begins on it, and what is left of the day before.
    pub(super) fn on(&self, date: Date) -> impl Iterator<Item = (u16, u16)> {
        let end = self.from + self.minutes;
        let begins = self.begins_on(date).then_some((self.from, end.min(DAY)));
        let before = date.yesterday().ok().filter(|yesterday| end > DAY && self.begins_on(*yesterday));
        begins.into_iter().chain(before.map(|_| (0, end - DAY)))
    }
}

pub(super) fn bit(weekday: Weekday) -> u8 {
    1 << weekday.to_monday_zero_offset()
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let mut cursor = Cursor::new(text);
        let days = cursor.days()?;
        let (from, minutes) = cursor.times()?;
        cursor.end()?;
        Ok(Self { days, from, minutes })
    }
}

crate::text::as_text!(Rule: RuleError);

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.days.fmt(f)?;
        let (end, whole) = (self.from + self.minutes, self.minutes == DAY && self.from == 0);
        if whole && !matches!(self.days, Days::Weekdays(_)) {
            return Ok(());
        }
        let end = if end > DAY { end - DAY } else { end };
        write!(f, " {:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, end / 60, end % 60)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekdays(EVERY_DAY) => f.write_str("daily"),
            Self::Weekdays(set) => write_weekdays(*set, f),
            Self::Dates(first, last) if first == last => write!(f, "{first}"),
            Self::Dates(first, last) => write!(f, "{first}/{last}"),
            Self::Yearly((month, day), last) => {
                write!(f, "{month:02}-{day:02}")?;
                if (*month, *day) == *last { Ok(()) } else { write!(f, "/{:02}-{:02}", last.0, last.1) }
            }
            Self::OfMonth(nth, weekday) => {
                let nth = ORDINALS.iter().find(|(_, n)| n == nth).map_or("", |(name, _)| name);
                write!(f, "{nth} {}", WEEKDAYS[usize::from(weekday.to_monday_zero_offset().unsigned_abs())])
            }
            Self::LastDay => f.write_str("last day"),
        }
    }
}

/// Runs of three and more as a range, the others one by one.
fn write_weekdays(set: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (mut day, mut first) = (0, true);
    while day < 7 {
        let run = (day..7).take_while(|day| set & (1 << day) != 0).count();
        if run > 0 && !std::mem::replace(&mut first, false) {
            f.write_str(",")?;
        }
        match run {
            0 => day += 1,
            1 | 2 => {
                f.write_str(WEEKDAYS[day])?;
                day += 1;
            }
            _ => {
                write!(f, "{}-{}", WEEKDAYS[day], WEEKDAYS[day + run - 1])?;
                day += run;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in [
            "mon-fri 22:00-06:00",
            "mon,wed 01:30-02:00",
            "sat,sun 00:00-24:00",
            "daily 00:00-24:00",
            "2026-12-24",
            "2026-12-24/2026-12-26",
            "2026-12-24 08:00-09:00",
            "12-25",
            "12-24/01-06 00:00-12:00",
            "first mon 00:00-12:00",
            "last fri",
            "last day 18:00-06:00",
            "mon-wed,fri 10:00-10:01",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
        assert_eq!(rule("22:00-06:00").to_string(), "daily 22:00-06:00");
        assert_eq!(rule("fri-mon 10:00-11:00").to_string(), "mon,fri-sun 10:00-11:00");
        assert_eq!(rule("sat").to_string(), "sat 00:00-24:00");
        assert_eq!(rule("10:00-10:00").minutes, DAY, "a full day from ten on");
    }

    #[test]
    fn rules_begin_on_their_days() {
        let on = |text: &str, date: &str| rule(text).begins_on(date.parse().unwrap());
        assert!(on("first mon", "2026-11-02") && !on("first mon", "2026-11-09"));
        assert!(on("last fri", "2026-11-27") && !on("last fri", "2026-11-20"));
        assert!(on("last mon", "2026-11-30") && !on("last mon", "2026-11-23"));
        assert!(on("fourth tue", "2026-11-24") && on("last tue", "2026-11-24"));
        assert!(on("last day", "2028-02-29") && !on("last day", "2028-02-28"));
        assert!(on("02-29", "2028-02-29") && on("12-25", "2026-12-25"));
        assert!(on("12-24/12-26", "2030-12-26") && !on("12-24/12-26", "2030-12-27"));
        assert!(on("12-24/01-06", "2030-12-24") && on("12-24/01-06", "2030-01-06"));
        assert!(!on("12-24/01-06", "2030-01-07") && !on("12-24/01-06", "2030-12-23"));
        assert!(on("2026-12-24/2026-12-26", "2026-12-26") && !on("2026-12-24/2026-12-26", "2026-12-27"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |text: &str| text.parse::<Rule>().unwrap_err().to_string();
        assert_eq!(error("mon-fri 25:00-06:00"), "at 9: the hour 25 is over 24");
        assert_eq!(error("mon-fri 22:61-06:00"), "at 12: the minute 61 is over 59");
        assert_eq!(
            error("mon-fri 22:00"),
            "at 14: expected \"-\" and the end of the time, as in 22:00-06:00"
        );
        assert_eq!(error("monday 22:00-06:00"), "at 1: \"monday\" is no weekday, did you mean \"mon\"?");
        assert_eq!(error("2026-02-30"), "at 1: there is no 2026-02-30");
        assert_eq!(error("2026-12-26/2026-12-24"), "at 12: 2026-12-24 is before 2026-12-26");
        assert_eq!(error("12-24/13-01"), "at 7: no year has a 13-01");
        assert_eq!(error("02-30"), "at 1: no year has a 02-30");
        assert_eq!(
            error("fifth mon"),
            "at 1: \"fifth\" is no weekday, date, or one of first, second, third, fourth, last"
        );
        assert_eq!(error("mon 10:00-11:00 x"), "at 17: nothing is expected after the time, found \"x\"");
        assert_eq!(error(""), "at 1: expected days, a time, or both, as in mon-fri 22:00-06:00");
        assert_eq!(error("24:00-01:00"), "at 1: a time begins before 24:00");
    }
}
