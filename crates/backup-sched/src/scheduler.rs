//! [`Scheduler`]: what a host talks to.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TrySendError, bounded};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use sched_core::{
    Cancellation, EngineStatus, Event, Explanation, InstanceName, JobId, JobSpec, JobStatus, JobTerms, Order,
    Page, PageCursor, PendingFilter, Priority, Progress, Reason, ResourceName, Scope, TechnologyName,
    UnknownJob,
};
use sched_limits::{BandwidthTree, ProbeStatus, Rate, Room};
use sched_observe::HookStats;
use sched_policy::Policies;

use crate::builder::{Executors, SchedulerBuilder};
use crate::error::{AcquireError, ConfigureError, JobError, Stopped, SubmitError};
use crate::handle::{JobHandle, Permit};
use crate::runtime::{Accepted, Command, Grant, Link, ROOM, Request, Route};

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
    /// Whether every job takes one of the room that is measured.
    takes_room: bool,
    bandwidth: BandwidthTree,
}

impl Scheduler {
    /// Starts with everything at its default.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    pub(crate) fn new(
        link: Link,
        policies: Policies,
        executors: Executors,
        takes_room: bool,
        bandwidth: BandwidthTree,
    ) -> Self {
        Self { inner: Arc::new(Inner { link, policies, executors, takes_room, bandwidth }) }
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
        let request = self.inner.push(spec)?;
        self.inner
            .accept(vec![request])
            .pop()
            .unwrap_or(Err(AcquireError::Submit(SubmitError::Stopped)))
            .map_err(|error| match error {
                AcquireError::Submit(error) => error,
                // Only a pull request is refused for another reason.
                _ => SubmitError::Stopped,
            })
    }

    /// Asks for many backups with one message. Each is accepted or refused by itself; answers are in the same
    /// order. What is accepted together is ordered together: the most urgent starts first.
    pub fn submit_all(
        &self,
        specs: impl IntoIterator<Item = JobSpec>,
    ) -> Vec<Result<JobHandle, SubmitError>> {
        let requests: Vec<_> = specs.into_iter().map(|spec| self.inner.push(spec)).collect();
        let (good, bad): (Vec<_>, Vec<_>) = requests.into_iter().enumerate().partition(|(_, r)| r.is_ok());
        let (places, good): (Vec<_>, Vec<_>) =
            good.into_iter().filter_map(|(at, r)| Some((at, r.ok()?))).unzip();
        let accepted = self.inner.accept(good).into_iter().map(|answer| {
            answer.map_err(|error| match error {
                AcquireError::Submit(error) => error,
                _ => SubmitError::Stopped,
            })
        });
        let bad = bad.into_iter().filter_map(|(at, r)| Some((at, Err(r.err()?))));
        let mut answers: Vec<_> = places.into_iter().zip(accepted).chain(bad).collect();
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
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
        let request = Request { spec, terms: terms.into(), route: Route::Pull(host) };
        let accepted = self.inner.accept(vec![request]).pop();
        let handle = accepted.unwrap_or(Err(AcquireError::Submit(SubmitError::Stopped)))?;
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

    /// Cancels many jobs with one message; answers are in the same order.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn cancel_all(&self, jobs: Vec<JobId>) -> Result<Vec<Result<Cancellation, UnknownJob>>, Stopped> {
        let reason = Reason::new("cancelled by the host");
        self.inner.link.engine(move |engine, now| engine.cancel_all(now, jobs, &reason))
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

    /// Keeps every job of `scope` from starting until [`release`](Self::release) or the order's expiry. What runs
    /// goes on.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn hold(&self, scope: Scope, order: Order) -> Result<(), Stopped> {
        self.inner.link.engine(move |engine, now| engine.hold(now, scope, order))
    }

    /// Like [`hold`](Self::hold), and says with an event when the last running job of `scope` has ended.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn drain(&self, scope: Scope, order: Order) -> Result<(), Stopped> {
        self.inner.link.engine(move |engine, now| engine.drain(now, scope, order))
    }

    /// Takes back a [`hold`](Self::hold) or [`drain`](Self::drain); `false` when there was none.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn release(&self, scope: Scope) -> Result<bool, Stopped> {
        self.inner.link.engine(move |engine, now| engine.release(now, &scope))
    }

    /// Lets a waiting job start as soon as there is room, whatever load and time say; `false` when it does not
    /// wait.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn run_now(&self, job: JobId, order: Order) -> Result<bool, JobError> {
        self.inner.link.job(move |engine, now| engine.run_now(now, job, order))
    }

    /// [`run_now`](Self::run_now) for all jobs of a scope, until the order expires or is taken back with `None`.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn run_all_now(&self, scope: Scope, order: Option<Order>) -> Result<(), Stopped> {
        self.inner.link.engine(move |engine, now| engine.run_all_now(now, scope, order))
    }

    /// Limits what all running jobs of a scope together may move, in bytes a second; `None` lifts the ceiling.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_ceiling(&self, scope: Scope, ceiling: Option<(u64, Order)>) -> Result<(), Stopped> {
        self.inner.link.engine(move |engine, now| engine.set_ceiling(now, scope, ceiling))
    }

    /// Stops a running job to continue later, without spending a retry; `false` when it does not run.
    ///
    /// # Errors
    /// When the job is not known or the scheduler has ended.
    pub fn interrupt(&self, job: JobId, why: &str, until: Option<Timestamp>) -> Result<bool, JobError> {
        let reason = Reason::new(why.to_owned());
        self.inner.link.job(move |engine, now| engine.interrupt(now, job, reason, until))
    }

    /// Sets how many backups may run at once in the whole fleet. Below what runs, the least urgent that may pause do.
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_max_running(&self, jobs: u32) -> Result<(), ConfigureError> {
        self.set_resource(Scope::Fleet, sched_core::SLOTS, u64::from(jobs))
    }

    /// Sets how much there is of a resource at a place; places and names may be new.
    ///
    /// # Errors
    /// When the scope is not a place, a name cannot be used, or the scheduler has ended.
    pub fn set_resource(
        &self,
        place: Scope,
        name: impl Into<ResourceName>,
        total: u64,
    ) -> Result<(), ConfigureError> {
        let name = name.into();
        Ok(self.inner.link.engine(move |engine, now| engine.set_resource(now, &place, name, total))??)
    }

    /// Sets how many jobs of a scope may run at once; `None` lifts the limit.
    ///
    /// # Errors
    /// When the scope's name cannot be used, or the scheduler has ended.
    pub fn set_limit(&self, scope: Scope, limit: Option<u32>) -> Result<(), ConfigureError> {
        Ok(self.inner.link.engine(move |engine, now| engine.set_limit(now, &scope, limit))??)
    }

    /// Puts a link or a host under a link or the fleet.
    ///
    /// # Errors
    /// When the tree would have a cycle, jobs wait or run below, or the scheduler has ended.
    pub fn set_parent(&self, child: Scope, parent: Scope) -> Result<(), ConfigureError> {
        let bandwidth = self.inner.bandwidth.clone();
        Ok(self.inner.link.engine(move |engine, now| {
            engine.set_parent(now, &child, &parent)?;
            bandwidth.set_parent(&child, &parent)
        })??)
    }

    /// Sets the most that all jobs at a place (fleet, link, host or volume) together may move, in bytes a second;
    /// `None` lifts the limit, 0 stops them. Felt at once. The jobs share it by class (low 1, normal 2, high 4,
    /// critical 8) as long as they ask for it; what one does not use goes to the others. At the fleet the lower of
    /// this and the control laws' rate counts.
    ///
    /// # Errors
    /// When the scope is not a place, its name cannot be used, or the scheduler has ended.
    pub fn set_bandwidth(&self, place: Scope, bytes_per_sec: Option<u64>) -> Result<(), ConfigureError> {
        let rate = bytes_per_sec.map_or(Rate::Unlimited, Rate::BytesPerSec);
        Ok(self.inner.link.ask(|reply| Command::Bandwidth(place, rate, reply))??)
    }

    /// Tells that a host or an instance is down, with the reason, or up again (`None`).
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn set_down(&self, scope: Scope, down: Option<Reason>) -> Result<(), Stopped> {
        self.inner.link.engine(move |engine, now| engine.set_down(now, scope, down))
    }

    /// Events from now on. The host must read them: what does not fit into `capacity` (at least 1) is dropped and
    /// counted in [`Status::missed_by_subscribers`].
    ///
    /// # Errors
    /// When the scheduler has ended.
    pub fn subscribe(&self, capacity: usize) -> Result<Receiver<Arc<Event>>, Stopped> {
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
        let mut terms = self.policies.resolve(&spec)?;
        if self.takes_room {
            terms.demand.add(ROOM, 1);
        }
        Ok((spec, terms))
    }

    /// A request that a registered executor will carry out.
    fn push(&self, spec: JobSpec) -> Result<Request, SubmitError> {
        let (spec, terms) = self.resolve(spec)?;
        let executor = self.executors.get(&spec.technology).ok_or_else(|| {
            let registered: Vec<_> = self.executors.keys().map(TechnologyName::as_str).collect();
            let registered = if registered.is_empty() { "none".to_owned() } else { registered.join(", ") };
            SubmitError::NoExecutor { technology: spec.technology.clone(), registered }
        })?;
        Ok(Request { spec, terms: terms.into(), route: Route::Push(executor.clone()) })
    }

    /// One answer for each request, in the same order.
    fn accept(&self, requests: Vec<Request>) -> Vec<Result<JobHandle, AcquireError>> {
        let asked = requests.len();
        let stopped = |_| (0..asked).map(|_| Err(AcquireError::Submit(SubmitError::Stopped))).collect();
        let answers = self.link.ask(|reply| Command::Submit(requests, reply));
        let handle = |accepted: Accepted| JobHandle {
            job: accepted.job,
            outcome: accepted.outcome,
            link: self.link.clone(),
        };
        answers.map_or_else(stopped, |all| all.into_iter().map(|answer| answer.map(handle)).collect())
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
    /// What is known of the probes: their signals, what is lost, and what asking them costs.
    pub probes: Vec<ProbeStatus>,
    /// How many jobs have room in each place where that is measured, and why not more.
    pub rooms: Vec<Room>,
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
