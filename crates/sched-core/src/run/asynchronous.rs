//! Attempts that are futures: [`AsyncExecutor`], and what a [`RunContext`] gives them. Nothing here needs a runtime.

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Cancelled, RunContext, RunControl, RunError};

/// What an [`AsyncExecutor`] returns.
pub type RunFuture = Pin<Box<dyn Future<Output = Result<(), RunError>> + Send>>;

/// Makes backups of one technology in a future; otherwise as [`Executor`](super::Executor), which see. `OnRuntime` (feature
/// `tokio`) makes an executor of one.
///
/// Long work should await `RunContext::async_reader`, `async_writer` or `pace_async` (feature `tokio`), or at least
/// [`RunContext::checkpoint_async`] now and then, and never call their blocking namesakes: these would block a thread of the
/// runtime.
///
/// The future is run to its end. A cancellation is told, by these and by [`RunContext::cancelled`], and not forced: there
/// is time to abort an upload. One that does not listen keeps its slot, and is left behind at a shutdown.
///
/// Closures of the same shape are such executors:
///
/// ```
/// use sched_core::{AsyncExecutor, RunContext};
///
/// fn of_postgres() -> impl AsyncExecutor {
///     |ctx: RunContext| async move {
///         ctx.checkpoint_async().await?;
///         Ok(())
///     }
/// }
/// # let _: Box<dyn AsyncExecutor> = Box::new(of_postgres());
/// ```
pub trait AsyncExecutor: Send + Sync {
    /// Makes one backup. Called once for every attempt; what blocks belongs into neither this nor the future.
    ///
    /// # Errors
    /// The future's are those of [`Executor::run`](super::Executor::run).
    fn run(&self, ctx: RunContext) -> RunFuture;

    /// Removes what a former attempt of the job left, as [`Executor::clean_up`](super::Executor::clean_up). Default: nothing
    /// is left to remove.
    ///
    /// # Errors
    /// The future's are those of [`run`](Self::run).
    fn clean_up(&self, ctx: RunContext) -> RunFuture {
        drop(ctx);
        Box::pin(ready(Ok(())))
    }
}

impl<F, R> AsyncExecutor for F
where
    F: Fn(RunContext) -> R + Send + Sync,
    R: Future<Output = Result<(), RunError>> + Send + 'static,
{
    fn run(&self, ctx: RunContext) -> RunFuture {
        Box::pin(self(ctx))
    }
}

impl RunContext {
    /// Ready when the attempt was told to stop, for `select!` with what cannot be asked. Needs no runtime, borrows nothing,
    /// and may be dropped and asked for again at any time. Never ready [beyond orders](Self::beyond_orders).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sched_core::{Cancelled, JobSpec, ManualClock, Reason, RunContext};
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    ///
    /// let ctx = RunContext::detached(JobSpec::new("orders", "generic"), Arc::new(ManualClock::default()));
    /// let mut told = pin!(ctx.cancelled());
    /// # let mut task = Context::from_waker(Waker::noop());
    /// assert!(told.as_mut().poll(&mut task).is_pending());
    /// ctx.control().cancel(Reason::new("shutdown"));
    /// assert_eq!(told.as_mut().poll(&mut task), Poll::Ready(Cancelled));
    /// ```
    pub fn cancelled(&self) -> WhenCancelled {
        WhenCancelled { control: Arc::clone(self.control()), place: None }
    }

    /// As [`checkpoint`](Self::checkpoint), without blocking: during a pause the task waits, and is woken by the order that
    /// ends it. Needs no runtime. Dropped meanwhile, the attempt counts as standing until its next checkpoint.
    ///
    /// # Errors
    /// When the attempt was cancelled.
    pub async fn checkpoint_async(&self) -> Result<(), Cancelled> {
        poll_fn(|cx| self.control().poll_checkpoint(cx.waker())).await
    }
}

/// Waits until an attempt is told to stop; see [`RunContext::cancelled`]. Polled again afterwards it is ready again.
#[derive(Debug)]
#[must_use = "a future waits only while it is polled"]
pub struct WhenCancelled {
    control: Arc<RunControl>,
    place: Option<usize>,
}

impl Future for WhenCancelled {
    type Output = Cancelled;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cancelled> {
        let Self { control, place } = self.get_mut();
        control.poll_cancelled(place, cx.waker())
    }
}

impl Drop for WhenCancelled {
    fn drop(&mut self) {
        self.control.wait_no_longer(&mut self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::gate::Reason;
    use crate::spec::JobSpec;
    use crate::time::ManualClock;

    fn context() -> RunContext {
        RunContext::detached(JobSpec::new("orders", "generic"), Arc::new(ManualClock::default()))
    }

    #[test]
    fn who_waits_no_longer_for_a_cancellation_leaves_nothing_behind() {
        let ctx = context();
        let mut task = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(pin!(ctx.cancelled()).poll(&mut task).is_pending());
        }
        let waiting = || ctx.control().orders.lock().cancelled.len();
        assert_eq!(waiting(), 0);
        let mut one = pin!(ctx.cancelled());
        let mut other = pin!(ctx.cancelled());
        assert!(one.as_mut().poll(&mut task).is_pending() && one.as_mut().poll(&mut task).is_pending());
        assert!(other.as_mut().poll(&mut task).is_pending());
        assert_eq!(waiting(), 2, "one place a future, however often it is polled");
        ctx.control().cancel(Reason::new("over"));
        assert_eq!(one.as_mut().poll(&mut task), Poll::Ready(Cancelled));
        assert_eq!(one.as_mut().poll(&mut task), Poll::Ready(Cancelled), "ready again");
        assert_eq!(other.as_mut().poll(&mut task), Poll::Ready(Cancelled));
    }

    #[test]
    fn news_that_are_no_cancellation_wake_nobody_who_waits_for_one() {
        let ctx = context();
        let mut task = Context::from_waker(Waker::noop());
        let mut told = pin!(ctx.cancelled());
        assert!(told.as_mut().poll(&mut task).is_pending());
        ctx.control().set_paused(true);
        ctx.control().wake();
        assert_eq!(ctx.control().orders.lock().cancelled.len(), 1);
        assert!(told.as_mut().poll(&mut task).is_pending());
    }
}
