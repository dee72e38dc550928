//! What is told once, to any number of threads and tasks that wait for it: [`Told`], [`Telling`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sched_core::Waiters;

use crate::sync::{Condvar, Mutex};

pub(crate) struct Told<T> {
    state: Mutex<State<T>>,
    news: Condvar,
}

struct State<T> {
    value: Option<T>,
    tasks: Waiters,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, tasks: Waiters::default() }), news: Condvar::new() }
    }
}

impl<T: Clone> Told<T> {
    /// What was told first counts.
    pub(crate) fn tell(&self, value: T) {
        let tasks = {
            let mut state = self.state.lock();
            state.value.get_or_insert(value);
            state.tasks.take()
        };
        self.news.notify_all();
        tasks.wake();
    }

    /// What was told, if anything was.
    pub(crate) fn told(&self) -> Option<T> {
        self.state.lock().value.clone()
    }

    pub(crate) fn wait(&self) -> T {
        let mut state = self.state.lock();
        loop {
            match &state.value {
                Some(value) => return value.clone(),
                None => self.news.wait(&mut state),
            }
        }
    }

    /// As [`wait`](Self::wait), for at most `limit` of real time.
    pub(crate) fn wait_timeout(&self, limit: Duration) -> Option<T> {
        let mut state = self.state.lock();
        self.news.wait_while_for(&mut state, |state| state.value.is_none(), limit);
        state.value.clone()
    }

    fn poll(&self, place: &mut Option<usize>, waker: &Waker) -> Poll<T> {
        let mut state = self.state.lock();
        if let Some(value) = &state.value {
            return Poll::Ready(value.clone());
        }
        state.tasks.wait(place, waker);
        Poll::Pending
    }
}

#[cfg(test)]
impl<T> Told<T> {
    /// As when a thread that is not there any more had just looked.
    pub(crate) fn held(&self) -> impl Sized + '_ {
        self.state.lock()
    }

    /// How many tasks wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().tasks.len()
    }
}

impl<T: fmt::Debug> fmt::Debug for Told<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Told").field("value", &state.value).field("tasks", &state.tasks).finish()
    }
}

/// Waits until something is told. Polled again afterwards it is ready again.
pub(crate) struct Telling<T> {
    told: Arc<Told<T>>,
    place: Option<usize>,
}

impl<T> Telling<T> {
    pub(crate) fn new(told: Arc<Told<T>>) -> Self {
        Self { told, place: None }
    }
}

impl<T: Clone> Future for Telling<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Self { told, place } = self.get_mut();
        told.poll(place, cx.waker())
    }
}

impl<T> Drop for Telling<T> {
    fn drop(&mut self) {
        self.told.state.lock().tasks.leave(&mut self.place);
    }
}
