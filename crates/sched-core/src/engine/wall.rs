//! The wall clock as far as the engine trusts it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::time::{MonoTime, Now};

/// A larger difference between wall and monotonic time is suspect: time servers slew or step by less, while
/// suspend, a wrong date typed in and a restored snapshot step by more.
const SUSPECT_STEP: SignedDuration = SignedDuration::from_mins(5);
/// A suspect step is looked at again after this time, and believed after so many looks that all agree. Two odd
/// readings far apart have not lasted: nobody knows what the wall said between them.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const BELIEVED_AFTER: u32 = 6;
/// Smaller corrections leave timers as they are; they are then late or early by at most this much.
const NOTICED_STEP: SignedDuration = SignedDuration::from_secs(1);

/// Believes small wall steps at once and large ones after they have lasted.
#[derive(Debug)]
pub(super) struct WallGuard {
    believed: Now,
    suspect: Option<Suspect>,
    last: Now,
    /// The last reading with the wall that is believed.
    now: Now,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    reading: Now,
    /// Looks since that agreed.
    agreed: u32,
    last_look: MonoTime,
}

/// What a reading meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observed {
    /// Nothing unusual.
    Steady,
    /// The wall moved by this much and is believed: timers that follow the wall must be set anew.
    Believed,
    /// The wall moved by this many seconds and is not believed yet.
    Suspect(i64),
}

impl WallGuard {
    pub(super) fn new(now: Now) -> Self {
        Self { believed: now, suspect: None, last: now, now }
    }

    pub(super) fn observe(&mut self, now: Now) -> Observed {
        // A caller's clock that ran backwards is held at its highest reading.
        let now = Now { mono: now.mono.max(self.last.mono), wall: now.wall };
        // Most calls come in bursts at one time.
        if now == self.last {
            return Observed::Steady;
        }
        self.last = now;
        let observed = self.judge(now);
        self.now = Now { mono: now.mono, wall: self.at(now.mono) };
        observed
    }

    fn judge(&mut self, now: Now) -> Observed {
        let step = step_between(self.believed, now);
        if step.abs() <= SUSPECT_STEP {
            self.suspect = None;
            if step.abs() < NOTICED_STEP {
                return Observed::Steady;
            }
            self.believed = now;
            return Observed::Believed;
        }
        match &mut self.suspect {
            Some(suspect) if step_between(suspect.reading, now).abs() <= SUSPECT_STEP => {
                if now.mono.since(suspect.last_look) >= LOOK_EVERY {
                    suspect.agreed += 1;
                    suspect.last_look = now.mono;
                }
                if suspect.agreed < BELIEVED_AFTER {
                    return Observed::Steady;
                }
                self.suspect = None;
                self.believed = now;
                Observed::Believed
            }
            _ => {
                self.suspect = Some(Suspect { reading: now, agreed: 0, last_look: now.mono });
                Observed::Suspect(step.as_secs())
            }
        }
    }

    /// What the wall that is believed shows at a moment after the last reading.
    fn at(&self, mono: MonoTime) -> Timestamp {
        self.believed.plus(mono.since(self.believed.mono)).wall
    }

    /// A reading with the wall as far as it would be believed now; nothing is noted of it.
    pub(super) fn trusted(&self, now: Now) -> Now {
        if step_between(self.believed, now).abs() <= SUSPECT_STEP {
            return now;
        }
        Now { mono: now.mono, wall: self.at(now.mono) }
    }

    /// The present time with the believed wall.
    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// When a suspect wall must be looked at again.
    pub(super) fn next_look(&self) -> Option<MonoTime> {
        self.suspect.map(|s| s.last_look + LOOK_EVERY)
    }
}

/// How far the wall moved between two readings beyond what the monotonic clock says.
fn step_between(from: Now, to: Now) -> SignedDuration {
    let mono = SignedDuration::try_from(to.mono.since(from.mono)).unwrap_or(SignedDuration::MAX);
    to.wall.duration_since(from.wall).saturating_sub(mono)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, ManualClock};

    #[test]
    fn a_small_step_is_believed_at_once() {
        let clock = ManualClock::default();
        let mut guard = WallGuard::new(clock.now());
        let to = clock.now().wall + SignedDuration::from_secs(200);
        clock.step_wall(to);
        assert_eq!(guard.observe(clock.now()), Observed::Believed);
        assert_eq!(guard.now().wall, to);
    }

    #[test]
    fn a_large_step_is_believed_only_after_it_has_lasted() {
        let clock = ManualClock::default();
        let start = clock.now().wall;
        let mut guard = WallGuard::new(clock.now());
        clock.step_wall(start + SignedDuration::from_hours(5));
        assert_eq!(guard.trusted(clock.now()).wall, start, "before it is seen");
        assert_eq!(guard.observe(clock.now()), Observed::Suspect(5 * 3600));
        assert_eq!(guard.now().wall, start);
        for _ in 1..BELIEVED_AFTER {
            clock.advance_to(guard.next_look().unwrap());
            assert_eq!(guard.observe(clock.now()), Observed::Steady);
        }
        clock.advance_to(guard.next_look().unwrap() - Duration::from_nanos(1));
        assert_eq!(guard.observe(clock.now()), Observed::Steady);
        assert!(guard.now().wall < start + SignedDuration::from_hours(1));
        clock.advance(Duration::from_nanos(1));
        assert_ne!(guard.trusted(clock.now()), clock.now());
        assert_eq!(guard.observe(clock.now()), Observed::Believed);
        assert_eq!(guard.now().wall, clock.now().wall);
        assert_eq!(guard.trusted(clock.now()), clock.now());
        assert_eq!(guard.next_look(), None);
    }

    #[test]
    fn two_odd_readings_far_apart_have_not_lasted() {
        let clock = ManualClock::default();
        let mut guard = WallGuard::new(clock.now());
        let odd = |clock: &ManualClock| Now {
            wall: clock.now().wall + SignedDuration::from_hours(5),
            ..clock.now()
        };
        assert_eq!(guard.observe(odd(&clock)), Observed::Suspect(5 * 3600));
        clock.advance(LOOK_EVERY * BELIEVED_AFTER);
        assert_eq!(guard.observe(odd(&clock)), Observed::Steady);
        assert_eq!(guard.now().wall, clock.now().wall);
        clock.advance(LOOK_EVERY);
        assert_eq!(guard.observe(clock.now()), Observed::Steady);
        assert_eq!(guard.next_look(), None);
    }

    #[test]
    fn a_step_that_is_taken_back_leaves_no_trace() {
        let clock = ManualClock::default();
        let start = clock.now().wall;
        let mut guard = WallGuard::new(clock.now());
        clock.step_wall(start - SignedDuration::from_hours(30));
        assert!(matches!(guard.observe(clock.now()), Observed::Suspect(_)));
        clock.step_wall(start);
        assert_eq!(guard.observe(clock.now()), Observed::Steady);
        assert_eq!(guard.next_look(), None);
    }
}
