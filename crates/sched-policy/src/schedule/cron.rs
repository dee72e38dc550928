//! Cron expressions in a time zone: [`Cron`].
//!
//! The expressions are read, and searched by the clock on the wall, by a library. Which moments that means in a zone is
//! worked out here: the library's own way through a clock that is set forward gives up after two hours, and there are
//! longer gaps.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use croner::errors::CronError as Unresolved;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::zone::{Segment, Zone};

/// Zones that skip a whole day leave it out; from shorter gaps what they skip is made up for.
const WHOLE_DAY: SignedDuration = SignedDuration::from_hours(24);
/// Times at which a clock is set that are followed for one question: two a year until the rarest of dates has come.
const MOST_SETS: usize = 1_000;

/// A cron expression of five fields: minute, hour, day of the month, month, day of the week.
///
/// | in | may stand |
/// |---|---|
/// | every field | `*`, `7`, `1-5`, `*/15`, `10-40/10`, and lists such as `0,30` |
/// | day of the month | `L` the last, `15W` the weekday nearest to the 15th, `LW` the last weekday, `?` as `*` |
/// | month | `JAN` to `DEC` |
/// | day of the week | `SUN` to `SAT`, 0 to 7 with Sunday 0 and 7; `FRI#2` the second, `FRI#L` the last; `?` as `*` |
///
/// When neither day field is `*`, one of them must match; with `+` before the day of the week, both. `@hourly`, `@daily`,
/// `@weekly`, `@monthly` and `@yearly` are understood.
///
/// Where the hour is written as `*` or `*/n`, real time counts: an hour that the clock skips is skipped, and one that comes
/// twice counts twice. Other hours are meant as people read the clock: what lies in a gap comes at its end, once, and in an
/// hour that comes twice the first counts. Days that a zone skips do not come.
///
/// ```
/// use sched_policy::Cron;
/// let cron: Cron = "30 2 * * *".parse()?;
/// let berlin = "Europe/Berlin".parse()?;
/// // On 29 March 2026 the clock goes from 2 to 3.
/// let night = cron.next_after("2026-03-28T12:00:00Z".parse()?, &berlin);
/// assert_eq!(night, Some("2026-03-29T01:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    parsed: Arc<croner::Cron>,
    /// Whether the hour is written as `*` or `*/n`.
    any_hour: bool,
    text: String,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// There are not five fields.
    #[error(
        "a cron expression has 5 fields (minute, hour, day, month, weekday), as in \"0 2 * * *\"; found {found}"
    )]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// There is no such short name.
    #[error("there is no {name:?}; write @hourly, @daily, @weekly, @monthly, @yearly, or 5 fields")]
    UnknownName {
        /// What was found.
        name: String,
    },
    /// A field cannot be read.
    #[error("at {at}: {found:?} is no {field}; write {example}")]
    Field {
        /// Which character of the text it begins at, from 1.
        at: usize,
        /// What it is for.
        field: &'static str,
        /// What was found.
        found: String,
        /// What could stand there.
        example: &'static str,
    },
    /// There is no such date, as 30 February.
    #[error("{text:?} never comes: no year has such a date")]
    Never {
        /// The expression.
        text: String,
    },
}

const FIELDS: [(&str, &str); 5] = [
    ("minute", "0-59, with * , - /"),
    ("hour", "0-23, with * , - /"),
    ("day of the month", "1-31, L, 15W or LW, with * , - /"),
    ("month", "1-12 or JAN-DEC, with * , - /"),
    ("day of the week", "0-7 or SUN-SAT, FRI#2 or FRI#L, with * , - /"),
];
const NAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Cron {
    /// The first moment after `after` at which it comes, in a zone. `None` when that is beyond the year 5000.
    pub fn next_after(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let zone = zone.time_zone();
        let mut segment = Segment::of(zone, after);
        let local = segment.local(after);
        // What the clock showed before it was set back has come already.
        let shown = segment.from.and_then(|set| Some(Segment::before(zone, set)?.0.local(set)));
        let mut wall = match shown.filter(|shown| !self.any_hour && local < *shown) {
            Some(shown) => self.search(shown, true)?,
            None => self.search(local, false)?,
        };
        for _ in 0..MOST_SETS {
            let at = segment.moment(wall)?;
            let Some(set) = segment.until.filter(|set| *set <= at) else { return Some(at) };
            let next = Segment::of(zone, set);
            let (old, new) = (segment.local(set), next.local(set));
            if !self.any_hour && wall < new && new.duration_since(old) < WHOLE_DAY {
                return Some(set);
            }
            let first = if self.any_hour { new } else { new.max(old) };
            if wall < first || first < old {
                wall = self.search(first, true)?;
            }
            segment = next;
        }
        None
    }

    /// The next time on the wall.
    fn search(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        self.parsed.find_next_occurrence(&Wall(from), inclusive).ok().map(|wall| wall.0)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let full = match text.trim() {
            name if name.starts_with('@') => {
                let known = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
                known.ok_or_else(|| CronError::UnknownName { name: name.to_owned() })?.1
            }
            _ => text,
        };
        let fields: Vec<_> = full.split_whitespace().collect();
        let Ok(fields) = <[&str; 5]>::try_from(fields.as_slice()) else {
            return Err(CronError::Fields { found: fields.len() });
        };
        for (n, field) in fields.into_iter().enumerate() {
            if !is_field(n, field) {
                let (what, example) = FIELDS[n];
                let at = character_of(full, field);
                return Err(CronError::Field { at, field: what, found: field.to_owned(), example });
            }
        }
        let never = || CronError::Never { text: full.trim().to_owned() };
        let parsed = parser().parse(full).map_err(|_| never())?;
        let any_hour = fields[1].starts_with('*');
        let cron = Self {
            parsed: Arc::new(parsed),
            any_hour,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        // What does not come in the four centuries after which the calendar repeats itself never does.
        let first = cron.search(date(2000, 1, 1).at(0, 0, 0, 0), true);
        if first.is_some_and(|first| first.year() < 2400) { Ok(cron) } else { Err(never()) }
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

/// Whether a field can be read, all others being `*`.
fn is_field(n: usize, field: &str) -> bool {
    let mut alone = ["*"; 5];
    alone[n] = field;
    let whole_items = field.trim_start_matches('+').split(',').all(|item| !item.is_empty());
    whole_items && !field.contains('@') && parser().parse(&alone.join(" ")).is_ok()
}

/// At which character of a text a part of it begins, from 1.
fn character_of(text: &str, part: &str) -> usize {
    let at = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text[..at.min(text.len())].chars().count() + 1
}

/// As it is written: what the library has made of it fills pages.
impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron").field(&self.text).finish()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

crate::text::as_text!(Cron: CronError);

/// A time on the wall as the library sees it, in no zone: every one comes once.
#[derive(Clone)]
struct Wall(DateTime);

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let wide = |part: i8| u32::from(part.unsigned_abs());
        let (date, time) = (self.0.date(), self.0.time());
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(date.year().into(), wide(date.month()), wide(date.day())),
            CivilTime::from_parts_unchecked(wide(time.hour()), wide(time.minute()), wide(time.second())),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(u32::from(self.0.weekday().to_sunday_zero_offset().unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, Unresolved> {
        let part = |part: u32| i8::try_from(part).map_err(|_| Unresolved::InvalidTime);
        let year = i16::try_from(civil.year()).map_err(|_| Unresolved::InvalidDate)?;
        let wall = DateTime::new(
            year,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        );
        wall.map(|wall| Resolution::Single(Self(wall))).map_err(|_| Unresolved::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
