//! The way past the tree's lock: whatever the order, each byte is counted once, and no more pass than were set aside.

use std::sync::Arc;

use loom::thread;

use crate::gate::{Gate, Open};
use crate::in_every_order;

/// Takes as a job does; says how many bytes passed.
fn take(gate: &Gate, bytes: u64, lease: u64, times: usize) -> u64 {
    (0..times).filter(|_| gate.spend(bytes) || gate.take(bytes, lease)).count() as u64 * bytes
}

/// Two jobs below one place take while the tree takes back what is left.
fn two_jobs(set_aside: u64, lease: u64, times: usize) {
    in_every_order(move || {
        let place = Arc::new(Open::default());
        place.set(set_aside);
        let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
        for gate in &gates {
            gate.open(u64::MAX, std::iter::once(Arc::clone(&place)));
        }
        let jobs = gates.clone().map(|gate| thread::spawn(move || take(&gate, 2, lease, times)));
        // As the tree does it: all gates first, then what is above them.
        let closed: u64 = gates.iter().map(|gate| gate.close().taken).sum();
        let left = place.close();
        let passed: u64 = jobs.map(|job| job.join().unwrap()).into_iter().sum();
        assert_eq!(closed, passed, "bytes passed that are in no books, or are in them and did not");
        assert_eq!(closed + left, set_aside, "bytes were lost, or made of nothing");
    });
}

#[test]
fn what_passes_two_gates_is_what_is_counted() {
    two_jobs(5, 0, 1);
}

#[test]
fn what_is_on_lease_is_called_back_or_was_spent() {
    two_jobs(6, 3, 1);
}

#[test]
fn bytes_that_did_not_move_are_given_back_once() {
    in_every_order(|| {
        let place = Arc::new(Open::default());
        place.set(8);
        let gate = Arc::new(Gate::default());
        gate.open(8, std::iter::once(Arc::clone(&place)));
        let job = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                let passed = take(&gate, 3, 2, 1);
                // A tool moved one byte less than it was charged for. Once the gate is closed the tree is told instead.
                let given_back = passed > 0 && gate.give_back(1);
                passed - u64::from(given_back)
            })
        };
        let closed = gate.close();
        let left = place.close();
        let moved = job.join().unwrap();
        assert_eq!(closed.taken + left, 8, "bytes were lost, or made of nothing");
        assert_eq!(closed.taken + closed.own, 8);
        assert_eq!(closed.taken, moved, "what was given back is in the books, or is not and was not");
    });
}
