//! How slots lie: how far apart, and whether a calendar is ever open at one.

use std::time::Duration;

use jiff::Timestamp;
use sched_core::{Calendar, CalendarState, wall_plus, wall_until};

use super::every::Every;
use super::jitter::Jitter;
use super::recurrence::Recurrence;

/// How far slots are followed: five weeks hold every weekly one, and the "first Monday" of a month.
const AHEAD: Duration = Duration::from_secs(35 * 24 * 3600);
/// How many slots are looked at: what comes every minute is not followed for five weeks.
const MOST_SLOTS: usize = 10_000;

impl Recurrence {
    /// The longest time between two slots in five weeks of a year, by a clock that is never set. `None` where the recovery
    /// point objective says how often.
    pub(crate) fn longest_gap(&self) -> Option<Duration> {
        let cron = match &self.every {
            Every::Rpo => return None,
            Every::Interval(interval) => return Some(*interval),
            Every::Cron(cron) => cron.clone(),
        };
        let steady = Self::new(Every::Cron(cron));
        // Midnight of a Monday, the first of a month.
        let start = Timestamp::constant(1_704_067_200, 0);
        let end = wall_plus(start, AHEAD);
        let mut slots = std::iter::successors(steady.next_slot(start), |slot| steady.next_slot(*slot));
        let mut last = slots.next()?;
        let mut longest = Duration::ZERO;
        for slot in slots.take(MOST_SLOTS) {
            longest = longest.max(wall_until(last, slot));
            last = slot;
            if slot >= end {
                break;
            }
        }
        Some(longest)
    }

    /// Whether a calendar is closed at every slot of the five weeks from `from`, wherever in their spread.
    pub(crate) fn is_never_open(&self, calendar: &dyn Calendar, from: Timestamp) -> bool {
        let spread = match (self.jitter, &self.every) {
            (_, Every::Rpo) => return false,
            (Jitter::Within(spread), _) => spread,
            (Jitter::Auto, Every::Interval(interval)) => *interval,
            (Jitter::Auto, _) => Duration::ZERO,
        };
        let end = wall_plus(from, AHEAD);
        let slots = std::iter::successors(self.next_slot(from), |slot| self.next_slot(*slot));
        let mut slots = slots.take_while(|slot| *slot < end).take(MOST_SLOTS);
        !slots.any(|slot| opens(calendar, slot, wall_plus(slot, spread)))
    }
}

/// Whether a calendar is open at some time of a stretch, both ends included.
fn opens(calendar: &dyn Calendar, from: Timestamp, until: Timestamp) -> bool {
    let mut at = from;
    for _ in 0..MOST_SLOTS {
        let stretch = calendar.at(at);
        if stretch.state == CalendarState::Open {
            return true;
        }
        match stretch.until {
            Some(next) if next > at && next <= until => at = next,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found() {
        let gap = |text: &str| Recurrence::new(text.parse().unwrap()).longest_gap();
        let hours = |n: u64| Some(Duration::from_secs(n * 3600));
        assert_eq!(gap("rpo"), None);
        assert_eq!(gap("6h"), hours(6));
        assert_eq!(gap("0 2 * * *"), hours(24));
        assert_eq!(gap("0 2 * * MON-FRI"), hours(72));
        assert_eq!(gap("0 2 1 * *"), hours(31 * 24));
        assert_eq!(gap("*/5 * * * *"), Some(Duration::from_secs(300)));
        assert_eq!(gap("0 0 29 2 *"), hours(1461 * 24));
    }
}
