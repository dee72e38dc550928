//! Other terms for jobs that were accepted already: what a change of policies leads to.
//!
//! A job that waits is placed anew as if it had been submitted under the new terms. An attempt under way keeps what it
//! began with, because its executor has been told and what it holds was given to it; only the limits that it counts
//! against follow at once, or more would run than the new limits allow. The new terms count from its next wait on.

use std::sync::Arc;

use crate::error::SubmitError;
use crate::gate::{Reason, Scope};
use crate::name::GroupName;
use crate::spec::{JobId, JobSpec};
use crate::state::JobState;
use crate::terms::JobTerms;
use crate::time::Now;

use super::Engine;
use super::index::{ActiveIx, DomainIx, JobIx};
use super::job::{Extras, millis};
use super::marks::Mark;
use super::needs::Needs;
use super::terms::Terms;

/// A request as it is by now, and its terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewed {
    /// The request, of the same instance, kind and technology as the job.
    pub spec: JobSpec,
    /// The terms.
    pub terms: Arc<JobTerms>,
    /// What must be set before they count.
    pub needs: Needs,
}

/// What became of a job that was given other terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It waits under them.
    PlacedAnew,
    /// An attempt is under way and keeps what it began with; should the job wait again, they count.
    AfterAttempt,
    /// It has ended.
    Ended,
}

impl Engine {
    /// Gives a job other terms. Its number, its submission and its failures stay; so does a class that an operator or a
    /// joined request chose, and a deadline that a joined request brought forward. Whether the demand can ever be met is
    /// not asked: the job is accepted, and waits.
    ///
    /// The request stays with the caller, and so do, in the place of the new terms, those that the job had: whoever gives
    /// many jobs other terms can drop all that elsewhere than between two calls.
    ///
    /// # Errors
    /// When the request makes no sense, is for another backup, or names an unknown group or calendar. Nothing has changed
    /// then.
    pub fn renew(&mut self, now: Now, id: JobId, renewed: &mut Renewed) -> Result<Renewal, SubmitError> {
        let now = self.observe(now);
        let Some(ix) = self.find(id) else { return Ok(Renewal::Ended) };
        self.check_renewed(ix, renewed)?;
        self.provide(now, &renewed.needs);
        if self.jobs[ix.at()].state.is_waiting() {
            self.withdraw_claim(ix);
            self.leave(ix);
            self.want_no_room(now, ix, false);
            self.adopt(ix, renewed);
            self.set_express(now, ix);
            self.enter(now, ix);
            self.record(ix);
            return Ok(Renewal::PlacedAnew);
        }
        let stands = self.jobs[ix.at()].state == JobState::Paused;
        if stands {
            self.withdraw_claim(ix);
            self.leave(ix);
        }
        if let Some(active) = self.jobs[ix.at()].active.some() {
            self.regroup(ix, active, &renewed.spec);
            self.hold_counted(active, renewed);
        }
        if stands {
            self.enter(now, ix);
        }
        self.renewals.insert(ix, Box::new(renewed.clone()));
        self.record(ix);
        Ok(Renewal::AfterAttempt)
    }

    /// Has nobody start or go on until it is called with `false`: for changes that take several calls and are to be seen
    /// together. All else goes on.
    pub fn suspend_starts(&mut self, now: Now, suspend: bool) {
        self.observe(now);
        self.suspended = suspend;
    }

    /// Has nobody start or go on while it is not known how things stand, as after the machine was suspended; `None` when it is
    /// known. The reason is told of jobs that wait. Advice holds nobody.
    pub fn set_blind(&mut self, now: Now, blind: Option<Reason>) {
        self.observe(now);
        self.blind = blind.filter(|_| !self.config.advise_only);
    }

    pub(super) fn starts_wait(&self) -> bool {
        self.suspended || self.blind.is_some()
    }

    /// Whether nobody may start for now.
    pub fn starts_are_suspended(&self) -> bool {
        self.suspended
    }

