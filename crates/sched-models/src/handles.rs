//! What handles wait for: whatever the order, all who wait are told the same, and of who leaves nothing stays.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use loom::future::block_on;
use loom::thread::{self, JoinHandle};

use crate::in_every_order;
use crate::told::{Telling, Told};

type News = Arc<Told<u8>>;

/// A task's waker, which counts. It is no atomic of `loom`: it is read when the other threads have ended.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    /// How often it rang, now that nobody may keep it any more.
    fn rang(self: Arc<Self>) -> usize {
        Arc::into_inner(self).expect("a waker stays behind").0.into_inner()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls, as a runtime does for a task with this waker.
fn look(telling: &mut Telling<u8>, bell: &Arc<Bell>) -> Poll<u8> {
    let waker = Waker::from(bell.clone());
    Pin::new(telling).poll(&mut Context::from_waker(&waker))
}

/// A task that has looked, and waits.
fn waiting(told: &News) -> (Telling<u8>, Arc<Bell>) {
    let (mut telling, bell) = (Telling::new(told.clone()), Arc::default());
    assert!(look(&mut telling, &bell).is_pending());
    (telling, bell)
}

/// A thread that waits.
fn waits(told: &News) -> JoinHandle<u8> {
    let told = told.clone();
    thread::spawn(move || told.wait())
}

/// A thread that tells.
fn tells(told: &News, value: u8) -> JoinHandle<()> {
    let told = told.clone();
    thread::spawn(move || told.tell(value))
}

#[test]
fn a_thread_that_waits_is_told() {
    in_every_order(|| {
        let told = News::default();
        let thread = waits(&told);
        told.tell(7);
        assert_eq!(thread.join().unwrap(), 7);
    });
}

#[test]
fn who_tells_first_counts_for_all() {
    in_every_order(|| {
        let told = News::default();
        let (task, bell) = waiting(&told);
        let threads = [waits(&told), waits(&told)];
        let other = tells(&told, 2);
        told.tell(1);
        let counts = told.told().expect("it was told");
        let heard = threads.map(|thread| thread.join().unwrap());
        other.join().unwrap();
        drop(task);
        assert_eq!(heard, [counts; 2], "they were told different things");
        assert_eq!(told.told(), Some(counts), "what came later counts");
        assert_eq!(bell.rang(), 1);
    });
}

#[test]
fn threads_and_a_task_that_wait_together_are_all_told() {
    in_every_order(|| {
        let told = News::default();
        let threads = [waits(&told), waits(&told)];
        let telling = Telling::new(told.clone());
        let task = thread::spawn(move || block_on(telling));
        told.tell(7);
        let heard = threads.map(|thread| thread.join().unwrap());
        assert_eq!((heard, task.join().unwrap()), ([7; 2], 7));
        assert_eq!(told.waiting(), 0);
    });
}

#[test]
fn a_task_that_looks_while_it_is_told_is_ready_or_woken() {
    in_every_order(|| {
        let told = News::default();
        let (mut telling, bell) = (Telling::new(told.clone()), Arc::<Bell>::default());
        let other = tells(&told, 7);
        let looked = look(&mut telling, &bell);
        other.join().unwrap();
        let again = look(&mut telling, &bell);
        drop(telling);
        assert_eq!(bell.rang(), usize::from(looked.is_pending()), "it saw {looked:?}");
        assert_eq!((told.waiting(), again), (0, Poll::Ready(7)));
    });
}

#[test]
fn a_task_that_comes_with_another_waker_is_woken_by_the_one_it_looked_with_last() {
    in_every_order(|| {
        let told = News::default();
        let (mut telling, before) = waiting(&told);
        let after = Arc::<Bell>::default();
        let other = tells(&told, 7);
        let looked = look(&mut telling, &after);
        other.join().unwrap();
        drop(telling);
        let rang = if looked.is_pending() { (0, 1) } else { (1, 0) };
        assert_eq!((before.rang(), after.rang()), rang, "it saw {looked:?}");
        assert_eq!(told.waiting(), 0);
    });
}

#[test]
fn who_leaves_while_it_is_told_takes_nobody_along() {
    in_every_order(|| {
        let told = News::default();
        let (stays, leaves) = (waiting(&told), waiting(&told));
        let left = thread::spawn(move || {
            drop(leaves.0);
            leaves.1
        });
        // It may be given the place that has become free.
        let comes = {
            let told = told.clone();
            thread::spawn(move || {
                let (mut telling, bell) = (Telling::new(told), Arc::default());
                (look(&mut telling, &bell), telling, bell)
            })
        };
        told.tell(7);
        let left = left.join().unwrap();
        let (looked, came, bell) = comes.join().unwrap();
        drop((stays.0, came));
        assert_eq!(stays.1.rang(), 1, "who waited was not woken");
        assert_eq!(bell.rang(), usize::from(looked.is_pending()), "who came saw {looked:?}");
        assert!(left.rang() <= 1);
        assert_eq!(told.waiting(), 0);
    });
}

#[test]
fn of_those_that_leave_at_once_nothing_stays_and_none_is_woken() {
    in_every_order(|| {
        let told = News::default();
        let (one, stays, two) = (waiting(&told), waiting(&told), waiting(&told));
        let left = thread::spawn(move || {
            drop(one.0);
            one.1
        });
        drop(two.0);
        let left = left.join().unwrap();
        assert_eq!(told.waiting(), 1);
        told.tell(7);
        drop(stays.0);
        assert_eq!((stays.1.rang(), left.rang(), two.1.rang()), (1, 0, 0));
    });
}
