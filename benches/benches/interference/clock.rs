//! A clock that stands between the blocks of a method: [`BlockClock`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use backup_sched::SystemClock;
use backup_sched::core::{Clock, MonoTime, Now, Wake, wall_plus};
use jiff::Timestamp;
use parking_lot::Mutex;

/// Real time, of which only that inside a method's own blocks counts: what a scheduler learned of the foreground in one
/// block it goes on with in the next, and what the other methods do in between it does not see. While it stands nothing
/// that waits for pace moves.
#[derive(Clone, Debug)]
pub(crate) struct BlockClock {
    begun: Timestamp,
    state: Arc<Mutex<State>>,
}

struct State {
    before: Duration,
    since: Option<MonoTime>,
    wakers: Vec<Weak<dyn Wake>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("before", &self.before)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl BlockClock {
    /// A clock that stands.
    pub(crate) fn new() -> Self {
        let state = State { before: Duration::ZERO, since: None, wakers: Vec::new() };
        Self { begun: SystemClock.now().wall, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn runs(&self) -> bool {
        self.state.lock().since.is_some()
    }

    /// Lets it run, or has it stand.
    pub(crate) fn run(&self, runs: bool) {
        let now = SystemClock.mono();
        let mut state = self.state.lock();
        if let Some(since) = state.since.take() {
            state.before += now.since(since);
        }
        state.since = runs.then_some(now);
        let wakers: Vec<_> = state.wakers.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        wakers.iter().for_each(|waker| waker.wake());
    }

    fn passed(&self) -> Duration {
        let state = self.state.lock();
        state.before + state.since.map_or(Duration::ZERO, |since| SystemClock.mono().since(since))
    }
}

impl Clock for BlockClock {
    fn now(&self) -> Now {
        let passed = self.passed();
        Now { mono: MonoTime::ZERO + passed, wall: wall_plus(self.begun, passed) }
    }

    fn mono(&self) -> MonoTime {
        MonoTime::ZERO + self.passed()
    }

    fn sleep_for(&self, until: MonoTime) -> Option<Duration> {
        let left = until.since(self.mono());
        (self.runs() || left.is_zero()).then_some(left)
    }

    fn on_move(&self, waker: Weak<dyn Wake>) {
        self.state.lock().wakers.push(waker);
    }
}
