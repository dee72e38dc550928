//! What other threads tell the dispatcher, and how they ask.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use sched_core::{
    AttemptEnd, AttemptId, Cancellation, Event, Executor, Explanation, JobId, JobSpec, JobTerms, PauseMark,
    Priority, Reason, ResourceName, RunContext, Scope, UnknownJob, Wake,
};
use sched_limits::Reading;
use sched_workload::LoadReading;

use crate::error::{AcquireError, JobError, Stopped};
use crate::handle::Outcome;
use crate::scheduler::{ShutdownReport, Status};

/// A message to the dispatcher.
pub(crate) enum Command {
    Submit(Box<JobSpec>, Box<JobTerms>, Route, Sender<Result<Accepted, AcquireError>>),
    Cancel(JobId, Reason, Sender<Result<Cancellation, UnknownJob>>),
    Reprioritize(JobId, Priority, Sender<Result<bool, UnknownJob>>),
    Explain(JobId, Sender<Result<Explanation, UnknownJob>>),
    Hold(Scope, Reason, Sender<()>),
    Release(Scope, Sender<bool>),
    SetResource(ResourceName, u64, Sender<()>),
    Status(Sender<Status>),
    Subscribe(Sender<Event>, Sender<()>),
    Mark(AttemptId, PauseMark),
    Ended(AttemptId, AttemptEnd),
    Readings(usize, Result<Vec<Reading>, String>),
    Load(usize, Result<LoadReading, String>),
    Shutdown(Duration, Sender<ShutdownReport>),
    /// The clock was moved by hand.
    Look,
}

/// Who makes a job's backup.
#[derive(Clone)]
pub(crate) enum Route {
    /// A worker thread runs this.
    Push(Arc<dyn Executor>),
    /// The host does, once it has the grant.
    Pull(Sender<Grant>),
}

/// An admitted attempt on its way to the host.
pub(crate) struct Grant(pub(crate) RunContext);

/// An accepted submission.
pub(crate) struct Accepted {
    pub(crate) job: JobId,
    pub(crate) outcome: Arc<Outcome>,
}

/// A way to the dispatcher.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) commands: Sender<Command>,
}

impl Link {
    /// Sends a command made with a reply channel and waits for the reply.
    pub(crate) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = bounded(1);
        self.commands.send(command(reply)).map_err(|_| Stopped)?;
        answer.recv().map_err(|_| Stopped)
    }

    pub(crate) fn cancel(&self, job: JobId, reason: Reason) -> Result<Cancellation, JobError> {
        let answer = self.ask(|reply| Command::Cancel(job, reason, reply));
        Ok(answer.map_err(|_| JobError::Stopped)??)
    }

    pub(crate) fn explain(&self, job: JobId) -> Result<Explanation, JobError> {
        let answer = self.ask(|reply| Command::Explain(job, reply));
        Ok(answer.map_err(|_| JobError::Stopped)??)
    }
}

impl Wake for Link {
    fn wake(&self) {
        // A full channel means that the dispatcher is awake anyway and reads the clock for each message.
        drop(self.commands.try_send(Command::Look));
    }
}
