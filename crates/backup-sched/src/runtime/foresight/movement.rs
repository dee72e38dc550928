//! When backups moved at a scope.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use sched_core::{MonoTime, Now};

/// So many stretches are remembered one by one.
const SPELLS: usize = 64;

/// The runs that move at a scope, for how long any did, and when.
#[derive(Default)]
pub(super) struct Movement {
    runs: u32,
    /// Since when some move.
    since: MonoTime,
    /// For how long some did before.
    moved: Duration,
    /// The stretches in which some moved, oldest first; that of now has no end.
    spells: VecDeque<(Timestamp, Option<Timestamp>)>,
}

impl Movement {
    pub(super) fn runs(&self) -> u32 {
        self.runs
    }

    /// One run more moves.
    pub(super) fn begin(&mut self, now: Now) {
        if self.runs == 0 {
            self.since = now.mono;
            self.spells.push_back((now.wall, None));
            if self.spells.len() > SPELLS {
                self.join_the_closest();
            }
        }
        self.runs += 1;
    }

    /// One run less does.
    pub(super) fn end(&mut self, now: Now) {
        if self.runs == 1 {
            self.moved += now.mono.since(self.since);
            self.spells.iter_mut().next_back().into_iter().for_each(|last| last.1 = Some(now.wall));
        }
        self.runs = self.runs.saturating_sub(1);
    }

    /// For how long some have moved by now.
    pub(super) fn moved(&self, now: MonoTime) -> Duration {
        self.moved + if self.runs > 0 { now.since(self.since) } else { Duration::ZERO }
    }

    /// Whether some are known to have moved at that time.
    pub(super) fn covers(&self, at: Timestamp) -> bool {
        self.spells.iter().any(|(from, until)| *from <= at && until.is_none_or(|until| at <= until))
    }

    /// Forgets the shortest pause between two stretches.
    fn join_the_closest(&mut self) {
        let pause = |at: &usize| {
            let (next, before) = (self.spells[at + 1].0, self.spells[*at].1);
            before.map(|until| next.duration_since(until))
        };
        if let Some(at) = (0..self.spells.len() - 1).min_by_key(pause)
            && let Some((_, until)) = self.spells.remove(at + 1)
        {
            self.spells[at].1 = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn stretches_are_those_in_which_any_run_moves() {
        let clock = ManualClock::default();
        let mut movement = Movement::default();
        let start = clock.now().wall;
        movement.begin(clock.now());
        clock.advance(5 * MINUTE);
        movement.begin(clock.now());
        movement.end(clock.now());
        assert_eq!((movement.runs(), movement.moved(clock.now().mono)), (1, 5 * MINUTE));
        clock.advance(MINUTE);
        movement.end(clock.now());
        clock.advance(10 * MINUTE);
        assert_eq!((movement.runs(), movement.moved(clock.now().mono)), (0, 6 * MINUTE));
        movement.begin(clock.now());
        clock.advance(MINUTE);
        assert_eq!(movement.moved(clock.now().mono), 7 * MINUTE);
        let covered = |minute: u32| movement.covers(start + minute * MINUTE);
        assert_eq!([0, 6, 7, 15, 16, 99].map(covered), [true, true, false, false, true, true]);
        assert!(!movement.covers(start - MINUTE));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgets_short_pauses_first() {
        let clock = ManualClock::default();
        let (mut movement, mut times) = (Movement::default(), Vec::new());
        for n in 0..20 * SPELLS {
            movement.begin(clock.now());
            times.push(clock.now().wall);
            clock.advance(MINUTE);
            movement.end(clock.now());
            clock.advance(if n % 20 == 0 { 600 * MINUTE } else { MINUTE });
        }
        assert_eq!(movement.spells.len(), SPELLS);
        assert!(times.iter().all(|at| movement.covers(*at)));
        let calm = times.iter().step_by(20).filter(|at| !movement.covers(**at + 300 * MINUTE));
        assert!(calm.count() >= SPELLS - 1, "long pauses are still known");
    }
}
