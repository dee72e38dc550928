//! Keeps the scheduler safe from a calendar of the program's own: [`Caught`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use sched_core::{Calendar, CalendarState, Reason, Stretch, caught};

/// A calendar that is set aside once it panics: no window is open then, so that what waits for one starts when it has no
/// slack left, and the reason says why.
pub(crate) struct Caught {
    calendar: Arc<dyn Calendar>,
    panicked: OnceLock<Reason>,
}

impl Caught {
    pub(crate) fn new(calendar: Arc<dyn Calendar>) -> Self {
        Self { calendar, panicked: OnceLock::new() }
    }
}

impl Calendar for Caught {
    fn at(&self, at: Timestamp) -> Stretch {
        let answer = match self.panicked.get() {
            Some(_) => None,
            None => caught(|| self.calendar.at(at)).ok(),
        };
        answer.unwrap_or_else(|| {
            let why = || {
                Reason::new(format!("the calendar panicked when it was asked about {at} and is set aside"))
            };
            let reason = self.panicked.get_or_init(why).clone();
            Stretch { state: CalendarState::Closed { reason }, ..Stretch::ALWAYS }
        })
    }
}

impl fmt::Debug for Caught {
    /// Without the calendar, whose own way to say what it is may panic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caught").field("panicked", &self.panicked).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Open until 1970-01-02, and panics from then on.
    #[derive(Debug)]
    struct OneDay;

    impl Calendar for OneDay {
        fn at(&self, at: Timestamp) -> Stretch {
            assert!(at.as_second() < 86_400, "on purpose");
            Stretch::ALWAYS
        }
    }

    #[test]
    fn a_calendar_that_panics_is_set_aside_with_no_window_open() {
        let calendar = Caught::new(Arc::new(OneDay));
        assert_eq!(calendar.at(Timestamp::UNIX_EPOCH), Stretch::ALWAYS);
        let late = Timestamp::from_second(90_000).unwrap();
        let Stretch { from: None, until: None, state: CalendarState::Closed { reason } } = calendar.at(late)
        else {
            panic!("open, or for a while only");
        };
        assert!(
            reason.to_string().contains("panicked when it was asked about 1970-01-02T01:00:00Z"),
            "{reason}"
        );
        assert_eq!(calendar.at(Timestamp::UNIX_EPOCH), calendar.at(late), "it is not asked again");
    }
}
