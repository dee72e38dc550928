//! Windows and blackouts in a time zone: [`WindowCalendar`].

mod caught;
mod day;
mod rule;
mod rules;
mod stretch;
mod text;

use std::time::Duration;

use jiff::Timestamp;
use sched_core::{Calendar, CalendarState, Reason, Stretch, wall_until};

pub(crate) use caught::Caught;
pub use rule::Rule;
pub use rules::{CalendarError, WindowRules};
pub use text::RuleError;

use day::State;

/// When backups may run, in a time zone: weekly windows and single dates, less blackouts.
///
/// The wall clock counts, as people read it: a moment is in a window when the clock of the zone shows a time of the
/// window. So when clocks are set back, a window at that hour is open twice; when they are set forward, an hour that the
/// clock skips does not come, and neither does a day that a zone skips.
///
/// Nothing is remembered: every answer is worked out, in a fraction of a microsecond for weekly windows. What lasts for
/// months takes longer, some ten nanoseconds a day.
///
/// ```
/// use sched_core::{Calendar, CalendarState};
/// use sched_policy::WindowRules;
///
/// let nights = WindowRules::new("Europe/Berlin".parse()?)
///     .window("mon-fri 22:00-06:00".parse()?)
///     .window("sat,sun".parse()?)
///     .blackout("12-24".parse()?)
///     .build()?;
/// let noon = "2026-11-25T11:00:00Z".parse()?;
/// let stretch = nights.at(noon);
/// assert!(matches!(stretch.state, CalendarState::Closed { .. }));
/// assert_eq!(stretch.until, Some("2026-11-25T21:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct WindowCalendar {
    rules: WindowRules,
    /// Why no window is open.
    closed: Reason,
    /// Why nothing may run, by blackout.
    blackouts: Vec<Reason>,
}

impl WindowCalendar {
    /// What it is made of.
    pub fn rules(&self) -> &WindowRules {
        &self.rules
    }

    /// Whether backups may run at a moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.look(at).state == State::Open
    }

    /// Whether the foreground is usually busy at a moment: what the business hours say.
    pub fn is_business_hour(&self, at: Timestamp) -> bool {
        self.in_business_hours(self.rules.zone.time_zone().to_datetime(at))
    }

    /// The first moment from `at` on and before `horizon` at which backups may run; `None` when there is none.
    pub fn next_open(&self, at: Timestamp, horizon: Timestamp) -> Option<Timestamp> {
        let mut at = at;
        while at < horizon {
            let look = self.look(at);
            if look.state == State::Open {
                return Some(at);
            }
            at = look.until()?;
        }
        None
    }

    /// The first moment from `at` on at which backups may run for so long without a break, all of it before `horizon`;
    /// `None` when there is none.
    pub fn next_open_for(&self, at: Timestamp, long: Duration, horizon: Timestamp) -> Option<Timestamp> {
        self.open_between(at, horizon).find(|(from, to)| wall_until(*from, *to) >= long).map(|(from, _)| from)
    }

    /// The times at which backups may run between two moments, each with its first moment and the first one after it.
    /// They do not touch each other.
    pub fn open_between(
        &self,
        from: Timestamp,
        horizon: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        let mut at = from;
        let mut next = move || {
            if at >= horizon {
                return None;
            }
            let (begin, look) = (at, self.look(at));
            at = look.until().unwrap_or(horizon).min(horizon);
            Some((begin, at, look.state))
        };
        let mut ahead = next();
        std::iter::from_fn(move || {
            loop {
                let (begin, mut end, state) = ahead?;
                ahead = next();
                if state != State::Open {
                    continue;
                }
                while let Some((_, further, State::Open)) = ahead {
                    end = further;
                    ahead = next();
                }
                return Some((begin, end));
            }
        })
    }
}

impl Calendar for WindowCalendar {
    fn at(&self, at: Timestamp) -> Stretch {
        if self.rules.windows.is_empty() && self.rules.blackouts.is_empty() {
            return Stretch::ALWAYS;
        }
        let look = self.look(at);
        let state = match look.state {
            State::Open => CalendarState::Open,
            State::Closed => CalendarState::Closed { reason: self.closed.clone() },
            State::Blackout(n) => CalendarState::Blackout { reason: self.blackouts[n].clone() },
        };
        Stretch { from: look.from(), until: look.until(), state }
    }
}
