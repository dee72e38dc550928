//! Futures as attempts, on the host's runtime: [`OnRuntime`].

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;

use super::asynchronous::{AsyncExecutor, RunFuture};
use super::{Executor, RunContext, RunError};

/// Runs an [`AsyncExecutor`] on a runtime of the host's. Each attempt is a task there; the scheduler's thread for it waits
/// beside the runtime, and no thread of the runtime is blocked. The runtime must be driven by somebody: one of the flavour
/// `current_thread` only moves inside its `block_on`, so nothing else may block there until the scheduler has ended
/// (`shutdown_async` instead of `shutdown`).
///
/// A panic counts as a failed attempt, like that of any executor. With the runtime gone, or shut down meanwhile, an attempt
/// fails and is tried again. The future is dropped before the attempt's slot is given back.
pub struct OnRuntime<E> {
    runtime: Handle,
    executor: E,
}

impl<E: AsyncExecutor> OnRuntime<E> {
    /// `executor` on `runtime`.
    pub fn new(runtime: Handle, executor: E) -> Self {
        Self { runtime, executor }
    }

    fn finish(&self, make: impl FnOnce(&E) -> RunFuture) -> Result<(), RunError> {
        // It may spawn tasks before it returns its future.
        let inside = self.runtime.enter();
        let attempt = make(&self.executor);
        drop(inside);
        match wait(self.runtime.spawn(attempt)) {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => Err(RunError::Retryable("the runtime that ran the attempt was shut down".into())),
        }
    }
}

impl<E: AsyncExecutor> Executor for OnRuntime<E> {
    fn run(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.finish(|executor| executor.run(ctx.clone()))
    }

    fn clean_up(&self, ctx: &RunContext) -> Result<(), RunError> {
        self.finish(|executor| executor.clean_up(ctx.clone()))
    }
}

impl<E> fmt::Debug for OnRuntime<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRuntime").field("runtime", &self.runtime).finish_non_exhaustive()
    }
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, which is no runtime's.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
