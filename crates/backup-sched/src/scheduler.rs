//! [`Scheduler`]: what a host talks to.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TrySendError, bounded};
use serde::{Deserialize, Serialize};

use sched_core::{
    Cancellation, EngineStatus, Event, Explanation, InstanceName, JobId, JobSpec, JobStatus, JobTerms,
    Priority, Progress, Reason, ResourceName, Scope, TechnologyName,
};
use sched_limits::Rate;
use sched_observe::HookStats;
use sched_policy::Policies;

use crate::builder::{Executors, SchedulerBuilder};
use crate::error::{AcquireError, JobError, Stopped, SubmitError};
use crate::handle::{JobHandle, Permit};
use crate::runtime::{Command, Grant, Link, Route};

/// A running scheduler. Clones share it; when the last is dropped it is shut down without grace.
///
/// All methods may be called from any thread, hooks and executors included. An executor, probe or hook that keeps a
/// clone of its own scheduler keeps it alive: end such a scheduler with [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    policies: Policies,
    executors: Executors,
}

impl Scheduler {
    /// Starts with everything at its default.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    pub(crate) fn new(link: Link, policies: Policies, executors: Executors) -> Self {
        Self { inner: Arc::new(Inner { link, policies, executors }) }
    }

    /// Asks for a full backup of `instance`; a registered executor of `technology` makes it.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn schedule_backup(
        &self,
        instance: impl Into<InstanceName>,
        technology: impl Into<TechnologyName>,
        priority: Priority,
    ) -> Result<JobHandle, SubmitError> {
        self.submit(JobSpec::new(instance, technology).priority(priority))
    }

    /// Asks for a backup; a registered executor of its technology makes it.
    ///
    /// A request for an instance and kind that is pending already joins that job, and the more urgent counts.
    ///
    /// # Errors
    /// When the technology is unknown or has no executor, when the request makes no sense or contradicts a pending
    /// one, when the queue is full, and after a shutdown. Nothing was changed then.
    pub fn submit(&self, spec: JobSpec) -> Result<JobHandle, SubmitError> {
        let (spec, terms) = self.inner.resolve(spec)?;
        let executor = self.inner.executors.get(&spec.technology).ok_or_else(|| {
            let registered: Vec<_> = self.inner.executors.keys().map(TechnologyName::as_str).collect();
            let registered = if registered.is_empty() { "none".to_owned() } else { registered.join(", ") };
            SubmitError::NoExecutor { technology: spec.technology.clone(), registered }
        })?;
        match self.inner.accept(spec, terms, Route::Push(executor.clone())) {
            Ok(handle) => Ok(handle),
            Err(AcquireError::Submit(error)) => Err(error),
            // Only a pull request is refused for another reason.
            Err(_) => Err(SubmitError::Stopped),
        }
    }

    /// Asks for leave to make a backup oneself, and waits for it without limit.
    ///
    /// # Errors
    /// When the request is refused, or the job ends before it is admitted (cancelled, or shut down).
    pub fn acquire(&self, spec: JobSpec) -> Result<Permit, AcquireError> {
        self.pull(spec, None)
    }

    /// As [`acquire`](Self::acquire), waiting for at most `limit` of real time.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`AcquireError::TimedOut`] with what it waited for.
    pub fn acquire_within(&self, spec: JobSpec, limit: Duration) -> Result<Permit, AcquireError> {
        self.pull(spec, Some(limit))
    }

    fn pull(&self, spec: JobSpec, limit: Option<Duration>) -> Result<Permit, AcquireError> {
        let (spec, mut terms) = self.inner.resolve(spec)?;
        // The tool owns its loop, so it also decides what happens after a failure.
        terms.retry.max_attempts = 1;
        let (host, granted) = bounded(1);
        let handle = self.inner.accept(spec, terms, Route::Pull(host))?;
        let permit = |Grant(ctx)| Permit::new(ctx, handle.outcome.clone(), self.inner.link.commands.clone());
        let answer = match limit {
            Some(limit) => granted.recv_timeout(limit),
            None => granted.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(grant) => Ok(permit(grant)),
            Err(RecvTimeoutError::Disconnected) => Err(AcquireError::Ended(Box::new(handle.wait()))),
            Err(RecvTimeoutError::Timeout) => {
                let explanation = handle.explain();
                let withdrawn =
                    self.inner.link.cancel(handle.id(), Reason::new("the caller waited no longer"));
                // It may have been admitted in the meantime; dropping the permit ends that attempt.
                drop(granted.try_recv().map(permit));
                match (explanation, withdrawn) {
                    (Ok(explanation), Ok(_)) => Err(AcquireError::TimedOut(Box::new(explanation))),
                    _ => Err(AcquireError::Submit(SubmitError::Stopped)),
                }
            }
        }
    }

    /// Cancels a job. A running one stops at its next checkpoint; one that has ended stays as it is.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn cancel(&self, job: JobId) -> Result<Cancellation, JobError> {
        self.inner.link.cancel(job, Reason::new("cancelled by the host"))
    }

    /// Changes a job's class; `false` when it had ended.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn reprioritize(&self, job: JobId, to: Priority) -> Result<bool, JobError> {
        let answer = self.inner.link.ask(|reply| Command::Reprioritize(job, to, reply));
        Ok(answer.map_err(|_| JobError::Stopped)??)
    }

    /// Why a job is where it is: every closed gate, what it waits for, and when it is looked at next.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn explain(&self, job: JobId) -> Result<Explanation, JobError> {
        self.inner.link.explain(job)
    }

    /// Keeps every job of `scope` from starting until [`release`](Self::release). What runs goes on.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn hold(&self, scope: Scope, author: &str, why: &str) -> Result<(), Stopped> {
        let reason = Reason::new(format!("held by {author}: {why}"));
        self.inner.link.ask(|reply| Command::Hold(scope, reason, reply))
    }

    /// Takes back a [`hold`](Self::hold); `false` when there was none.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn release(&self, scope: Scope) -> Result<bool, Stopped> {
        self.inner.link.ask(|reply| Command::Release(scope, reply))
    }

    /// Sets how many backups may run at once; running ones are not stopped by a lower number.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_max_running(&self, jobs: u32) -> Result<(), Stopped> {
        self.set_resource(sched_core::SLOTS, u64::from(jobs))
    }

    /// Sets how much there is of a resource; new names may be added.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_resource(&self, name: impl Into<ResourceName>, total: u64) -> Result<(), Stopped> {
        let name = name.into();
        self.inner.link.ask(|reply| Command::SetResource(name, total, reply))
    }

    /// Events from now on. The host must read them: what does not fit into `capacity` (at least 1) is dropped and
    /// counted in [`Status::missed_by_subscribers`].
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn subscribe(&self, capacity: usize) -> Result<Receiver<Event>, Stopped> {
        let (events, received) = bounded(capacity.max(1));
        self.inner.link.ask(|reply| Command::Subscribe(events, reply))?;
        Ok(received)
    }

    /// A consistent picture of everything.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn status(&self) -> Result<Status, Stopped> {
        self.inner.link.ask(Command::Status)
    }

    /// Ends the scheduler. Waiting jobs are cancelled; running ones may finish within `grace`, are then told to
    /// stop, and are left behind when they have not 5 s later. Never takes much longer than `grace` + 7 s of real
    /// time, whatever executors and hooks do. `None` when it had ended before.
    pub fn shutdown(&self, grace: Duration) -> Option<ShutdownReport> {
        self.inner.link.ask(|reply| Command::Shutdown(grace, reply)).ok()
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("executors", &self.inner.executors.keys()).finish_non_exhaustive()
    }
}

