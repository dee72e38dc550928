//! What a host holds on to: [`JobHandle`] for a submitted job, [`Permit`] for an admitted one.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{
    AttemptEnd, AttemptId, Cancellation, Explanation, JobId, JobState, JobStatus, Reason, RunContext,
    RunError,
};

use crate::asynchronous::JobFuture;
use crate::error::{JobError, Stopped, SubmitError};
use crate::runtime::{Command, Home, Link};
use crate::told::{Telling, Told};

/// A submitted job. Dropping the handle leaves the job alone. Clones are handles on the same job.
///
/// Threads [`wait`](Self::wait) for its end, tasks await it: `handle.await`, or `(&handle).await`, under any runtime; see
/// [`JobFuture`](crate::JobFuture).
///
/// In a process that is forked off later nothing is waited for: the job goes on in the other one, and there it is not known
/// how it ends. [`wait`](Self::wait) says [`Failed`](JobState::Failed) then, and why.
#[derive(Clone)]
pub struct JobHandle {
    pub(crate) job: JobId,
    pub(crate) outcome: Arc<Outcome>,
    /// `None`: it is as durable as it will be.
    pub(crate) confirmation: Option<Arc<Confirmation>>,
    pub(crate) link: Link,
}

impl JobHandle {
    /// The job.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// Waits until the job is durable: what [`submit`](crate::Scheduler::submit) has done already, and
    /// [`submit_unconfirmed`](crate::Scheduler::submit_unconfirmed) has not. At once without a
    /// [store](crate::SchedulerBuilder::store).
    ///
    /// # Errors
    /// When the store did not take it, or the scheduler ended before it was known. The job was not accepted then, and has
    /// ended without an attempt; one that the request had joined goes on. Should the process die before the store works again,
    /// the next scheduler may find the job all the same: of a write that failed nobody knows how much came to the disk.
    pub fn confirm(&self) -> Result<(), SubmitError> {
        self.link.home.check()?;
        self.confirmation.as_ref().map_or(Ok(()), |confirmation| confirmation.wait())
    }

    /// Waits until the job has ended, and tells how. Shutting the scheduler down ends every job.
    pub fn wait(&self) -> JobStatus {
        self.outcome.wait_at(self.link.home)
    }

    /// As [`wait`](Self::wait), for at most `limit` of real time; `None` when the job has not ended by then.
    pub fn wait_timeout(&self, limit: Duration) -> Option<JobStatus> {
        if let Err(forked) = self.link.home.check() {
            return Some(self.outcome.unknown(forked));
        }
        self.outcome.wait_timeout(limit)
    }

    /// The error, if it is known by now that it is not durable.
    pub(crate) fn refused(&self) -> Option<SubmitError> {
        self.confirmation.as_ref()?.told()?.err()
    }

    /// The job's final status, if it has ended.
    pub fn ended(&self) -> Option<JobStatus> {
        if let Err(forked) = self.link.home.check() {
            return Some(self.outcome.unknown(forked));
        }
        self.outcome.told.told()
    }

    /// Cancels the job. A running one stops at its next checkpoint.
    ///
    /// # Errors
    /// When the job was forgotten or the scheduler has ended.
    pub fn cancel(&self) -> Result<Cancellation, JobError> {
        self.link.cancel(self.job, Reason::new("cancelled by the host"))
    }

    /// Why the job is where it is.
    ///
    /// # Errors
    /// When the job was forgotten or the scheduler has ended.
    pub fn explain(&self) -> Result<Explanation, JobError> {
        self.link.explain(self.job)
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("job", &self.job)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

/// Where it is told whether a submission is durable.
pub(crate) type Confirmation = Told<Result<(), SubmitError>>;

/// Where a job's end is told to whoever waits for it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The job when it was accepted.
    pub(crate) accepted: JobStatus,
    told: Arc<Told<JobStatus>>,
}

impl Outcome {
    pub(crate) fn new(accepted: JobStatus) -> Arc<Self> {
        Arc::new(Self { accepted, told: Arc::default() })
    }

    pub(crate) fn tell(&self, status: JobStatus) {
        self.told.tell(status);
    }

    /// What is told of a job whose end nobody here will ever hear of.
    pub(crate) fn tell_unknown(&self, state: JobState, why: &str) {
        self.tell(self.as_of(state, why.to_owned()));
    }

    fn as_of(&self, state: JobState, why: String) -> JobStatus {
        let mut status = self.accepted.clone();
        (status.state, status.error) = (state, Some(why));
        status
    }

    /// The end for somebody in another process. No lock is taken: who held it may not be here.
    fn unknown(&self, forked: Stopped) -> JobStatus {
        self.as_of(JobState::Failed, forked.to_string())
    }

    /// Waits for the end where somebody tells it.
    pub(crate) fn wait_at(&self, home: Home) -> JobStatus {
        match home.check() {
            Ok(()) => self.told.wait(),
            Err(forked) => self.unknown(forked),
        }
    }

