//! Load as calendars expect it: in their business hours what can wait does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{
    Calendar, CalendarName, CalendarState, LoadLevel, LoadState, MonoTime, Now, Reason, Scope, wall_until,
};

use super::loads::Subject;

/// A wall that is set by hand is noticed within this time, or when anything else happens.
const LOOKED_AT: Duration = Duration::from_secs(3600);

/// The calendars with business hours, and how they stand.
#[derive(Debug, Default)]
pub(crate) struct BusinessHours(Vec<Hours>);

struct Hours {
    scope: Scope,
    /// Open in business hours.
    calendar: Arc<dyn Calendar>,
    state: LoadState,
    /// The stretch of the calendar that was looked at, and when to look again at the latest.
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    next: MonoTime,
}

impl BusinessHours {
    /// Calendars that are open in the business hours of the calendar of their name. The first [`tick`](Self::tick) looks
    /// at them.
    pub(crate) fn new(now: Now, calendars: Vec<(CalendarName, Arc<dyn Calendar>)>) -> Self {
        Self(calendars.into_iter().map(|(name, calendar)| Hours::new(now, name, calendar)).collect())
    }

    /// Time has passed; returns the calendars whose business hours have begun or ended.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<(Subject, LoadState)> {
        let changed = self.0.iter_mut().filter_map(|hours| hours.tick(now).then_some(&*hours));
        changed.map(|hours| ((hours.scope.clone(), None), hours.state.clone())).collect()
    }

    /// When [`tick`](Self::tick) may have something to say.
    pub(crate) fn next_look(&self) -> Option<MonoTime> {
        self.0.iter().map(|hours| hours.next).min()
    }

    /// How busy the jobs of each calendar are to take the foreground for.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&Scope, &LoadState)> {
        self.0.iter().map(|hours| (&hours.scope, &hours.state))
    }
}

impl Hours {
    fn new(now: Now, name: CalendarName, calendar: Arc<dyn Calendar>) -> Self {
        let state = LoadState::new(LoadLevel::Calm, Reason::new("not looked at yet"));
        let scope = Scope::Calendar(name);
        Self { scope, calendar, state, from: None, until: None, next: now.mono }
    }

    fn tick(&mut self, now: Now) -> bool {
        let within =
            self.from.is_none_or(|from| from <= now.wall) && self.until.is_none_or(|end| now.wall < end);
        if within && now.mono < self.next {
            return false;
        }
        let before = self.state.level;
        self.look(now);
        self.state.level != before
    }

    fn look(&mut self, now: Now) {
        let stretch = self.calendar.at(now.wall);
        let ends = stretch.until.map(|until| format!(" until {until}")).unwrap_or_default();
        let (level, text) = match stretch.state {
            CalendarState::Open => (LoadLevel::Busy, format!("business hours of {}{ends}", self.scope)),
            _ => (LoadLevel::Calm, format!("no business hours of {}{ends}", self.scope)),
        };
        self.state = LoadState::new(level, Reason::new(text));
        (self.from, self.until) = (stretch.from, stretch.until);
        let left = stretch.until.map_or(LOOKED_AT, |until| wall_until(now.wall, until));
        // A stretch that is over when it begins is looked at again and again, but not at once.
        self.next = now.mono + left.clamp(Duration::from_millis(1), LOOKED_AT);
    }
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hours")
            .field("scope", &self.scope)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};
    use sched_policy::Policies;

    use super::*;

    fn hours(clock: &ManualClock) -> BusinessHours {
        let file = "[calendars.shop]\nzone = 'Europe/Berlin'\nwindows = ['22:00-06:00']\n\
                    business_hours = ['mon-fri 08:00-18:00']\n[calendars.any]\nwindows = ['01:00-02:00']\n";
        let policies = Policies::builtin().with_toml("p.toml", file).unwrap();
        let mut hours = BusinessHours::new(clock.now(), policies.business_hours().collect());
        assert_eq!(hours.next_look(), Some(clock.now().mono), "it is looked at them at once");
        hours.tick(clock.now());
        hours
    }

    fn level(hours: &BusinessHours) -> LoadLevel {
        let states: Vec<_> = hours.states().collect();
        assert_eq!(states.len(), 1, "calendars without business hours say nothing");
        assert_eq!(*states[0].0, Scope::Calendar("shop".into()));
        states[0].1.level
    }

    #[test]
    fn business_hours_begin_and_end_by_the_clock_of_their_zone() {
        // A Friday in winter, seven o'clock in Berlin.
        let clock = ManualClock::new("2026-01-09T06:00:00Z".parse().unwrap());
        let mut hours = hours(&clock);
        let mut changes = Vec::new();
        while clock.now().wall < "2026-01-12T12:00:00Z".parse().unwrap() {
            clock.advance_to(hours.next_look().unwrap());
            if !hours.tick(clock.now()).is_empty() {
                changes.push(format!("{} {}", clock.now().wall, level(&hours)));
            }
        }
        assert_eq!(
            changes,
            ["2026-01-09T07:00:00Z busy", "2026-01-09T17:00:00Z calm", "2026-01-12T07:00:00Z busy"]
        );
        let reason = hours.states().next().unwrap().1.reason.to_string();
        assert_eq!(reason, "business hours of calendar shop until 2026-01-12T17:00:00Z");
    }

    #[test]
    fn a_wall_that_is_set_is_followed() {
        let clock = ManualClock::new("2026-01-09T12:00:00Z".parse().unwrap());
        let mut hours = hours(&clock);
        assert_eq!(level(&hours), LoadLevel::Busy);
        let night = Now { wall: "2026-01-09T22:00:00Z".parse().unwrap(), ..clock.now() };
        assert_eq!(hours.tick(night).len(), 1);
        assert_eq!(level(&hours), LoadLevel::Calm);
    }
}
