//! After a machine was suspended every probe and detector is asked at once, and starts wait for the answers, though not for long.
//! Of who does not answer by then, what was measured before counts until it is too old.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use sched_core::{MonoTime, Now, Reason};

use super::Dispatcher;
use crate::runtime::Command;

/// The monotonic clock stands still while a machine is suspended and the wall does not. What was measured is as good as ever while
/// the wall runs ahead by less than so many periods of its probe …
const AS_GOOD_FOR_PERIODS: u32 = 2;
/// … or by less than this: time servers set a wall right by as much.
const AS_GOOD_FOR: Duration = Duration::from_secs(2);
/// Nobody waits longer for those who do not answer.
const WAITS_AT_MOST: Duration = Duration::from_secs(10);

/// Which probe or detector, in the order of the samplers.
pub(super) type Asked = usize;

/// Who has not answered since the machine goes on.
pub(super) struct Resuming {
    waits_for: BTreeSet<Asked>,
    pub(super) until: MonoTime,
}

/// By how much the wall has gone on more than the monotonic clock.
fn ahead(from: Now, to: Now) -> Duration {
    let mono = SignedDuration::try_from(to.mono.since(from.mono)).unwrap_or(SignedDuration::MAX);
    let ahead = to.wall.duration_since(from.wall).saturating_sub(mono);
    Duration::try_from(ahead).unwrap_or_default()
}

impl Dispatcher {
    /// Looks whether the machine was suspended since the last look.
    pub(super) fn watch_for_suspension(&mut self, now: Now) {
        let stood = ahead(std::mem::replace(&mut self.seen, now), now);
        if stood >= AS_GOOD_FOR {
            self.resume(now, stood);
        }
        if self.resuming.as_ref().is_some_and(|resuming| resuming.until <= now.mono) {
            self.see_again(now);
        }
    }

    /// Whether a message tells what was measured before a suspension: that is asked for anew then.
    pub(super) fn is_from_before(&self, now: Now, message: &Command) -> bool {
        let (asked, taken) = match message {
            Command::Sample(probe, Ok(sample)) => (*probe, sample.taken),
            Command::Load(detector, taken, Ok(_)) => (self.parts.signals.asked_as(*detector), *taken),
            _ => return false,
        };
        let stood = ahead(taken, now);
        let before = stood >= AS_GOOD_FOR && stood > self.good_for(asked);
        if before {
            self.ask_at_once(asked);
        }
        before
    }

    /// A probe or detector has answered.
    pub(super) fn answered(&mut self, now: Now, asked: Asked) {
        let Some(resuming) = &mut self.resuming else { return };
        resuming.waits_for.remove(&asked);
        if resuming.waits_for.is_empty() {
            self.see_again(now);
        }
    }

    fn resume(&mut self, now: Now, stood: Duration) {
        let all = 0..self.parts.samplers.len();
        let outdated: BTreeSet<_> = all.filter(|asked| stood > self.good_for(*asked)).collect();
        if outdated.is_empty() {
            return;
        }
        outdated.iter().for_each(|asked| self.ask_at_once(*asked));
        // A clock that steps again and again puts nobody off for longer.
        let (waits_for, until) = match self.resuming.take() {
            Some(before) => (&before.waits_for | &outdated, before.until),
            None => (outdated, now.mono + WAITS_AT_MOST),
        };
        self.resuming = Some(Resuming { waits_for, until });
        let secs = stood.as_secs();
        let text = format!(
            "the machine was suspended for {secs} s, or its clock set: what is measured is asked anew before anything starts"
        );
        self.parts.engine.set_blind(now, Some(Reason::new(text)));
    }

    fn see_again(&mut self, now: Now) {
        self.resuming = None;
        self.parts.engine.set_blind(now, None);
    }

    fn good_for(&self, asked: Asked) -> Duration {
        self.parts.signals.period(asked).saturating_mul(AS_GOOD_FOR_PERIODS)
    }

    fn ask_at_once(&self, asked: Asked) {
        self.parts.samplers.get(asked).into_iter().for_each(|sampler| sampler.ask());
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, ManualClock};

    use super::*;

    #[test]
    fn a_wall_that_runs_ahead_is_seen_and_one_that_does_not_is_not() {
        let clock = ManualClock::default();
        let begun = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert_eq!(ahead(begun, clock.now()), Duration::ZERO);
        clock.step_wall(clock.now().wall + SignedDuration::from_secs(7));
        assert_eq!(ahead(begun, clock.now()), Duration::from_secs(7));
        clock.step_wall(begun.wall);
        assert_eq!(ahead(begun, clock.now()), Duration::ZERO, "back is no suspension");
    }
}
