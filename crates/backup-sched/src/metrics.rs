//! The scheduler's numbers for a monitoring system: [`Scheduler::metrics`].

use sched_limits::{ProbeStatus, Rate, Room};
use sched_observe::impact::{ImpactWeeks, Period};
use sched_observe::metrics::{Counts, Histogram, Metric};

use crate::error::Stopped;
use crate::scheduler::Scheduler;
use crate::status::{PlaceRate, StoreStatus, Summary};

/// What the dispatcher gives away at once; metrics are made of it by who asks.
pub(crate) struct Measured {
    pub(crate) summary: Summary,
    pub(crate) counts: Counts,
    pub(crate) rounds: Histogram,
    pub(crate) rates: Vec<PlaceRate>,
    pub(crate) probes: Vec<ProbeStatus>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) impact: Option<ImpactWeeks>,
}

impl Scheduler {
    /// Counts since the start and the present state as metrics, for whatever monitoring system the program uses: see the
    /// adapters in [`observe::metrics`](crate::observe::metrics). The deciding thread gives away what it has in some
    /// microseconds, however many jobs wait. `docs/operating.md` lists all.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn metrics(&self) -> Result<Vec<Metric>, Stopped> {
        Ok(self.measured()?.metrics())
    }
}

impl Measured {
    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.jobs();
        metrics.extend(self.places());
        metrics.extend(self.probes());
        metrics.extend(self.own());
        metrics.extend(self.summary.store.iter().flat_map(store));
        metrics.extend(self.counts.metrics());
        metrics.extend(self.impact.iter().flat_map(|weeks| impact(&weeks.all())));
        metrics
    }

    fn jobs(&self) -> Vec<Metric> {
        let engine = &self.summary.engine;
        let mut waiting =
            Metric::gauge("backup_sched_jobs_waiting", "Jobs that wait to start").zero_if_absent();
        for backlog in &engine.backlog {
            let (technology, priority) = (backlog.technology.as_str(), backlog.priority.to_string());
            let labels = [("technology", technology), ("priority", &*priority)];
            waiting = waiting.with(labels, backlog.waiting as f64);
        }
        let mut active =
            Metric::gauge("backup_sched_jobs_active", "Jobs with an attempt under way").zero_if_absent();
        for (state, jobs) in &engine.active {
            active = active.with([("state", &*state.to_string())], *jobs as f64);
        }
        vec![waiting, active]
    }

    fn places(&self) -> Vec<Metric> {
        let mut used =
            Metric::gauge("backup_sched_resource_used", "What attempts hold, in the resource's unit");
        let mut total = Metric::gauge("backup_sched_resource_total", "What there is, in the resource's unit");
        for (resource, capacity) in &self.summary.engine.resources {
            used = used.with([("resource", resource.as_str())], capacity.used as f64);
            total = total.with([("resource", resource.as_str())], capacity.total as f64);
        }
        let help = "What all backups of a place may move together; absent while unlimited";
        let mut rate = Metric::gauge("backup_sched_rate_bytes_per_second", help);
        for place in &self.rates {
            if let Rate::BytesPerSec(bytes) = place.rate {
                rate = rate.with([("place", &*place.place.to_string())], bytes as f64);
            }
        }
        let mut room =
            Metric::gauge("backup_sched_room_jobs", "Jobs for which a place has room, as measured");
        for of in &self.rooms {
            room = room.with([("place", &*of.scope.to_string())], f64::from(of.jobs));
        }
        vec![used, total, rate, room]
    }

    fn probes(&self) -> Vec<Metric> {
        let mut up = Metric::gauge("backup_sched_probe_up", "1 while a probe gives usable values, else 0");
        let mut age = Metric::gauge("backup_sched_signal_age_seconds", "Age of a signal's newest value");
        let mut value =
            Metric::gauge("backup_sched_signal_value", "A signal's newest value, in its own unit");
        let help = "CPU time that asking a probe takes in a second";
        let mut cost = Metric::gauge("backup_sched_probe_cpu_ratio", help);
        let mut failures =
            Metric::counter("backup_sched_probe_failures_total", "Times that a probe failed or panicked");
        for probe in &self.probes {
            let name = [("probe", probe.probe.as_str())];
            up = up.with(name, f64::from(u8::from(probe.lost.is_none())));
            cost = cost.with(name, probe.cpu_per_sec.as_secs_f64());
            failures = failures.with(name, probe.failures as f64);
            for signal in &probe.signals {
                let (of, place) = (signal.reading.signal.as_str(), signal.reading.scope.to_string());
                let labels = [("probe", probe.probe.as_str()), ("signal", of), ("place", &*place)];
                age = age.with(labels, signal.age.as_secs_f64());
                value = value.with(labels, signal.reading.value);
            }
        }
        vec![up, age, value, cost, failures]
    }

    /// What the scheduler itself takes, and loses.
    fn own(&self) -> Vec<Metric> {
        let help = "Events that a hook was too slow for";
        let mut dropped = Metric::counter("backup_sched_hook_events_dropped_total", help);
        let help = "Events that a hook could not keep or hand on, or at which it panicked";
        let mut lost = Metric::counter("backup_sched_hook_events_lost_total", help);
        for hook in &self.summary.hooks {
            dropped = dropped.with([("hook", &*hook.name)], hook.dropped as f64);
            lost = lost.with([("hook", &*hook.name)], (hook.lost + hook.panicked) as f64);
        }
        let help = "Events that subscribers were too slow for";
        let missed = Metric::counter("backup_sched_subscriber_events_missed_total", help);
        let missed = missed.with([], self.summary.missed_by_subscribers as f64);
        let help = "Times that the deciding thread woke up";
        let wakeups = Metric::counter("backup_sched_wakeups_total", help);
        let wakeups = wakeups.with([], self.summary.wakeups as f64);
        let help = "How long rounds of decisions took";
        let rounds = Metric::histogram("backup_sched_decision_seconds", help);
        vec![dropped, lost, missed, wakeups, rounds.with_ranges([], self.rounds.clone())]
    }
}

