//! [`Scheduler`]: what a host talks to.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use sched_core::store::AuditEntry;
use sched_core::{
    Cancellation, Event, Explanation, InstanceName, JobId, JobSpec, Page, PageCursor, PendingFilter,
    Priority, Reason, TechnologyName, UnknownJob,
};
use sched_observe::impact::ImpactReport;
use sched_observe::{AttemptRecord, FeedPage};

use crate::builder::SchedulerBuilder;
use crate::current::{Current, Shared};
use crate::error::{AcquireError, JobError, Stopped, SubmitError};
use crate::handle::{JobHandle, Permit};
use crate::metrics::Measured;
use crate::runtime::{Command, Link, Records};
use crate::status::{ShutdownReport, Status, Summary};
use crate::subscription::Subscription;

/// Events that wait for a subscriber at most: the channel takes their room, some 16 bytes each, when it is made.
const MOST_EVENTS: usize = 65_536;

/// A running scheduler. Clones share it; when the last is dropped it is shut down without grace.
///
/// All methods may be called from any thread, hooks and executors included, but not from a control law, which is asked
/// on the scheduler's own. An executor, probe or hook that keeps a
/// clone of its own scheduler keeps it alive: end such a scheduler with [`shutdown`](Self::shutdown).
///
/// It lives in the process that started it. In one that is forked off later every method is refused at once with
/// [`Stopped::Forked`] or the like, nothing waits, and dropping it ends nothing: the scheduler goes on where it was started.
/// Start another one there, with a store of its own.
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) link: Link,
    pub(crate) current: Shared,
    /// Policies are exchanged by one caller at a time.
    reloads: Mutex<()>,
}

impl Scheduler {
    /// Starts with everything at its default.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    pub(crate) fn new(link: Link, current: Shared) -> Self {
        Self { inner: Arc::new(Inner { link, current, reloads: Mutex::new(()) }) }
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
    /// What the request leaves open is as the policies say: where the instance is, where its backups go, whose they are,
    /// how large it is, which member of a cluster is taken, what it is limited by. A request for an instance and kind that
    /// is pending already joins that job, and the more urgent counts.
    ///
    /// With a [store](SchedulerBuilder::store) the job is durable on return: it outlasts a crash.
    ///
    /// # Errors
    /// When the technology is unknown or has no executor, when the request makes no sense or contradicts a pending
    /// one, when it is for a cluster of which every member is backed up
    /// ([`submit_members`](Self::submit_members) is for these), when the queue is full, when it cannot be made durable,
    /// and after a shutdown. Nothing was changed then.
    pub fn submit(&self, spec: JobSpec) -> Result<JobHandle, SubmitError> {
        let mut answers = self.submit_all([spec]);
        answers.pop().unwrap_or(Err(SubmitError::Stopped))
    }

    /// Asks for a backup of a cluster: of each of its members where its policy has every member backed up, of the best
    /// one otherwise. Either all are accepted or none.
    ///
    /// # Errors
    /// As [`submit`](Self::submit) for any of them.
    pub fn submit_members(&self, spec: JobSpec) -> Result<Vec<JobHandle>, SubmitError> {
        let mut answers = self.inner.submit(&[spec], Current::resolve);
        let handles = answers.pop().unwrap_or(Err(SubmitError::Stopped))?;
        handles.iter().try_for_each(JobHandle::confirm)?;
        Ok(handles)
    }

    /// Asks for many backups with one message. Each is accepted or refused by itself; answers are in the same
    /// order. What is accepted together is ordered together: the most urgent starts first. Where there is a
    /// [store](SchedulerBuilder::store), all are made durable together.
    #[must_use = "each request may have been refused"]
    pub fn submit_all(
        &self,
        specs: impl IntoIterator<Item = JobSpec>,
    ) -> Vec<Result<JobHandle, SubmitError>> {
        // All of one message are durable together: whoever comes first has waited for the others.
        let confirmed = |handle: JobHandle| handle.confirm().map(|()| handle);
        self.submit_unconfirmed(specs).into_iter().map(|answer| answer.and_then(confirmed)).collect()
    }

    /// As [`submit_all`](Self::submit_all), for whoever has something else to do until the jobs are durable:
    /// [`JobHandle::confirm`] waits for that. Until then a job is not certain: should the store not take it, it ends without
    /// an attempt. None starts before it is durable.
    #[must_use = "each request may have been refused"]
    pub fn submit_unconfirmed(
        &self,
        specs: impl IntoIterator<Item = JobSpec>,
    ) -> Vec<Result<JobHandle, SubmitError>> {
        let specs: Vec<_> = specs.into_iter().collect();
        let one = |current: &Current, spec, once| Ok(vec![current.resolve_one(spec, once)?]);
        let only = |handles: Vec<JobHandle>| handles.into_iter().next().ok_or(SubmitError::Stopped);
        self.inner.submit(&specs, one).into_iter().map(|answer| answer.and_then(only)).collect()
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

    pub(crate) fn link(&self) -> &Link {
        &self.inner.link
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.inner.current.read().clone()
    }

    /// Held by whoever exchanges the policies.
    pub(crate) fn reloads(&self) -> &Mutex<()> {
        &self.inner.reloads
    }

    /// Cancels a job. A running one stops at its next checkpoint; one that has ended stays as it is.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn cancel(&self, job: JobId) -> Result<Cancellation, JobError> {
        self.inner.link.cancel(job, Reason::new("cancelled by the host"))
    }

