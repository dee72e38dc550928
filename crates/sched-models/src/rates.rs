//! The tree of bandwidths: jobs that take and wait while a place gets another rate.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;
use sched_core::{ManualClock, Pacer, Scope};

use crate::bandwidth::{BandwidthTree, JobShare};
use crate::in_every_order;
use crate::rate::Rate;

fn tree(rate: Rate) -> (Arc<ManualClock>, BandwidthTree) {
    let clock = Arc::new(ManualClock::default());
    let tree = BandwidthTree::with_lease(clock.clone(), rate, 0);
    (clock, tree)
}

#[test]
fn who_waits_passes_once_the_rate_is_another() {
    in_every_order(|| {
        let (_clock, tree) = tree(Rate::BytesPerSec(0));
        let job = Arc::new(tree.join(&Scope::Fleet, JobShare::default()).unwrap());
        let waits = {
            let job = Arc::clone(&job);
            thread::spawn(move || {
                let charge = job.charge(1_000);
                // It looks once before the rate is another, or after it.
                (charge, job.wait(charge))
            })
        };
        tree.set_rate(&Scope::Fleet, Rate::Unlimited).unwrap();
        let (charge, looked) = waits.join().unwrap();
        assert!(matches!(looked, None | Some(Duration::ZERO)), "{looked:?}");
        assert_eq!(job.wait(charge), Some(Duration::ZERO), "it was not told, and waits for ever");
        assert_eq!(tree.granted(&Scope::Fleet), Some(1_000));
        assert_eq!(tree.waiting(&Scope::Fleet), Some(0));
    });
}

#[test]
fn bytes_are_counted_once_while_a_rate_changes_and_a_job_leaves() {
    in_every_order(|| {
        let (clock, tree) = tree(Rate::BytesPerSec(1_000_000));
        clock.advance(Duration::from_secs(1));
        let stays = tree.join(&Scope::Fleet, JobShare::default()).unwrap();
        let leaves = tree.join(&Scope::Fleet, JobShare::default()).unwrap();
        let job = thread::spawn(move || {
            let charge = stays.charge(1_000);
            let passed = stays.wait(charge) == Some(Duration::ZERO);
            (stays, passed)
        });
        let other = thread::spawn(move || {
            let charge = leaves.charge(2_000);
            leaves.wait(charge) == Some(Duration::ZERO)
        });
        tree.set_rate(&Scope::Fleet, Rate::BytesPerSec(2_000_000)).unwrap();
        let (stays, one) = job.join().unwrap();
        let two = other.join().unwrap();
        assert!(one && two, "there was enough for both");
        assert_eq!(tree.granted(&Scope::Fleet), Some(3_000));
        assert_eq!(stays.granted(), 1_000);
    });
}
