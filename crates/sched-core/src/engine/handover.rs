//! Jobs that change from one engine to another while both run, as shares of a fleet do between schedulers.

use std::time::Duration;

use crate::error::UnknownJob;
use crate::event::{EventKind, JobRef};
use crate::gate::Reason;
use crate::journal::{JobRecord, Record, RestoreError};
use crate::spec::{JobId, JobSpec};
use crate::state::JobState;
use crate::status::JobStatus;
use crate::time::Now;

use super::index::{ActiveIx, JobIx};
use super::job::Stop;
use super::journal::{MOST_ATTEMPTS, MOST_JOBS};
use super::{Engine, Output};

/// What became of a job that was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGo {
    /// It waited, and is unknown from now on.
    Gone,
    /// Its attempt was told to stop. [`Output::LetGo`] says when it has.
    Stopping,
}

impl Engine {
    /// Takes jobs over from another engine that has let them go, or is gone: like [`restore`](Self::restore), at any time.
    /// Those that were under way count as interrupted. What stands in the records beside jobs replaces what was known.
    /// Returns how many jobs there are.
    ///
    /// What is taken over in one call is bounded by the caller; the jobs of one instance belong into the same call. Their
    /// numbers are from ranges of other engines ([`EngineConfig::first_job`](super::EngineConfig::first_job)), or were given by
    /// this one before.
    ///
    /// # Errors
    /// When a job is known already, or a number in the records is too large. Nothing has changed then.
    pub fn take_over(
        &mut self,
        now: Now,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<usize, RestoreError> {
        let mut jobs: Vec<Box<JobRecord>> = Vec::new();
        let mut others = Vec::new();
        for record in records {
            match record {
                Record::Job(record) => jobs.push(record),
                Record::Ended(_) => {}
                other => others.push(other),
            }
        }
        // Who has begun stands before its successor, whatever their numbers: those come from several ranges.
        jobs.sort_by_key(|record| (record.attempt == 0, record.id));
        for (at, record) in jobs.iter().enumerate() {
            let JobRecord { id, attempt, .. } = &**record;
            if id.0 > MOST_JOBS || *attempt > MOST_ATTEMPTS {
                return Err(RestoreError::TooLarge { job: *id, attempt: *attempt });
            }
            if self.find(*id).is_some() || jobs[..at].last().is_some_and(|before| before.id == *id) {
                return Err(RestoreError::Known(*id));
            }
        }
        let now = self.observe(now);
        for record in others {
            match record {
                Record::Orders(standing) => self.restore_orders(now, *standing),
                Record::Estimate(record) => self.restore_estimate(*record),
                Record::Job(_) | Record::Ended(_) => {}
            }
        }
        let count = jobs.len();
        jobs.into_iter().for_each(|record| self.restore_job(now, record));
        Ok(count)
    }

    /// Lets a job go that another engine has, or will take over: no record is made of it any more. One that waits vanishes;
    /// the attempt of one that runs is told to stop, and however that ends, it ends nothing but the attempt.
    ///
    /// # Errors
    /// When no such job is known, or it has ended.
    pub fn let_go(&mut self, now: Now, id: JobId, reason: Reason) -> Result<LetGo, UnknownJob> {
        let now = self.observe(now);
        let ix = self.find(id).ok_or(UnknownJob(id))?;
        if self.jobs[ix.at()].state.is_waiting() {
            self.vanish(ix, now);
            return Ok(LetGo::Gone);
        }
        self.order_stop(now, ix, Stop::LetGo(reason));
        // One whose start had not gone out has ended already.
        Ok(if self.find(id).is_some() { LetGo::Stopping } else { LetGo::Gone })
    }

    /// A number for a job that another engine makes: none of this one's jobs will have it. What is written down now is
    /// written after it.
    pub fn reserve(&mut self) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        self.journaled.0 += 1;
        id
    }

    /// How a job stands that another engine is asked for, before that has said anything.
    pub fn unsent(&self, now: Now, id: JobId, spec: &JobSpec) -> JobStatus {
        let deadline = spec.deadline.unwrap_or(now.wall);
        JobStatus {
            job: JobRef {
                id,
                instance: spec.instance.clone(),
                technology: spec.technology.clone(),
                kind: spec.kind,
                priority: spec.priority.unwrap_or_default(),
                attempt: 0,
            },
            state: JobState::Queued,
            submitted: now.wall,
            deadline,
            latest_start: deadline,
            started: None,
            waited: Duration::ZERO,
            ran: Duration::ZERO,
            bytes: 0,
            size_bytes: spec.size_bytes,
            expected_duration: spec.expected_duration.unwrap_or_default(),
            deferrals: 0,
            requesters: 1,
            waits_for: None,
            error: None,
        }
    }

    pub(super) fn is_let_go(&self, active: ActiveIx) -> bool {
        matches!(self.actives[active.at()].stop.as_deref(), Some(Stop::LetGo(_)))
    }

    /// Forgets a job that is another's.
    pub(super) fn vanish(&mut self, ix: JobIx, now: Now) {
        self.withdraw_claim(ix);
        self.want_no_room(now, ix, false);
        self.leave(ix);
        self.set_timer(ix, None);
        let job = &mut self.jobs[ix.at()];
        let (id, waits) = (job.id(), job.state.is_waiting());
        let active = std::mem::take(&mut job.active);
        if let Some(active) = active.some() {
            let reason = Reason::new("another scheduler goes on with it");
            self.emit(Some(ix), EventKind::Interrupted { reason, not_before: now.wall });
            self.end_attempt(active);
        }
        if waits {
            self.count_waiting_no_more(ix);
        }
        self.forget_job(now, ix);
        self.outputs.push_back(Output::LetGo(id));
    }
}
