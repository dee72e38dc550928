//! Events for a host's own program: [`Subscription`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use sched_core::Event;

/// Events from the moment of [`subscribe`](crate::Scheduler::subscribe) on, in their order. Dropping it ends it.
///
/// As an iterator it waits for each next event, and ends with the scheduler.
#[must_use = "events that nobody takes are dropped and counted"]
pub struct Subscription {
    events: Receiver<Arc<Event>>,
}

/// Why no event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoEvent {
    /// None has come yet.
    #[error("no event came within the time")]
    TimedOut,
    /// The scheduler has ended, and all its events were taken.
    #[error("the scheduler has ended")]
    Ended,
}

impl Subscription {
    pub(crate) fn new(events: Receiver<Arc<Event>>) -> Self {
        Self { events }
    }

    /// The next event, which is waited for without limit; `None` when the scheduler has ended and all were taken.
    pub fn recv(&self) -> Option<Arc<Event>> {
        self.events.recv().ok()
    }

    /// The next event, which is waited for for at most `limit` of real time.
    ///
    /// # Errors
    /// When none has come by then, or the scheduler has ended.
    pub fn recv_timeout(&self, limit: Duration) -> Result<Arc<Event>, NoEvent> {
        self.events.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoEvent::TimedOut,
            RecvTimeoutError::Disconnected => NoEvent::Ended,
        })
    }

    /// Each next event, which is waited for; ends with the scheduler.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Event>> + '_ {
        self.events.iter()
    }

    /// The events that have come, without waiting for more.
    pub fn try_iter(&self) -> impl Iterator<Item = Arc<Event>> + '_ {
        self.events.try_iter()
    }
}

impl Iterator for Subscription {
    type Item = Arc<Event>;

    fn next(&mut self) -> Option<Arc<Event>> {
        self.recv()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("waiting", &self.events.len()).finish_non_exhaustive()
    }
}
