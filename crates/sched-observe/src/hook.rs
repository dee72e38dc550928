//! What a hook is.

use std::fmt;

use sched_core::{Event, EventKind};

/// Is told what happens. Every method does nothing by default: write those that you care for.
///
/// ```
/// use sched_core::Event;
/// use sched_observe::Hook;
///
/// struct Pager;
///
/// impl Hook for Pager {
///     fn failed(&mut self, event: &Event) {
///         eprintln!("page somebody: {event:?}");
///     }
/// }
/// ```
///
/// A panic is caught and counted; the hook is called again for the next event.
pub trait Hook: Send {
    /// Every event; by default handed on to the method of its kind.
    fn event(&mut self, event: &Event) {
        match event.kind {
            EventKind::Submitted { .. } | EventKind::Coalesced { .. } => self.submitted(event),
            EventKind::Deferred { .. } => self.deferred(event),
            EventKind::Admitted { .. } => self.admitted(event),
            EventKind::Overridden { .. } => self.overridden(event),
            EventKind::RpoAtRisk { .. } => self.rpo_at_risk(event),
            EventKind::Started => self.started(event),
            EventKind::Pausing { .. } | EventKind::Paused | EventKind::Resumed { .. } => self.paused(event),
            EventKind::Retried { .. } => self.retried(event),
            EventKind::Succeeded { .. } => self.succeeded(event),
            EventKind::Failed { .. } => self.failed(event),
            EventKind::Cancelled { .. } => self.cancelled(event),
            EventKind::Rerated { .. } => self.rerated(event),
            EventKind::SignalLost { .. } | EventKind::SignalBack { .. } => self.signal(event),
            _ => self.other(event),
        }
    }

    /// A request was accepted, as a new job or joined to a pending one.
    fn submitted(&mut self, event: &Event) {
        let _ = event;
    }

    /// A job cannot start now.
    fn deferred(&mut self, event: &Event) {
        let _ = event;
    }

    /// Every gate is open for a job.
    fn admitted(&mut self, event: &Event) {
        let _ = event;
    }

    /// A deadline opened the load gate.
    fn overridden(&mut self, event: &Event) {
        let _ = event;
    }

    /// A deadline is about to be missed.
    fn rpo_at_risk(&mut self, event: &Event) {
        let _ = event;
    }

    /// An attempt began.
    fn started(&mut self, event: &Event) {
        let _ = event;
    }

    /// A running job is told to pause, stands, or goes on.
    fn paused(&mut self, event: &Event) {
        let _ = event;
    }

    /// An attempt failed and another follows.
    fn retried(&mut self, event: &Event) {
        let _ = event;
    }

    /// A backup is done.
    fn succeeded(&mut self, event: &Event) {
        let _ = event;
    }

    /// A job has failed for good.
    fn failed(&mut self, event: &Event) {
        let _ = event;
    }

    /// A job was cancelled.
    fn cancelled(&mut self, event: &Event) {
        let _ = event;
    }

    /// The total rate was changed.
    fn rerated(&mut self, event: &Event) {
        let _ = event;
    }

    /// A signal was lost or is back.
    fn signal(&mut self, event: &Event) {
        let _ = event;
    }

    /// Anything else: holds, load, capacity, clock, queue.
    fn other(&mut self, event: &Event) {
        let _ = event;
    }
}

/// A hook made of a closure that gets every event.
pub struct FnHook<F>(pub F);

impl<F: FnMut(&Event) + Send> Hook for FnHook<F> {
    fn event(&mut self, event: &Event) {
        (self.0)(event);
    }
}

impl<F> fmt::Debug for FnHook<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnHook")
    }
}
