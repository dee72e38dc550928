//! What the load is expected to be: [`Forecast`].

use std::time::Duration;

use jiff::Timestamp;
use sched_core::wall_plus;

/// The load expected in equal slots from a moment on, in the unit of what was learned from.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// When the first slot begins.
    pub start: Timestamp,
    /// How long a slot is, positive.
    pub step: Duration,
    /// The slots, in order.
    pub slots: Vec<ForecastSlot>,
}

/// The load expected in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ForecastSlot {
    /// Expected mean of the slot: finite, not negative.
    pub mean: f32,
    /// Standard deviation of the slot's mean about the expected one: finite, not negative.
    pub spread: f32,
}

impl Forecast {
    /// When the last slot ends.
    pub fn end(&self) -> Timestamp {
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        wall_plus(self.start, self.step.saturating_mul(slots))
    }

    /// The slot in which a moment lies: none before the start and from the end on.
    pub fn at(&self, when: Timestamp) -> Option<&ForecastSlot> {
        let since = Duration::try_from(when.duration_since(self.start)).ok()?;
        let slot = since.as_nanos().checked_div(self.step.as_nanos())?;
        self.slots.get(usize::try_from(slot).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lies_in_the_slot_that_began_last() {
        let slot = |mean| ForecastSlot { mean, spread: 0.0 };
        let start = Timestamp::UNIX_EPOCH;
        let hour = Duration::from_secs(3600);
        let forecast = Forecast { start, step: hour, slots: vec![slot(1.0), slot(2.0)] };
        let mean = |at| forecast.at(at).map(|slot| slot.mean);
        assert_eq!(mean(start), Some(1.0));
        assert_eq!(mean(wall_plus(start, hour)), Some(2.0));
        assert_eq!(mean(forecast.end()), None);
        assert_eq!(mean(start - hour), None);
    }
}
