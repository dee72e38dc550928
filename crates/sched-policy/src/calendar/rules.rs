//! What a calendar is made of: [`WindowRules`].

use jiff::civil::{Date, Time, date};
use sched_core::Reason;
use serde::{Deserialize, Serialize};

use super::WindowCalendar;
use super::rule::{Days, Rule};
use crate::zone::Zone;

/// The calendar repeats itself after so many years, as long as no century without a leap day comes between.
const CYCLE_YEARS: i16 = 28;
/// Days of one span of dates that are looked at: if none of a year's days opens, the others hardly will.
const MOST_DAYS_OF_SPAN: usize = 366;

/// What a [`WindowCalendar`] is made of, as it is written in files.
///
/// ```
/// use sched_policy::WindowRules;
/// let rules: WindowRules = toml::from_str(r#"
///     zone = "Europe/Berlin"
///     windows = ["mon-fri 22:00-06:00", "sat,sun 00:00-24:00"]
///     blackouts = ["2026-12-24/2026-12-26", "first mon 00:00-12:00"]
///     business_hours = ["mon-fri 08:00-18:00"]
/// "#)?;
/// rules.build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct WindowRules {
    /// Whose clock counts. Default UTC.
    pub zone: Zone,
    /// When backups may run. Default: always.
    pub windows: Vec<Rule>,
    /// When they may not, windows or not. Default: never.
    pub blackouts: Vec<Rule>,
    /// When the foreground is usually busy. It opens and closes no window: the load counts as
    /// [busy](sched_core::LoadLevel::Busy) then. Default: never.
    pub business_hours: Vec<Rule>,
}

/// Why rules are no calendar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalendarError {
    /// Blackouts cover every window there is, or the clock skips them all.
    #[error("no window is ever open: blackouts cover them all, or no clock shows such a time")]
    NeverOpen,
}

impl WindowRules {
    /// Always open, by the clock of a zone.
    pub fn new(zone: Zone) -> Self {
        Self { zone, ..Self::default() }
    }

    /// Adds a time at which backups may run.
    #[must_use]
    pub fn window(mut self, rule: Rule) -> Self {
        self.windows.push(rule);
        self
    }

    /// Adds a time at which they may not.
    #[must_use]
    pub fn blackout(mut self, rule: Rule) -> Self {
        self.blackouts.push(rule);
        self
    }

    /// Adds a time at which the foreground is usually busy.
    #[must_use]
    pub fn business_hours(mut self, rule: Rule) -> Self {
        self.business_hours.push(rule);
        self
    }

    /// The calendar.
    ///
    /// # Errors
    /// When no window is ever open.
    pub fn build(self) -> Result<WindowCalendar, CalendarError> {
        let windows: Vec<_> = self.windows.iter().map(Rule::to_string).collect();
        let closed = Reason::new(format!("outside its windows: {} ({})", windows.join(", "), self.zone));
        let blackout = |rule: &Rule| Reason::new(format!("blackout {rule} ({})", self.zone));
        let blackouts = self.blackouts.iter().map(blackout).collect();
        let calendar = WindowCalendar { rules: self, closed, blackouts };
        if calendar.ever_opens() { Ok(calendar) } else { Err(CalendarError::NeverOpen) }
    }
}

impl WindowCalendar {
    /// Looks at every day of a cycle of the calendar and at the dates that are named.
    fn ever_opens(&self) -> bool {
        if self.rules.blackouts.is_empty() && self.rules.windows.is_empty() {
            return true;
        }
        let days_from = |first: Date| std::iter::successors(Some(first), |day| day.tomorrow().ok());
        let cycle = days_from(date(2000, 1, 1)).take_while(|day| day.year() < 2000 + CYCLE_YEARS);
        let spans = self.rules.windows.iter().filter_map(|rule| match rule.days {
            Days::Dates(first, last) => Some((first, last.tomorrow().unwrap_or(last))),
            _ => None,
        });
        let named = spans.flat_map(|(first, last)| {
            days_from(first).take_while(move |day| *day <= last).take(MOST_DAYS_OF_SPAN)
        });
        named.chain(cycle).any(|day| self.opens_on(day) && self.clock_shows_it(day))
    }

    /// Whether a day that opens does so by the clock too, which may skip the hour.
    fn clock_shows_it(&self, day: Date) -> bool {
        let moment =
            |date: Date| self.rules.zone.time_zone().to_timestamp(date.to_datetime(Time::midnight()));
        match (moment(day), day.tomorrow().and_then(moment)) {
            (Ok(from), Ok(to)) => self.open_between(from, to).next().is_some(),
            _ => false,
        }
    }
}
