//! The same for many nodes at the same time: [`each`].

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use parking_lot::Mutex;

/// Does `work` for each item, at most `at_once` of them at a time, and returns what came of it in their order.
pub(super) fn each<I: Sync, T: Send>(items: &[I], at_once: usize, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    let take_turns = || {
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(number) else { return };
            let result = work(item);
            done.lock().push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..at_once.min(items.len()) {
            // Where the system gives no more threads, those that there are do it.
            let _ = thread::Builder::new().name("backup-node".into()).spawn_scoped(scope, take_turns);
        }
        take_turns();
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn all_are_done_together_and_told_in_order() {
        let meet = Barrier::new(3);
        let told = each(&[1, 2, 3], 3, |item| {
            meet.wait();
            item * 10
        });
        assert_eq!(told, [10, 20, 30]);
        assert_eq!(each(&[1, 2, 3], 0, |item| item + 1), [2, 3, 4]);
    }
}
