//! What is counted of events and ends: [`Counts`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use sched_core::{Event, EventKind, Gate, JobState, JobStatus, Priority, SignalName, TechnologyName};

use super::{Histogram, Metric, SampleValue};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
/// Seconds that backups wait, run and stand.
const TIMES: &[f64] = &[
    1.0,
    10.0,
    MINUTE,
    5.0 * MINUTE,
    15.0 * MINUTE,
    HOUR,
    3.0 * HOUR,
    6.0 * HOUR,
    12.0 * HOUR,
    DAY,
    3.0 * DAY,
];
/// Seconds that are left to a deadline. What was late has none left, and lies in the first range.
const SLACKS: &[f64] =
    &[0.0, MINUTE, 10.0 * MINUTE, HOUR, 4.0 * HOUR, 12.0 * HOUR, DAY, 2.0 * DAY, 7.0 * DAY];

/// How jobs end.
const ENDS: [JobState; 3] = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];

/// Counts what happens, for metrics. Memory follows the technologies, gates and signals that were seen, not the jobs.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    technologies: BTreeMap<TechnologyName, OfTechnology>,
    lost: BTreeMap<SignalName, u64>,
    refused: u64,
    reloads: u64,
    wall_steps: u64,
    breakers: u64,
    law_failures: u64,
}

#[derive(Clone, Debug)]
struct OfTechnology {
    submitted: [u64; Priority::ALL.len()],
    /// By class: succeeded, failed, cancelled.
    ended: [[u64; ENDS.len()]; Priority::ALL.len()],
    deferred: BTreeMap<&'static str, u64>,
    coalesced: u64,
    started: u64,
    paused: u64,
    retried: u64,
    interrupted: u64,
    stuck: u64,
    overridden: u64,
    at_risk: u64,
    missed: u64,
    bytes: u64,
    waited: Histogram,
    deferral: Histogram,
    ran: Histogram,
    stood: Histogram,
    slack: Histogram,
}

impl Default for OfTechnology {
    fn default() -> Self {
        Self {
            submitted: Default::default(),
            ended: Default::default(),
            deferred: BTreeMap::new(),
            coalesced: 0,
            started: 0,
            paused: 0,
            retried: 0,
            interrupted: 0,
            stuck: 0,
            overridden: 0,
            at_risk: 0,
            missed: 0,
            bytes: 0,
            waited: Histogram::new(TIMES),
            deferral: Histogram::new(TIMES),
            ran: Histogram::new(TIMES),
            stood: Histogram::new(TIMES),
            slack: Histogram::new(SLACKS),
        }
    }
}

/// Name and help of a metric, and where its value is.
type Of<T> = (&'static str, &'static str, fn(&OfTechnology) -> T);

/// What a gate is called as a label: without the names that differ from place to place.
fn label(gate: &Gate) -> &'static str {
    match gate {
        Gate::Hold => "hold",
        Gate::Blackout => "blackout",
        Gate::Capacity => "capacity",
        Gate::Breaker => "breaker",
        Gate::Resource(_) => "resource",
        Gate::Limit => "limit",
        Gate::Health => "health",
        Gate::Overlap => "overlap",
        Gate::Time => "time",
        Gate::Window => "window",
        Gate::Plan => "plan",
        Gate::Load => "load",
        _ => "other",
    }
}

impl Counts {
    /// Counts an event.
    pub fn event(&mut self, event: &Event) {
        let Some(job) = &event.job else { return self.general(&event.kind) };
        if !self.technologies.contains_key(&job.technology) {
            self.technologies.insert(job.technology.clone(), OfTechnology::default());
        }
        let Some(counts) = self.technologies.get_mut(&job.technology) else { return };
        match &event.kind {
            EventKind::Submitted { .. } => counts.submitted[job.priority as usize] += 1,
            EventKind::Coalesced { .. } => counts.coalesced += 1,
            EventKind::Deferred { by, advice_only: false } => {
                *counts.deferred.entry(label(&by.gate)).or_default() += 1;
            }
            EventKind::Admitted { waited } => counts.waited.record_time(*waited),
            EventKind::Overridden { .. } => counts.overridden += 1,
            EventKind::RpoAtRisk { .. } => counts.at_risk += 1,
            EventKind::Started => counts.started += 1,
            EventKind::Paused => counts.paused += 1,
            EventKind::Resumed { paused_for } => counts.stood.record_time(*paused_for),
            EventKind::Retried { .. } => counts.retried += 1,
            EventKind::Interrupted { .. } => counts.interrupted += 1,
            EventKind::DoesNotStop { .. } => counts.stuck += 1,
            kind => self.general(kind),
        }
    }

