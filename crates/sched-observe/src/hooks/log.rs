//! Events as log lines.

use std::collections::BTreeMap;

use sched_core::{Event, EventKind, JobId, JobRef};
use tracing::{Level, Span, debug, info, info_span, warn};

use crate::hook::Hook;

/// Jobs whose spans are kept at once. An end that a full queue lost would keep its span for ever; then the oldest job's
/// goes.
const MOST_SPANS: usize = 4096;

/// Writes events to `tracing`: a line at `info` for every start, deferral and end, `warn` for what needs somebody, and
/// `debug` for the rest.
///
/// Lines of a job that runs are in its span `backup`, with an `attempt` within; all lines have the job's number, attempt
/// and instance as fields, and the decision as a sentence.
#[derive(Debug, Default)]
pub struct TracingHook {
    spans: BTreeMap<JobId, Spans>,
}

#[derive(Debug)]
struct Spans {
    job: Span,
    attempt: Span,
}

impl TracingHook {
    /// A hook that writes to the subscriber of its thread, which is the global one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The span in which an event belongs: that of its attempt or job, if it runs.
    fn span(&mut self, event: &Event) -> Span {
        let Some(job) = &event.job else { return Span::none() };
        if event.kind == EventKind::Started {
            let spans = self.spans.entry(job.id).or_insert_with(|| Spans::new(job));
            spans.attempt = info_span!(parent: &spans.job, "attempt", number = job.attempt);
            if self.spans.len() > MOST_SPANS {
                self.spans.pop_first();
            }
        }
        self.spans.get(&job.id).map_or_else(Span::none, |spans| spans.attempt.clone())
    }

    /// Lets go of the spans that end with an event.
    fn close(&mut self, event: &Event) {
        let Some(job) = &event.job else { return };
        match event.kind {
            EventKind::Succeeded { .. } | EventKind::Failed { .. } | EventKind::Cancelled { .. } => {
                self.spans.remove(&job.id);
            }
            EventKind::Retried { .. } | EventKind::Interrupted { .. } => {
                if let Some(spans) = self.spans.get_mut(&job.id) {
                    spans.attempt = spans.job.clone();
                }
            }
            _ => {}
        }
    }
}

impl Spans {
    fn new(job: &JobRef) -> Self {
        let span = info_span!(
            parent: None,
            "backup",
            job.id = job.id.0,
            job.instance = job.instance.as_str(),
            job.technology = job.technology.as_str(),
            job.kind = %job.kind,
        );
        Self { attempt: span.clone(), job: span }
    }
}

/// How much an event matters to who reads the log.
fn level(kind: &EventKind) -> Level {
    match kind {
        EventKind::Overridden { .. }
        | EventKind::RpoAtRisk { .. }
        | EventKind::Retried { .. }
        | EventKind::DoesNotStop { .. }
        | EventKind::Failed { .. }
        | EventKind::SignalLost { .. }
        | EventKind::LawFailed { .. }
        | EventKind::BreakerTripped { .. }
        | EventKind::HealthChanged { down: Some(_), .. }
        | EventKind::WallStepped { .. }
        | EventKind::DueRefused { .. }
        | EventKind::StoreDown { .. }
        | EventKind::QueueFull { .. } => Level::WARN,
        EventKind::Started
        | EventKind::Deferred { .. }
        | EventKind::DueSkipped { .. }
        | EventKind::Succeeded { .. }
        | EventKind::Cancelled { .. }
        | EventKind::Interrupted { .. }
        | EventKind::SignalBack { .. }
        | EventKind::StoreRead { .. }
        | EventKind::StoreBack { .. }
        | EventKind::HealthChanged { .. }
        | EventKind::HoldChanged { .. }
        | EventKind::Drained { .. }
        | EventKind::CeilingChanged { .. }
        | EventKind::PolicyReloaded { .. } => Level::INFO,
        _ => Level::DEBUG,
    }
}

impl Hook for TracingHook {
    fn name(&self) -> &str {
        "tracing"
    }

    fn event(&mut self, event: &Event) {
        let span = self.span(event);
        let id = event.job.as_ref().map(|job| job.id.0);
        let attempt = event.job.as_ref().map(|job| job.attempt);
        let instance = event.job.as_ref().map(|job| job.instance.as_str());
        macro_rules! say {
            ($level:ident) => {
                $level!(parent: &span, job.id = id, job.attempt = attempt, job.instance = instance, "{event}")
            };
        }
        match level(&event.kind) {
            Level::WARN => say!(warn),
            Level::INFO => say!(info),
            _ => say!(debug),
        }
        self.close(event);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use sched_core::{BackupKind, Clock, ManualClock, Reason};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(hook: &mut TracingHook, events: &[Event]) -> Vec<String> {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || events.iter().for_each(|event| hook.event(event)));
        String::from_utf8(lines.0.lock().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    fn event(id: u64, attempt: u32, kind: EventKind) -> Event {
        let mut job = JobRef::new(JobId(id), "orders", "mysql", BackupKind::Full);
        job.attempt = attempt;
        Event::new(ManualClock::default().now(), Some(job), kind)
    }

    #[test]
    fn a_life_is_a_line_a_step_in_the_spans_of_job_and_attempt() {
        let mut hook = TracingHook::new();
        let at = ManualClock::default().now().wall;
        let lines = logged(
            &mut hook,
            &[
                event(7, 0, EventKind::Admitted { waited: Duration::ZERO }),
                event(7, 1, EventKind::Started),
                event(7, 1, EventKind::Retried { error: "gone".into(), not_before: at }),
                event(7, 2, EventKind::Started),
                event(7, 2, EventKind::Succeeded { ran: Duration::from_secs(60), bytes: 5 }),
                event(7, 2, EventKind::Cancelled { reason: Reason::new("late") }),
            ],
        );
        let levels: Vec<_> = lines.iter().map(|line| line.trim().split(' ').next().unwrap()).collect();
        assert_eq!(levels, ["DEBUG", "INFO", "WARN", "INFO", "INFO", "INFO"]);
        let span = r#"backup{job.id=7 job.instance="orders" job.technology="mysql" job.kind=full}:attempt{number=2}: "#;
        assert!(lines[4].contains(span), "{}", lines[4]);
        assert!(lines[4].contains("full backup of orders: succeeded: 5 bytes in 60s"), "{}", lines[4]);
        assert!(lines[2].contains("attempt{number=1}"), "{}", lines[2]);
        assert!(!lines[0].contains("backup{") && !lines[5].contains("backup{"), "a span outlives its job");
        assert!(hook.spans.is_empty());
    }

    #[test]
    fn ends_that_are_lost_do_not_fill_the_memory() {
        let mut hook = TracingHook::new();
        let starts: Vec<_> = (0..MOST_SPANS as u64 + 10).map(|id| event(id, 1, EventKind::Started)).collect();
        // Under a subscriber, as the other test: what one thread caches of who listens counts for all.
        assert_eq!(logged(&mut hook, &starts).len(), starts.len());
        assert_eq!(hook.spans.len(), MOST_SPANS);
        assert!(!hook.spans.contains_key(&JobId(9)));
    }
}
