//! When a tool is stopped, let go on, told to end and killed: [`Leash`], pure.

use std::time::Duration;

use sched_core::MonoTime;

/// Why a tool was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Cancelled,
    TimedOut,
    /// Its reader failed.
    GivenUp,
    /// Others may soon make the same backup.
    LeaseOver,
    /// Nobody would end it with its lease.
    Unguarded,
}

/// What is done to the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stop,
    Continue,
    /// Ends a stopped one, too.
    Terminate,
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Stopped {
        until: MonoTime,
    },
    /// It stood as long as it may, and the pause lasts.
    StoodEnough,
    Ending {
        kill_at: MonoTime,
    },
    Killed,
}

/// Decides what is done to a tool, and when it must be looked at again.
#[derive(Debug)]
pub(super) struct Leash {
    deadline: Option<MonoTime>,
    grace: Duration,
    /// What is left of the grace when the lease is over.
    patience: Duration,
    stops_for: Option<Duration>,
    state: State,
    ended: Option<Ended>,
}

impl Leash {
    pub(super) fn new(
        now: MonoTime,
        timeout: Option<Duration>,
        grace: Duration,
        stops_for: Option<Duration>,
    ) -> Self {
        let deadline = timeout.map(|timeout| now + timeout);
        let (patience, state) = (grace, State::Running);
        Self { deadline, grace, patience, stops_for, state, ended: None }
    }

    /// One that kills no later than that after the end of the lease.
    pub(super) fn impatient(mut self, patience: Duration) -> Self {
        self.patience = patience.min(self.grace);
        self
    }

    /// Why it was ended, if it was.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// What is to be done now; `end` and `paused` are the orders of the attempt.
    pub(super) fn look(&mut self, now: MonoTime, end: Option<Ended>, paused: bool) -> Option<Order> {
        let late = self.deadline.is_some_and(|deadline| now >= deadline);
        let end = end.or(late.then_some(Ended::TimedOut));
        match (self.state, end) {
            (State::Killed, _) => None,
            (State::Ending { kill_at }, end) => {
                let kill_at = kill_at.min(now + self.grace_of(end));
                self.state = State::Ending { kill_at };
                (now >= kill_at).then(|| self.enter(State::Killed, Order::Kill))
            }
            (_, Some(why)) => {
                self.ended = Some(why);
                let kill_at = now + self.grace_of(end);
                Some(self.enter(State::Ending { kill_at }, Order::Terminate))
            }
            (State::Running, None) => {
                let stops_for = self.stops_for.filter(|_| paused)?;
                Some(self.enter(State::Stopped { until: now + stops_for }, Order::Stop))
            }
            (State::Stopped { .. }, None) if !paused => Some(self.enter(State::Running, Order::Continue)),
            (State::Stopped { until }, None) => {
                (now >= until).then(|| self.enter(State::StoodEnough, Order::Continue))
            }
            (State::StoodEnough, None) => {
                if !paused {
                    self.state = State::Running;
                }
                None
            }
        }
    }

    /// When time alone changes what is to be done.
    pub(super) fn wake_at(&self) -> Option<MonoTime> {
        match self.state {
            State::Running | State::StoodEnough => self.deadline,
            State::Stopped { until } => Some(self.deadline.map_or(until, |deadline| deadline.min(until))),
            State::Ending { kill_at } => Some(kill_at),
            State::Killed => None,
        }
    }

    fn grace_of(&self, end: Option<Ended>) -> Duration {
        if end == Some(Ended::LeaseOver) { self.patience } else { self.grace }
    }

    fn enter(&mut self, state: State, order: Order) -> Order {
        self.state = state;
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> MonoTime {
        MonoTime::default() + Duration::from_secs(secs)
    }

    fn leash(timeout: Option<u64>, stops_for: Option<u64>) -> Leash {
        let secs = |secs: Option<u64>| secs.map(Duration::from_secs);
        Leash::new(at(0), secs(timeout), Duration::from_secs(10), secs(stops_for))
    }

    #[test]
    fn it_is_told_to_end_and_killed_after_the_grace() {
        let mut leash = leash(None, None);
        assert_eq!((leash.look(at(1), None, true), leash.wake_at()), (None, None));
        assert_eq!(leash.look(at(2), Some(Ended::Cancelled), false), Some(Order::Terminate));
        assert_eq!(leash.wake_at(), Some(at(12)));
        assert_eq!(leash.look(at(11), Some(Ended::Cancelled), false), None);
        assert_eq!(leash.look(at(12), None, false), Some(Order::Kill));
        assert_eq!((leash.look(at(99), Some(Ended::GivenUp), true), leash.wake_at()), (None, None));
        assert_eq!(leash.ended(), Some(Ended::Cancelled));
    }

    #[test]
    fn a_pause_stops_it_no_longer_than_it_may_stand() {
        let mut leash = leash(None, Some(30));
        assert_eq!(leash.look(at(1), None, true), Some(Order::Stop));
        assert_eq!(leash.wake_at(), Some(at(31)));
        assert_eq!(leash.look(at(30), None, true), None);
        assert_eq!(leash.look(at(31), None, true), Some(Order::Continue));
        // The same pause does not stop it again; the next does.
        assert_eq!(leash.look(at(32), None, true), None);
        assert_eq!(leash.look(at(33), None, false), None);
        assert_eq!(leash.look(at(34), None, true), Some(Order::Stop));
        assert_eq!(leash.look(at(35), None, false), Some(Order::Continue));
    }

    #[test]
    fn the_end_of_the_lease_leaves_less_time() {
        let mut over = leash(None, None).impatient(Duration::from_secs(2));
        assert_eq!(over.look(at(5), Some(Ended::LeaseOver), false), Some(Order::Terminate));
        assert_eq!(over.wake_at(), Some(at(7)));
        assert_eq!(over.look(at(6), Some(Ended::LeaseOver), false), None);
        assert_eq!(over.look(at(7), Some(Ended::LeaseOver), false), Some(Order::Kill));

        let mut cancelled = leash(None, None).impatient(Duration::from_secs(2));
        assert_eq!(cancelled.look(at(0), Some(Ended::Cancelled), false), Some(Order::Terminate));
        assert_eq!(cancelled.look(at(3), Some(Ended::LeaseOver), false), None);
        assert_eq!(cancelled.wake_at(), Some(at(5)));
        assert_eq!(cancelled.look(at(5), Some(Ended::LeaseOver), false), Some(Order::Kill));
        assert_eq!(cancelled.ended(), Some(Ended::Cancelled));
    }

    #[test]
    fn a_stopped_tool_is_ended_like_any_other() {
        let mut leash = leash(Some(20), Some(30));
        assert_eq!(leash.look(at(1), None, true), Some(Order::Stop));
        assert_eq!(leash.wake_at(), Some(at(20)));
        assert_eq!(leash.look(at(20), None, true), Some(Order::Terminate));
        assert_eq!(leash.ended(), Some(Ended::TimedOut));
    }
}
