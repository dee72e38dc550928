//! Requests that become jobs, and who waits for them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use sched_core::{Executor, Explanation, JobId, JobSpec, JobState, Reason, Renewed, Submission, UnknownJob};

use super::{Dispatcher, Keeping};
use crate::current::Resolved;
use crate::error::{AcquireError, SubmitError};
use crate::handle::Outcome;
use crate::reload::Asked;
use crate::runtime::command::Answers;
use crate::runtime::left::LeftJob;
use crate::runtime::{Accepted, Request, Route};

/// Jobs that somebody may wait for. Should the dispatcher itself fail, nobody waits for ever.
#[derive(Default)]
pub(super) struct Jobs(pub(super) BTreeMap<JobId, Box<Entry>>);

pub(super) struct Entry {
    pub(super) route: Route,
    /// Who makes the backup if the host that waits for a permit waits no longer: somebody else asked for it too.
    pub(super) instead: Option<Arc<dyn Executor>>,
    /// What was asked for, before the policies were heard; `None` if that was no more than instance, technology and kind.
    pub(super) asked: Option<Box<JobSpec>>,
    pub(super) outcome: Arc<Outcome>,
}

impl Entry {
    /// Nobody but the host that waits for a permit makes the backup: the job ends with it.
    pub(super) fn is_its_hosts(&self) -> bool {
        matches!(self.route, Route::Pull(_)) && self.instead.is_none()
    }

    /// What was asked for, before the policies were heard.
    fn spec(&self) -> JobSpec {
        let about = &self.outcome.accepted.job;
        let plain = || JobSpec::new(&about.instance, &about.technology).kind(about.kind);
        self.asked.as_deref().cloned().unwrap_or_else(plain)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        for (_, entry) in std::mem::take(&mut self.0) {
            entry.outcome.tell_unknown(JobState::Failed, "the scheduler ended before the job did");
        }
    }
}

impl Dispatcher {
    /// Accepts requests that belong together, or none of them.
    pub(super) fn submit(&mut self, requests: Vec<Request>) -> Result<Vec<Accepted>, AcquireError> {
        if let Some(error) = self.keeping.as_ref().and_then(Keeping::down) {
            return Err(SubmitError::Store(error.clone()).into());
        }
        if requests.iter().any(|request| !self.makes(&request.spec)) {
            return self.pass_on(requests);
        }
        self.submit_here(requests)
    }

    /// [`submit`](Self::submit) for what this scheduler makes itself.
    pub(super) fn submit_here(&mut self, requests: Vec<Request>) -> Result<Vec<Accepted>, AcquireError> {
        let now = self.parts.clock.now();
        let engine = &mut self.parts.engine;
        let mut ours = Vec::with_capacity(requests.len());
        let mut theirs = Vec::with_capacity(requests.len());
        for Request { spec, terms, needs, asked, route } in requests {
            if let (Route::Pull(_), Some(job)) = (&route, engine.pending(&spec.instance, spec.kind)) {
                return Err(AcquireError::AlreadyPending(job));
            }
            // A job that has not been given the terms of the policies in force yet could not be joined.
            if engine.starts_are_suspended()
                && let Some(entry) =
                    engine.pending(&spec.instance, spec.kind).and_then(|job| self.jobs.0.get(&job))
                && let Ok(Resolved { spec, terms, needs, .. }) =
                    self.parts.current.read().resolve_one(entry.spec(), matches!(entry.route, Route::Pull(_)))
            {
                let mut renewed = Renewed { spec, terms, needs };
                _ = engine.renew(now, entry.outcome.accepted.job.id, &mut renewed);
            }
            let placement = self.parts.foresight.place(&spec, &self.parts.rates);
            ours.push((route, asked, placement));
            theirs.push((spec, terms, needs));
        }
        let submitted = engine.submit_as_one(now, theirs).map_err(SubmitError::from)?;
        let accepted =
            submitted.into_iter().zip(ours).filter_map(|(submission, (route, asked, placement))| {
                let (job, is_new) = (submission.job(), matches!(submission, Submission::New(_)));
                let outcome = self.outcome_of(job, route, asked)?;
                if let Some(placement) = placement {
                    self.plan_submitted(now, job, &placement);
                }
                Some(Accepted { job, outcome, is_new, confirmation: None })
            });
        Ok(accepted.collect())
    }