impl Inner {
    /// The request under the name and terms of its policy.
    fn resolve(&self, mut spec: JobSpec) -> Result<(JobSpec, JobTerms), SubmitError> {
        spec.check().map_err(sched_core::SubmitError::from)?;
        spec.technology = self.policies.canonical_name(&spec.technology)?;
        let terms = self.policies.resolve(&spec)?;
        Ok((spec, terms))
    }

    fn accept(&self, spec: JobSpec, terms: JobTerms, route: Route) -> Result<JobHandle, AcquireError> {
        let command = |reply| Command::Submit(Box::new(spec), Box::new(terms), route, reply);
        let accepted = self.link.ask(command).map_err(|_| SubmitError::Stopped)??;
        Ok(JobHandle { job: accepted.job, outcome: accepted.outcome, link: self.link.clone() })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (reply, _nobody_waits) = bounded(1);
        // Not awaited: the last clone may be dropped by a hook or an executor that the dispatcher waits for.
        let shutdown = Command::Shutdown(Duration::ZERO, reply);
        // Nor may it block: with a full inbox on the dispatcher's own thread nobody would empty it.
        if let Err(TrySendError::Full(shutdown)) = self.link.commands.try_send(shutdown) {
            let commands = self.link.commands.clone();
            std::thread::spawn(move || drop(commands.send(shutdown)));
        }
    }
}

/// Everything at one moment, serializable.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Jobs, resources, gates.
    #[serde(flatten)]
    pub engine: EngineStatus,
    /// Jobs under way with their progress, oldest first.
    pub running: Vec<RunningJob>,
    /// The present rate of all backups together.
    pub rate: Rate,
    /// What became of events on their way to hooks.
    pub hooks: HookStats,
    /// Events that subscribers were too slow for.
    pub missed_by_subscribers: u64,
    /// Times that the dispatcher woke up. An idle scheduler without probes does not.
    pub wakeups: u64,
}

/// A job under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job.
    #[serde(flatten)]
    pub status: JobStatus,
    /// How far it is.
    pub progress: Progress,
}

/// What became of the jobs at shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Running jobs that ended by themselves within the grace.
    pub finished: usize,
    /// Jobs that were cancelled, waiting or running.
    pub cancelled: usize,
    /// Jobs whose threads did not stop and were left behind.
    pub abandoned: Vec<JobId>,
}