    fn check_renewed(&self, ix: JobIx, renewed: &Renewed) -> Result<(), SubmitError> {
        let Renewed { spec, terms, needs } = renewed;
        spec.check()?;
        needs.check()?;
        let job = &self.jobs[ix.at()];
        let target = &self.targets[job.target.at()];
        let technology = self.technology(target.technology);
        let differs = [
            ("instance", target.instance.to_string(), spec.instance.to_string()),
            ("kind", target.kind.to_string(), spec.kind.to_string()),
            ("technology", technology.to_string(), spec.technology.to_string()),
        ];
        if let Some((field, pending, asked)) = differs.into_iter().find(|(_, is, asked)| is != asked) {
            return Err(SubmitError::Conflict { job: job.id(), field, pending, asked });
        }
        if let Some(group) = spec.groups.iter().find(|group| !self.knows_group(group, needs)) {
            return Err(SubmitError::UnknownGroup { group: group.clone() });
        }
        match terms.window.as_ref().filter(|calendar| !self.knows_calendar(calendar)) {
            Some(calendar) => Err(SubmitError::UnknownCalendar { calendar: calendar.clone() }),
            None => Ok(()),
        }
    }

    /// Whether a group has a limit, or will have.
    pub(super) fn knows_group(&self, name: &GroupName, needs: &Needs) -> bool {
        let known = self.domains.find(&Scope::Group(name.clone()));
        let gates = known.and_then(|group| self.domains[group].gates.as_ref());
        gates.is_some_and(|gates| gates.limit.is_some()) || needs.limits_group(name)
    }

    /// Exchanges a job's terms. The job must stand in no queue.
    pub(super) fn adopt(&mut self, ix: JobIx, renewed: &mut Renewed) {
        let Renewed { spec, terms: former, .. } = renewed;
        let terms = former.clone();
        self.watch_members(ix, false);
        self.count_out_of_places(ix);
        let before = self.jobs[ix.at()].extras.take();
        // Which of several requests asked to start first is known here alone.
        spec.not_before = before.as_ref().and_then(|before| before.spec.not_before);
        let mut extras = self.extras(spec, &terms);
        if let Some(before) = before.filter(|before| before.has_course()) {
            let after = extras.get_or_insert_with(|| self.make_extras(spec.clone()));
            after.keep_course(*before);
        }
        let (interned, demand) = self.intern_terms(&terms);
        let place = self.place_for(spec, self.jobs[ix.at()].place);
        let job = &mut self.jobs[ix.at()];
        let target = &mut self.targets[job.target.at()];
        target.place = place;
        let natural_before = job.submitted_ms.saturating_add(millis(job.terms.rpo));
        let natural = job.submitted_ms.saturating_add(millis(terms.rpo));
        job.deadline_ms = match spec.deadline {
            Some(deadline) => deadline.as_millisecond().min(job.deadline_ms),
            None if job.deadline_ms < natural_before => natural.min(job.deadline_ms),
            None => natural,
        };
        let own_class = job.terms.own_class;
        former.clone_from(&job.terms.given);
        (job.extras, job.place, job.terms) = (extras, place, interned);
        let demand_before = std::mem::replace(&mut job.demand, demand);
        match own_class {
            true => Terms::set_class(&mut job.terms, job.priority),
            false => self.set_class(ix, terms.priority),
        }
        let job = &mut self.jobs[ix.at()];
        let target = &self.targets[job.target.at()];
        job.marks.set(Mark::AskedSize, spec.size_bytes.is_some());
        job.marks.set(Mark::AskedDuration, spec.expected_duration.is_some());
        job.marks.set(Mark::AskedRpo, spec.rpo.is_some());
        let estimate = target.estimate;
        let expected =
            spec.expected_duration.unwrap_or_else(|| estimate.expected_duration(terms.expected_duration));
        job.expected = expected.into();
        job.set_size(spec.size_bytes.or_else(|| estimate.expected_size(None)));
        self.demands.release(demand_before);
        self.count_in_places(ix);
        self.watch_members(ix, true);
        self.heed_windows(ix);
        self.rekey(ix);
        let job = &mut self.jobs[ix.at()];
        // What is no longer at risk may become so again, and is told again then.
        if job.latest_start_ms() > self.wall.now().wall.as_millisecond() {
            job.marks.set(Mark::RiskTold, false);
        }
    }

