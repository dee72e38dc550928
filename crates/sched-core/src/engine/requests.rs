//! What hosts ask for: submit, cancel, reprioritize, one by one or by thousands.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use jiff::Timestamp;

use crate::error::{SubmitError, UnknownJob};
use crate::estimate::Estimate;
use crate::event::EventKind;
use crate::gate::{Reason, Scope};
use crate::name::{GroupName, HostName, InstanceName};
use crate::queue::OrderKey;
use crate::resource::DemandError;
use crate::spec::{BackupKind, JobId, JobSpec, JobTerms, Priority};
use crate::state::JobState;
use crate::time::{MonoTime, Now};

use super::domain::Domains;
use super::index::{ActiveIx, BracketIx, DomainIx, JobIx, TargetIx};
use super::job::{Extras, Job, Stop, Target, millis, wall};
use super::{Cancellation, Engine, Submission, hash_id};

impl Engine {
    /// Accepts a job, or joins the request to the pending one for the same instance and kind.
    ///
    /// When the request does not say how long the backup takes, the run times of the instance's former backups of
    /// this kind count, with the expected duration of `terms` as a prior; likewise the size.
    ///
    /// # Errors
    /// When the request makes no sense, can never be met, contradicts the pending job, or there is no room. Nothing
    /// has changed then.
    pub fn submit(
        &mut self,
        now: Now,
        spec: JobSpec,
        terms: impl Into<Arc<JobTerms>>,
    ) -> Result<Submission, SubmitError> {
        let now = self.observe(now);
        self.submit_one(now, spec, terms.into())
    }

    /// [`submit`](Self::submit)s many at once. Each is accepted or refused by itself; answers are in the same order.
    pub fn submit_all(
        &mut self,
        now: Now,
        requests: impl IntoIterator<Item = (JobSpec, Arc<JobTerms>)>,
    ) -> Vec<Result<Submission, SubmitError>> {
        let now = self.observe(now);
        requests.into_iter().map(|(spec, terms)| self.submit_one(now, spec, terms)).collect()
    }

    fn submit_one(
        &mut self,
        now: Now,
        spec: JobSpec,
        terms: Arc<JobTerms>,
    ) -> Result<Submission, SubmitError> {
        if self.closed.is_some() {
            return Err(SubmitError::ShuttingDown);
        }
        spec.check()?;
        let unknown = |group: &&GroupName| {
            let group = self.domains.find(&Scope::Group((*group).clone()));
            group.is_none_or(|group| self.domains[group].gates.as_ref().is_none_or(|g| g.limit.is_none()))
        };
        if let Some(group) = spec.groups.iter().find(unknown) {
            return Err(SubmitError::UnknownGroup { group: group.clone() });
        }
        let target = self.find_target(&spec.instance, spec.kind);
        if let Some(pending) = target.and_then(|target| self.targets[target.at()].waiting.some()) {
            return self.coalesce(now, pending, spec, &terms);
        }
        let hint = target.map(|target| self.targets[target.at()].place).unwrap_or_default();
        self.check_demand(&spec, &terms, hint)?;
        let pending = self.counts.pending;
        if pending >= self.config.max_pending {
            self.emit(None, EventKind::QueueFull { pending });
            return Err(SubmitError::QueueFull { pending });
        }
        Ok(Submission::New(self.accept(now, target, spec, terms)))
    }

