//! What the calendar tells of the load: [`TimeHint`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use sched_core::{Calendar, CalendarState, LoadLevel, Now, Reason, Scope};

use super::detector::{DetectError, LoadDetector, LoadReading};

/// How often the calendar is looked at by default.
const PERIOD: Duration = Duration::from_secs(10);

type Said = dyn FnMut(Timestamp) -> Option<(LoadLevel, Reason)> + Send;

/// Says the load from the time on the wall: business hours, a sale that is planned.
///
/// It follows the wall when that is set, and is calm where nothing is said.
///
/// ```
/// use jiff::civil::{Weekday, time};
/// use jiff::tz::TimeZone;
/// use sched_core::{Clock, LoadLevel, ManualClock};
/// use sched_workload::{BusyHours, LoadDetector, TimeHint};
///
/// let office = BusyHours::new(time(8, 0, 0, 0), time(18, 0, 0, 0))
///     .days([Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday]);
/// let mut hint = TimeHint::hours("office", TimeZone::get("Europe/Berlin")?, [office]);
/// let monday = ManualClock::new("2026-01-05T07:00:00Z".parse()?);
/// assert_eq!(hint.detect(monday.now())?.state.level, LoadLevel::Busy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TimeHint {
    name: String,
    scope: Scope,
    period: Duration,
    said: Box<Said>,
}

/// Hours of some weekdays in which the application is busy, on the wall of its zone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BusyHours {
    /// When they begin.
    pub from: Time,
    /// When they end: on the next day if that is not after `from`.
    pub until: Time,
    /// The weekdays on which they begin. Default all.
    pub days: Vec<Weekday>,
    /// How busy. Default [`LoadLevel::Busy`].
    pub level: LoadLevel,
}

impl BusyHours {
    /// From one time of every day until another; a whole day when both are the same.
    pub fn new(from: Time, until: Time) -> Self {
        let days = Weekday::Monday.cycle_forward().take(7).collect();
        Self { from, until, days, level: LoadLevel::Busy }
    }

    /// Sets the weekdays on which they begin.
    #[must_use]
    pub fn days(mut self, days: impl IntoIterator<Item = Weekday>) -> Self {
        self.days = days.into_iter().collect();
        self
    }

    /// Sets how busy.
    #[must_use]
    pub fn level(mut self, level: LoadLevel) -> Self {
        self.level = level;
        self
    }

    fn contain(&self, day: Weekday, time: Time) -> bool {
        let on = |day: Weekday| self.days.contains(&day);
        if self.from < self.until {
            on(day) && (self.from..self.until).contains(&time)
        } else {
            on(day) && time >= self.from || on(day.previous()) && time < self.until
        }
    }
}

/// Something that is known to come.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BusyEvent {
    /// When it begins.
    pub from: Timestamp,
    /// The first moment after it. An event that does not end after it begins never is.
    pub until: Timestamp,
    /// How busy it makes the application.
    pub level: LoadLevel,
    /// What it is, for people.
    pub what: String,
}

impl BusyEvent {
    /// An event from a moment to another, the first after it.
    pub fn new(from: Timestamp, until: Timestamp, level: LoadLevel, what: impl Into<String>) -> Self {
        Self { from, until, level, what: what.into() }
    }
}

impl TimeHint {
    /// What a closure says of a moment; `None` is calm.
    pub fn new(
        name: impl Into<String>,
        said: impl FnMut(Timestamp) -> Option<(LoadLevel, Reason)> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), scope: Scope::Fleet, period: PERIOD, said: Box::new(said) }
    }

    /// Busy while a calendar of backup windows is closed, a peak in its blackouts: for jobs that have no such window.
    pub fn calendar(name: impl Into<String>, calendar: Arc<dyn Calendar>) -> Self {
        Self::new(name, move |at| match calendar.at(at).state {
            CalendarState::Open => None,
            CalendarState::Closed { reason } => Some((LoadLevel::Busy, reason)),
            CalendarState::Blackout { reason } => Some((LoadLevel::Peak, reason)),
        })
    }

    /// Busy in some hours of a zone. Where several hold at once the busiest counts.
    pub fn hours(
        name: impl Into<String>,
        zone: TimeZone,
        hours: impl IntoIterator<Item = BusyHours>,
    ) -> Self {
        let hours: Vec<_> = hours.into_iter().collect();
        Self::new(name, move |at| {
            let local = zone.to_datetime(at);
            let now = hours.iter().filter(|hours| hours.contain(local.weekday(), local.time()));
            let busiest = now.max_by_key(|hours| hours.level)?;
            let text = format!("from {} to {} it is busy", busiest.from, busiest.until);
            Some((busiest.level, Reason::new(text)))
        })
    }

    /// Busy in planned events. Where several are at once the busiest counts.
    pub fn events(name: impl Into<String>, events: impl IntoIterator<Item = BusyEvent>) -> Self {
        let events: Vec<_> = events.into_iter().collect();
        Self::new(name, move |at| {
            let now = events.iter().filter(|event| (event.from..event.until).contains(&at));
            let busiest = now.max_by_key(|event| event.level)?;
            Some((busiest.level, Reason::new(format!("{} until {}", busiest.what, busiest.until))))
        })
    }

    /// Sets whom it concerns. Default: the whole fleet.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets how often it is looked at. Default 10 s.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }
}

