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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: u32) -> MonoTime {
        MonoTime::ZERO + HOUR * hours
    }

    fn level(mean: f64, error: f64) -> Level {
        Level { mean, error }
    }

    fn levels(all: &[Level]) -> Levels {
        let mut levels = Levels::default();
        all.iter().for_each(|level| levels.add(at(0), *level, HOUR));
        levels
    }

    fn is(level: Option<Level>, mean: f64, error: f64) -> bool {
        level.is_some_and(|level| (level.mean - mean).abs() < 1e-5 && (level.error - error).abs() < 1e-5)
    }

    #[test]
    fn levels_that_may_be_the_lowest_are_averaged_by_their_precision() {
        assert!(levels(&[]).lowest(None).is_none());
        assert!(is(levels(&[]).lowest(Some(level(3.0, 0.1))), 3.0, 0.1));
        // Twice as exact is four times the weight.
        let both = levels(&[level(1.0, 0.1), level(1.1, 0.2)]);
        assert!(is(both.lowest(None), 1.02, 0.1 / 1.25_f64.sqrt()), "{:?}", both.lowest(None));
        assert!(is(both.lowest(Some(level(9.0, 0.1))), 1.02, 0.1 / 1.25_f64.sqrt()), "that is another");
        // 2.25 standard errors of the difference, and the second round asks it of the mean of the first.
        let (inside, outside) = (level(1.55, 0.2), level(1.70, 0.2));
        assert!(!is(levels(&[level(1.0, 0.2), inside]).lowest(None), 1.0, 0.2));
        assert!(is(levels(&[level(1.0, 0.2), outside]).lowest(None), 1.0, 0.2));
        // One that is low by mere noise is not followed down.
        assert!(is(
            levels(&[level(1.0, 0.01), level(0.9, 0.2)]).lowest(Some(level(5.0, 0.1))),
            0.99975,
            0.00999
        ));
    }

    #[test]
    fn levels_vary_where_one_is_certainly_above_the_lowest() {
        let lowest = level(1.0, 0.125);
        assert!(
            !levels(&[lowest, level(1.25, 0.125)]).vary(lowest),
            "two standard errors above may be the same"
        );
        assert!(levels(&[lowest, level(1.26, 0.125)]).vary(lowest));
    }

    #[test]
    fn levels_are_forgotten_with_time_and_the_highest_when_there_are_too_many() {
        let mut levels = levels(&[level(1.0, 0.1)]);
        levels.add(MonoTime::ZERO + HOUR / 2, level(2.0, 0.1), HOUR);
        assert!(is(levels.lowest(None), 1.0, 0.1));
        levels.add(at(1), level(3.0, 0.1), HOUR);
        assert!(is(levels.lowest(None), 2.0, 0.1), "an hour has passed since the first");
        levels.add(at(1), level(9.0, 0.1), HOUR);
        (4..MOST).for_each(|_| levels.add(at(1), level(3.0, 0.1), HOUR));
        assert_eq!(levels.0.len(), MOST - 1);
        (0..2).for_each(|_| levels.add(at(1), level(3.0, 0.1), HOUR));
        assert_eq!(levels.0.len(), MOST);
        assert!(levels.0.iter().all(|(_, level)| level.mean < 9.0), "the highest made room");
        assert!(is(levels.lowest(None), 2.0, 0.1));
    }
}
