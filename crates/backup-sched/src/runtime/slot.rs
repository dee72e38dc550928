//! One thing on its way from the dispatcher to one task, which may be gone when it comes: [`Slot`], [`Reply`], [`Answer`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use sched_core::Waiters;

use crate::error::Stopped;
use crate::told::{Telling, Told};

/// Holds one thing until its task takes it. Either side may close it.
pub(crate) struct Slot<T>(Mutex<Held<T>>);

struct Held<T> {
    value: Option<T>,
    closed: bool,
    task: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(Held { value: None, closed: false, task: None }))
    }
}

impl<T> Slot<T> {
    /// Gives it to the task; back again when nobody takes it.
    pub(crate) fn put(&self, value: T) -> Result<(), T> {
        let task = {
            let mut held = self.0.lock();
            if held.closed {
                return Err(value);
            }
            held.value = Some(value);
            held.task.take()
        };
        task.into_iter().for_each(Waiters::wake_one);
        Ok(())
    }

    /// Ready with what came, or with nothing when nothing will.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Option<T>> {
        let mut held = self.0.lock();
        match held.value.take() {
            Some(value) => Poll::Ready(Some(value)),
            None if held.closed => Poll::Ready(None),
            None => {
                held.task = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Nobody will take anything; what has come and was not taken is returned.
    pub(crate) fn close(&self) -> Option<T> {
        let mut held = self.0.lock();
        held.closed = true;
        held.value.take()
    }

    /// Nothing will come any more.
    fn give_up(&self) {
        let task = {
            let mut held = self.0.lock();
            held.closed = true;
            held.task.take()
        };
        task.into_iter().for_each(Waiters::wake_one);
    }
}

/// Where an answer goes.
pub(crate) enum Reply<T> {
    Thread(Sender<T>),
    Task(Promise<T>),
}

impl<T> Reply<T> {
    /// Answers; the answer comes back when nobody reads it.
    pub(crate) fn send(self, answer: T) -> Result<(), T> {
        match self {
            Self::Thread(reply) => reply.send(answer).map_err(|unread| unread.0),
            Self::Task(promise) => promise.0.put(answer),
        }
    }
}

impl<T> From<Sender<T>> for Reply<T> {
    fn from(reply: Sender<T>) -> Self {
        Self::Thread(reply)
    }
}

/// Dropped without an answer, it tells that none will come.
pub(crate) struct Promise<T>(Arc<Slot<T>>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// What a task waits for that has asked the dispatcher.
pub(crate) struct Answer<T> {
    slot: Arc<Slot<T>>,
    /// Nobody reads commands any more. One that came just before is never dropped, nor is its promise.
    over: Telling<()>,
}

impl<T> Answer<T> {
    pub(crate) fn new(over: Arc<Told<()>>) -> (Reply<T>, Self) {
        let slot = Arc::<Slot<T>>::default();
        (Reply::Task(Promise(slot.clone())), Self { slot, over: Telling::new(over) })
    }

    /// Nobody reads it; what has come already is returned.
    pub(crate) fn close(&self) -> Option<T> {
        self.slot.close()
    }
}

impl<T> Future for Answer<T> {
    type Output = Result<T, Stopped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { slot, over } = self.get_mut();
        if let Poll::Ready(answer) = slot.poll(cx.waker()) {
            return Poll::Ready(answer.ok_or(Stopped::Ended));
        }
        match Pin::new(over).poll(cx) {
            // The last thing done may have been to answer.
            Poll::Ready(()) => Poll::Ready(slot.close().ok_or(Stopped::Ended)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        drop(self.slot.close());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn polled<T>(answer: &mut Answer<T>) -> Poll<Result<T, Stopped>> {
        pin!(answer).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_answer_comes_and_a_promise_that_is_dropped_is_none() {
        let over = Arc::<Told<()>>::default();
        let (reply, mut answer) = Answer::new(over.clone());
        assert!(polled(&mut answer).is_pending());
        assert_eq!(reply.send(7), Ok(()));
        assert_eq!(polled(&mut answer), Poll::Ready(Ok(7)));
        let (reply, mut answer) = Answer::<u8>::new(over);
        assert!(polled(&mut answer).is_pending());
        drop(reply);
        assert_eq!(polled(&mut answer), Poll::Ready(Err(Stopped::Ended)));
    }

    #[test]
    fn a_waker_that_panics_harms_nobody() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("too many tasks");
            }
        }
        let (reply, answer) = Answer::new(Arc::<Told<()>>::default());
        let waker = Waker::from(Arc::new(Panics));
        let mut answer = pin!(answer);
        assert!(answer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(reply.send(7), Ok(()));
        let came = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(came, Poll::Ready(Ok(7)));
    }

    #[test]
    fn who_asks_a_dispatcher_that_has_gone_is_not_kept_by_a_promise_that_nobody_drops() {
        let over = Arc::<Told<()>>::default();
        let (kept, mut answer) = Answer::<u8>::new(over.clone());
        let (late, mut answered) = Answer::new(over.clone());
        assert!(polled(&mut answer).is_pending() && polled(&mut answered).is_pending());
        assert_eq!(late.send(9), Ok(()));
        over.tell(());
        assert_eq!(polled(&mut answer), Poll::Ready(Err(Stopped::Ended)));
        assert_eq!(polled(&mut answered), Poll::Ready(Ok(9)), "the last thing done was to answer");
        assert_eq!(kept.send(1), Err(1));
    }

    #[test]
    fn what_nobody_takes_comes_back() {
        let (reply, answer) = Answer::new(Arc::default());
        drop(answer);
        assert_eq!(reply.send(7), Err(7));
        let (reply, answer) = Answer::new(Arc::default());
        assert_eq!(reply.send(7), Ok(()));
        assert_eq!(answer.close(), Some(7));
    }
}