    /// [`submit`](Self::submit)s requests, each accepted or refused by itself; who asked is told together when all that was
    /// accepted is durable.
    pub(super) fn submit_each(&mut self, requests: Vec<Vec<Request>>) -> Answers {
        let mut answers: Answers = requests.into_iter().map(|all| self.submit(all)).collect();
        let mut accepted: Vec<_> = answers.iter_mut().flatten().flatten().collect();
        if !accepted.is_empty() {
            let new =
                accepted.iter().filter(|accepted| accepted.is_new).map(|accepted| accepted.job).collect();
            let confirmation = self.confirm(new);
            accepted.iter_mut().for_each(|accepted| accepted.confirmation.clone_from(&confirmation));
        }
        answers
    }

    /// Has jobs of a former scheduler go on, in an engine that has taken them over.
    pub(super) fn go_on(&mut self, left: BTreeMap<JobId, LeftJob>) {
        let current = self.parts.current.read().clone();
        for (job, LeftJob { technology, asked, .. }) in left {
            let Ok(accepted) = self.parts.engine.job_status(job) else { continue };
            // Those without an executor stayed in the store.
            let Ok(executor) = current.executor(&technology) else { continue };
            let route = Route::Push(executor);
            let entry = Entry { route, instead: None, asked, outcome: Outcome::new(accepted) };
            self.jobs.0.insert(job, Box::new(entry));
        }
    }

    /// Where the end of a job is told to who asked for it; `None` for one that is not known.
    fn outcome_of(&mut self, job: JobId, route: Route, asked: Option<Box<JobSpec>>) -> Option<Arc<Outcome>> {
        if let Some(entry) = self.jobs.0.get_mut(&job) {
            if let Route::Push(executor) = route {
                entry.instead.get_or_insert(executor);
            }
            return Some(entry.outcome.clone());
        }
        let outcome = Outcome::new(self.parts.engine.job_status(job).ok()?);
        let entry = Entry { route, instead: None, asked, outcome: outcome.clone() };
        self.jobs.0.insert(job, Box::new(entry));
        Some(outcome)
    }

    /// What was asked for of the jobs that have not ended, from the one after `after` on.
    pub(super) fn asked(&self, after: Option<JobId>, most: usize) -> Vec<Asked> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let some = self.jobs.0.range((from, Bound::Unbounded)).take(most);
        let asked = some.map(|(job, entry)| Asked {
            job: *job,
            spec: entry.spec(),
            pull: matches!(entry.route, Route::Pull(_)),
        });
        asked.collect()
    }

    /// The host waits no longer for a permit. Nobody else loses the job: if others have asked for the backup, their
    /// executor makes it. What it waited for is told; if it was admitted, the permit is on its way and nothing changes.
    pub(super) fn leave(&mut self, job: JobId) -> Result<Explanation, UnknownJob> {
        let explanation = self.parts.engine.explain(job)?;
        let Some(entry) = self.jobs.0.get_mut(&job).filter(|_| !self.running.contains_key(&job)) else {
            return Ok(explanation);
        };
        match entry.instead.take() {
            Some(executor) => entry.route = Route::Push(executor),
            None => {
                let now = self.parts.clock.now();
                self.parts.engine.cancel(now, job, Reason::new("the caller waited no longer"))?;
            }
        }
        Ok(explanation)
    }

    /// Nobody reads these answers any more. Backups that were asked for are made all the same; nobody is there for permits.
    pub(super) fn leave_unread(&mut self, answers: Answers) {
        for accepted in answers.into_iter().flatten().flatten().filter(|accepted| accepted.is_new) {
            let entry = self.jobs.0.get(&accepted.job);
            if entry.is_some_and(|entry| matches!(entry.route, Route::Pull(_))) {
                // It may have ended already.
                let _ = self.leave(accepted.job);
            }
        }
    }
}
