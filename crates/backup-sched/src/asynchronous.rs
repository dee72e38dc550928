//! The scheduler for tasks: what threads wait for, awaited. Nothing here needs a runtime, and no thread is blocked.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crossbeam_channel::bounded;
use sched_core::{AttemptEnd, AttemptId, JobId, JobSpec, JobStatus, RunError};

use crate::asking::{not_admitted, only, stopped};
use crate::current::Current;
use crate::error::{AcquireError, SubmitError};
use crate::handle::{Confirmation, JobHandle, Outcome, Permit};
use crate::runtime::{Answer, Answers, Command, Grant, Home, Host, Link, Slot};
use crate::scheduler::{Inner, Scheduler};
use crate::status::ShutdownReport;
use crate::told::Telling;

/// Waits until a job has ended, and tells how: what [`JobHandle::wait`] is for threads. It is made by awaiting a handle, and
/// always becomes ready: shutting the scheduler down ends every job.
///
/// Dropping it leaves the job alone; [`JobHandle::cancel`] cancels it. Any number may wait for one job. Polled again when it
/// was ready, it is ready again.
///
/// ```
/// use backup_sched::{JobState, Priority, RunContext, Scheduler};
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
///
/// async fn back_up(scheduler: &Scheduler) -> Result<JobState, Box<dyn std::error::Error>> {
///     let handle = scheduler.schedule_backup("orders", "sqlite", Priority::High)?;
///     Ok(handle.await.state)
/// }
/// # let scheduler = Scheduler::builder().executor("sqlite", |_: &RunContext| Ok(())).start()?;
/// # let mut future = pin!(back_up(&scheduler));
/// # let mut task = Context::from_waker(Waker::noop());
/// # let state = loop {
/// #     if let Poll::Ready(state) = future.as_mut().poll(&mut task) { break state? }
/// #     std::thread::yield_now();
/// # };
/// # assert_eq!(state, JobState::Succeeded);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future waits only while it is polled"]
pub struct JobFuture(Telling<JobStatus>);

impl JobFuture {
    pub(crate) fn new(outcome: &Outcome, home: Home) -> Self {
        Self(outcome.telling_at(home))
    }
}

impl Future for JobFuture {
    type Output = JobStatus;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobStatus> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

impl fmt::Debug for JobFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobFuture").finish_non_exhaustive()
    }
}

impl IntoFuture for JobHandle {
    type Output = JobStatus;
    type IntoFuture = JobFuture;

    fn into_future(self) -> JobFuture {
        JobFuture::new(&self.outcome, self.link.home)
    }
}

impl IntoFuture for &JobHandle {
    type Output = JobStatus;
    type IntoFuture = JobFuture;

    fn into_future(self) -> JobFuture {
        JobFuture::new(&self.outcome, self.link.home)
    }
}

/// Waits until a job is durable; see [`JobHandle::confirm_async`]. Polled again when it was ready, it is ready again.
#[must_use = "a future waits only while it is polled"]
pub struct ConfirmFuture(Option<Telling<Result<(), SubmitError>>>);

impl Future for ConfirmFuture {
    type Output = Result<(), SubmitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Some(telling) => Pin::new(telling).poll(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for ConfirmFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfirmFuture").finish_non_exhaustive()
    }
}

impl JobHandle {
    /// As [`confirm`](Self::confirm), for tasks. Dropping what is returned changes nothing: the job is made durable, or not,
    /// all the same.
    pub fn confirm_async(&self) -> ConfirmFuture {
        if let Err(forked) = self.link.home.check() {
            let told = Arc::<Confirmation>::default();
            told.tell(Err(forked.into()));
            return ConfirmFuture(Some(Telling::new(told)));
        }
        let told = |confirmation: &Arc<Confirmation>| Telling::new(confirmation.clone());
        ConfirmFuture(self.confirmation.as_ref().map(told))
    }
}

