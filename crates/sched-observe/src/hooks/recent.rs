//! The newest events, kept for questions about the past.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use sched_core::{Event, JobId};

use crate::hook::Hook;

/// Keeps the newest events, so that "why did it not run last night?" has an answer. Clones share it.
///
/// ```
/// use sched_observe::DecisionLog;
/// let log = DecisionLog::new(1000);
/// // Scheduler::builder().hook(log.clone())
/// assert!(log.recent().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct DecisionLog {
    capacity: usize,
    events: Arc<Mutex<VecDeque<Event>>>,
}

impl DecisionLog {
    /// A log of the newest `capacity` events, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), events: Arc::default() }
    }

    /// All kept events, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        self.events.lock().iter().cloned().collect()
    }

    /// The kept events of one job, oldest first.
    pub fn of(&self, job: JobId) -> Vec<Event> {
        let events = self.events.lock();
        events.iter().filter(|event| event.job.as_ref().is_some_and(|j| j.id == job)).cloned().collect()
    }
}

impl Hook for DecisionLog {
    fn event(&mut self, event: &Event) {
        let mut events = self.events.lock();
        if events.len() == self.capacity {
            events.pop_front();
        }
        events.push_back(event.clone());
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EventKind, ManualClock};

    use super::*;

    #[test]
    fn keeps_the_newest() {
        let mut log = DecisionLog::new(2);
        let at = ManualClock::default().now();
        for pending in 0..5 {
            log.event(&Event::new(at, None, EventKind::QueueFull { pending }));
        }
        let kept: Vec<_> = log.recent().into_iter().map(|event| event.kind).collect();
        assert_eq!(kept, [EventKind::QueueFull { pending: 3 }, EventKind::QueueFull { pending: 4 }]);
    }
}
