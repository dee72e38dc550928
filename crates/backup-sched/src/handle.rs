//! What a host holds on to: [`JobHandle`] for a submitted job, [`Permit`] for an admitted one.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{
    AttemptEnd, AttemptId, Cancellation, Explanation, JobId, JobStatus, Reason, RunContext, RunError,
};

use crate::asynchronous::JobFuture;
use crate::error::{JobError, SubmitError};
use crate::runtime::{Command, Link};
use crate::told::Told;

/// A submitted job. Dropping the handle leaves the job alone. Clones are handles on the same job.
///
/// Threads [`wait`](Self::wait) for its end, tasks await it: `handle.await`, or `(&handle).await`, under any runtime; see
/// [`JobFuture`](crate::JobFuture).
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
        self.confirmation.as_ref().map_or(Ok(()), |confirmation| confirmation.wait())
    }

    /// Waits until the job has ended, and tells how. Shutting the scheduler down ends every job.
    pub fn wait(&self) -> JobStatus {
        self.outcome.wait()
    }

    /// As [`wait`](Self::wait), for at most `limit` of real time; `None` when the job has not ended by then.
    pub fn wait_timeout(&self, limit: Duration) -> Option<JobStatus> {
        self.outcome.wait_timeout(limit)
    }

    /// The error, if it is known by now that it is not durable.
    pub(crate) fn refused(&self) -> Option<SubmitError> {
        self.confirmation.as_ref()?.told()?.err()
    }

    /// The job's final status, if it has ended.
    pub fn ended(&self) -> Option<JobStatus> {
        self.outcome.told()
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
pub(crate) type Outcome = Told<JobStatus>;

/// Leave to make one backup, for tools that own their loop. Held resources are given back at its end.
///
/// It dereferences to [`RunContext`]: `pace`, `progress`, `checkpoint`, paced readers and writers. A permit that is
/// dropped without [`finish`](Self::finish) counts as a failed attempt. There are no retries: the tool decides.
pub struct Permit {
    ctx: RunContext,
    attempt: AttemptId,
    outcome: Arc<Outcome>,
    /// `None` once it was given back.
    link: Option<Link>,
}

impl Permit {
    pub(crate) fn new(ctx: RunContext, outcome: Arc<Outcome>, link: Link) -> Self {
        let attempt = AttemptId { job: ctx.job(), number: ctx.attempt() };
        Self { ctx, attempt, outcome, link: Some(link) }
    }

    /// The backup is complete and verified.
    pub fn finish(mut self) -> JobStatus {
        self.end(Ok(()));
        self.outcome.wait()
    }

    /// The backup failed.
    pub fn fail(mut self, error: impl fmt::Display) -> JobStatus {
        self.end(Err(RunError::Permanent(error.to_string())));
        self.outcome.wait()
    }

    /// As [`finish`](Self::finish), for tasks: the permit is given back at once, whether what is returned is awaited or not.
    pub fn finish_async(mut self) -> JobFuture {
        self.end(Ok(()));
        JobFuture::new(self.outcome.clone())
    }

    /// As [`fail`](Self::fail), for tasks: the permit is given back at once, whether what is returned is awaited or not.
    pub fn fail_async(mut self, error: impl fmt::Display) -> JobFuture {
        self.end(Err(RunError::Permanent(error.to_string())));
        JobFuture::new(self.outcome.clone())
    }

    fn end(&mut self, result: Result<(), RunError>) {
        let Some(link) = self.link.take() else { return };
        let bytes = self.ctx.control().progress().done_bytes;
        // With the scheduler gone the outcome has been told already.
        link.post(Command::Ended(self.attempt, AttemptEnd { bytes, result }));
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
