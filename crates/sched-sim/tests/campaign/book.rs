//! What a scheduler has promised, written down by somebody who does not know how it decides: [`Book`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sched_core::{
    BackupKind, Calendar, CalendarState, Engine, EngineConfig, Event, EventKind, Gate, JobId, JobRef,
    JobTerms, LoadLevel, Lsn, Now, Output, Priority, Record, Scope,
};
use sched_sim::RunId;

use crate::policy::Policies;
use crate::{Checked, ensure};

/// Everything that was asked for and has not ended, and what the surroundings are.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) config: EngineConfig,
    pub(crate) jobs: BTreeMap<JobId, Entry>,
    ended: BTreeSet<JobId>,
    pub(crate) holds: BTreeSet<Scope>,
    pub(crate) short: BTreeSet<Scope>,
    pub(crate) down: BTreeSet<Scope>,
    pub(crate) loads: BTreeMap<Scope, LoadLevel>,
    /// How much there is of each resource, by place.
    pub(crate) totals: BTreeMap<(Scope, &'static str), u64>,
    /// The first record of the newest attempt of each job, and up to where records are durable.
    written: BTreeMap<JobId, (Lsn, u32)>,
    pub(crate) durable: Lsn,
    /// When the wall last jumped, in seconds.
    pub(crate) jumped_at: f64,
}

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) instance: u32,
    pub(crate) kind: BackupKind,
    pub(crate) terms: std::sync::Arc<JobTerms>,
    pub(crate) priority: Priority,
    /// Whom signals and orders concern that concern it, from the fleet down.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) plan: Option<Timestamp>,
    /// When it must start, as last told.
    pub(crate) latest: Timestamp,
    pub(crate) submitted: Timestamp,
    /// Somebody wants it now.
    pub(crate) express: bool,
    /// Critical jobs that have started on its link while it waited.
    pub(crate) passed: u32,
    /// Newest attempt, from 1.
    pub(crate) attempt: u32,
    /// Failures that nobody else was blamed for.
    pub(crate) failures: u32,
    back_off_until: f64,
    /// Something was wrong when it failed; once that is over it need not wait its back-off out.
    excusable: bool,
    excused: bool,
    pub(crate) active: Option<Active>,
}

/// An attempt under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Active {
    /// It was let out: somebody works on it.
    pub(crate) run: Option<RunId>,
    pub(crate) holds: bool,
    /// It went before all others when it started.
    strict: bool,
    /// Told to pause, and when.
    pub(crate) pausing: Option<f64>,
    pub(crate) stands: bool,
    pub(crate) stopping: bool,
    pub(crate) timed_out: bool,
    /// It was told to pause for a critical job, or since there is less of something than before.
    pub(crate) for_another: bool,
    /// It did not pause in time when it was asked to.
    pub(crate) deaf: bool,
    ran: f64,
    moves_since: Option<f64>,
}

impl Active {
    pub(crate) fn moves(&mut self, now: f64, moves: bool) {
        self.ran = self.ran(now);
        self.moves_since = moves.then_some(now);
    }

    /// Somebody works on it.
    pub(crate) fn begin(&mut self, now: f64, run: RunId) {
        (self.run, self.ran, self.moves_since) = (Some(run), 0.0, Some(now));
    }

    /// Seconds for which it has moved.
    pub(crate) fn ran(&self, now: f64) -> f64 {
        self.ran + self.moves_since.map_or(0.0, |since| now - since)
    }
}

impl Entry {
    pub(crate) fn new(instance: u32, kind: BackupKind, terms: std::sync::Arc<JobTerms>) -> Self {
        let (latest, submitted) = (Timestamp::MAX, Timestamp::MAX);
        Self {
            instance,
            kind,
            priority: terms.priority,
            terms,
            scopes: Vec::new(),
            not_before: None,
            plan: None,
            latest,
            submitted,
            express: false,
            passed: 0,
            attempt: 0,
            failures: 0,
            back_off_until: 0.0,
            excusable: false,
            excused: false,
            active: None,
        }
    }

    pub(crate) fn waits(&self) -> bool {
        self.active.is_none()
    }

    /// It goes before all others.
    fn is_strict(&self) -> bool {
        self.express || self.priority == Priority::Critical
    }

