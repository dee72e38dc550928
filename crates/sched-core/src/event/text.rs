//! Events as sentences for people.

use std::fmt;
use std::time::Duration;

use super::{Event, EventKind, JobRef};
use crate::calendar::CalendarState;
use crate::gate::CapacityState;

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} backup of {}", self.kind, self.instance)
    }
}

impl fmt::Display for Event {
    /// What happened to what, in one line without the time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.job {
            Some(job) => write!(f, "{job}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

/// Whole seconds of what is long, milliseconds of what is short.
fn rounded(time: Duration) -> Duration {
    match time.as_secs() {
        0..10 => Duration::from_millis(time.as_millis() as u64),
        seconds => Duration::from_secs(seconds),
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitted { deadline, latest_start } => {
                write!(f, "submitted, to finish by {deadline}; starts by {latest_start} at the latest")
            }
            Self::Coalesced { requesters } => write!(f, "joined by another request, {requesters} by now"),
            Self::Deferred { by, advice_only: false } => write!(f, "deferred: {by}"),
            Self::Deferred { by, .. } => write!(f, "would be deferred: {by}"),
            Self::Admitted { waited } => write!(f, "admitted after {:?}", rounded(*waited)),
            Self::Overridden { gate } => write!(f, "overrides a gate, as its slack is used up: {gate}"),
            Self::Planned { plan: Some(plan) } => write!(f, "planned for {}: {}", plan.start, plan.why),
            Self::Planned { plan: None } => f.write_str("planned for as soon as it may"),
            Self::RpoAtRisk { deadline, reason } => write!(f, "deadline {deadline} at risk: {reason}"),
            Self::Started => f.write_str("started"),
            Self::PhaseBegan { phase } => write!(f, "phase {} began", phase.name),
            Self::Progress { progress } => {
                write!(f, "{}", progress.done_bytes)?;
                progress.total_bytes.iter().try_for_each(|total| write!(f, " of {total}"))?;
                f.write_str(" bytes done")
            }
            Self::Pausing { reason } => write!(f, "to pause: {reason}"),
            Self::Paused => f.write_str("paused"),
            Self::Resumed { paused_for } => write!(f, "goes on after {:?}", rounded(*paused_for)),
            Self::Retried { error, not_before } => {
                write!(f, "failed, to be tried again from {not_before} on: {error}")
            }
            Self::Succeeded { ran, bytes } => write!(f, "succeeded: {bytes} bytes in {:?}", rounded(*ran)),
            Self::Failed { error } => write!(f, "failed for good: {error}"),
            Self::Cancelled { reason } => write!(f, "cancelled: {reason}"),
            Self::Reprioritized { from } => write!(f, "class changed from {from}"),
            Self::Interrupted { reason, not_before } => {
                write!(f, "stopped, to continue from {not_before} on: {reason}")
            }
            Self::DoesNotStop { waited, reason } => {
                write!(f, "does not stop, and keeps what it holds; it was told to {waited:?} ago: {reason}")
            }
            Self::HoldChanged { scope, order: Some(order) } => write!(f, "{scope} is held: {order}"),
            Self::HoldChanged { scope, order: None } => write!(f, "{scope} is no longer held"),
            Self::Drained { scope } => write!(f, "{scope} is drained: its last backup has ended"),
            Self::RunNow { scope, order } => {
                if let Some(scope) = scope {
                    write!(f, "{scope}: ")?;
                }
                match order {
                    Some(order) => write!(f, "to run now: {order}"),
                    None => f.write_str("no longer to run at once"),
                }
            }
            Self::CeilingChanged { scope, bytes_per_sec: Some(rate), .. } => {
                write!(f, "{scope} may move {rate} bytes/s at most")
            }
            Self::CeilingChanged { scope, .. } => write!(f, "{scope} has no ceiling any more"),
            Self::BreakerTripped { scope, until } => {
                write!(f, "too many failures in {scope}: nothing starts there before {until}")
            }
            Self::HealthChanged { scope, down: Some(reason) } => write!(f, "{scope} is down: {reason}"),
            Self::HealthChanged { scope, down: None } => write!(f, "{scope} is up"),
            Self::LoadChanged { scope, technology, sensitivity, state } => {
                write!(f, "load of {scope}")?;
                technology.iter().try_for_each(|name| write!(f, ", as {name} feels it"))?;
                sensitivity.iter().try_for_each(|name| write!(f, ", for sensitivity {name}"))?;
                write!(f, ": {} ({})", state.level, state.reason)
            }
            Self::CalendarChanged { scope, state } => match state {
                CalendarState::Open => write!(f, "{scope}: a window opened"),
                CalendarState::Closed { reason } => write!(f, "{scope}: no window is open: {reason}"),
                CalendarState::Blackout { reason } => write!(f, "{scope}: a blackout: {reason}"),
            },
            Self::CapacityChanged { scope, state } => match state {
                CapacityState::Open => write!(f, "{scope} has room again"),
                CapacityState::Closed { reason, .. } => write!(f, "{scope} is short of room: {reason}"),
            },
            Self::RoomChanged { scope, jobs, reason } => {
                write!(f, "{scope} has room for {jobs} jobs: {reason}")
            }
            Self::Rerated { scope, bytes_per_sec: Some(rate), reason } => {
                write!(f, "{scope} may move {rate} bytes/s: {reason}")
            }
            Self::Rerated { scope, bytes_per_sec: None, reason } => {
                write!(f, "{scope} is unlimited: {reason}")
            }
            Self::LawFailed { scope, signal, reason } => {
                write!(f, "the law that follows {signal} in {scope} failed: {reason}")
            }
            Self::SignalLost { signal, reason } => write!(f, "signal {signal} is lost: {reason}"),
            Self::SignalBack { signal } => write!(f, "signal {signal} is back"),
            Self::WallStepped { by_secs } => write!(f, "the wall clock jumped by {by_secs} s"),
            Self::PolicyReloaded { changes, placed_anew, keep } => {
                write!(
                    f,
                    "policies reloaded: {changes}; {placed_anew} jobs placed anew, {keep} keep their terms"
                )
            }
            Self::DueSubmitted { instance, kind, id, reason, .. } => {
                write!(f, "{kind} backup of {instance} asked for as {id} by its schedule {reason}")
            }
            Self::DuePostponed { instance, kind, due, until, reason } => {
                write!(f, "{kind} backup of {instance}, due {due}, is asked for later")?;
                until.iter().try_for_each(|until| write!(f, ", at {until}"))?;
                write!(f, ": {reason}")
            }
            Self::DueSkipped { instance, kind, slots, reason } => {
                write!(f, "{slots} {kind} backups of {instance} skipped: {reason}")
            }
            Self::DueRefused { instance, kind, due, error } => {
                write!(f, "{kind} backup of {instance}, due {due}, refused: {error}")
            }
            Self::StoreRead { store, jobs, interrupted, left } => {
                write!(f, "{jobs} jobs go on from {store}, {interrupted} of them were cut off")?;
                if *left > 0 {
                    write!(f, "; {left} stay there, for want of an executor")?;
                }
                Ok(())
            }
            Self::StoreDown { store, error } => {
                write!(
                    f,
                    "nothing can be made durable in {store}, so nothing is accepted or started: {error}"
                )
            }
            Self::StoreBack { store, down_for } => {
                write!(f, "{store} takes what is to be durable again, after {} s", down_for.as_secs())
            }
            Self::QueueFull { pending } => {
                write!(f, "a submission was refused: {pending} jobs are in the queue")
            }
            Self::Unknown => f.write_str("something that this version does not know"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Reason;
    use crate::spec::{BackupKind, JobId};
    use crate::time::{Clock, ManualClock};

    #[test]
    fn an_event_says_what_happened_to_what() {
        let job = JobRef::new(JobId(7), "orders", "mysql", BackupKind::Full);
        let at = ManualClock::default().now();
        let kind = EventKind::Succeeded { ran: Duration::from_micros(61_234_567), bytes: 12 };
        let event = Event { at, job: Some(job), kind };
        assert_eq!(event.to_string(), "full backup of orders: succeeded: 12 bytes in 61s");
        let event = Event { at, job: None, kind: EventKind::WallStepped { by_secs: -3 } };
        assert_eq!(event.to_string(), "the wall clock jumped by -3 s");
        let (instance, kind, reason) = ("orders".into(), BackupKind::Log, Reason::new("`5m`: due now"));
        let kind = EventKind::DueSubmitted { instance, kind, id: JobId(7), due: at.wall, reason };
        assert_eq!(kind.to_string(), "log backup of orders asked for as job-7 by its schedule `5m`: due now");
    }

    #[test]
    fn an_event_of_a_later_version_is_read_with_what_is_known_of_it() {
        let at = ManualClock::default().now();
        let job = JobRef::new(JobId(7), "orders", "mysql", BackupKind::Full);
        let known = Event::new(at, Some(job), EventKind::QueueFull { pending: 3 });
        let json = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), known);
        let later = json.replace(r#""queue_full","pending":3"#, r#""moved","to":{"host":"b"},"by":[1]"#);
        assert_ne!(later, json);
        let read: Event = serde_json::from_str(&later).unwrap();
        assert_eq!(read, Event::new(at, known.job.clone(), EventKind::Unknown));
        assert_eq!(read.to_string(), "full backup of orders: something that this version does not know");
        // What is known is not taken for unknown where it is damaged.
        assert!(serde_json::from_str::<Event>(&json.replace(":3", r#":"three""#)).is_err());
    }
}