impl Scheduler {
    /// As [`submit`](Self::submit), for tasks: the job is durable when the future is ready. The future holds a clone of this
    /// scheduler, its handle does not.
    ///
    /// Nothing is asked for before it is polled. Dropped after that, the job may be there all the same, with nobody who
    /// waits for it.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_async(
        &self,
        spec: JobSpec,
    ) -> impl Future<Output = Result<JobHandle, SubmitError>> + Send + use<> {
        let all = self.submit_all_async([spec]);
        async move { all.await.pop().unwrap_or(Err(SubmitError::Stopped)) }
    }

    /// As [`submit_all`](Self::submit_all), for tasks; for dropped futures [`submit_async`](Self::submit_async) tells.
    pub fn submit_all_async<I: IntoIterator<Item = JobSpec>>(
        &self,
        specs: I,
    ) -> impl Future<Output = Vec<Result<JobHandle, SubmitError>>> + Send + use<I> {
        let inner = self.inner.clone();
        // Before the future is made: whatever the iterator holds need not be sent.
        let specs: Vec<_> = specs.into_iter().collect();
        async move {
            let mut answers = Vec::with_capacity(specs.len());
            for answer in inner.submit_async(&specs).await {
                let only = |handles: Vec<JobHandle>| handles.into_iter().next().ok_or(SubmitError::Stopped);
                answers.push(match answer.and_then(only) {
                    Ok(handle) => handle.confirm_async().await.map(|()| handle),
                    Err(error) => Err(error),
                });
            }
            answers
        }
    }

    /// As [`acquire`](Self::acquire), for tasks: waits for leave to make a backup oneself, without limit; put a time-out of
    /// your runtime around it. The permit paces without blocking by `pace_async`, `async_reader` and `async_writer` (feature
    /// `tokio`), and is given back by [`Permit::finish_async`].
    ///
    /// Nothing is asked for before the future is polled. Dropped after that, the request is withdrawn, unless others have
    /// asked for this backup too: then an executor makes it. One that is admitted at that very moment ends as a failed
    /// attempt.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_async(
        &self,
        spec: JobSpec,
    ) -> impl Future<Output = Result<Permit, AcquireError>> + Send + use<> {
        let inner = self.inner.clone();
        async move {
            let counter = Counter { slot: Arc::default(), link: inner.link.clone() };
            let handle = inner.pull_async(&spec, &counter).await?;
            let ended = JobFuture::new(&handle.outcome, handle.link.home);
            let mut waiting = Waiting { counter, handle, ended, over: false };
            poll_fn(|cx| waiting.poll(cx)).await
        }
    }

    /// As [`shutdown`](Self::shutdown), for tasks. Executors on a runtime go on meanwhile, also where it has one thread.
    ///
    /// Nothing is ordered before the future is polled. Dropped after that, the scheduler ends all the same.
    pub fn shutdown_async(
        &self,
        grace: Duration,
    ) -> impl Future<Output = Option<ShutdownReport>> + Send + use<> {
        let inner = Arc::clone(&self.inner);
        async move { inner.link.ask_async(|reply| Command::Shutdown(grace, reply)).await.ok() }
    }
}

impl Inner {
    /// [`submit`](Self::submit) of requests that are one job each, for tasks.
    async fn submit_async(&self, specs: &[JobSpec]) -> Vec<Result<Vec<JobHandle>, SubmitError>> {
        let one = |current: &Current, spec, once| Ok(vec![current.resolve_one(spec, once)?]);
        loop {
            let mut asked = self.ask_for(specs, one);
            let good = std::mem::take(&mut asked.good);
            let requests = good.len();
            if requests == 0 {
                return asked.answer(Vec::new());
            }
            let epoch = asked.epoch;
            let answers = self.link.ask_async(|reply| Command::Submit(epoch, good, reply)).await;
            match answers {
                Ok(Some(answers)) => return asked.answer(self.handles(answers)),
                // Other policies have come into force meanwhile.
                Ok(None) => {}
                Err(_) => return asked.answer(stopped(requests)),
            }
        }
    }

    /// Has a task that makes the backup itself wait for its turn.
    async fn pull_async(&self, spec: &JobSpec, counter: &Counter) -> Result<JobHandle, AcquireError> {
        loop {
            let (epoch, request) = self.ask_for_permit(spec, Host::Task(counter.slot.clone()))?;
            let answer = self.link.ask_async(|reply| Command::Submit(epoch, request, reply));
            let mut asking = Asking { answer, counter };
            match poll_fn(|cx| Pin::new(&mut asking.answer).poll(cx)).await {
                Ok(Some(answers)) => return only(self.handles(answers)),
                // Other policies have come into force meanwhile.
                Ok(None) => {}
                Err(_) => return only(stopped(1)),
            }
        }
    }
}

/// Where a permit is handed over. Dropped, it takes none any more, and one that nobody has taken goes back.
struct Counter {
    slot: Arc<Slot<Grant>>,
    link: Link,
}

impl Counter {
    /// Nobody waits here for the permit of that job any more.
    fn leave(&self, job: JobId) {
        let (reply, _nobody_waits) = bounded(1);
        self.link.post(Command::Leave(job, reply));
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let Some(Grant(ctx)) = self.slot.close() else { return };
        let attempt = AttemptId { job: ctx.job(), number: ctx.attempt() };
        let result = Err(RunError::Permanent("the caller no longer waits for its permit".into()));
        self.link.post(Command::Ended(attempt, AttemptEnd::new(0, result)));
    }
}

/// Has asked for a permit, and does not know yet whether the request is accepted. Dropped meanwhile, it withdraws it.
struct Asking<'a> {
    answer: Answer<Option<Answers>>,
    counter: &'a Counter,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // An answer that comes later finds nobody, and the dispatcher withdraws the request.
        let unread = self.answer.close().flatten();
        for accepted in unread.into_iter().flatten().flatten().flatten() {
            self.counter.leave(accepted.job);
        }
    }
}

/// Waits for a permit. Dropped meanwhile, it withdraws the request.
struct Waiting {
    counter: Counter,
    handle: JobHandle,
    ended: JobFuture,
    /// There is a permit, or will be none.
    over: bool,
}

impl Waiting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, AcquireError>> {
        let granted = match self.counter.slot.poll(cx.waker()) {
            Poll::Ready(granted) => granted.ok_or(AcquireError::Submit(SubmitError::Stopped)),
            Poll::Pending => {
                let status = ready!(Pin::new(&mut self.ended).poll(cx));
                // It may have been admitted before it ended.
                self.counter.slot.close().ok_or_else(|| not_admitted(&self.handle, status))
            }
        };
        self.over = true;
        let permit = |Grant(ctx)| Permit::new(ctx, self.handle.outcome.clone(), self.handle.link.clone());
        Poll::Ready(granted.map(permit))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.over {
            self.counter.leave(self.handle.id());
        }
    }
}