    /// It is to run now, whatever its back-off.
    pub(crate) fn hurry(&mut self) {
        (self.express, self.back_off_until) = (true, 0.0);
    }

    /// An attempt that nobody has heard of is called off.
    fn call_off(&mut self, failed: bool) {
        if self.active.as_ref().is_some_and(|run| run.run.is_none()) {
            self.active = None;
            self.failures += u32::from(failed);
        }
    }

    fn amount(&self, resource: &str) -> u64 {
        self.terms.demand.iter().find(|(name, _)| name.as_str() == resource).map_or(0, |(_, amount)| amount)
    }

    /// The highest load at which it may start, so many seconds after a moment.
    pub(crate) fn tolerates(&self, wall: Timestamp, after: f64) -> LoadLevel {
        let left = self.latest.duration_since(wall).as_secs_f64() - after;
        if self.priority >= Priority::High || self.express || left <= 0.0 {
            return LoadLevel::Peak;
        }
        let slack = self.latest.duration_since(self.submitted).as_secs_f64();
        if left <= slack / 4.0 { LoadLevel::Busy } else { LoadLevel::Calm }
    }

    /// Whether its requested start or its back-off keeps it.
    pub(crate) fn keeps_time(&self, wall: Timestamp, now: f64) -> bool {
        let asked = self.not_before.is_some_and(|from| from.duration_since(wall).as_secs_f64() > -0.01);
        (asked && !self.express) || now <= self.back_off_until + 0.01
    }

    /// The process that had it under way is gone.
    fn restarted(&mut self) {
        (self.active, self.plan) = (None, None);
    }
}

pub(crate) fn secs(now: Now) -> f64 {
    now.mono.as_nanos() as f64 * 1e-9
}

