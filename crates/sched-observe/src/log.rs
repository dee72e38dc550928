//! Events as log lines.

use sched_core::{Event, EventKind};
use tracing::{debug, info, warn};

use crate::hook::Hook;

/// Writes events to `tracing`: a line at `info` for every start, deferral and end, `warn` for what needs somebody,
/// `debug` for the rest. The whole event is in the field `event`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingHook;

impl Hook for TracingHook {
    fn event(&mut self, event: &Event) {
        let id = event.job.as_ref().map(|job| job.id.0);
        let attempt = event.job.as_ref().map(|job| job.attempt);
        let instance = event.job.as_ref().map(|job| job.instance.as_str());
        macro_rules! say {
            ($level:ident, $text:literal, $reason:expr) => {
                $level!(job.id = id, job.attempt = attempt, job.instance = instance, decision.reason = %$reason, $text)
            };
        }
        match &event.kind {
            EventKind::Started => say!(info, "backup started", "all gates open"),
            EventKind::Deferred { by, advice_only: false } => say!(info, "backup deferred", by),
            EventKind::Deferred { by, .. } => say!(info, "backup would be deferred", by),
            EventKind::Succeeded { ran, bytes } => {
                say!(info, "backup succeeded", format_args!("{bytes} bytes in {ran:.1?}"));
            }
            EventKind::Cancelled { reason } => say!(info, "backup cancelled", reason),
            EventKind::Overridden { gate } => say!(warn, "load gate overridden by the deadline", gate),
            EventKind::RpoAtRisk { reason, .. } => say!(warn, "recovery point at risk", reason),
            EventKind::Retried { error, .. } => say!(warn, "attempt failed, will retry", error),
            EventKind::Failed { error } => say!(warn, "backup failed", error),
            EventKind::SignalLost { signal, reason } => {
                say!(warn, "signal lost", format_args!("{signal}: {reason}"));
            }
            other => debug!(job.id = id, job.attempt = attempt, job.instance = instance, event = ?other),
        }
    }
}