    fn general(&mut self, kind: &EventKind) {
        match kind {
            EventKind::SignalLost { signal, .. } => *self.lost.entry(signal.clone()).or_default() += 1,
            EventKind::QueueFull { .. } => self.refused += 1,
            EventKind::PolicyReloaded { .. } => self.reloads += 1,
            EventKind::WallStepped { .. } => self.wall_steps += 1,
            EventKind::BreakerTripped { .. } => self.breakers += 1,
            EventKind::LawFailed { .. } => self.law_failures += 1,
            _ => {}
        }
    }

    /// Counts a job that has ended. One of whose technology no event was counted is not: it was never submitted here.
    pub fn ended(&mut self, at: Timestamp, job: &JobStatus) {
        let Some(counts) = self.technologies.get_mut(&job.job.technology) else { return };
        if let Some(end) = ENDS.iter().position(|end| *end == job.state) {
            counts.ended[job.job.priority as usize][end] += 1;
        }
        if job.state == JobState::Cancelled {
            return;
        }
        let slack = job.deadline.duration_since(at).as_secs_f64();
        counts.slack.record(slack.max(0.0));
        counts.missed += u64::from(slack < 0.0 || job.state == JobState::Failed);
        if job.deferrals > 0 {
            counts.deferral.record_time(job.waited);
        }
        if job.state == JobState::Succeeded {
            counts.ran.record_time(job.ran);
            counts.bytes += job.bytes;
        }
    }

    /// Everything that was counted.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut submitted = Metric::counter("backup_sched_jobs_submitted_total", "Jobs accepted");
        let mut ended = Metric::counter("backup_sched_jobs_ended_total", "Jobs that ended, by final state");
        let mut deferred = Metric::counter(
            "backup_sched_deferrals_total",
            "Times that a gate deferred a job whose turn had come",
        );
        for (technology, counts) in &self.technologies {
            let technology = technology.as_str();
            for (priority, (count, ends)) in
                Priority::ALL.iter().zip(counts.submitted.iter().zip(counts.ended))
            {
                // All ends of a class that was seen, so that the first of each is seen to be one more.
                if *count == 0 && ends == [0; ENDS.len()] {
                    continue;
                }
                let class = [("technology", technology), ("priority", &*priority.to_string())];
                submitted = submitted.with(class, *count as f64);
                for (state, ends) in ENDS.iter().zip(ends) {
                    let [technology, priority] = class;
                    ended = ended.with([technology, priority, ("state", &*state.to_string())], ends as f64);
                }
            }
            for (gate, count) in &counts.deferred {
                deferred = deferred.with([("technology", technology), ("gate", gate)], *count as f64);
            }
        }
        let mut metrics = vec![submitted, ended, deferred];
        let per_technology: [Of<u64>; 10] = [
            ("backup_sched_jobs_coalesced_total", "Requests that joined a pending job", |c| c.coalesced),
            ("backup_sched_attempts_started_total", "Attempts that began to run", |c| c.started),
            ("backup_sched_pauses_total", "Times that a running job stood still", |c| c.paused),
            ("backup_sched_retries_total", "Attempts that failed and were followed by another", |c| {
                c.retried
            }),
            ("backup_sched_interruptions_total", "Attempts that were stopped to continue later", |c| {
                c.interrupted
            }),
            (
                "backup_sched_attempts_stuck_total",
                "Attempts that had not stopped five minutes after they were told to",
                |c| c.stuck,
            ),
            ("backup_sched_overrides_total", "Load gates that a deadline opened", |c| c.overridden),
            ("backup_sched_rpo_at_risk_total", "Jobs whose deadline came into danger", |c| c.at_risk),
            (
                "backup_sched_rpo_missed_total",
                "Jobs that ended after their deadline, or failed for good",
                |c| c.missed,
            ),
            ("backup_sched_backup_bytes_total", "Bytes of backups that succeeded", |c| c.bytes),
        ];
        metrics.extend(per_technology.into_iter().map(|(name, help, count)| {
            let samples = self.technologies.iter();
            samples.fold(Metric::counter(name, help), |metric, (technology, counts)| {
                metric.with([("technology", technology.as_str())], count(counts) as f64)
            })
        }));
        let times: [Of<Histogram>; 5] = [
            ("backup_sched_wait_seconds", "From being due to the start of an attempt", |c| c.waited.clone()),
            (
                "backup_sched_deferral_seconds",
                "The same of jobs that a gate deferred, once they have ended",
                |c| c.deferral.clone(),
            ),
            ("backup_sched_run_seconds", "Run time of attempts that succeeded, without pauses", |c| {
                c.ran.clone()
            }),
            ("backup_sched_pause_seconds", "How long running jobs stood still", |c| c.stood.clone()),
            (
                "backup_sched_rpo_slack_seconds",
                "Left to the deadline at the end; 0 when it was missed",
                |c| c.slack.clone(),
            ),
        ];
        metrics.extend(times.into_iter().map(|(name, help, histogram)| {
            let mut metric = Metric::histogram(name, help);
            for (technology, counts) in &self.technologies {
                let labels = [("technology", technology.as_str())];
                metric.add(labels, SampleValue::Histogram(histogram(counts)));
            }
            metric
        }));
        let lost =
            Metric::counter("backup_sched_signal_losses_total", "Times that a probe or detector was lost");
        let lost = self
            .lost
            .iter()
            .fold(lost, |metric, (signal, count)| metric.with([("signal", signal.as_str())], *count as f64));
        metrics.push(lost);
        let general = [
            ("backup_sched_submissions_refused_total", "Submissions that found the queue full", self.refused),
            ("backup_sched_policy_reloads_total", "Times that other policies came into force", self.reloads),
            ("backup_sched_wall_clock_steps_total", "Jumps of the wall clock", self.wall_steps),
            ("backup_sched_breakers_tripped_total", "Scopes that failed too often in a row", self.breakers),
            ("backup_sched_law_failures_total", "Control laws that failed", self.law_failures),
        ];
        metrics.extend(general.map(|(name, help, count)| Metric::counter(name, help).with([], count as f64)));
        metrics
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sched_core::{Clock, Engine, EngineConfig, JobSpec, JobTerms, ManualClock, Output};