    fn wait_timeout(&self, limit: Duration) -> Option<JobStatus> {
        self.told.wait_timeout(limit)
    }

    /// [`wait_at`](Self::wait_at) for tasks.
    pub(crate) fn telling_at(&self, home: Home) -> Telling<JobStatus> {
        match home.check() {
            Ok(()) => Telling::new(self.told.clone()),
            Err(forked) => {
                let told = Arc::<Told<JobStatus>>::default();
                told.tell(self.unknown(forked));
                Telling::new(told)
            }
        }
    }
}

/// Leave to make one backup, for tools that own their loop. Held resources are given back at its end.
///
/// It dereferences to [`RunContext`]: `pace`, `progress`, `checkpoint`, paced readers and writers. A permit that is
/// dropped without [`finish`](Self::finish) counts as a failed attempt. There are no retries: the tool decides.
#[must_use = "a permit that is dropped is a failed attempt; call `finish` or `fail` after the backup"]
pub struct Permit {
    ctx: RunContext,
    attempt: AttemptId,
    outcome: Arc<Outcome>,
    /// `None` once it was given back.
    link: Option<Link>,
    home: Home,
}

impl Permit {
    pub(crate) fn new(ctx: RunContext, outcome: Arc<Outcome>, link: Link) -> Self {
        let attempt = AttemptId { job: ctx.job(), number: ctx.attempt() };
        let home = link.home;
        Self { ctx, attempt, outcome, link: Some(link), home }
    }

    /// The backup is complete and verified.
    pub fn finish(mut self) -> JobStatus {
        self.end(Ok(()));
        self.outcome.wait_at(self.home)
    }

    /// The backup failed.
    pub fn fail(mut self, error: impl fmt::Display) -> JobStatus {
        self.end(Err(RunError::Permanent(error.to_string())));
        self.outcome.wait_at(self.home)
    }

    /// As [`finish`](Self::finish), for tasks: the permit is given back at once, whether what is returned is awaited or not.
    pub fn finish_async(mut self) -> JobFuture {
        self.end(Ok(()));
        JobFuture::new(&self.outcome, self.home)
    }

    /// As [`fail`](Self::fail), for tasks: the permit is given back at once, whether what is returned is awaited or not.
    pub fn fail_async(mut self, error: impl fmt::Display) -> JobFuture {
        self.end(Err(RunError::Permanent(error.to_string())));
        JobFuture::new(&self.outcome, self.home)
    }

    fn end(&mut self, result: Result<(), RunError>) {
        // One that was copied into another process ends nothing: the permit is held where it was given.
        let Some(link) = self.link.take().filter(|link| link.home.is_here()) else { return };
        let bytes = self.ctx.control().progress().done_bytes;
        // With the scheduler gone the outcome has been told already.
        link.post(Command::Ended(self.attempt, AttemptEnd::new(bytes, result)));
    }
}

impl Deref for Permit {
    type Target = RunContext;

    fn deref(&self) -> &RunContext {
        &self.ctx
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end(Err(RunError::Permanent("the permit was dropped before it was finished".into())));
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("job", &self.attempt.job).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::Receiver;
    use sched_core::{Clock, Engine, EngineConfig, JobSpec, ManualClock};

    use super::*;
    use crate::runtime::Presence;

    /// A handle that was copied into another process, and who would read what it says.
    fn copied() -> (JobHandle, Receiver<Command>, Presence) {
        let now = ManualClock::default().now();
        let accepted =
            Engine::new(EngineConfig::default(), now).unsent(now, JobId(7), &JobSpec::new("a", "sqlite"));
        let (mut link, inbox, presence) = Link::new(4);
        link.home = Home::elsewhere();
        let confirmation = Some(Arc::<Confirmation>::default());
        (JobHandle { job: JobId(7), outcome: Outcome::new(accepted), confirmation, link }, inbox, presence)
    }

    #[test]
    fn in_another_process_nobody_waits_for_what_nobody_will_tell() {
        let (handle, inbox, _presence) = copied();
        // As when it was forked while another thread looked.
        let _held = (handle.outcome.told.held(), handle.confirmation.as_ref().map(|c| c.held()));
        assert!(matches!(handle.confirm(), Err(SubmitError::Forked(_))));
        for status in [handle.wait(), handle.wait_timeout(Duration::MAX).unwrap(), handle.ended().unwrap()] {
            assert_eq!((status.job.id, status.state), (JobId(7), JobState::Failed));
            assert!(status.error.unwrap().contains("was forked"));
        }
        assert!(matches!(handle.cancel(), Err(JobError::Forked(_))));
        assert!(matches!(handle.explain(), Err(JobError::Forked(_))));
        assert!(inbox.is_empty());
    }
}