/// How it stands with what is to be durable, where there is a store.
fn store(status: &StoreStatus) -> Vec<Metric> {
    let up = Metric::gauge("backup_sched_store_up", "1 while what is to be durable can be written, else 0");
    let help = "Jobs, scopes and schedules of which the newest is not durable yet";
    let backlog = Metric::gauge("backup_sched_store_backlog", help);
    let help = "How long the oldest of the backlog has waited";
    let waits = Metric::gauge("backup_sched_store_backlog_seconds", help);
    let groups = Metric::counter("backup_sched_store_groups_total", "Groups that were written");
    let entries = Metric::counter("backup_sched_store_entries_total", "Entries that were written");
    let failures = Metric::counter("backup_sched_store_failures_total", "Times that the store failed");
    vec![
        up.with([], f64::from(u8::from(status.error.is_none()))),
        backlog.with([], status.backlog as f64),
        waits.with([], status.waits_for.unwrap_or_default().as_secs_f64()),
        groups.with([], status.groups as f64),
        entries.with([], status.entries as f64),
        failures.with([], status.failures as f64),
    ]
}

/// What backups cost the foreground, where that is measured.
fn impact(all: &Period) -> Vec<Metric> {
    let tally = &all.tally;
    let help = "Backups whose impact was judged, of the weeks that are kept";
    let backups = Metric::gauge("backup_sched_impact_backups", help).with([], tally.backups as f64);
    let mut events = Metric::gauge("backup_sched_impact_events", "Latency events while they ran, by verdict");
    for (verdict, count) in
        [("caused", tally.caused), ("not_caused", tally.not_caused), ("cannot_tell", tally.cannot_tell)]
    {
        events = events.with([("verdict", verdict)], count as f64);
    }
    let help = "Upper bound of the latency events that a backup causes, at 95 %";
    let most = Metric::gauge("backup_sched_impact_events_per_backup_at_most", help);
    let most = if tally.backups > 0 { most.with([], tally.events_per_backup_at_most()) } else { most };
    let help = "Foreground latency with backups over that without";
    let mut ratio = Metric::gauge("backup_sched_impact_latency_ratio", help);
    for (quantile, of) in [("0.5", all.ratios.p50), ("0.95", all.ratios.p95), ("0.99", all.ratios.p99)] {
        if let Some(of) = of {
            ratio = ratio.with([("quantile", quantile)], of.value);
        }
    }
    vec![backups, events, most, ratio]
}