    /// Cancels a job, whatever its state.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn cancel(&mut self, now: Now, id: JobId, reason: Reason) -> Result<Cancellation, UnknownJob> {
        let now = self.observe(now);
        let Some(ix) = self.find(id) else {
            return self.ended_status(id).map(|_| Cancellation::AlreadyEnded).ok_or(UnknownJob(id));
        };
        if self.jobs[ix.at()].state.is_waiting() {
            self.end(now, ix, EventKind::Cancelled { reason });
            return Ok(Cancellation::Done);
        }
        self.order_stop(now, ix, Stop::Requested(reason));
        Ok(Cancellation::Requested)
    }

    /// [`cancel`](Self::cancel)s many at once; answers are in the same order.
    pub fn cancel_all(
        &mut self,
        now: Now,
        ids: impl IntoIterator<Item = JobId>,
        reason: &Reason,
    ) -> Vec<Result<Cancellation, UnknownJob>> {
        ids.into_iter().map(|id| self.cancel(now, id, reason.clone())).collect()
    }

    /// Changes a job's class. A job that has started keeps running; the class counts for its pauses and retries.
    /// Returns `false`, and changes nothing, when the job has ended.
    ///
    /// # Errors
    /// When no such job is known.
    pub fn reprioritize(&mut self, now: Now, id: JobId, to: Priority) -> Result<bool, UnknownJob> {
        let now = self.observe(now);
        let Some(ix) = self.find(id) else {
            return self.ended_status(id).map(|_| false).ok_or(UnknownJob(id));
        };
        let from = self.jobs[ix.at()].priority;
        if from != to {
            let queued = !self.jobs[ix.at()].bracket.is_none();
            let parked = !self.jobs[ix.at()].parked.is_none();
            let waits = queued || parked || self.jobs[ix.at()].state.is_waiting();
            if waits {
                self.withdraw_claim(ix);
                self.leave(ix);
            }
            let job = &mut self.jobs[ix.at()];
            job.priority = to;
            Arc::make_mut(&mut job.terms).priority = to;
            self.rekey(ix);
            if waits {
                self.enter(now, ix);
            } else {
                let active = self.jobs[ix.at()].active;
                self.reviews.extend(active.some());
            }
            self.emit(Some(ix), EventKind::Reprioritized { from });
        }
        Ok(true)
    }

    /// [`reprioritize`](Self::reprioritize)s many at once; answers are in the same order.
    pub fn reprioritize_all(
        &mut self,
        now: Now,
        ids: impl IntoIterator<Item = JobId>,
        to: Priority,
    ) -> Vec<Result<bool, UnknownJob>> {
        ids.into_iter().map(|id| self.reprioritize(now, id, to)).collect()
    }

    /// Forgets what was learned about an instance that no longer exists. Returns `false` when one of its jobs has
    /// not ended, or nothing is known.
    pub fn forget(&mut self, instance: &InstanceName) -> bool {
        let known: Vec<_> =
            BackupKind::ALL.into_iter().filter_map(|kind| self.find_target(instance, kind)).collect();
        let busy = |ix: &TargetIx| {
            let target = &self.targets[ix.at()];
            !target.waiting.is_none() || !target.begun.is_none()
        };
        if known.is_empty() || known.iter().any(busy) {
            return false;
        }
        for ix in known {
            let target = &self.targets[ix.at()];
            let hash = hash_target(&target.instance, target.kind);
            if let Ok(entry) = self.target_index.find_entry(hash, |other| *other == ix) {
                entry.remove();
                self.free_targets.push(ix);
            }
        }
        true
    }

    /// The job that waits to back up this instance in this way, if one does.
    pub fn pending(&self, instance: &InstanceName, kind: BackupKind) -> Option<JobId> {
        let waiting = self.targets[self.find_target(instance, kind)?.at()].waiting.some()?;
        Some(self.jobs[waiting.at()].id)
    }

    /// What was learned about the backups of an instance.
    pub fn estimate(&self, instance: &InstanceName, kind: BackupKind) -> Option<Estimate> {
        Some(self.targets[self.find_target(instance, kind)?.at()].estimate)
    }

    pub(super) fn find_target(&self, instance: &InstanceName, kind: BackupKind) -> Option<TargetIx> {
        let same = |ix: &TargetIx| {
            let target = &self.targets[ix.at()];
            target.kind == kind && target.instance == *instance
        };
        self.target_index.find(hash_target(instance, kind), same).copied()
    }

    fn place_of(&self, spec: &JobSpec, host: &HostName) -> Scope {
        match &spec.volume {
            Some(volume) => Scope::Volume(host.clone(), volume.clone()),
            None => Scope::Host(host.clone()),
        }
    }

    /// The place that a request names, if it is known; `hint` is where to look first.
    fn known_place(&self, spec: &JobSpec, host: &HostName, hint: DomainIx) -> Option<DomainIx> {
        let is_hint = |hint: &DomainIx| match &self.domains[*hint].scope {
            Scope::Host(name) => spec.volume.is_none() && name == host,
            Scope::Volume(name, volume) => name == host && spec.volume.as_ref() == Some(volume),
            _ => false,
        };
        hint.some().filter(is_hint).or_else(|| self.domains.find(&self.place_of(spec, host)))
    }

    /// Whether the demand could be met on an idle fleet, wherever the job may run.
    fn check_demand(&self, spec: &JobSpec, terms: &JobTerms, hint: DomainIx) -> Result<(), DemandError> {
        let hosts = spec.members.iter().map(|member| &member.host).chain(&spec.together);
        let hosts = hosts.chain(spec.members.is_empty().then_some(&spec.host));
        for host in hosts {
            // Whatever is not known yet will hang below its host or the fleet.
            let known = self.known_place(spec, host, hint);
            let known = known.or_else(|| self.domains.find(&Scope::Host(host.clone())));
            let lowest = known.unwrap_or(Domains::fleet());
            for (name, asked) in terms.demand.iter() {
                let resource = self.demands.known(name);
                let mut found = false;
                for place in self.domains.path(lowest) {
                    let Some(capacity) = resource.and_then(|r| self.domains[place].capacity(r)) else {
                        continue;
                    };
                    found = true;
                    if asked > capacity.total {
                        let (name, place) = (name.clone(), self.domains[place].scope.clone());
                        return Err(DemandError::AboveTotal { name, place, asked, total: capacity.total });
                    }
                }
                if !found {
                    let known = self.domains.path(lowest).flat_map(|place| &self.domains[place].resources);
                    let known: Vec<_> = known.map(|(r, _)| self.demands.name(*r).as_str()).collect();
                    let (place, known) = (self.place_of(spec, host), known.join(", "));
                    return Err(DemandError::Unknown { name: name.clone(), place, known });
                }
            }
        }
        Ok(())
    }

    fn target(&mut self, found: Option<TargetIx>, spec: &JobSpec) -> TargetIx {
        let is_same = |engine: &Self, ix: TargetIx| {
            let technology = engine.targets[ix.at()].technology;
            matches!(&engine.domains[technology].scope, Scope::Technology(name) if *name == spec.technology)
        };
        if let Some(ix) = found.filter(|ix| is_same(self, *ix)) {
            return ix;
        }
        let technology = self.domains.find_or_make(&Scope::Technology(spec.technology.clone()));
        let order = &self.config.technology_order;
        let rank = order.iter().position(|name| *name == spec.technology).unwrap_or(order.len());
        let rank = u16::try_from(rank).unwrap_or(u16::MAX);
        if let Some(ix) = found {
            (self.targets[ix.at()].technology, self.targets[ix.at()].rank) = (technology, rank);
            return ix;
        }
        let target = Target {
            instance: spec.instance.clone(),
            kind: spec.kind,
            technology,
            place: DomainIx::NONE,
            rank,
            waiting: JobIx::NONE,
            begun: JobIx::NONE,
            domain: self.domains.find(&Scope::Instance(spec.instance.clone())).unwrap_or_default(),
            estimate: Estimate::default(),
        };
        let ix = match self.free_targets.pop() {
            Some(ix) => {
                self.targets[ix.at()] = target;
                ix
            }
            None => {
                self.targets.push(target);
                TargetIx::new(self.targets.len() - 1)
            }
        };
        let targets = &self.targets;
        let rehash = |ix: &TargetIx| hash_target(&targets[ix.at()].instance, targets[ix.at()].kind);
        self.target_index.insert_unique(hash_target(&spec.instance, spec.kind), ix, rehash);
        ix
    }

    fn accept(&mut self, now: Now, found: Option<TargetIx>, spec: JobSpec, terms: Arc<JobTerms>) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        let target = self.target(found, &spec);
        let estimate = self.targets[target.at()].estimate;
        let expected = match spec.expected_duration {
            Some(expected) => expected,
            None => estimate.expected_duration(terms.expected_duration),
        };
        let size = spec.size_bytes.or_else(|| estimate.expected_size(None)).unwrap_or(u64::MAX);
        let deadline_ms = match spec.deadline {
            Some(deadline) => deadline.as_millisecond(),
            None => now.wall.as_millisecond().saturating_add(millis(terms.rpo)),
        };
        let demand = self.demands.of_terms(&terms);
        let extras = self.extras(&spec);
        let host = spec.members.first().map_or(&spec.host, |member| &member.host);
        let known = self.known_place(&spec, host, self.targets[target.at()].place);
        let place = match known {
            Some(place) => place,
            None => {
                let scope = self.place_of(&spec, host);
                self.domains.find_or_make(&scope)
            }
        };
        self.targets[target.at()].place = place;
        let ix = JobIx::new(self.jobs.insert(Job {
            id,
            key: OrderKey::new(1, 0, 0, size, id),
            priority: terms.priority,
            terms,
            extras,
            deadline_ms,
            submitted_ms: now.wall.as_millisecond(),
            due_since: now.mono,
            back_off_until: MonoTime::ZERO,
            timer: MonoTime::ZERO,
            target,
            place,
            demand,
            bracket: BracketIx::NONE,
            active: ActiveIx::NONE,
            parked: DomainIx::NONE,
            expected_ms: u32::try_from(expected.as_millis()).unwrap_or(u32::MAX),
            attempt: 0,
            deferrals: 0,
            requesters: 1,
            failures: 0,
            state: JobState::Queued,
            told_gate: 0,
            spared: 0,
            slips: 0,
            risk_told: false,
            waits_for_overlap: false,
            express: false,
            claims: false,
        }));
        let jobs = &self.jobs;
        self.ids.insert_unique(hash_id(id), ix, |ix| hash_id(jobs[ix.at()].id));
        self.targets[target.at()].waiting = ix;
        self.domains[place].jobs += 1;
        self.counts.pending += 1;
        self.watch_members(ix);
        self.choose_member(ix);
        if self.counts.run_now > 0 {
            self.set_express(now, ix);
        }
        self.rekey(ix);
        self.tell_submitted(now, ix);
        self.enter(now, ix);
        if self.config.events
            && !self.config.advise_only
            && let Some(closed) = self.closed_gates(ix, now).first()
        {
            self.defer(now, ix, *closed);
        }
        id
    }

    fn tell_submitted(&mut self, now: Now, ix: JobIx) {
        let job = &mut self.jobs[ix.at()];
        let (deadline, latest_start) = (wall(job.deadline_ms), wall(job.latest_start_ms()));
        job.risk_told = job.latest_start_ms() < now.wall.as_millisecond();
        let late = job.risk_told;
        self.emit(Some(ix), EventKind::Submitted { deadline, latest_start });
        if late {
            let text = if deadline <= now.wall {
                "the deadline had passed when the job was submitted"
            } else {
                "the time until the deadline is shorter than the expected duration"
            };
            self.emit(Some(ix), EventKind::RpoAtRisk { deadline, reason: Reason::new(text) });
        }
    }

    /// What the request says beyond the fields of [`Job`]; most say nothing.
    fn extras(&mut self, spec: &JobSpec) -> Option<Box<Extras>> {
        let plain = spec.demand.is_empty()
            && spec.volume.is_none()
            && spec.destination.is_none()
            && spec.groups.is_empty()
            && spec.members.is_empty()
            && spec.together.is_empty()
            && spec.not_before.is_none()
            && spec.max_bytes_per_sec.is_none()
            && spec.tenant == crate::name::TenantName::default();
        (!plain).then(|| self.make_extras(spec.clone()))
    }

    pub(super) fn make_extras(&mut self, spec: JobSpec) -> Box<Extras> {
        let destination = spec.destination.as_ref().map(|name| Scope::Destination(name.clone()));
        let destination = destination.map(|scope| self.domains.find_or_make(&scope)).unwrap_or_default();
        let groups = spec.groups.iter().map(|name| Scope::Group(name.clone()));
        let groups = groups.map(|scope| self.domains.find_or_make(&scope)).collect();
        let together = spec.together.iter().map(|host| Scope::Host(host.clone()));
        let together: Vec<_> = together.map(|scope| self.domains.find_or_make(&scope)).collect();
        // With a host come the links above it, each once; the fleet is on the job's own way.
        let mut places = Vec::new();
        for host in together {
            for place in self.domains.path(host) {
                if place != Domains::fleet() && !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        let own = spec.members.first().map_or(&spec.host, |member| &member.host).clone();
        let own = self.domains.find_or_make(&self.place_of(&spec, &own));
        places.retain(|place| !self.is_above(*place, own));
        Box::new(Extras {
            destination,
            tenant: self.tenant(&spec.tenant),
            groups,
            together: places,
            member: 0,
            patient_until: None,
            not_before_ms: spec.not_before.map(Timestamp::as_millisecond),
            error: None,
            failed_ms: None,
            run_now: None,
            spec,
        })
    }

    /// A job's extras, made when it has none.
    pub(super) fn extras_mut(&mut self, ix: JobIx) -> &mut Extras {
        if self.jobs[ix.at()].extras.is_none() {
            let (spec, _) = self.spec_of(&self.jobs[ix.at()]);
            let extras = self.make_extras(spec);
            self.jobs[ix.at()].extras = Some(extras);
        }
        self.jobs[ix.at()].extras.as_deref_mut().expect("they were made just now")
    }

    /// The request as the job keeps it, and the member taken.
    pub(super) fn spec_of(&self, job: &Job) -> (JobSpec, Option<InstanceName>) {
        let target = &self.targets[job.target.at()];
        let (mut spec, member) = match &job.extras {
            Some(extras) => (extras.spec.clone(), extras.spec.members.get(extras.member)),
            None => (JobSpec::new(&target.instance, self.technology(target.technology)), None),
        };
        let name = member.map(|member| member.instance.clone());
        match (member, &self.domains[job.place].scope) {
            (Some(member), _) => spec.host = member.host.clone(),
            (None, Scope::Host(host) | Scope::Volume(host, _)) => spec.host = host.clone(),
            _ => {}
        }
        spec.kind = target.kind;
        spec.priority = Some(job.priority);
        spec.size_bytes = job.size_bytes();
        spec.deadline = Some(wall(job.deadline_ms));
        spec.expected_duration = Some(job.expected());
        (spec, name)
    }

    pub(super) fn rekey(&mut self, ix: JobIx) {
        let rank = self.targets[self.jobs[ix.at()].target.at()].rank;
        let boosts = self.config.boosts;
        let job = &mut self.jobs[ix.at()];
        job.key = job.natural_key(boosts, rank);
    }

    /// Joins a request to the pending job: the more urgent of both counts.
    fn coalesce(
        &mut self,
        now: Now,
        ix: JobIx,
        spec: JobSpec,
        terms: &JobTerms,
    ) -> Result<Submission, SubmitError> {
        let (kept, _) = self.spec_of(&self.jobs[ix.at()]);
        let id = self.jobs[ix.at()].id;
        if let Some((field, pending, asked)) = difference(&kept, &spec) {
            return Err(SubmitError::Conflict { job: id, field, pending, asked });
        }
        self.withdraw_claim(ix);
        self.leave(ix);
        let deadline = match spec.deadline {
            Some(deadline) => deadline.as_millisecond(),
            None => now.wall.as_millisecond().saturating_add(millis(terms.rpo)),
        };
        let job = &mut self.jobs[ix.at()];
        let before = job.key;
        if let Some(extras) = &mut job.extras {
            extras.not_before_ms = match (extras.not_before_ms, spec.not_before) {
                (Some(a), Some(b)) => Some(a.min(b.as_millisecond())),
                _ => None,
            };
            extras.spec.not_before = extras.not_before_ms.map(wall);
        }
        if terms.priority > job.priority {
            job.priority = terms.priority;
            Arc::make_mut(&mut job.terms).priority = terms.priority;
        }
        job.deadline_ms = job.deadline_ms.min(deadline);
        job.requesters = job.requesters.saturating_add(1);
        let size = spec.size_bytes.unwrap_or(job.key.size_bytes());
        job.key = OrderKey::new(job.key.class(), job.key.start_by_ms(), 0, size, id);
        self.rekey(ix);
        let job = &mut self.jobs[ix.at()];
        // A larger size must not push a waiting job back, whatever else became more urgent.
        if job.key > before {
            let class = before.class().min(job.key.class());
            job.key = OrderKey::new(
                class,
                before.start_by_ms(),
                before.technology_rank(),
                size.min(before.size_bytes()),
                id,
            );
        }
        let requesters = job.requesters;
        self.enter(now, ix);
        self.emit(Some(ix), EventKind::Coalesced { requesters });
        Ok(Submission::Coalesced(id))
    }
}

pub(super) fn hash_target(instance: &InstanceName, kind: BackupKind) -> u64 {
    FixedState::default().hash_one((instance.as_str(), kind))
}

/// The first field in which two requests for the same backup contradict each other.
///
/// Urgency, size, deadline and earliest start do not: the more urgent counts.
fn difference(pending: &JobSpec, asked: &JobSpec) -> Option<(&'static str, String, String)> {
    fn differs<T: PartialEq + std::fmt::Debug>(
        field: &'static str,
        a: &T,
        b: &T,
    ) -> Option<(&'static str, String, String)> {
        (a != b).then(|| (field, format!("{a:?}"), format!("{b:?}")))
    }
    let (a, b) = (pending, asked);
    let host = if a.members.is_empty() { differs("host", &a.host, &b.host) } else { None };
    differs("technology", &a.technology, &b.technology)
        .or(host)
        .or_else(|| differs("volume", &a.volume, &b.volume))
        .or_else(|| differs("destination", &a.destination, &b.destination))
        .or_else(|| differs("tenant", &a.tenant, &b.tenant))
        .or_else(|| differs("groups", &a.groups, &b.groups))
        .or_else(|| differs("members", &a.members, &b.members))
        .or_else(|| differs("together", &a.together, &b.together))
        .or_else(|| differs("demand", &a.demand, &b.demand))
        .or_else(|| differs("max_bytes_per_sec", &a.max_bytes_per_sec, &b.max_bytes_per_sec))
}