    /// Cancels many jobs with one message; answers are in the same order.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn cancel_all(&self, jobs: Vec<JobId>) -> Result<Vec<Result<Cancellation, UnknownJob>>, Stopped> {
        self.inner.link.ask(|reply| Command::CancelAll(jobs, Reason::new("cancelled by the host"), reply))
    }

    /// Changes a job's class; `false` when it had ended.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn reprioritize(&self, job: JobId, to: Priority) -> Result<bool, JobError> {
        self.inner.link.job(move |engine, now| engine.reprioritize(now, job, to))
    }

    /// Changes the class of many jobs with one message; answers are in the same order.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn reprioritize_all(
        &self,
        jobs: Vec<JobId>,
        to: Priority,
    ) -> Result<Vec<Result<bool, UnknownJob>>, Stopped> {
        self.inner.link.engine(move |engine, now| engine.reprioritize_all(now, jobs, to))
    }

    /// Why a job is where it is: every closed gate, what it waits for, and when it is looked at next.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn explain(&self, job: JobId) -> Result<Explanation, JobError> {
        self.inner.link.explain(job)
    }

    /// The remembered decisions about a job, oldest first.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn decisions(&self, job: JobId) -> Result<Vec<Arc<Event>>, Stopped> {
        self.inner.link.engine(move |engine, _| engine.decisions(job).cloned().collect())
    }

    /// Some of the waiting jobs; see [`Engine::pending_page`](sched_core::Engine::pending_page).
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn pending_page(
        &self,
        filter: PendingFilter,
        from: PageCursor,
        most: usize,
    ) -> Result<Page, Stopped> {
        self.inner.link.engine(move |engine, _| engine.pending_page(&filter, from, most))
    }

    /// Events from now on. The host must read them: what does not fit into `capacity` (1 to 65 536; others are taken
    /// as the nearest of these, for room is set aside at once) is dropped and counted in [`Status::missed_by_subscribers`].
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn subscribe(&self, capacity: usize) -> Result<Subscription, Stopped> {
        let (events, received) = bounded(capacity.clamp(1, MOST_EVENTS));
        self.inner.link.ask(|reply| Command::Subscribe(events, reply))?;
        Ok(Subscription::new(received))
    }

    /// The numbers of the whole: cheap enough to be asked for ten times a second with a million jobs waiting.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn summary(&self) -> Result<Summary, Stopped> {
        self.inner.link.ask(Command::Summary)
    }

    /// What backups have cost the foreground, by backup, instance and week. A foreground that is heard wider than at one
    /// instance has the name of its scope. `None` unless
    /// [`measure_impact`](crate::SchedulerBuilder::measure_impact) was asked for. The report is made on the caller's thread.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn impact(&self) -> Result<Option<ImpactReport>, Stopped> {
        Ok(self.inner.link.ask(Command::Impact)?.map(|snapshot| snapshot.report()))
    }

    /// At most `most` events (1 at least, 4096 at most) from number `since` on, of the newest 4096: a reader that comes
    /// again with [`FeedPage::next`] sees each event once, or is told how many it has missed.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn events_since(&self, since: u64, most: usize) -> Result<FeedPage, Stopped> {
        self.records(move |records| records.feed.since(since, most))
    }

    /// At most `most` of the newest 1000 attempts that have ended, newest first.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn attempts(&self, most: usize) -> Result<Vec<AttemptRecord>, Stopped> {
        self.records(move |records| records.attempts.newest(most))
    }

    fn records<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Records) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        self.inner.link.ask(|reply| Command::Records(Box::new(move |records| drop(reply.send(ask(records))))))
    }

    pub(crate) fn measured(&self) -> Result<Measured, Stopped> {
        self.inner.link.ask(Command::Metrics)
    }

    /// At most `most` of the newest 1000 things that operators did, or that became of their orders, newest first; those of
    /// former schedulers too, and of others that share the store, where each has numbers of its own. Empty without a [store](SchedulerBuilder::store), and where no
    /// [events](sched_core::EngineConfig::events) are made.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn audit(&self, most: usize) -> Result<Vec<AuditEntry>, Stopped> {
        self.inner.link.ask(|reply| Command::Audit(most, reply))
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
    ///
    /// With a [store](SchedulerBuilder::store) no job ends by that for good, but those for which a permit is waited for or
    /// held and that nobody else asked for: to whoever waits here they are cancelled, and the next scheduler goes on with
    /// them. What is to be durable is written before this returns, for which a store has 10 s more; it is closed then.
    pub fn shutdown(&self, grace: Duration) -> Option<ShutdownReport> {
        self.inner.link.ask(|reply| Command::Shutdown(grace, reply.into())).ok()
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("epoch", &self.current().epoch).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    /// Not awaited: the last clone may be dropped by a hook or an executor that the dispatcher waits for. Nor may it block: with
    /// a full inbox on the dispatcher's own thread nobody would empty it. And it takes no thread, of which there may be none.
    fn drop(&mut self) {
        if self.link.home.is_here() {
            self.link.leave();
        }
    }
}