impl Book {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let (jobs, ended, written, totals) = Default::default();
        let (holds, short, down, loads) = Default::default();
        Self {
            config,
            jobs,
            ended,
            holds,
            short,
            down,
            loads,
            totals,
            written,
            durable: Lsn(0),
            jumped_at: f64::NEG_INFINITY,
        }
    }

    /// Another process goes on, and has been told nothing yet.
    pub(crate) fn restarted(&mut self) {
        self.jobs.values_mut().for_each(Entry::restarted);
        self.written.clear();
        self.durable = Lsn(0);
        self.loads.clear();
        self.short.clear();
        self.down.clear();
    }

    /// When jobs must start by now: one that waits again, earlier than one that may finish outside its windows.
    pub(crate) fn read_moments(&mut self, engine: &Engine) {
        for (id, entry) in &mut self.jobs {
            if let Ok(status) = engine.job_status(*id) {
                (entry.latest, entry.submitted) = (status.latest_start, status.submitted);
            }
        }
    }

    pub(crate) fn load(&self, entry: &Entry) -> LoadLevel {
        entry.scopes.iter().filter_map(|scope| self.loads.get(scope)).copied().max().unwrap_or_default()
    }

    /// Something has opened for the jobs of a scope.
    pub(crate) fn opened(&mut self, scope: &Scope) {
        let concerned = self.jobs.values_mut().filter(|entry| entry.scopes.contains(scope));
        concerned.for_each(|entry| entry.excused |= entry.excusable);
    }

    /// The calendar of a job, as it stands.
    pub(crate) fn calendar(policies: &Policies, entry: &Entry, wall: Timestamp) -> CalendarState {
        let calendar = entry.terms.window.as_ref().and_then(|name| policies.calendars.get(name));
        calendar
            .map_or(CalendarState::Open, |calendar: &std::sync::Arc<dyn Calendar>| calendar.at(wall).state)
    }

    /// What is used of a resource at a place by those under way.
    pub(crate) fn used(&self, place: &Scope, resource: &str) -> u64 {
        let holding = self.jobs.values().filter(|entry| entry.active.as_ref().is_some_and(|run| run.holds));
        holding.filter(|entry| entry.scopes.contains(place)).map(|entry| entry.amount(resource)).sum()
    }

    fn check_room(&self, id: JobId) -> Checked {
        let entry = &self.jobs[&id];
        for ((place, resource), total) in &self.totals {
            let used = self.used(place, resource);
            let concerns = entry.scopes.contains(place) && entry.amount(resource) > 0;
            ensure(!concerns || used <= *total, || {
                format!("{id} moves with {used} of {total} {resource} of {place} in use")
            })?;
        }
        Ok(())
    }

    /// An output of the engine.
    pub(crate) fn hear(&mut self, engine: &Engine, policies: &Policies, output: &Output) -> Checked {
        match output {
            Output::Event(event) => self.hear_event(engine, policies, event),
            Output::Record(lsn, record) => {
                let Some(id) = record.job() else { return Ok(()) };
                let attempt = match record {
                    Record::Job(record) if record.under_way => record.attempt,
                    _ => 0,
                };
                if self.written.get(&id).is_none_or(|(_, written)| *written != attempt) {
                    self.written.insert(id, (*lsn, attempt));
                }
                Ok(())
            }
            Output::Start(order) => {
                let id = order.attempt.job;
                let entry = self.jobs.get(&id).ok_or_else(|| format!("{id} starts, and is unknown"))?;
                let admitted = entry.active.as_ref().is_some_and(|run| run.run.is_none());
                ensure(admitted && order.attempt.number == entry.attempt, || {
                    format!("{:?} starts beside attempt {}", order.attempt, entry.attempt)
                })?;
                let (lsn, attempt) = self.written.get(&id).copied().unwrap_or_default();
                ensure(
                    !self.config.journal || (attempt == order.attempt.number && lsn <= self.durable),
                    || format!("{id} starts before anything durable says so"),
                )
            }
            Output::Pause(attempt) => {
                let run = self.jobs.get(&attempt.job).filter(|entry| entry.terms.pausable);
                ensure(run.is_some_and(|entry| !entry.waits()), || format!("{attempt:?} may not pause"))
            }
            Output::Resume(attempt) => {
                let run = self.jobs.get_mut(&attempt.job).and_then(|entry| entry.active.as_mut());
                let Some(run) = run.filter(|run| run.stands || run.pausing.is_some()) else {
                    return Err(format!("{attempt:?} is to go on, and did not stand"));
                };
                run.holds = true;
                if run.stands { self.check_room(attempt.job) } else { Ok(()) }
            }
            Output::Ended(status) => {
                let id = status.job.id;
                let entry = self.jobs.remove(&id).ok_or_else(|| format!("{id} ends, and is unknown"))?;
                let runs = entry.active.as_ref().is_some_and(|run| run.run.is_some());
                ensure(!runs, || format!("{id} ends while its attempt runs"))?;
                ensure(self.ended.insert(id), || format!("{id} ends twice"))
            }
            _ => Ok(()),
        }
    }

    fn hear_event(&mut self, engine: &Engine, policies: &Policies, event: &Event) -> Checked {
        let Some(job) = &event.job else { return Ok(()) };
        let id = job.id;
        match &event.kind {
            EventKind::Admitted { .. } => self.admitted(engine, policies, event.at, job),
            EventKind::Submitted { deadline, latest_start } => {
                let Ok(status) = engine.job_status(id) else { return Ok(()) };
                let first_wait = |entry: &Entry| entry.terms.retry.longest_wait(1);
                let margin =
                    status.expected_duration + self.jobs.get(&id).map(first_wait).unwrap_or_default();
                let latest = deadline.checked_sub(margin).unwrap_or(Timestamp::MIN);
                let off = latest_start.duration_since(latest).as_secs_f64();
                let windowed = self.jobs.get_mut(&id).is_some_and(|entry| {
                    (entry.latest, entry.submitted) = (*latest_start, event.at.wall);
                    entry.terms.window.is_some()
                });
                ensure(off < 0.01 && (windowed || off > -0.01), || {
                    format!("{id} is to be done by {deadline}, takes {margin:?} and starts by {latest_start}")
                })
            }
            EventKind::Retried { not_before, .. } => {
                let attempts = self.config.breaker.failures == 0;
                let wrong = |scope: &Scope| {
                    let peak = self.loads.get(scope) == Some(&LoadLevel::Peak);
                    peak || self.short.contains(scope) || self.down.contains(scope)
                };
                let wrong = self.jobs.get(&id).is_some_and(|entry| entry.scopes.iter().any(wrong));
                let Some(entry) = self.jobs.get_mut(&id) else { return Err(format!("{id} is unknown")) };
                entry.call_off(true);
                let wait = not_before.duration_since(event.at.wall).as_secs_f64();
                let longest = entry.terms.retry.cap.as_secs_f64();
                entry.back_off_until = secs(event.at) + wait;
                (entry.excusable, entry.excused) = (wrong, false);
                ensure(wait > 0.0 && (!attempts || wait <= longest), || {
                    format!("{id} waits {wait} s before its next attempt, at most {longest}")
                })?;
                ensure(!attempts || entry.failures < entry.terms.retry.max_attempts, || {
                    format!("{id} has failed {} times and is tried again", entry.failures)
                })
            }
            EventKind::Pausing { reason } => {
                let run = self.jobs.get_mut(&id).and_then(|entry| entry.active.as_mut());
                let for_another = reason.text.contains("makes room") || reason.text.contains("has only");
                run.into_iter().for_each(|run| run.for_another = for_another);
                Ok(())
            }
            EventKind::Interrupted { not_before, .. } => {
                let Some(entry) = self.jobs.get_mut(&id) else { return Err(format!("{id} is unknown")) };
                entry.call_off(false);
                let wait = not_before.duration_since(event.at.wall).as_secs_f64();
                (entry.back_off_until, entry.excused) = (secs(event.at) + wait, false);
                Ok(())
            }
            EventKind::Failed { error } => {
                self.jobs.get_mut(&id).into_iter().for_each(|entry| entry.call_off(true));
                let entry = self.jobs.get(&id).ok_or_else(|| format!("{id} is unknown"))?;
                ensure(entry.failures >= entry.terms.retry.max_attempts, || {
                    format!("{id} is given up after {} failures: {error}", entry.failures)
                })
            }
            _ => Ok(()),
        }
    }

    /// A job was let start. What must hold then, seen from outside.
    fn admitted(&mut self, engine: &Engine, policies: &Policies, at: Now, job: &JobRef) -> Checked {
        let (id, wall) = (job.id, at.wall);
        let entry = self.jobs.get(&id).ok_or_else(|| format!("{id} starts, and is unknown"))?;
        ensure(entry.waits() && job.attempt == entry.attempt + 1, || {
            format!("{id} starts attempt {} after {}", job.attempt, entry.attempt)
        })?;
        for (other_id, other) in self.jobs.iter().filter(|(_, other)| other.instance == entry.instance) {
            let beside = other.kind == entry.kind || entry.terms.apart.has(other.kind);
            ensure(other.waits() || !beside, || {
                format!("{id} starts beside {other_id} of the same instance")
            })?;
        }
        let closed = entry.scopes.iter().find_map(|scope| {
            let gates = [("held", &self.holds), ("short", &self.short), ("down", &self.down)];
            gates.into_iter().find(|(_, of)| of.contains(scope)).map(|(what, _)| (what, scope))
        });
        if let Some((what, scope)) = closed {
            return Err(format!("{id} starts although {scope} is {what}"));
        }
        let early = entry.attempt == 0 && entry.not_before.is_some_and(|from| wall < from);
        ensure(!early || entry.express, || {
            format!("{id} starts at {wall} before it is asked for: {entry:?}")
        })?;
        let backs_off = secs(at) + 1e-3 < entry.back_off_until;
        ensure(!backs_off || entry.excused, || format!("{id} does not wait its back-off out: {entry:?}"))?;
        let load = self.load(entry);
        ensure(load <= entry.tolerates(wall, 0.01), || {
            format!("{id} starts at {wall} with a load that is {load}, and need not before {}", entry.latest)
        })?;
        let may_wait = wall < entry.latest && entry.priority < Priority::High && !entry.express;
        let planned = entry.plan.is_some_and(|plan| wall < plan);
        ensure(!planned || !may_wait, || {
            format!(
                "{id} starts at {wall} before its plan {:?}, and need not before {}: {entry:?}",
                entry.plan, entry.latest
            )
        })?;
        let late = entry.express || (entry.terms.open_window_when_late && wall >= entry.latest);
        let open = match Self::calendar(policies, entry, wall) {
            CalendarState::Open => true,
            CalendarState::Closed { .. } => late,
            CalendarState::Blackout { .. } => false,
        };
        ensure(open, || format!("{id} starts outside its windows at {wall}"))?;
        self.check_order(engine, at, id)?;
        if self.jobs[&id].is_strict() {
            let link = self.jobs[&id].scopes[1].clone();
            let beside = self.jobs.values_mut().filter(|other| other.waits() && other.scopes[1] == link);
            beside.for_each(|other| other.passed += 1);
        }
        let entry = self.jobs.get_mut(&id).expect("it was found");
        (entry.attempt, entry.plan, entry.passed) = (job.attempt, None, 0);
        let mut active = Active { holds: true, strict: entry.is_strict(), ..Active::default() };
        active.moves(secs(at), true);
        entry.active = Some(active);
        self.check_room(id)?;
        let entry = &self.jobs[&id];
        for (scope, limit) in self.config.limits.iter().filter(|(scope, _)| entry.scopes.contains(scope)) {
            let running =
                self.jobs.values().filter(|other| !other.waits() && other.scopes.contains(scope)).count();
            ensure(running <= *limit as usize, || format!("{id} is number {running} of {limit} in {scope}"))?;
        }
        Ok(())
    }

    /// Whether critical jobs have their share of what moves, were one more to start after so many others have paused.
    pub(crate) fn over_share(&self, paused: u64) -> bool {
        let active = self.jobs.values().filter_map(|entry| entry.active.as_ref());
        let moving: Vec<_> = active.filter(|run| run.holds).collect();
        let critical = moving.iter().filter(|run| run.strict).count() as u64;
        critical * 100 >= u64::from(self.config.critical_share_percent) * (moving.len() as u64 + 1 - paused)
    }

    /// Nobody starts before another who waits for the same and nothing else and is more urgent: critical, within the share
    /// of critical jobs, or of the same class and to be started earlier.
    fn check_order(&self, engine: &Engine, at: Now, id: JobId) -> Checked {
        let entry = &self.jobs[&id];
        // Who starts while a jump is taken in starts as if it had come a little later.
        let taken_in = secs(at) > self.jumped_at + 300.0;
        if entry.express || entry.priority == Priority::Critical || !taken_in {
            return Ok(());
        }
        let over_share = self.over_share(0);
        for (other_id, other) in self.jobs.iter().filter(|(_, other)| other.waits()) {
            let alike = *other_id != id
                && other.scopes[..3] == entry.scopes[..3]
                && other.terms.demand == entry.terms.demand
                && other.terms.window.is_none()
                && !other.scopes.iter().any(|scope| self.config.limits.contains_key(scope));
            let goes_first = match other.priority {
                Priority::Critical => !over_share,
                same if same == entry.priority && !other.is_strict() => {
                    let day = jiff::SignedDuration::from_hours(24);
                    let place = |entry: &Entry| entry.latest.max(entry.submitted - day);
                    let calm = [entry, other].iter().all(|entry| entry.attempt == 0);
                    let earlier = place(entry).duration_since(place(other)).as_secs_f64() > 1.0;
                    calm && earlier
                        && entry.terms.window.is_none()
                        && entry.scopes.len() == other.scopes.len()
                }
                _ => false,
            };
            // One that is over sooner may pass where a longer one would delay somebody else.
            let takes = |id| engine.job_status(id).map(|status| status.expected_duration).ok();
            if !alike || !goes_first || takes(*other_id) > takes(id) {
                continue;
            }
            let Ok(explained) = engine.explain(*other_id) else { continue };
            let room_alone = explained.closed.iter().all(|closed| matches!(closed.gate, Gate::Resource(_)));
            let promised =
                explained.closed.iter().any(|closed| closed.behind.is_some_and(|behind| behind != id));
            ensure(!room_alone || promised, || {
                format!(
                    "{id} starts before {other_id}, which lacks only what it takes, at {:?}: {entry:?} {other:?} {:?}",
                    at.wall, explained.closed
                )
            })?;
        }
        Ok(())
    }

    /// What a scope's places have: their resources with the amount that is counted.
    pub(crate) fn check_counts(&self, engine: &Engine) -> Checked {
        for (place, resource) in self.totals.keys() {
            let counted = engine.resources(place);
            let counted = counted.into_iter().find(|(at, name, _)| at == place && name.as_str() == *resource);
            let counted = counted.map(|(_, _, capacity)| capacity.used);
            let used = self.used(place, resource);
            ensure(counted == Some(used), || {
                format!("{counted:?} {resource} of {place} are counted, {used} are in use")
            })?;
        }
        Ok(())
    }
}
