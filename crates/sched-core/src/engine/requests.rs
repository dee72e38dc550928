//! What hosts ask for: submit, cancel, reprioritize, one by one or by thousands.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::error::{SubmitError, UnknownJob};
use crate::estimate::Estimate;
use crate::event::EventKind;
use crate::gate::Reason;
use crate::name::InstanceName;
use crate::queue::OrderKey;
use crate::resource::DemandError;
use crate::spec::{BackupKind, JobId, JobSpec, Priority};
use crate::terms::JobTerms;
use crate::time::Now;

use super::index::{JobIx, TargetIx};
use super::job::{Stop, millis};
use super::marks::Mark;
use super::needs::Needs;
use super::terms::Terms;
use super::{Cancellation, Engine, Submission};

/// What a request that can be accepted comes to.
pub(super) enum Checked {
    /// A new job, of a target that is known if there is one.
    New(Option<TargetIx>),
    /// It joins a pending job, under terms with the demand of both if that is more.
    Joins(JobIx, Option<Arc<JobTerms>>),
}

impl Engine {
    /// Accepts a job, or joins the request to the pending one for the same instance and kind. Of two requests the
    /// higher class, the earlier start and deadline, and the larger amount of each resource count; all other terms
    /// stay those of the first.
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
        let checked = self.check_request(&spec, &terms, &Needs::default())?;
        let pending = self.counts.pending;
        if matches!(checked, Checked::New(_)) && pending >= self.config.max_pending {
            self.emit(None, EventKind::QueueFull { pending });
            return Err(SubmitError::QueueFull { pending });
        }
        Ok(self.take_in(now, spec, terms, checked))
    }

    /// Whether a request can be accepted once what it needs is set, but for the room in the queue.
    pub(super) fn check_request(
        &self,
        spec: &JobSpec,
        terms: &Arc<JobTerms>,
        needs: &Needs,
    ) -> Result<Checked, SubmitError> {
        if self.closed.is_some() {
            return Err(SubmitError::ShuttingDown);
        }
        spec.check()?;
        needs.check()?;
        if let Some(group) = spec.groups.iter().find(|group| !self.knows_group(group, needs)) {
            return Err(SubmitError::UnknownGroup { group: group.clone() });
        }
        // Terms that were accepted before need not be looked at again.
        let window = terms.window.as_ref().filter(|_| self.demands.recall(terms).is_none());
        if let Some(calendar) = window.filter(|calendar| !self.knows_calendar(calendar)) {
            return Err(SubmitError::UnknownCalendar { calendar: calendar.clone() });
        }
        let target = self.find_target(&spec.instance, spec.kind);
        if let Some(pending) = target.and_then(|target| self.targets[target.at()].waiting.some()) {
            return self.check_joining(pending, spec, terms, needs);
        }
        if let Some(conflict) = target.and_then(|target| self.other_technology(target, spec)) {
            return Err(conflict);
        }
        let hint = target.map(|target| self.targets[target.at()].place).unwrap_or_default();
        self.check_demand(spec, terms, hint, needs)?;
        Ok(Checked::New(target))
    }

    /// Accepts a request that was checked.
    pub(super) fn take_in(
        &mut self,
        now: Now,
        spec: JobSpec,
        terms: Arc<JobTerms>,
        checked: Checked,
    ) -> Submission {
        match checked {
            Checked::New(target) => Submission::New(self.accept(now, target, spec, terms)),
            Checked::Joins(pending, joined) => self.coalesce(now, pending, spec, &terms, joined),
        }
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
        let ended = self.find(id).is_none();
        Ok(if ended { Cancellation::Done } else { Cancellation::Requested })
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
            self.want_no_room(now, ix, false);
            self.set_class(ix, to);
            let job = &mut self.jobs[ix.at()];
            Terms::set_class(&mut job.terms, to);
            self.rekey(ix);
            if waits {
                self.enter(now, ix);
            } else {
                let active = self.jobs[ix.at()].active;
                self.reviews.extend(active.some());
            }
            self.record(ix);
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
            self.record_estimate(ix, true);
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
        Some(self.jobs[waiting.at()].id())
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

    pub(super) fn rekey(&mut self, ix: JobIx) {
        let rank = self.targets[self.jobs[ix.at()].target.at()].rank;
        let boosts = self.config.boosts;
        let job = &mut self.jobs[ix.at()];
        job.key = job.natural_key(boosts, rank);
    }

    /// An instance is of one technology as long as one of its backups has not ended.
    fn other_technology(&self, target: TargetIx, spec: &JobSpec) -> Option<SubmitError> {
        let target = &self.targets[target.at()];
        let job = self.jobs[target.begun.some()?.at()].id();
        let technology = self.technology(target.technology);
        (technology != spec.technology).then(|| SubmitError::Conflict {
            job,
            field: "technology",
            pending: format!("{technology:?}"),
            asked: format!("{:?}", spec.technology),
        })
    }

    /// Whether a request can join the pending job.
    fn check_joining(
        &self,
        ix: JobIx,
        spec: &JobSpec,
        terms: &JobTerms,
        needs: &Needs,
    ) -> Result<Checked, SubmitError> {
        let (kept, _) = self.spec_of(&self.jobs[ix.at()]);
        if let Some((field, pending, asked)) = difference(&kept, spec) {
            let job = self.jobs[ix.at()].id();
            return Err(SubmitError::Conflict { job, field, pending, asked });
        }
        Ok(Checked::Joins(ix, self.joined_demand(&kept, ix, terms, needs)?))
    }

    /// Joins a request to the pending job: the more urgent of both counts. `joined` are the terms with the demand of both,
    /// if that is more.
    fn coalesce(
        &mut self,
        now: Now,
        ix: JobIx,
        spec: JobSpec,
        terms: &JobTerms,
        joined: Option<Arc<JobTerms>>,
    ) -> Submission {
        let id = self.jobs[ix.at()].id();
        self.withdraw_claim(ix);
        self.leave(ix);
        if let Some(joined) = joined {
            let (joined, demand) = self.intern_terms(&joined);
            let job = &mut self.jobs[ix.at()];
            let own_class = job.terms.own_class;
            job.terms = joined;
            if own_class {
                Terms::set_class(&mut job.terms, job.priority);
            }
            let before = std::mem::replace(&mut job.demand, demand);
            self.demands.release(before);
        }
        let deadline = match spec.deadline {
            Some(deadline) => deadline.as_millisecond(),
            None => now.wall.as_millisecond().saturating_add(millis(terms.rpo)),
        };
        let job = &mut self.jobs[ix.at()];
        let before = job.key;
        if let Some(extras) = &mut job.extras {
            let both = extras.spec.not_before.zip(spec.not_before);
            extras.spec.not_before = both.map(|(a, b)| a.min(b));
        }
        if terms.priority > job.priority {
            Terms::set_class(&mut job.terms, terms.priority);
            self.set_class(ix, terms.priority);
        }
        let job = &mut self.jobs[ix.at()];
        job.deadline_ms = job.deadline_ms.min(deadline);
        job.requesters = job.requesters.saturating_add(1);
        let size = spec.size_bytes.unwrap_or(job.key.size_bytes());
        job.set_size(Some(size));
        if spec.size_bytes.is_some() {
            job.marks.set(Mark::AskedSize, true);
        }
        self.heed_windows(ix);
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
        let requesters = job.requesters.into();
        self.enter(now, ix);
        self.record(ix);
        self.emit(Some(ix), EventKind::Coalesced { requesters });
        Submission::Coalesced(id)
    }

    /// The terms of a pending job with the larger of what it and a second request need, if that is more.
    fn joined_demand(
        &self,
        spec: &JobSpec,
        ix: JobIx,
        terms: &JobTerms,
        needs: &Needs,
    ) -> Result<Option<Arc<JobTerms>>, DemandError> {
        let job = &self.jobs[ix.at()];
        if terms.demand == job.terms.demand {
            return Ok(None);
        }
        let mut joined = JobTerms::clone(&job.terms.given);
        joined.demand.join(&terms.demand);
        let joined = Arc::new(joined);
        self.check_demand(spec, &joined, job.place, needs)?;
        Ok(Some(joined))
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
