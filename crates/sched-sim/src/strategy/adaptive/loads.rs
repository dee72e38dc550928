//! The hosts' loads as far as the engine is told of them: [`Loads`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sched_core::LoadLevel;
use sched_workload::ForecastSlot;

use crate::load::SLOT_SECS;
use crate::world::Reading;

/// A reading that is older, in seconds, says nothing.
const STALE_SECS: f64 = SLOT_SECS as f64;
/// A load so many standard deviations above the expected is a peak: one in a thousand readings by chance. The detector of
/// `sched_workload` begins lower, at the median of three readings; here there is one.
const PEAK_FROM: f32 = 3.1;
/// Smaller deviations are never looked at.
const LEAST_DEVIATION: f32 = 0.005;
/// Before a planned start is looked, in seconds.
const AHEAD: f64 = 1.0;

/// Looks at a host's load when one of its backups is about to start, and then as often as loads change while it waits or
/// may be paused.
#[derive(Debug)]
pub(super) struct Loads {
    /// By host, what the engine was told last.
    levels: Vec<LoadLevel>,
    /// By instance, when it is looked at; infinite for never.
    look_at: Vec<f64>,
    /// Those looks, and some that do not count any more. Positive times are ordered as their bits.
    looks: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Loads {
    pub(super) fn new(hosts: usize, instances: usize) -> Self {
        let levels = vec![LoadLevel::Calm; hosts];
        Self { levels, look_at: vec![f64::INFINITY; instances], looks: BinaryHeap::new() }
    }

    /// The host of an instance that is about to start at a moment is looked at shortly before.
    pub(super) fn before(&mut self, now: f64, start: f64, instance: u32) {
        self.look(now.max(start - AHEAD), instance);
    }

    /// It is looked at again when loads have changed.
    pub(super) fn again(&mut self, now: f64, instance: u32) {
        let slot = f64::from(SLOT_SECS);
        self.look(((now / slot).floor() + 1.0) * slot, instance);
    }

    fn look(&mut self, at: f64, instance: u32) {
        if std::mem::replace(&mut self.look_at[instance as usize], at).to_bits() != at.to_bits() {
            self.looks.push(Reverse((at.to_bits(), instance)));
        }
    }

    /// When it wants to look again, in seconds; infinite for never.
    pub(super) fn next(&self) -> f64 {
        self.looks.peek().map_or(f64::INFINITY, |Reverse((at, _))| f64::from_bits(*at))
    }

    /// An instance whose host is to be looked at now.
    pub(super) fn next_due(&mut self, now: f64) -> Option<u32> {
        while self.next() <= now {
            let Reverse((at, instance)) = self.looks.pop()?;
            let look_at = &mut self.look_at[instance as usize];
            if look_at.to_bits() == at {
                *look_at = f64::INFINITY;
                return Some(instance);
            }
        }
        None
    }

    /// Takes note of a level. Returns whether it is news.
    pub(super) fn tell(&mut self, host: u32, level: LoadLevel) -> bool {
        std::mem::replace(&mut self.levels[host as usize], level) != level
    }

    /// What was told last.
    pub(super) fn level(&self, host: u32) -> LoadLevel {
        self.levels[host as usize]
    }
}

/// How busy a host is beside what is usual: a peak keeps all back that can wait. Where nothing that could be true is known
/// it is taken for busy, so that only those go whose slack is nearly used up.
pub(super) fn level(now: f64, reading: Option<Reading>, usual: ForecastSlot) -> LoadLevel {
    let known = reading.filter(|read| now - read.at <= STALE_SECS && (0.0..=1.0).contains(&read.load));
    let peak = f64::from(usual.mean + PEAK_FROM * usual.spread.max(LEAST_DEVIATION));
    match known {
        None => LoadLevel::Busy,
        Some(reading) if reading.load > peak => LoadLevel::Peak,
        Some(_) => LoadLevel::Calm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_never_calm() {
        let usual = ForecastSlot { mean: 0.2, spread: 0.05 };
        let says = |at, load| level(1e4, Some(Reading { at, load }), usual);
        assert_eq!(says(1e4, 0.3), LoadLevel::Calm);
        assert_eq!(says(1e4, 0.4), LoadLevel::Peak);
        assert_eq!(level(1e4, None, usual), LoadLevel::Busy);
        for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.1, 1.1] {
            assert_eq!(says(1e4, nonsense), LoadLevel::Busy, "{nonsense}");
        }
        // Old news, whatever it says.
        assert_eq!((says(9_099.0, 0.0), says(9_101.0, 0.0)), (LoadLevel::Busy, LoadLevel::Calm));
    }

    #[test]
    fn only_the_last_look_that_was_asked_for_counts() {
        let mut loads = Loads::new(1, 2);
        loads.before(0.0, 5_000.0, 0);
        loads.before(0.0, 7_000.0, 0);
        loads.before(0.0, 6_000.0, 1);
        assert_eq!(loads.next_due(5_500.0), None);
        assert_eq!((loads.next_due(7_000.0), loads.next_due(7_000.0)), (Some(1), Some(0)));
        loads.again(7_000.0, 0);
        assert_eq!((loads.next_due(7_199.0), loads.next_due(7_200.0)), (None, Some(0)));
        assert_eq!(loads.next(), f64::INFINITY);
    }
}