    /// Has an attempt count in the groups that its job is in by now.
    fn regroup(&mut self, ix: JobIx, active: ActiveIx, spec: &JobSpec) {
        let before =
            self.jobs[ix.at()].extras.as_ref().map(|extras| extras.groups.clone()).unwrap_or_default();
        let groups = spec.groups.iter().map(|name| Scope::Group(name.clone()));
        let groups: Vec<_> = groups.map(|scope| self.domains.find_or_make(&scope)).collect();
        if before == groups {
            return;
        }
        let gave_back = u32::from(self.actives[active.at()].gave_back);
        for left in before.iter().filter(|group| !groups.contains(group)) {
            self.leave_domain(active, *left, gave_back);
        }
        for joined in groups.iter().filter(|group| !before.contains(group)) {
            let entry = &mut self.domains[*joined];
            let position = entry.attempts.add(active);
            entry.standing += gave_back;
            self.actives[active.at()].domains.push((*joined, position));
            self.changed(*joined);
        }
        self.counts.ceilings_stale |= self.counts.ceilings > 0;
        let extras = self.extras_mut(ix);
        extras.groups = groups;
        extras.spec.groups.clone_from(&spec.groups);
    }

    fn leave_domain(&mut self, active: ActiveIx, domain: DomainIx, gave_back: u32) {
        let domains = &mut self.actives[active.at()].domains;
        let Some(at) = domains.iter().position(|(at, _)| *at == domain) else { return };
        let (_, position) = domains.swap_remove(at);
        let entry = &mut self.domains[domain];
        entry.attempts.remove(position);
        entry.standing -= gave_back;
        if let Some(breaker) = entry.breaker_mut() {
            breaker.ended(active);
        }
        self.touch(domain);
        self.tell_drained(domain);
    }

    /// Has an attempt hold what hosts count runs by, as its job is to from now on.
    fn hold_counted(&mut self, active: ActiveIx, renewed: &Renewed) {
        let mut amounts = self.demands.amounts(self.actives[active.at()].demand).to_vec();
        let mut more = Vec::new();
        for (name, amount) in renewed.terms.demand.iter() {
            let counted = renewed.needs.resources.iter().any(|(_, resource, _)| resource == name);
            let resource = self.demands.resource(name);
            if counted && amounts.iter().all(|(held, _)| *held != resource) {
                more.push((resource, amount));
            }
        }
        if more.is_empty() {
            return;
        }
        amounts.extend(&more);
        let demand = self.demands.intern(amounts);
        let flow = self.actives[active.at()].flow.some().map(|_| self.demands.flow_of(demand));
        let gave_back = self.actives[active.at()].gave_back;
        more.retain(|(resource, _)| !gave_back || self.demands.is_held(*resource));
        for (domain, _) in &self.actives[active.at()].domains {
            self.domains[*domain].take(&more);
        }
        let entry = &mut self.actives[active.at()];
        let mut before = vec![std::mem::replace(&mut entry.demand, demand)];
        if let Some(flow) = flow {
            before.push(std::mem::replace(&mut entry.flow, flow));
        }
        before.into_iter().for_each(|demand| self.demands.release(demand));
    }
}

impl Extras {
    /// Whether they say something of what has become of the job so far.
    fn has_course(&self) -> bool {
        self.interrupted_until.is_some()
            || self.back_off_until != Default::default()
            || self.error.is_some()
            || self.failed_ms.is_some()
            || self.run_now.is_some()
            || !self.cause.is_none()
    }

    fn keep_course(&mut self, before: Self) {
        let Self { interrupted_until, back_off_until, cause, error, failed_ms, run_now, .. } = before;
        (self.interrupted_until, self.back_off_until, self.cause) =
            (interrupted_until, back_off_until, cause);
        (self.error, self.failed_ms, self.run_now) = (error, failed_ms, run_now);
    }
}
