//! The lowest level among many that are known inexactly: [`Levels`].

use std::time::Duration;

use sched_core::MonoTime;

use super::stretch::Level;

/// Levels up to so many standard errors above the lowest are taken for the same.
const SAME_WITHIN: f64 = 2.25;
/// Levels that many standard errors above the lowest are certainly others.
const OTHER_FROM: f64 = 2.0;
/// Levels that are kept; the highest goes first, which only the lowest would miss.
const MOST: usize = 256;

/// Levels seen so far. A plain minimum would follow the noise down, so the level with the least upper bound is
/// taken, and every level that may be the same is averaged in by its precision.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels(Vec<(MonoTime, Level)>);

impl Levels {
    pub(super) fn add(&mut self, at: MonoTime, level: Level, memory: Duration) {
        self.0.retain(|(seen, _)| at.since(*seen) < memory);
        if self.0.len() >= MOST {
            let highest = (0..MOST).max_by(|&a, &b| self.bound(a).total_cmp(&self.bound(b)));
            highest.map(|highest| self.0.swap_remove(highest));
        }
        self.0.push((at, level));
    }

    /// The lowest level, with what the present stretch has shown so far.
    pub(super) fn lowest(&self, present: Option<Level>) -> Option<Level> {
        let all = || self.0.iter().map(|(_, level)| *level).chain(present);
        let mut lowest = all().min_by(|a, b| a.upper_bound().total_cmp(&b.upper_bound()))?;
        // The second round includes what only the first one's error kept out.
        for _ in 0..2 {
            let same = |level: &Level| level.mean <= lowest.mean + SAME_WITHIN * level.error_beside(lowest);
            let (mut weight, mut sum) = (0.0, 0.0);
            for level in all().filter(same) {
                weight += level.error.powi(-2);
                sum += level.mean * level.error.powi(-2);
            }
            lowest = Level { mean: sum / weight, error: weight.sqrt().recip() };
        }
        Some(lowest)
    }

    /// Whether levels above the lowest were seen: the foreground's load varies.
    pub(super) fn vary(&self, lowest: Level) -> bool {
        self.0.iter().any(|(_, level)| level.mean > lowest.mean + OTHER_FROM * level.error)
    }

    fn bound(&self, index: usize) -> f64 {
        self.0[index].1.upper_bound()
    }
}