impl LoadDetector for TimeHint {
    fn name(&self) -> &str {
        &self.name
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn detect(&mut self, now: Now) -> Result<LoadReading, DetectError> {
        let said = (self.said)(now.wall);
        let (level, reason) = said.unwrap_or_else(|| (LoadLevel::Calm, Reason::new("nothing is planned")));
        Ok(LoadReading::new(level, reason))
    }
}

impl fmt::Debug for TimeHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeHint")
            .field("name", &self.name)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use sched_core::{Clock, LoadLevel::*, ManualClock, Stretch};

    use super::*;

    fn level(hint: &mut TimeHint, at: &str) -> LoadLevel {
        hint.detect(ManualClock::new(at.parse().unwrap()).now()).unwrap().state.level
    }

    #[test]
    fn hours_are_those_of_the_wall_across_midnight_and_clock_changes() {
        let night = BusyHours::new(time(22, 0, 0, 0), time(2, 0, 0, 0)).days([Weekday::Saturday]).level(Peak);
        let day = BusyHours::new(time(9, 0, 0, 0), time(17, 0, 0, 0));
        let mut hint = TimeHint::hours("shop", TimeZone::get("Europe/Berlin").unwrap(), [night, day]);
        for (at, expected) in [
            ("2026-01-10T20:59:59Z", Calm),
            ("2026-01-10T21:00:00Z", Peak),
            ("2026-01-11T00:59:59Z", Peak),
            ("2026-01-11T01:00:00Z", Calm),
            ("2026-01-11T21:30:00Z", Calm),
            // One hour earlier by UTC in summer.
            ("2026-01-12T07:30:00Z", Calm),
            ("2026-07-13T07:30:00Z", Busy),
        ] {
            assert_eq!(level(&mut hint, at), expected, "{at}");
        }
        let noon = BusyHours::new(time(12, 0, 0, 0), time(13, 0, 0, 0)).level(Peak);
        let day = BusyHours::new(time(9, 0, 0, 0), time(17, 0, 0, 0));
        for hours in [[noon.clone(), day.clone()], [day, noon]] {
            let mut hint = TimeHint::hours("shop", TimeZone::UTC, hours);
            assert_eq!(level(&mut hint, "2026-01-10T12:30:00Z"), Peak, "the busiest counts");
        }
        let all_day = BusyHours::new(time(6, 0, 0, 0), time(6, 0, 0, 0)).days([Weekday::Monday]);
        let mut hint = TimeHint::hours("monday", TimeZone::UTC, [all_day]);
        let levels =
            ["2026-01-05T05:59:00Z", "2026-01-05T06:00:00Z", "2026-01-06T05:59:00Z", "2026-01-06T06:00:00Z"];
        assert_eq!(levels.map(|at| level(&mut hint, at)), [Calm, Busy, Busy, Calm]);
    }

    #[test]
    fn the_busiest_of_the_events_counts_and_reversed_ones_never_do() {
        let event = |from: &str, until: &str, level| {
            let (from, until) = (from.parse().unwrap(), until.parse().unwrap());
            BusyEvent { from, until, level, what: "the sale".into() }
        };
        let (noon, two, four) = ("2026-11-27T12:00:00Z", "2026-11-27T14:00:00Z", "2026-11-27T16:00:00Z");
        let events = [event(noon, four, Busy), event(noon, two, Peak), event(four, noon, Peak)];
        let mut hint = TimeHint::events("sale", events);
        assert_eq!([noon, two, four].map(|at| level(&mut hint, at)), [Peak, Busy, Calm]);
        let now = ManualClock::new(noon.parse().unwrap()).now();
        assert_eq!(hint.detect(now).unwrap().state.reason.text, "the sale until 2026-11-27T14:00:00Z");
    }

    #[test]
    fn closed_windows_are_busy_and_blackouts_are_peaks() {
        #[derive(Debug)]
        struct ByHour;
        impl Calendar for ByHour {
            fn at(&self, at: Timestamp) -> Stretch {
                let reason = Reason::new("told");
                let state = match at.as_second() / 3600 % 24 {
                    0..6 => CalendarState::Open,
                    6..12 => CalendarState::Closed { reason },
                    _ => CalendarState::Blackout { reason },
                };
                Stretch { from: None, until: None, state }
            }
        }
        let mut hint = TimeHint::calendar("windows", Arc::new(ByHour));
        let at = ["2026-01-05T05:00:00Z", "2026-01-05T06:00:00Z", "2026-01-05T12:00:00Z"];
        assert_eq!(at.map(|at| level(&mut hint, at)), [Calm, Busy, Peak]);
    }
}