    use super::*;

    fn number(metrics: &[Metric], name: &str, labels: &[&str]) -> f64 {
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
        let found = metric
            .samples
            .iter()
            .find(|s| s.labels.iter().map(|(_, v)| v.as_str()).eq(labels.iter().copied()));
        match &found.unwrap_or_else(|| panic!("{name} has no {labels:?}: {metric:?}")).value {
            SampleValue::Number(number) => *number,
            SampleValue::Histogram(histogram) => histogram.count() as f64,
        }
    }

    /// A real engine's events, not made up ones.
    #[test]
    fn a_life_is_counted_by_technology() {
        let clock = ManualClock::default();
        let mut engine = Engine::new(EngineConfig::default(), clock.now());
        let deadline = clock.now().plus(Duration::from_secs(3600)).wall;
        let spec = JobSpec::new("orders", "mysql").deadline(deadline);
        engine.submit(clock.now(), spec, JobTerms::default()).unwrap();
        let mut counts = Counts::default();
        for _ in 0..3 {
            engine.advance(clock.now());
            while let Some(output) = engine.poll_output() {
                match output {
                    Output::Event(event) => counts.event(&event),
                    Output::Ended(job) => counts.ended(clock.now().wall, &job),
                    Output::Record(lsn, _) => engine.committed(clock.now(), lsn),
                    Output::Start(order) => {
                        engine.started(clock.now(), order.attempt);
                        clock.advance(Duration::from_secs(4000));
                        let end = sched_core::AttemptEnd::new(500, Ok(()));
                        engine.ended(clock.now(), order.attempt, end);
                    }
                    _ => {}
                }
            }
        }
        let metrics = counts.metrics();
        assert_eq!(number(&metrics, "backup_sched_jobs_submitted_total", &["mysql", "normal"]), 1.0);
        assert_eq!(number(&metrics, "backup_sched_jobs_ended_total", &["mysql", "normal", "succeeded"]), 1.0);
        assert_eq!(number(&metrics, "backup_sched_jobs_ended_total", &["mysql", "normal", "failed"]), 0.0);
        assert_eq!(number(&metrics, "backup_sched_backup_bytes_total", &["mysql"]), 500.0);
        assert_eq!(number(&metrics, "backup_sched_rpo_missed_total", &["mysql"]), 1.0, "400 s late");
        assert_eq!(number(&metrics, "backup_sched_run_seconds", &["mysql"]), 1.0);
    }

    #[test]
    fn names_follow_the_conventions() {
        let mut names = std::collections::BTreeSet::new();
        for metric in Counts::default().metrics() {
            assert!(names.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("backup_sched_"), "{}", metric.name);
            let counted = metric.kind == super::super::MetricKind::Counter;
            assert_eq!(metric.name.ends_with("_total"), counted, "{}", metric.name);
        }
    }
}
