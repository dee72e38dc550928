//! Tasks that wait for one piece of news: [`Waiters`].

use std::fmt;
use std::task::Waker;

use slab::Slab;

use crate::caught;

/// Tasks that wait for something that comes once, each with the waker that it polled with last. Whoever holds them keeps
/// them under one lock with what they wait for, so that nothing comes between a task's look and its wait:
///
/// ```
/// use sched_core::Waiters;
/// use std::task::Waker;
///
/// let (mut waiters, mut place) = (Waiters::default(), None);
/// waiters.wait(&mut place, Waker::noop());
/// waiters.wait(&mut place, Waker::noop()); // the same task again
/// assert_eq!(waiters.len(), 1);
/// waiters.leave(&mut place);
/// assert!(waiters.is_empty());
/// ```
#[derive(Default)]
pub struct Waiters(Option<Box<Slab<Waker>>>);

impl Waiters {
    /// Has a task woken by `waker`, and no longer by the one that it came with before. `place` is the task's own, `None` at
    /// first. Not to be called with it after [`take`](Self::take): what the task waited for has come.
    pub fn wait(&mut self, place: &mut Option<usize>, waker: &Waker) {
        let tasks = self.0.get_or_insert_default();
        match place.and_then(|place| tasks.get_mut(place)) {
            Some(known) => known.clone_from(waker),
            None => *place = Some(tasks.insert(waker.clone())),
        }
    }

    /// A task waits no longer. Does nothing when it did not wait.
    pub fn leave(&mut self, place: &mut Option<usize>) {
        if let (Some(tasks), Some(place)) = (&mut self.0, place.take()) {
            tasks.try_remove(place);
        }
    }

    /// All of them, to be [woken](Self::wake) when no lock is held; nobody waits here afterwards.
    #[must_use = "nobody is woken before `wake`"]
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Wakes them. A waker that panics harms nobody.
    pub fn wake(self) {
        self.0.into_iter().flat_map(|tasks| tasks.into_iter()).for_each(|(_, waker)| Self::wake_one(waker));
    }

    /// Wakes a single task that waits elsewhere. A waker that panics harms nobody: it is the host's code, on whoever's thread.
    pub fn wake_one(waker: Waker) {
        // What a panic says is told by the panic hook of the process.
        drop(caught(|| waker.wake()));
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |tasks| tasks.len())
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiters").field(&self.len()).finish()
    }
}
