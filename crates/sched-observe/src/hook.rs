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
///         eprintln!("page somebody: {event}");
///     }
/// }
/// ```
///
/// A hook is called on a thread of its own, event after event. It may block: then it loses the events that its queue
/// cannot hold, which are counted, and no one else notices. A panic is caught and counted, and the hook is called again
/// for the next event.
pub trait Hook: Send {
    /// What it is called where its losses are counted. Default: the name of its type.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// Events that it could not keep or hand on so far, though it was called with them. Default 0.
    fn lost(&self) -> u64 {
        0
    }

    /// Every event; by default handed on to the method of its kind.
    fn event(&mut self, event: &Event) {
        match event.kind {
            EventKind::Submitted { .. } => self.submitted(event),
            EventKind::Coalesced { .. } => self.coalesced(event),
            EventKind::Deferred { .. } => self.deferred(event),
            EventKind::Planned { .. } => self.planned(event),
            EventKind::Admitted { .. } => self.admitted(event),
            EventKind::Overridden { .. } => self.overridden(event),
            EventKind::RpoAtRisk { .. } => self.rpo_at_risk(event),
            EventKind::Started => self.started(event),
            EventKind::PhaseBegan { .. } => self.phase_began(event),
            EventKind::Progress { .. } => self.progress(event),
            EventKind::Pausing { .. } | EventKind::Paused => self.paused(event),
            EventKind::Resumed { .. } => self.resumed(event),
            EventKind::Interrupted { .. } => self.interrupted(event),
            EventKind::DoesNotStop { .. } => self.does_not_stop(event),
            EventKind::Retried { .. } => self.retried(event),
            EventKind::Succeeded { .. } => self.succeeded(event),
            EventKind::Failed { .. } => self.failed(event),
            EventKind::Cancelled { .. } => self.cancelled(event),
            EventKind::Reprioritized { .. }
            | EventKind::HoldChanged { .. }
            | EventKind::Drained { .. }
            | EventKind::RunNow { .. }
            | EventKind::CeilingChanged { .. } => self.ordered(event),
            EventKind::Rerated { .. } => self.rerated(event),
            EventKind::SignalLost { .. } => self.signal_lost(event),
            EventKind::SignalBack { .. } => self.signal_back(event),
            EventKind::PolicyReloaded { .. } => self.policy_reloaded(event),
            EventKind::QueueFull { .. } => self.queue_full(event),
            EventKind::StoreRead { .. } | EventKind::StoreDown { .. } | EventKind::StoreBack { .. } => {
                self.store_changed(event);
            }
            EventKind::DueSubmitted { .. }
            | EventKind::DuePostponed { .. }
            | EventKind::DueSkipped { .. }
            | EventKind::DueRefused { .. } => self.due(event),
            EventKind::LoadChanged { .. }
            | EventKind::CapacityChanged { .. }
            | EventKind::RoomChanged { .. }
            | EventKind::CalendarChanged { .. }
            | EventKind::HealthChanged { .. }
            | EventKind::BreakerTripped { .. } => self.surroundings_changed(event),
            _ => self.other(event),
        }
    }

    /// A request was accepted as a new job.
    fn submitted(&mut self, event: &Event) {
        let _ = event;
    }

    /// A recurring backup was due: it was asked for, is asked for later, was skipped or refused.
    fn due(&mut self, event: &Event) {
        let _ = event;
    }

    /// What a former scheduler left was taken over from the store, or the store failed, or works again.
    fn store_changed(&mut self, event: &Event) {
        let _ = event;
    }

    /// A request joined a job that was already pending.
    fn coalesced(&mut self, event: &Event) {
        let _ = event;
    }

    /// A job cannot start now; the strongest closed gate says why.
    fn deferred(&mut self, event: &Event) {
        let _ = event;
    }

    /// A waiting job is to start at another moment than before.
    fn planned(&mut self, event: &Event) {
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

    /// A running attempt entered another phase.
    fn phase_began(&mut self, event: &Event) {
        let _ = event;
    }

    /// An attempt has done another tenth.
    fn progress(&mut self, event: &Event) {
        let _ = event;
    }

    /// A running job is told to pause, or stands.
    fn paused(&mut self, event: &Event) {
        let _ = event;
    }

    /// A paused job goes on.
    fn resumed(&mut self, event: &Event) {
        let _ = event;
    }

    /// An attempt was stopped to continue later.
    fn interrupted(&mut self, event: &Event) {
        let _ = event;
    }

    /// An attempt was told to stop a while ago and has not.
    fn does_not_stop(&mut self, event: &Event) {
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

    /// An operator's order came, ended or was carried out: class, hold, drain, run now, ceiling.
    fn ordered(&mut self, event: &Event) {
        let _ = event;
    }

    /// The rate of a place was changed.
    fn rerated(&mut self, event: &Event) {
        let _ = event;
    }

    /// A probe or detector gives no usable value.
    fn signal_lost(&mut self, event: &Event) {
        let _ = event;
    }

    /// A lost probe or detector gives values again.
    fn signal_back(&mut self, event: &Event) {
        let _ = event;
    }

    /// Other policies are in force.
    fn policy_reloaded(&mut self, event: &Event) {
        let _ = event;
    }

    /// A submission was refused.
    fn queue_full(&mut self, event: &Event) {
        let _ = event;
    }

    /// Load, capacity, room, window or health of a place changed, or a breaker tripped.
    fn surroundings_changed(&mut self, event: &Event) {
        let _ = event;
    }

    /// Anything else: a clock that jumps, a law that fails.
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
