//! What a machine does by itself, from moments without backups: [`Alone`].

use std::collections::VecDeque;
use std::time::Duration;

use sched_core::MonoTime;

use super::FailSlow;

/// Readings of a look, after it has settled.
const READINGS: u32 = 8;
/// So many say something.
const FEWEST: usize = 4;
/// Looks take this part of the time at most, but for those that have a reason, however long a period is.
const LEAST_BETWEEN: u32 = 30;
/// Newest readings without backups that count.
const NEWEST: usize = 32;
/// A share that has grown by this factor since the last look is not known to be harmless: the machine may have become
/// quieter by itself, and backups fill what it left.
const GROWN: f64 = 1.5;
/// Below this share there is nothing to look away from.
const WORTHWHILE: f64 = 0.02;
/// Periods between two looks that a share's growth asks for, at least …
const BETWEEN: u32 = 20;
/// … and before a look of which backups that hardly move hope for something, or another after one that showed nothing.
const STARVED: u32 = 60;

/// The level of a signal without backups, from readings in which none moved anything: while none runs, and in sparse looks
/// for which all of them pause.
///
/// Nothing is learned from readings with backups, at whatever share. Where a little traffic does most of the harm already, what it
/// does would be taken for what the machine does by itself.
#[derive(Clone, Debug)]
pub(super) struct Alone {
    settle: Duration,
    every: Duration,
    period: Duration,
    rng: fastrand::Rng,
    /// When backups were last seen to move something.
    used: MonoTime,
    newest: VecDeque<f64>,
    level: Option<f64>,
    until: Option<MonoTime>,
    /// There was a look.
    begun: bool,
    looked: MonoTime,
    looked_at: f64,
    next: MonoTime,
}

/// What the readings before say of the present share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SoFar {
    /// Backups and the machine itself together are so little that it does not matter whose it is: nobody looks.
    Calm,
    /// It is a question of whose it is.
    Within,
    /// Backups seem to do too much.
    Over,
}

impl Alone {
    /// Looks after `every` on average, each drawn from half to one and a half of that. Readings within `settle` after
    /// backups have moved something say nothing.
    pub(super) fn new(every: Duration, settle: Duration, fail_slow: &FailSlow) -> Self {
        let (period, settle) = (fail_slow.period, settle.max(fail_slow.period * 2));
        Self {
            settle,
            every: every.max((settle + period * READINGS) * LEAST_BETWEEN),
            period,
            rng: fastrand::Rng::with_seed(0),
            used: MonoTime::ZERO,
            newest: VecDeque::new(),
            level: None,
            until: None,
            begun: false,
            looked: MonoTime::ZERO,
            looked_at: WORTHWHILE,
            next: MonoTime::ZERO,
        }
    }

    /// As far as it is known.
    pub(super) fn level(&self) -> Option<f64> {
        self.level
    }

    /// What is left of the look under way.
    pub(super) fn left(&self, now: MonoTime) -> Option<Duration> {
        self.until.map(|until| until.since(now)).filter(|left| !left.is_zero())
    }

    pub(super) fn under_way(&self) -> bool {
        self.until.is_some()
    }

    /// A reading came, taken while backups used `used`, which might have used `share`. `at_work`: some run, which may do what
    /// nobody counts while they move nothing. Gives whether the reading told what the machine does by itself.
    pub(super) fn observe(
        &mut self,
        now: MonoTime,
        value: f64,
        (used, share): (f64, f64),
        (at_work, so_far): (bool, SoFar),
    ) -> bool {
        let mut told = false;
        if used > 0.0 || (at_work && self.until.is_none()) {
            self.used = now;
            self.newest.clear();
        } else if now.since(self.used) >= self.settle {
            if self.newest.len() == NEWEST {
                self.newest.pop_front();
            }
            self.newest.push_back(value);
            if self.newest.len() >= FEWEST {
                self.level = Some(self.newest.iter().sum::<f64>() / self.newest.len() as f64);
                told = true;
                self.seen(now, share);
            }
        }
        if self.left(now).is_some() {
            return told;
        }
        self.until = None;
        let since = now.since(self.looked);
        let grown = share > GROWN * self.looked_at && since >= self.period * BETWEEN;
        let starved = so_far == SoFar::Over && share < WORTHWHILE && since >= self.period * STARVED;
        let wanted = match self.level {
            None => !self.begun || since >= self.period * STARVED,
            Some(_) => grown || starved || now >= self.next,
        };
        // Backups that move nothing though they may do something else: a check, a checkpoint. A pause would not end that.
        let unseen = at_work && used == 0.0 && share > 0.0;
        if wanted && !unseen && so_far != SoFar::Calm {
            self.until = Some(now + self.settle + self.period * READINGS);
            self.begun = true;
            self.seen(now, share);
        }
        told
    }

