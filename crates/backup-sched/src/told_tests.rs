//! Tests of [`told`](crate::told). They are not in that file since `sched-models` compiles it with locks that work in models only.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use crate::told::{Telling, Told};

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
    assert_eq!(told.waiting(), tellings.len(), "who is dropped leaves nothing behind");
    told.tell(1);
    let woken: u32 = wakers.iter().map(|(woken, _)| woken.0.load(SeqCst)).sum();
    assert_eq!(woken as usize, tellings.len());
    assert_eq!(told.waiting(), 0);
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
