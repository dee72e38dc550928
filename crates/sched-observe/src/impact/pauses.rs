//! When to ask for a pause: [`Pauses`].

use std::time::Duration;

use sched_core::MonoTime;

use super::settings::ImpactSettings;

/// Time for pauses that is saved for an event, in pauses.
const SAVED: f64 = 8.0;
/// The part of the duty that goes into pauses at any time; the rest is saved for events.
const ROUTINE: f64 = 0.1;
/// Moments between two pauses of an event at most, beyond those that are compared.
const SPREAD: f64 = 1.5;
/// An order that nobody carried out by then is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// Sparse pauses at random times. What a running backup earns in pausing time is paid back by what stands: the pauses that
/// were asked for here are never more than the duty together.
#[derive(Debug)]
pub(super) struct Pauses {
    rng: fastrand::Rng,
    duty: f64,
    length: Duration,
    moment: Duration,
    /// Seconds.
    credit: f64,
    next: MonoTime,
    /// Credit without which the next one is not worth while, in seconds.
    needed: f64,
    asked: Option<MonoTime>,
    /// What stands was asked for here.
    own: bool,
}

impl Pauses {
    pub(super) fn new(settings: &ImpactSettings, rng: fastrand::Rng) -> Self {
        Self {
            rng,
            duty: settings.duty,
            length: settings.pause(),
            moment: settings.moment,
            credit: 0.0,
            next: MonoTime::MAX,
            needed: 0.0,
            asked: None,
            own: false,
        }
    }

    /// How long they take from now on. Those that were planned with another length are not made.
    pub(super) fn set_length(&mut self, length: Duration) {
        if length != self.length {
            self.length = length;
            self.rest();
        }
    }

    /// All backups move.
    pub(super) fn all_move(&mut self) {
        self.own = false;
    }

    /// Backups that can pause have moved for a time.
    pub(super) fn earn(&mut self, moved: Duration) {
        let most = SAVED * self.length.as_secs_f64();
        self.credit = (self.credit + self.duty * moved.as_secs_f64()).min(most);
    }

    /// A backup has stood for a time; `shared`: not of our own, but so that its foreground is seen alone.
    pub(super) fn spend(&mut self, stood: Duration, shared: bool) {
        let left = self.credit - stood.as_secs_f64();
        if self.own {
            self.credit = left;
        } else if shared {
            // A long one of somebody else's costs no more than what one pause of our own does.
            self.credit = left.max(self.credit.min(-self.length.as_secs_f64()));
        }
    }

    /// Backups begin to move, or a routine pause is over.
    pub(super) fn settle_down(&mut self, now: MonoTime) {
        let usual = self.length.as_secs_f64() / (ROUTINE * self.duty);
        self.next = now + Duration::from_secs_f64(usual * (0.5 + self.rng.f64()));
        self.needed = self.length.as_secs_f64();
    }

    /// An event wants one soon, and so many more after it: fewer than that would decide nothing.
    pub(super) fn hurry(&mut self, now: MonoTime, more: u32) {
        self.needed = f64::from(1 + more) * self.length.as_secs_f64();
        self.next = now + self.moment.mul_f64(SPREAD * self.rng.f64());
    }

    /// No backup moves that could pause.
    pub(super) fn rest(&mut self) {
        (self.next, self.asked) = (MonoTime::MAX, None);
    }

    /// A backup stands.
    pub(super) fn begun(&mut self, now: MonoTime) {
        self.own |= self.is_asked(now);
        self.rest();
    }

    /// Whether a time for the next one is set.
    pub(super) fn is_set(&self) -> bool {
        self.next != MonoTime::MAX
    }

    /// Whether to ask for one now.
    pub(super) fn due(&mut self, now: MonoTime) -> bool {
        if self.is_asked(now) {
            return false;
        }
        let due = now >= self.next && self.credit >= self.needed;
        self.asked = due.then_some(now);
        due
    }

    fn is_asked(&self, now: MonoTime) -> bool {
        self.asked.is_some_and(|asked| now.since(asked) < FORGOTTEN)
    }

    /// When [`due`](Self::due) may say so.
    pub(super) fn next_look(&self, now: MonoTime) -> Option<MonoTime> {
        if self.next == MonoTime::MAX {
            return None;
        }
        let missing = (self.needed - self.credit).max(0.0) / self.duty;
        let forgotten = self.asked.map(|asked| asked + FORGOTTEN);
        Some(self.next.max(now + Duration::from_secs_f64(missing)).max(forgotten.unwrap_or(MonoTime::ZERO)))
    }

    /// One of so many, at random.
    pub(super) fn one_of(&mut self, many: usize) -> usize {
        self.rng.usize(..many.max(1))
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> MonoTime {
        MonoTime::ZERO + seconds * SECOND
    }

    #[test]
    fn of_long_pauses_only_those_of_others_are_forgiven() {
        let mut pauses = Pauses::new(&ImpactSettings::default(), fastrand::Rng::with_seed(1));
        pauses.set_length(2 * SECOND);
        pauses.earn(100 * SECOND);
        pauses.settle_down(at(0));
        assert!(pauses.due(at(10_000)));
        pauses.begun(at(10_000));
        pauses.spend(60 * SECOND, true);
        assert!((pauses.credit + 57.0).abs() < 1e-9, "{}", pauses.credit);
        pauses.all_move();
        // Nor does another's forgive what is owed already.
        pauses.begun(at(10_100));
        pauses.spend(60 * SECOND, true);
        assert!((pauses.credit + 57.0).abs() < 1e-9, "{}", pauses.credit);
        pauses.earn(1_900 * SECOND);
        pauses.spend(60 * SECOND, true);
        assert!((pauses.credit + 2.0).abs() < 1e-9, "{}", pauses.credit);
        // What stands because of load is no pause at all.
        pauses.spend(60 * SECOND, false);
        assert!((pauses.credit + 2.0).abs() < 1e-9, "{}", pauses.credit);
    }

    #[test]
    fn an_order_that_nobody_carried_out_is_not_what_stands_later() {
        let mut pauses = Pauses::new(&ImpactSettings::default(), fastrand::Rng::with_seed(1));
        pauses.earn(100 * SECOND);
        pauses.settle_down(at(0));
        assert!(pauses.due(at(10_000)));
        pauses.begun(at(10_006));
        pauses.spend(60 * SECOND, true);
        assert!((pauses.credit + 1.5).abs() < 1e-9, "{}", pauses.credit);
    }
}