    /// No readings come in the look under way. Another takes its place when they do.
    pub(super) fn give_up(&mut self) {
        self.until = None;
        self.next = MonoTime::ZERO;
    }

    fn seen(&mut self, now: MonoTime, share: f64) {
        self.looked = now;
        self.looked_at = share.max(WORTHWHILE);
        self.next = now + self.every.mul_f64(0.5 + self.rng.f64());
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    fn at(second: u64) -> MonoTime {
        MonoTime::from_nanos(second * 1_000_000_000)
    }

    fn alone() -> Alone {
        Alone::new(Duration::from_secs(300), Duration::from_secs(3), &FailSlow::default())
    }

    /// One that has seen the machine by itself for ten seconds, while backups were granted `share`.
    fn known(share: f64) -> Alone {
        let mut alone = alone();
        let told: Vec<_> =
            (1..=10).map(|s| alone.observe(at(s), 0.3, (0.0, share), (false, SoFar::Calm))).collect();
        assert_eq!(told.iter().position(|told| *told), Some(5), "three seconds to settle, and four readings");
        assert_eq!(alone.level(), Some(0.3));
        alone
    }

    const NEVER: [u64; 0] = [];

    /// The seconds at which looks begin, when each reading is this.
    fn looks(
        alone: &mut Alone,
        seconds: RangeInclusive<u64>,
        used: (f64, f64),
        so_far: (bool, SoFar),
    ) -> Vec<u64> {
        let begins = |second: &u64| {
            let before = alone.until;
            alone.observe(at(*second), 0.3, used, so_far);
            alone.until.is_some() && alone.until != before
        };
        seconds.filter(begins).collect()
    }

    #[test]
    fn as_long_as_looks_tell_nothing_there_is_one_a_minute() {
        // What runs in any case moves on in them.
        let mut alone = alone();
        assert_eq!(looks(&mut alone, 1..=130, (0.1, 0.1), (true, SoFar::Within)), [1, 61, 121]);
        assert_eq!(alone.level(), None);
    }

    #[test]
    fn backups_that_stand_still_look_once_a_minute_and_those_that_move_a_little_do_not() {
        assert_eq!(looks(&mut known(0.0), 11..=140, (0.0, 0.0), (true, SoFar::Over)), [70]);
        assert_eq!(looks(&mut known(0.0), 11..=140, (0.01, 0.01), (true, SoFar::Over)), [70, 130]);
        assert_eq!(looks(&mut known(0.0), 11..=140, (WORTHWHILE, WORTHWHILE), (true, SoFar::Over)), NEVER);
        assert_eq!(looks(&mut known(0.0), 11..=140, (0.01, 0.01), (true, SoFar::Within)), NEVER);
    }

    #[test]
    fn a_share_that_has_grown_by_more_than_half_is_looked_at_but_not_at_once() {
        assert_eq!(looks(&mut known(0.25), 11..=140, (0.1, 0.375), (true, SoFar::Within)), NEVER);
        assert_eq!(looks(&mut known(0.25), 11..=40, (0.1, 0.38), (true, SoFar::Within)), [30]);
        assert_eq!(looks(&mut known(0.25), 11..=40, (0.1, 0.38), (true, SoFar::Calm)), NEVER);
        // A share that nobody would notice has not grown.
        assert_eq!(looks(&mut known(0.001), 11..=140, (0.01, 0.03), (true, SoFar::Within)), NEVER);
    }

    #[test]
    fn a_look_that_was_given_up_is_over_and_made_up_for() {
        let mut alone = known(0.25);
        let first = looks(&mut alone, 11..=600, (0.25, 0.25), (true, SoFar::Within))[0];
        assert!((10 + 165..=10 + 495).contains(&first), "{first}");
        let mut alone = known(0.25);
        looks(&mut alone, 11..=first, (0.25, 0.25), (true, SoFar::Within));
        assert_eq!(alone.left(at(first + 1)), Some(Duration::from_secs(10)));
        assert!(alone.under_way());
        alone.give_up();
        assert!(!alone.under_way());
        let next = first + 1;
        assert_eq!(looks(&mut alone, next..=next + 100, (0.25, 0.25), (true, SoFar::Within)), [next]);
    }
}
