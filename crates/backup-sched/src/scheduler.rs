//! [`Scheduler`]: what a host talks to.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TrySendError, bounded};
use parking_lot::Mutex;
use sched_core::store::AuditEntry;
use sched_core::{
    Cancellation, Event, Explanation, InstanceName, JobId, JobSpec, Page, PageCursor, PendingFilter,
    Priority, Reason, TechnologyName, UnknownJob,
};
use sched_observe::impact::ImpactReport;
use sched_observe::{AttemptRecord, FeedPage};

use crate::builder::SchedulerBuilder;
use crate::current::{Current, Resolved, Shared};
use crate::error::{AcquireError, JobError, Stopped, SubmitError};
use crate::handle::{JobHandle, Permit};
use crate::metrics::Measured;
use crate::runtime::{Accepted, Command, Grant, Link, Records, Request, Route};
use crate::status::{ShutdownReport, Status, Summary};

/// Events that wait for a subscriber at most: the channel takes their room, some 16 bytes each, when it is made.
const MOST_EVENTS: usize = 65_536;

/// A running scheduler. Clones share it; when the last is dropped it is shut down without grace.
///
/// All methods may be called from any thread, hooks and executors included, but not from a control law, which is asked
/// on the scheduler's own. An executor, probe or hook that keeps a
/// clone of its own scheduler keeps it alive: end such a scheduler with [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    current: Shared,
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

    fn pull(&self, spec: JobSpec, limit: Option<Duration>) -> Result<Permit, AcquireError> {
        let (host, granted) = bounded(1);
        let handle = self.inner.pull(&spec, &host)?;
        drop(host);
        let permit = |Grant(ctx)| Permit::new(ctx, handle.outcome.clone(), self.inner.link.commands.clone());
        let answer = match limit {
            Some(limit) => granted.recv_timeout(limit),
            None => granted.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(grant) => return Ok(permit(grant)),
            Err(RecvTimeoutError::Disconnected) => {
                let status = handle.wait();
                let refused = handle.confirmation.as_ref().and_then(|confirmation| confirmation.refused());
                return Err(
                    refused.map_or_else(|| AcquireError::Ended(Box::new(status)), AcquireError::Submit)
                );
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let left = self.inner.link.ask(|reply| Command::Leave(handle.id(), reply));
        // It may have been admitted at the last moment.
        if let Ok(grant) = granted.try_recv() {
            return Ok(permit(grant));
        }
        match left {
            Ok(Ok(explanation)) if explanation.state.is_final() => {
                Err(AcquireError::Ended(Box::new(handle.wait())))
            }
            Ok(Ok(explanation)) => Err(AcquireError::TimedOut(Box::new(explanation))),
            _ => Err(AcquireError::Submit(SubmitError::Stopped)),
        }
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
    pub fn subscribe(&self, capacity: usize) -> Result<Receiver<Arc<Event>>, Stopped> {
        let (events, received) = bounded(capacity.clamp(1, MOST_EVENTS));
        self.inner.link.ask(|reply| Command::Subscribe(events, reply))?;
        Ok(received)
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
    /// With a [store](SchedulerBuilder::store) no job ends by that for good: to whoever waits here they are cancelled, and
    /// the next scheduler goes on with them. What is to be durable is written before this returns, for which a store has
    /// 10 s more; it is closed then.
    pub fn shutdown(&self, grace: Duration) -> Option<ShutdownReport> {
        self.inner.link.ask(|reply| Command::Shutdown(grace, reply)).ok()
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("epoch", &self.current().epoch).finish_non_exhaustive()
    }
}

impl Inner {
    /// One answer for each request, in the same order; what `resolve` makes of one is accepted as a whole or not at all.
    fn submit(
        &self,
        specs: &[JobSpec],
        resolve: impl Fn(&Current, JobSpec, bool) -> Result<Vec<Resolved>, SubmitError>,
    ) -> Vec<Result<Vec<JobHandle>, SubmitError>> {
        let push = |current: &Current, spec: JobSpec| {
            let requests = resolve(current, spec, false)?.into_iter().map(|resolved| {
                let route = Route::Push(current.executor(&resolved.spec.technology)?);
                Ok(Request::new(resolved, route))
            });
            requests.collect::<Result<Vec<_>, SubmitError>>()
        };
        loop {
            let current = self.current.read().clone();
            let requests: Vec<_> = specs.iter().map(|spec| push(&current, spec.clone())).collect();
            let mut refused = Vec::new();
            let mut good = Vec::new();
            for request in requests {
                match request {
                    Ok(requests) => {
                        good.push(requests);
                        refused.push(None);
                    }
                    Err(error) => refused.push(Some(error)),
                }
            }
            let accepted = match good.is_empty() {
                true => Some(Vec::new()),
                false => self.accept(current.epoch, good),
            };
            // Other policies have come into force meanwhile.
            let Some(accepted) = accepted else { continue };
            let mut accepted = accepted.into_iter();
            let answer = |refused: Option<SubmitError>| match refused {
                Some(error) => Err(error),
                None => accepted.next().unwrap_or(Err(AcquireError::Submit(SubmitError::Stopped))).map_err(
                    |error| match error {
                        AcquireError::Submit(error) => error,
                        // Only a pull request is refused for another reason.
                        _ => SubmitError::Stopped,
                    },
                ),
            };
            return refused.into_iter().map(answer).collect();
        }
    }

    /// Has somebody who makes the backup himself wait for his turn.
    fn pull(
        &self,
        spec: &JobSpec,
        host: &crossbeam_channel::Sender<Grant>,
    ) -> Result<JobHandle, AcquireError> {
        loop {
            let current = self.current.read().clone();
            let resolved = current.resolve_one(spec.clone(), true)?;
            let request = Request::new(resolved, Route::Pull(host.clone()));
            let Some(mut accepted) = self.accept(current.epoch, vec![vec![request]]) else { continue };
            let handles = accepted.pop().unwrap_or(Err(AcquireError::Submit(SubmitError::Stopped)))?;
            return handles.into_iter().next().ok_or(AcquireError::Submit(SubmitError::Stopped));
        }
    }

    /// One answer for each of the requests, in the same order; `None` when the policies that they were resolved by are no
    /// longer in force.
    fn accept(
        &self,
        epoch: u64,
        requests: Vec<Vec<Request>>,
    ) -> Option<Vec<Result<Vec<JobHandle>, AcquireError>>> {
        let asked = requests.len();
        let Ok(answers) = self.link.ask(|reply| Command::Submit(epoch, requests, reply)) else {
            return Some((0..asked).map(|_| Err(AcquireError::Submit(SubmitError::Stopped))).collect());
        };
        let handle = |accepted: Accepted| JobHandle {
            job: accepted.job,
            outcome: accepted.outcome,
            confirmation: accepted.confirmation,
            link: self.link.clone(),
        };
        let handles = |all: Vec<Accepted>| all.into_iter().map(handle).collect();
        Some(answers?.into_iter().map(|answer| answer.map(handles)).collect())
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
