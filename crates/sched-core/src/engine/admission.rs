//! Which jobs may start: gates, the walk along touched lines, timers, and pauses under load.

use crate::event::EventKind;
use crate::gate::{ClosedGate, Gate, LoadLevel, LoadState, Reason, Scope};
use crate::spec::{JobId, Priority};
use crate::state::JobState;
use crate::time::Now;

use super::job::{Job, Stop};
use super::lines::Line;
use super::{Engine, Output, StartOrder};

impl Engine {
    /// Every gate that is closed for `job`, strongest first, with the line in which it is waited for.
    pub(super) fn closed_gates<'a>(
        &'a self,
        job: &'a Job,
        now: Now,
    ) -> impl Iterator<Item = (Line, ClosedGate)> + 'a {
        let hold = job.scopes().into_iter().filter_map(|scope| self.hold_gate(scope));
        let capacity = job.scopes().into_iter().filter_map(|scope| self.capacity_gate(scope));
        let resources = job.terms.demand.iter();
        let resources = resources.filter_map(|(name, amount)| self.resource_gate(job, name, amount));
        let overlap = std::iter::once_with(|| self.overlap_gate(job)).flatten();
        let time = std::iter::once_with(move || self.time_gate(job, now)).flatten();
        let load = job.scopes().into_iter().filter_map(move |scope| {
            let (tolerated, _) = job.tolerance(now.wall);
            self.load_gate(scope, tolerated)
        });
        hold.chain(capacity).chain(resources).chain(overlap).chain(time).chain(load)
    }

    fn hold_gate(&self, scope: Scope) -> Option<(Line, ClosedGate)> {
        let reason = self.holds.get(&scope)?.clone();
        let gate = ClosedGate { gate: Gate::Hold, scope: scope.clone(), reason, until: None };
        Some((Line::Hold(scope), gate))
    }

    fn capacity_gate(&self, scope: Scope) -> Option<(Line, ClosedGate)> {
        let reason = self.shortages.get(&scope)?.clone();
        let gate = ClosedGate { gate: Gate::Capacity, scope: scope.clone(), reason, until: None };
        Some((Line::Capacity(scope), gate))
    }

    fn resource_gate(
        &self,
        job: &Job,
        name: &crate::name::ResourceName,
        amount: u64,
    ) -> Option<(Line, ClosedGate)> {
        let line = Line::Resource(name.clone());
        let capacity = self.ledger.capacity(name);
        let head = self.lines.first(&line).filter(|head| *head < job.key);
        let text = if amount > capacity.free() {
            format!("needs {amount} of {name}, {} of {} in use", capacity.used, capacity.total)
        } else {
            // What is free is promised to the head of the line, or small jobs would starve a large one.
            format!("needs {amount} of {name}, the free ones are kept for {}", head?.id)
        };
        let gate = Gate::Resource(name.clone());
        Some((line, ClosedGate { gate, scope: Scope::Fleet, reason: Reason::new(text), until: None }))
    }

    fn overlap_gate(&self, job: &Job) -> Option<(Line, ClosedGate)> {
        let key = (job.spec.instance.clone(), job.spec.kind);
        let other = self.twins.get(&key)?.begun.filter(|begun| *begun != job.id)?;
        let reason = Reason::new(format!("{other} makes the same backup and has not ended"));
        let scope = Scope::Instance(key.0.clone());
        Some((Line::Overlap(key.0, key.1), ClosedGate { gate: Gate::Overlap, scope, reason, until: None }))
    }

    fn time_gate(&self, job: &Job, now: Now) -> Option<(Line, ClosedGate)> {
        let back_off = job.back_off_until.filter(|until| *until > now.mono);
        let (until, text) = match (back_off, job.spec.not_before) {
            (Some(until), _) => {
                let error = job.error.as_deref().unwrap_or("an attempt failed");
                (now.plus(until.since(now.mono)).wall, format!("back-off after: {error}"))
            }
            (None, Some(not_before)) if not_before > now.wall => {
                (not_before, "not before the requested start".into())
            }
            _ => return None,
        };
        let scope = Scope::Instance(job.spec.instance.clone());
        let gate = ClosedGate { gate: Gate::Time, scope, reason: Reason::new(text), until: Some(until) };
        Some((Line::Time, gate))
    }

    fn load_gate(&self, scope: Scope, tolerated: LoadLevel) -> Option<(Line, ClosedGate)> {
        let LoadState { level, reason } = self.loads.get(&scope)?;
        if *level <= tolerated {
            return None;
        }
        let mut reason = reason.clone();
        reason.text = format!("{level} load, {tolerated} tolerated: {}", reason.text).into();
        let gate = ClosedGate { gate: Gate::Load, scope: scope.clone(), reason, until: None };
        Some((Line::Load(scope, tolerated), gate))
    }

    /// Takes jobs whose moment has come to where they are looked at.
    pub(super) fn fire_timers(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(&(at, id)) = self.timers.first()
            && at <= now.mono
        {
            *budget -= 1;
            self.set_timer(id, None);
            let Some(job) = self.jobs.get(&id) else { continue };
            match job.state {
                state if state.is_waiting() => self.make_ready(id),
                JobState::Running | JobState::Pausing | JobState::Resuming => self.check_time_out(now, id),
                _ => self.review_active = true,
            }
        }
    }

    fn check_time_out(&mut self, now: Now, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let Some(limit) = job.terms.timeout else { return };
        let ran = job.run.read(now.mono);
        if ran >= limit {
            self.order_stop(now, id, Stop::TimedOut(limit));
        } else {
            self.set_timer(id, Some(now.mono + (limit - ran)));
        }
    }

    /// Looks at the heads of touched lines, most urgent first, until none can start or the budget is spent.
    pub(super) fn admit(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some((line, key)) = self.lines.next()
        {
            *budget -= 1;
            self.consider(now, &line, key.id);
        }
    }

    fn consider(&mut self, now: Now, line: &Line, id: JobId) {
        let job = &self.jobs[&id];
        let closed = self.closed_gates(job, now).next();
        match closed {
            Some((to, gate)) if !self.config.advise_only => {
                if to == *line {
                    self.lines.rest(line);
                }
                self.park(now, id, to, gate);
            }
            advice => {
                if let Some((_, by)) = advice {
                    self.emit(Some(id), EventKind::Deferred { by, advice_only: true });
                }
                self.start(now, id);
            }
        }
    }

    /// Puts a waiting job into the line of a closed gate, with a timer to when time alone may change that.
    fn park(&mut self, now: Now, id: JobId, to: Line, gate: ClosedGate) {
        self.move_to(id, to);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let timed = gate.gate == Gate::Time;
        // A back-off that has ended counts for nothing, even if the wall was set back behind the requested start.
        let back_off = job.back_off_until.filter(|until| timed && *until > now.mono);
        job.state = match (timed, back_off.is_some()) {
            (true, true) => JobState::Retryable,
            (true, false) => JobState::Scheduled,
            (false, _) => JobState::Queued,
        };
        let next_wall = match gate.gate {
            Gate::Time => gate.until,
            Gate::Load => job.tolerance(now.wall).1,
            _ => None,
        };
        let late = now.wall >= job.latest_start;
        let tell_risk = late && !job.risk_told;
        job.risk_told |= late;
        let next_risk = (!job.risk_told).then_some(job.latest_start);
        let next = next_wall.into_iter().chain(next_risk).min().map(|wall| self.wall.mono_at(wall));
        // Back-off is exact on the monotonic clock; the wall time in the gate is for people.
        let next = next.into_iter().chain(back_off).min();
        let news = job.is_news(&gate);
        job.deferred_by = Some(gate.clone());
        job.deferrals += u32::from(news);
        let deadline = job.deadline;
        self.set_timer(id, next);
        if news {
            self.emit(Some(id), EventKind::Deferred { by: gate.clone(), advice_only: false });
        }
        if tell_risk {
            let text = format!("the latest start has passed while waiting for {gate}");
            self.emit(Some(id), EventKind::RpoAtRisk { deadline, reason: Reason::new(text) });
        }
    }

    fn start(&mut self, now: Now, id: JobId) {
        self.leave_line(id);
        self.set_timer(id, None);
        let overridden = self.overridden_gate(&self.jobs[&id], now);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.state = JobState::Starting;
        job.attempt += 1;
        job.back_off_until = None;
        job.deferred_by = None;
        job.run = Default::default();
        job.waited = now.mono.since(job.due_since);
        let waited = job.waited;
        let order =
            StartOrder { attempt: job.attempt_id(), spec: job.spec.clone(), terms: job.terms.clone() };
        let key = (job.spec.instance.clone(), job.spec.kind);
        self.ledger.take(&order.terms.demand);
        self.active.insert(id);
        let twin = self.twins.entry(key).or_default();
        twin.begun = Some(id);
        if twin.waiting == Some(id) {
            twin.waiting = None;
        }
        if let Some(gate) = overridden {
            self.emit(Some(id), EventKind::Overridden { gate });
        }
        self.emit(Some(id), EventKind::Admitted { waited });
        self.outputs.push_back(Output::Start(order));
    }

    /// The load gate that only the end of the slack opened.
    fn overridden_gate(&self, job: &Job, now: Now) -> Option<ClosedGate> {
        if job.terms.priority >= Priority::High || now.wall < job.latest_start {
            return None;
        }
        let gates = job.scopes().into_iter().filter_map(|scope| self.load_gate(scope, LoadLevel::Calm));
        gates.map(|(_, gate)| gate).next()
    }

    /// Pauses running jobs that a peak concerns, and lets paused ones go on when it is over.
    pub(super) fn review_active_jobs(&mut self, now: Now) {
        let ids: Vec<_> = self.active.iter().copied().collect();
        for id in ids {
            let job = &self.jobs[&id];
            let (tolerated, next) = job.tolerance(now.wall);
            let peak = job.scopes().into_iter().find_map(|scope| {
                let load = self.loads.get(&scope)?;
                (load.level == LoadLevel::Peak && tolerated < LoadLevel::Peak).then(|| load.reason.clone())
            });
            match (job.state, peak) {
                (JobState::Running, Some(reason)) if job.terms.pausable => self.order_pause(now, id, reason),
                (JobState::Pausing | JobState::Paused, None) => self.order_resume(now, id),
                (JobState::Paused, Some(_)) => {
                    let at = next.map(|wall| self.wall.mono_at(wall));
                    self.set_timer(id, at);
                }
                _ => {}
            }
        }
    }

    /// Takes a waiting job to where it is looked at next.
    pub(super) fn make_ready(&mut self, id: JobId) {
        self.move_to(id, Line::Ready);
        self.lines.touch(&Line::Ready);
    }

    fn move_to(&mut self, id: JobId, to: Line) {
        if self.jobs.get(&id).is_some_and(|job| job.line.as_ref() != Some(&to)) {
            self.leave_line(id);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            self.lines.insert(to.clone(), job.key);
            job.line = Some(to);
        }
    }

    pub(super) fn leave_line(&mut self, id: JobId) {
        if let Some(line) = self.jobs.get_mut(&id).and_then(|job| job.line.take()) {
            self.lines.remove(&line, id);
        }
    }
}
