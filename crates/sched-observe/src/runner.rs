//! The thread that hooks run on.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sched_core::Event;
use serde::{Deserialize, Serialize};

use crate::hook::Hook;

/// Calls hooks on one thread of its own.
#[derive(Debug)]
pub struct HookRunner {
    counts: Arc<Counts>,
    /// Disconnected when the thread has ended; `None` without hooks.
    done: Option<Receiver<()>>,
}

/// Where events go in. Never blocks.
#[derive(Clone, Debug)]
pub struct EventSink {
    queue: Option<Sender<Arc<Event>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
    panicked: AtomicU64,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HookStats {
    /// Events that every hook was called with.
    pub delivered: u64,
    /// Events that found the queue full, or came after the end.
    pub dropped: u64,
    /// Calls that panicked.
    pub panicked: u64,
}

impl HookRunner {
    /// Starts the thread; without hooks there is none. `capacity` events may wait, at least 1.
    ///
    /// # Errors
    /// When the thread cannot be created.
    pub fn start(hooks: Vec<Box<dyn Hook>>, capacity: usize) -> io::Result<(EventSink, Self)> {
        let counts = Arc::<Counts>::default();
        if hooks.is_empty() {
            return Ok((EventSink { queue: None, counts: counts.clone() }, Self { counts, done: None }));
        }
        let (queue, events) = bounded(capacity.max(1));
        let (ended, done) = bounded::<()>(0);
        let counted = counts.clone();
        let run = move || {
            call_all(hooks, &events, &counted);
            drop(ended);
        };
        thread::Builder::new().name("backup-hooks".into()).spawn(run)?;
        Ok((EventSink { queue: Some(queue), counts: counts.clone() }, Self { counts, done: Some(done) }))
    }

    /// What became of events so far.
    pub fn stats(&self) -> HookStats {
        HookStats {
            delivered: self.counts.delivered.load(Relaxed),
            dropped: self.counts.dropped.load(Relaxed),
            panicked: self.counts.panicked.load(Relaxed),
        }
    }

    /// Waits until the hooks have dealt with what is queued, for at most `grace` of real time. All sinks must have
    /// been dropped before. A hook that hangs is left behind. Returns whether the thread has ended.
    pub fn stop(self, grace: Duration) -> bool {
        self.done.is_none_or(|done| done.recv_timeout(grace).is_err_and(|e| e.is_disconnected()))
    }
}

impl EventSink {
    /// Hands an event to the hooks, or drops and counts it when they are behind.
    pub fn send(&self, event: Arc<Event>) {
        if let Some(queue) = &self.queue
            && queue.try_send(event).is_err()
        {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

fn call_all(mut hooks: Vec<Box<dyn Hook>>, events: &Receiver<Arc<Event>>, counts: &Counts) {
    for event in events {
        for hook in &mut hooks {
            if catch_unwind(AssertUnwindSafe(|| hook.event(&event))).is_err() {
                counts.panicked.fetch_add(1, Relaxed);
            }
        }
        counts.delivered.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use sched_core::{Clock, EventKind, ManualClock};

    use super::*;
    use crate::hook::FnHook;

    fn event() -> Arc<Event> {
        Arc::new(Event { at: ManualClock::default().now(), job: None, kind: EventKind::Started })
    }

    #[test]
    fn a_panicking_hook_is_counted_and_others_are_served() {
        let (seen, all) = bounded(16);
        let hooks: Vec<Box<dyn Hook>> = vec![
            Box::new(FnHook(|_: &Event| panic!("on purpose"))),
            Box::new(FnHook(move |e: &Event| drop(seen.send(e.clone())))),
        ];
        let (sink, runner) = HookRunner::start(hooks, 16).unwrap();
        (0..3).for_each(|_| sink.send(event()));
        assert_eq!((0..3).filter(|_| all.recv().is_ok()).count(), 3);
        let counts = runner.counts.clone();
        drop(sink);
        assert!(runner.stop(Duration::from_secs(10)));
        assert_eq!((counts.panicked.load(Relaxed), counts.delivered.load(Relaxed)), (3, 3));
    }

    #[test]
    fn a_blocked_hook_loses_events_exactly_and_cannot_hold_up_the_end() {
        let (release, blocked) = bounded::<()>(0);
        let (entered, first) = bounded(16);
        let hook = FnHook(move |_: &Event| {
            let _ = (entered.send(()), blocked.recv());
        });
        let (sink, runner) = HookRunner::start(vec![Box::new(hook)], 2).unwrap();
        sink.send(event());
        first.recv().unwrap();
        (0..5).for_each(|_| sink.send(event()));
        assert_eq!(runner.stats().dropped, 3, "one is being handled, two wait");
        drop(sink);
        assert!(!runner.stop(Duration::from_millis(1)));
        drop(release);
    }

    #[test]
    fn without_hooks_there_is_no_thread() {
        let (sink, runner) = HookRunner::start(vec![], 1).unwrap();
        (0..5).for_each(|_| sink.send(event()));
        assert_eq!(runner.stats(), HookStats::default());
        assert!(runner.stop(Duration::ZERO));
    }
}
