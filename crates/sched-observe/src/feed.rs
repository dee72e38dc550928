//! Events since a cursor: [`Feed`].

use std::collections::VecDeque;
use std::sync::Arc;

use sched_core::Event;
use serde::{Deserialize, Serialize};

/// The newest events, each with a number, so that a reader who comes again gets what it has not seen yet.
#[derive(Clone, Debug)]
pub struct Feed {
    capacity: usize,
    events: VecDeque<Arc<Event>>,
    /// The number of the first event that was ever pushed.
    origin: u64,
    /// The number of the next event.
    next: u64,
}

/// Some events of a [`Feed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FeedPage {
    /// The events, oldest first.
    pub events: Vec<Arc<Event>>,
    /// The number of the first of them.
    pub first: u64,
    /// What to ask for next.
    pub next: u64,
    /// Events between what was asked for and the first that is still kept.
    pub missed: u64,
}

impl Feed {
    /// A feed that keeps this many events, at least 1. The first has the number `origin`: let it be higher than any that
    /// an earlier process may have given, such as a million times the Unix time, so that its readers are recognised.
    pub fn new(capacity: usize, origin: u64) -> Self {
        Self { capacity: capacity.max(1), events: VecDeque::new(), origin, next: origin }
    }

    /// Adds an event.
    pub fn push(&mut self, event: Arc<Event>) {
        if self.events.len() == self.capacity {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.next += 1;
    }

    /// The number that the next event will have: where a reader begins who wants only what is new.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// At most `most` (at least 1) events from number `since` on. A reader of an earlier process, and one that asks from 0
    /// on, begins with the first; one that is ahead begins with the next.
    pub fn since(&self, since: u64, most: usize) -> FeedPage {
        let oldest = self.next - self.events.len() as u64;
        let since = since.clamp(self.origin, self.next);
        let first = since.max(oldest);
        let missed = first - since;
        let skipped = usize::try_from(first - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = self.events.iter().skip(skipped).take(most.max(1)).cloned().collect();
        FeedPage { next: first + events.len() as u64, events, first, missed }
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EventKind, ManualClock};

    use super::*;

    fn feed(events: usize, capacity: usize) -> Feed {
        let mut feed = Feed::new(capacity, 0);
        for pending in 0..events {
            let kind = EventKind::QueueFull { pending };
            feed.push(Arc::new(Event::new(ManualClock::default().now(), None, kind)));
        }
        feed
    }

    fn numbers(page: &FeedPage) -> Vec<usize> {
        let number = |event: &Arc<Event>| match event.kind {
            EventKind::QueueFull { pending } => pending,
            _ => unreachable!("only such were pushed"),
        };
        page.events.iter().map(number).collect()
    }

    #[test]
    fn a_reader_sees_each_event_once_and_is_told_what_it_missed() {
        let mut feed = feed(3, 4);
        let page = feed.since(0, 2);
        assert_eq!((numbers(&page), page.next, page.missed), (vec![0, 1], 2, 0));
        for pending in 3..9 {
            let kind = EventKind::QueueFull { pending };
            feed.push(Arc::new(Event::new(ManualClock::default().now(), None, kind)));
        }
        let page = feed.since(page.next, 10);
        assert_eq!((numbers(&page), page.first, page.next, page.missed), (vec![5, 6, 7, 8], 5, 9, 3));
        let page = feed.since(page.next, 10);
        assert_eq!((numbers(&page), page.next, page.missed), (vec![], 9, 0));
    }

    #[test]
    fn a_cursor_of_an_earlier_process_begins_with_the_first() {
        let event = |pending| {
            let kind = EventKind::QueueFull { pending };
            Arc::new(Event::new(ManualClock::default().now(), None, kind))
        };
        let mut feed = Feed::new(4, 1_000);
        (0..3).for_each(|pending| feed.push(event(pending)));
        for earlier in [0, 5, 999] {
            let page = feed.since(earlier, 10);
            assert_eq!(
                (numbers(&page), page.first, page.next, page.missed),
                (vec![0, 1, 2], 1_000, 1_003, 0)
            );
        }
        (3..6).for_each(|pending| feed.push(event(pending)));
        let page = feed.since(0, 10);
        assert_eq!((numbers(&page), page.missed), (vec![2, 3, 4, 5], 2), "two of this process are gone");
        let page = feed.since(u64::MAX, 10);
        assert_eq!((numbers(&page), page.next), (vec![], 1_006));
    }
}
