//! The way past the lock: nothing is let through twice, late or after it was called back, from however many threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sched_core::{Clock, MonoTime, Now, Pacer, Scope};
use sched_limits::{BandwidthTree, JobPacer, JobShare, Rate};

use super::bounds::Book;
use super::sim::{Sim, TestClock, host, link, rate};

/// What the threads of a test have in common.
#[derive(Default)]
struct Workers {
    looks: AtomicU64,
    stop: AtomicBool,
}

impl Workers {
    /// Lets the threads look so many times more.
    fn let_run(&self, looks: u64) {
        let until = self.looks.load(SeqCst) + looks;
        while self.looks.load(SeqCst) < until {
            std::thread::yield_now();
        }
    }

    /// Charges, and moves what was let through, until it is told to stop. Returns what it moved and what it still asks
    /// for.
    fn hammer(&self, job: &JobPacer, largest: u64) -> (u64, u64) {
        let mut moved = 0;
        for turn in 0_u64.. {
            let bytes = 1 + turn * 7919 % largest;
            let charge = job.charge(bytes);
            while job.wait(charge) != Some(Duration::ZERO) {
                self.looks.fetch_add(1, SeqCst);
                if self.stop.load(SeqCst) {
                    return (moved, bytes);
                }
                std::thread::yield_now();
            }
            moved += bytes;
            self.looks.fetch_add(1, SeqCst);
            if self.stop.load(SeqCst) {
                break;
            }
        }
        (moved, 0)
    }
}

/// The books of every level hold in every window, while threads take by themselves and all rates change.
#[test]
fn threads_never_take_more_than_the_integral_and_a_burst() {
    for lease in [0, 1 << 20] {
        let start = 500_000_000;
        let sim = Sim::with_lease(rate(start), lease);
        sim.tree.set_parent(&host("a"), &link("up")).unwrap();
        let places = [Scope::Fleet, link("up"), host("a")];
        places.iter().for_each(|place| sim.tree.set_rate(place, rate(start)).unwrap());
        let mut books: Vec<_> = places.iter().map(|place| Book::new(Some(place.clone()), start)).collect();
        let jobs: Vec<_> = (0..2).map(|_| sim.tree.join(&host("a"), JobShare::default()).unwrap()).collect();
        let together = Workers::default();
        let moved: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|n| {
                    let (job, together) = (&jobs[n / 2], &together);
                    scope.spawn(move || together.hammer(job, 20_000).0)
                })
                .collect();
            for turn in 0..300_usize {
                let nanos = [0, 1_000, 3_000_000, 70_000_000][turn % 4];
                sim.clock.advance(Duration::from_nanos(nanos));
                books.iter_mut().for_each(|book| book.pass(nanos));
                // What was granted is noted at the old rate: its burst is what may be there now.
                books.iter_mut().for_each(|book| book.note(&sim));
                together.let_run(200);
                if turn % 5 == 4 {
                    let node = turn % 3;
                    books[node].set([start, 0, 1_000, 90_000_000_000, 2_000_000][turn / 5 % 5]);
                    sim.tree.set_rate(&places[node], rate(books[node].rate())).unwrap();
                    books.iter_mut().for_each(|book| book.note(&sim));
                }
            }
            together.stop.store(true, SeqCst);
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        books.iter_mut().for_each(|book| book.note(&sim));
        books.iter().for_each(|book| book.check().unwrap());
        assert!(moved > 1_000_000, "{moved}: they did take");
        assert!(moved <= sim.tree.granted(&Scope::Fleet).unwrap());
    }
}

/// When a rate of 0 was set, nothing more moves; and nothing was moved that is not in the books.
#[test]
fn leases_are_called_back_from_running_threads() {
    let fast = 1_000_000_000_000;
    let sim = Sim::new(rate(fast));
    let jobs: Vec<_> = (0..2).map(|_| sim.tree.join(&host("a"), JobShare::default()).unwrap()).collect();
    for _ in 0..100 {
        sim.clock.advance(Duration::from_secs(1));
        let before = sim.tree.granted(&Scope::Fleet).unwrap();
        let together = Workers::default();
        let (moved, at_once, later) = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|n| {
                    let (job, together) = (&jobs[n / 2], &together);
                    scope.spawn(move || {
                        let (moved, asked) = together.hammer(job, 500);
                        // It gives up, so that the next round does not begin with somebody in line.
                        job.correct(-i64::try_from(asked).unwrap());
                        moved
                    })
                })
                .collect();
            together.let_run(100);
            sim.tree.set_rate(&Scope::Fleet, rate(0)).unwrap();
            let at_once = sim.tree.granted(&Scope::Fleet).unwrap();
            together.let_run(20);
            let later = sim.tree.granted(&Scope::Fleet).unwrap();
            together.stop.store(true, SeqCst);
            let moved: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
            (moved, at_once, later)
        });
        assert_eq!(later, at_once, "nothing is taken any more");
        assert_eq!(sim.tree.granted(&Scope::Fleet), Some(before + moved));
        assert_eq!(sim.tree.waiting(&Scope::Fleet), Some(0));
        sim.tree.set_rate(&Scope::Fleet, rate(fast)).unwrap();
    }
}

/// A clock that counts how often it is read.
#[derive(Debug, Default)]
struct CountingClock(AtomicU64, TestClock);

impl Clock for CountingClock {
    fn now(&self) -> Now {
        self.0.fetch_add(1, SeqCst);
        self.1.now()
    }
    fn mono(&self) -> MonoTime {
        self.now().mono
    }
}

