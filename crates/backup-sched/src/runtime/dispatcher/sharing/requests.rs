//! What a scheduler asks of others in its fleet and is asked by them, and the jobs that somebody here waits for and
//! others make.

use std::sync::Arc;

use sched_core::store::{Ask, Entry, Request as Asking};
use sched_core::{Cancellation, JobId, JobSpec, JobState, JobStatus, Now, Reason, UnknownJob};

use super::{Dispatcher, Elsewhere};
use crate::error::{AcquireError, SubmitError};
use crate::handle::Outcome;
use crate::runtime::{Accepted, Request, Route};

impl Dispatcher {
    /// A job was let go: who waits for it here hears of its end from elsewhere.
    pub(in super::super) fn gone(&mut self, job: JobId) {
        let ran = self.running.remove(&job);
        self.running_changed |= ran.is_some();
        let now = self.parts.clock.now();
        if let Some(running) = ran {
            self.watch_no_longer(now, running.attempt.job);
        }
        let (foresight, _, trusted) = self.parts.foresight(now);
        foresight.ended(trusted, job);
        self.keeping.iter_mut().for_each(|keeping| _ = keeping.unclean.remove(&job));
        let entry = self.jobs.0.remove(&job);
        self.parts.schedules.let_go(job);
        let Some(sharing) = &mut self.sharing else { return };
        let share = sharing.places.get(&job).copied();
        sharing.forget(job);
        // Nobody asks for what nobody waits for.
        if let (Some(entry), Some(share)) = (entry, share)
            && Arc::strong_count(&entry.outcome) > 1
        {
            let here = Elsewhere { share, outcome: entry.outcome };
            sharing.elsewhere.insert(job, here);
        }
    }

    pub(super) fn ended_elsewhere(&mut self, job: JobId, status: Option<JobStatus>) {
        let Some(elsewhere) = self.sharing.as_mut().and_then(|sharing| sharing.elsewhere.remove(&job)) else {
            return;
        };
        let why = "another scheduler made it, and how it ended is not known";
        match status {
            Some(status) => elsewhere.outcome.tell(status),
            None => elsewhere.outcome.tell_unknown(JobState::Failed, why),
        }
    }

    /// Passes requests on to the scheduler that makes such backups. None of them is for a permit.
    pub(in super::super) fn pass_on(
        &mut self,
        requests: Vec<Request>,
    ) -> Result<Vec<Accepted>, AcquireError> {
        if let Some(request) = requests.iter().find(|request| matches!(request.route, Route::Pull(_))) {
            return Err(SubmitError::Elsewhere { instance: request.spec.instance.clone() }.into());
        }
        let now = self.parts.clock.now();
        let mut accepted = Vec::with_capacity(requests.len());
        for Request { spec, asked, .. } in requests {
            let (Some(sharing), Some(keeping)) = (&mut self.sharing, &mut self.keeping) else { break };
            let share = sharing.desk.share_of(&spec);
            let job = self.parts.engine.reserve();
            let plain = || JobSpec::new(&spec.instance, &spec.technology).kind(spec.kind);
            let asked = asked.map_or_else(plain, |asked| *asked);
            let ask = Ask::Submit(job, Box::new(asked));
            keeping.add(Entry::Asked(Box::new(Asking { number: 0, share, ask })));
            let outcome = Outcome::new(self.parts.engine.unsent(now, job, &spec));
            sharing.elsewhere.insert(job, Elsewhere { share, outcome: outcome.clone() });
            accepted.push(Accepted { job, outcome, is_new: false, confirmation: None });
        }
        self.report_to_fleet();
        Ok(accepted)
    }

    /// Cancels a job, wherever it is made.
    pub(in super::super) fn cancel(
        &mut self,
        now: Now,
        job: JobId,
        reason: &Reason,
    ) -> Result<Cancellation, UnknownJob> {
        match self.cancel_elsewhere(job, reason) {
            true => Ok(Cancellation::Requested),
            false => self.parts.engine.cancel(now, job, reason.clone()),
        }
    }

    /// Asks the scheduler that makes a job for its end; `false` when nobody else makes it.
    pub(super) fn cancel_elsewhere(&mut self, job: JobId, reason: &Reason) -> bool {
        let (Some(sharing), Some(keeping)) = (&self.sharing, &mut self.keeping) else { return false };
        let Some(share) = sharing.elsewhere.get(&job).map(|elsewhere| elsewhere.share) else { return false };
        let ask = Ask::Cancel(job, reason.clone());
        keeping.add(Entry::Asked(Box::new(Asking { number: 0, share, ask })));
        self.hand_on();
        true
    }

    /// Does what another process asks for. The answer is written with what comes of it.
    pub(super) fn answer(&mut self, now: Now, asking: Asking) {
        let Some(sharing) = &mut self.sharing else { return };
        // One that is closing accepts nothing any more.
        if !sharing.makes(asking.share) || self.closing.is_some() {
            // Its next owner hears of it.
            return;
        }
        if self.keeping.as_ref().is_some_and(|keeping| keeping.down().is_some()) {
            sharing.postponed.insert(asking.number, asking);
            return;
        }
        let answer = match &asking.ask {
            Ask::Submit(_, spec) => self.submit_for_others(spec),
            Ask::Cancel(job, reason) => {
                let cancelled = self.parts.engine.cancel(now, *job, reason.clone());
                cancelled.map(|_| *job).map_err(|error| error.to_string())
            }
            _ => return,
        };
        self.keeping.iter_mut().for_each(|keeping| {
            keeping.add(Entry::Answered(Box::new(asking.clone()), answer.clone()));
        });
    }

    pub(super) fn submit_for_others(&mut self, spec: &JobSpec) -> Result<JobId, String> {
        let current = self.parts.current.read().clone();
        let resolved = current.resolve_one(spec.clone(), false).map_err(|error| error.to_string())?;
        let executor = current.executor(&resolved.spec.technology).map_err(|error| error.to_string())?;
        if !self.makes(&resolved.spec) {
            return Err("by the policies of its owner it is of another share: ask for it where it is".into());
        }
        let request = Request::new(resolved, Route::Push(executor));
        let accepted = self.submit_here(vec![request]).map_err(|error| error.to_string())?;
        accepted.first().map(|accepted| accepted.job).ok_or_else(|| "nothing came of it".into())
    }

    /// Takes on what came while nothing could be made durable.
    pub(in super::super) fn answer_postponed(&mut self, now: Now) {
        let postponed = self.sharing.as_mut().map(|sharing| std::mem::take(&mut sharing.postponed));
        postponed.into_iter().flatten().for_each(|(_, asking)| self.answer(now, asking));
    }
}
