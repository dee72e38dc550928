//! What is told once, to any number of threads and tasks that wait for it: [`Told`], [`Telling`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use sched_core::Waiters;

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
    pub(crate) fn held(&self) -> impl Drop + '_ {
        self.state.lock()
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::<Woken>::default();
        (woken.clone(), woken.into())
    }

    #[test]
    fn the_waker_that_came_last_is_woken_and_no_other() {
        let told = Arc::<Told<u8>>::default();
        let ((first, first_waker), (last, last_waker)) = (waker(), waker());
        let mut telling = pin!(Telling::new(told.clone()));
        assert!(telling.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
        assert!(telling.as_mut().poll(&mut Context::from_waker(&last_waker)).is_pending());
        told.tell(7);
        told.tell(8);
        assert_eq!((first.0.load(SeqCst), last.0.load(SeqCst)), (0, 1));
        let mut task = Context::from_waker(&last_waker);
        assert_eq!(telling.as_mut().poll(&mut task), Poll::Ready(7), "what was told first counts");
        assert_eq!(telling.as_mut().poll(&mut task), Poll::Ready(7), "and is told again");
    }

    #[test]
    fn every_task_is_woken_once_and_those_that_left_are_not() {
        let told = Arc::<Told<u8>>::default();
        let wakers: Vec<_> = (0..1000).map(|_| waker()).collect();
        let mut tellings: Vec<_> = wakers.iter().map(|_| Telling::new(told.clone())).collect();
        for (telling, (_, waker)) in tellings.iter_mut().zip(&wakers) {
            assert!(Pin::new(telling).poll(&mut Context::from_waker(waker)).is_pending());
        }
        let mut n = 0;
        tellings.retain(|_| {
            n += 1;
            n % 3 == 0
        });
        assert_eq!(told.state.lock().tasks.len(), tellings.len(), "who is dropped leaves nothing behind");
        told.tell(1);
        let woken: u32 = wakers.iter().map(|(woken, _)| woken.0.load(SeqCst)).sum();
        assert_eq!(woken as usize, tellings.len());
        assert!(told.state.lock().tasks.is_empty());
    }

    #[test]
    fn a_waker_that_panics_harms_nobody() {
        struct Bad;
        impl Wake for Bad {
            fn wake(self: Arc<Self>) {
                panic!("on purpose");
            }
        }
        let told = Arc::<Told<u8>>::default();
        let (good, good_waker) = waker();
        let (mut bad, mut other) = (Telling::new(told.clone()), Telling::new(told.clone()));
        let bad_waker = Waker::from(Arc::new(Bad));
        assert!(Pin::new(&mut bad).poll(&mut Context::from_waker(&bad_waker)).is_pending());
        assert!(Pin::new(&mut other).poll(&mut Context::from_waker(&good_waker)).is_pending());
        told.tell(1);
        assert_eq!((good.0.load(SeqCst), told.wait()), (1, 1));
    }
}