#[test]
fn the_tree_is_not_asked_while_what_is_open_lasts() {
    for lease in [0, 1 << 20] {
        let clock = Arc::new(CountingClock::default());
        let tree = BandwidthTree::with_lease(clock.clone(), rate(1_000_000_000), lease);
        let share = JobShare::default().ceiling(rate(1_000_000_000));
        let jobs = [tree.join(&host("a"), share).unwrap(), tree.join(&host("b"), share).unwrap()];
        clock.1.advance(Duration::from_secs(1));
        let before = clock.0.load(SeqCst);
        for turn in 0..2_000 {
            let job = &jobs[turn % 2];
            assert_eq!(job.wait(job.charge(10_000)), Some(Duration::ZERO));
        }
        // Nor to put back what did not move.
        jobs[0].correct(-10_000);
        // 20 MB of the 25 that were set aside; each job asked the tree once to be let through by itself.
        assert_eq!(clock.0.load(SeqCst) - before, 2, "with a lease of {lease}");
    }
}

#[test]
fn what_was_set_aside_and_is_spent_late_is_part_of_the_burst() {
    for lease in [0, 1 << 20] {
        let sim = Sim::with_lease(rate(100_000_000), lease);
        let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
        sim.clock.advance(Duration::from_secs(1));
        assert_eq!(job.wait(job.charge(1)), Some(Duration::ZERO));
        sim.clock.advance(Duration::from_secs(1));
        let mut moved = 0;
        while job.wait(job.charge(10_000)) == Some(Duration::ZERO) {
            moved += 10_000;
        }
        assert!(
            (4_990_000..=5_000_000).contains(&moved),
            "50 ms at the rate, less than a charge left: {moved}"
        );
    }
}

#[test]
fn a_demand_just_below_the_rate_is_never_kept_waiting() {
    for lease in [0, 1 << 20] {
        let sim = Sim::with_lease(rate(100_000_000), lease);
        let job = sim.tree.join(&host("a"), JobShare::default().ceiling(rate(100_000_000))).unwrap();
        sim.clock.advance(Duration::from_secs(1));
        assert_eq!(job.wait(job.charge(1)), Some(Duration::ZERO));
        for turn in 0..10_000 {
            sim.clock.advance(Duration::from_millis(1));
            assert_eq!(job.wait(job.charge(99_000)), Some(Duration::ZERO), "at {turn} ms");
        }
    }
}

#[test]
fn what_did_not_move_is_open_again_but_never_more_than_was_taken() {
    let sim = Sim::with_lease(rate(1_000_000), 0);
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    sim.clock.advance(Duration::from_secs(1));
    for _ in 0..1_000 {
        assert_eq!(job.wait(job.charge(20_000)), Some(Duration::ZERO));
        job.correct(-20_000);
    }
    assert_eq!(job.granted(), 0);
    assert_eq!(job.wait(job.charge(1)), Some(Duration::ZERO));
    job.correct(-1_000_000);
    assert_eq!(job.wait(job.charge(50_000)), Some(Duration::ZERO), "a burst is there");
    assert_ne!(job.wait(job.charge(1)), Some(Duration::ZERO), "and not a byte more");
}

#[test]
fn what_is_on_lease_is_not_given_back_twice() {
    let sim = Sim::new(rate(1_000_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    sim.clock.advance(Duration::from_secs(1));
    assert_eq!(job.wait(job.charge(600_000)), Some(Duration::ZERO));
    assert_eq!(job.granted(), 600_000 + (1 << 20));
    job.correct(-500_000);
    sim.tree.set_rate(&Scope::Fleet, rate(0)).unwrap();
    assert_eq!(job.granted(), 100_000);
}

#[test]
fn a_lease_is_spent_before_more_is_taken() {
    let sim = Sim::new(rate(1_000_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    sim.clock.advance(Duration::from_secs(1));
    assert_eq!(job.wait(job.charge(1)), Some(Duration::ZERO));
    let granted = job.granted();
    for _ in 0..16 {
        assert_eq!(job.wait(job.charge(1 << 16)), Some(Duration::ZERO));
        assert_eq!(job.granted(), granted);
    }
    assert_eq!(job.wait(job.charge(1 << 16)), Some(Duration::ZERO));
    assert!(job.granted() > granted);
}

#[test]
fn what_a_higher_level_refuses_is_still_there_below() {
    let sim = Sim::with_lease(rate(1_000_000), 0);
    sim.tree.set_rate(&host("a"), rate(10_000_000)).unwrap();
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    sim.clock.advance(Duration::from_secs(1));
    assert_eq!(job.wait(job.charge(1)), Some(Duration::ZERO));
    // More than the half burst that the fleet has set aside, and less than the host's.
    assert_eq!(job.wait(job.charge(30_000)), Some(Duration::ZERO));
    sim.tree.set_rate(&Scope::Fleet, Rate::Unlimited).unwrap();
    assert_eq!(job.wait(job.charge(500_000 - 30_001)), Some(Duration::ZERO), "the host's burst is 500 kB");
}

#[test]
fn a_charge_of_nothing_stands_behind_what_waits() {
    let sim = Sim::new(rate(1_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    let (waits, nothing) = (job.charge(20_000), job.charge(0));
    assert_ne!(job.wait(nothing), Some(Duration::ZERO));
    sim.clock.advance(Duration::from_millis(20));
    assert_eq!(job.wait(waits), Some(Duration::ZERO));
    assert_eq!(job.wait(nothing), Some(Duration::ZERO));
}
