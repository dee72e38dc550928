//! The scheduler as an asynchronous host uses it: on a runtime of one thread, which a call that blocks would stop.

mod executors;
mod handles;
mod permits;
#[path = "../rig/mod.rs"]
mod rig;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};

use rig::LONG;

/// Runs a test on a runtime of one thread. One that blocks it fails, and does not hang.
fn on_one_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (end, ended) = channel();
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(test());
        end.send(()).unwrap();
    };
    let thread = std::thread::spawn(run);
    if ended.recv_timeout(LONG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("the one thread of the runtime is blocked, or nobody was woken");
    }
    thread.join().unwrap();
}

/// Polls a future once, by a task that cannot be woken.
fn polled<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What a future gives at once.
fn at_once<F: Future>(future: F) -> F::Output {
    match polled(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}
