//! New rates, clocks that jump, absurd numbers, wrong names, threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use sched_core::{Clock, Now, Pacer, PlaceError, Scope};
use sched_limits::{BandwidthTree, JobShare, Rate};

use super::sim::{Sim, TestClock, host, link, rate};

const HOUR: u64 = 3_600_000_000_000;

#[test]
fn a_new_rate_counts_at_once_for_those_in_line() {
    let sim = Sim::new(rate(1));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    let charge = job.charge(4_000);
    assert!(job.wait(charge).unwrap() > Duration::from_millis(900));
    sim.tree.set_rate(&Scope::Fleet, rate(0)).unwrap();
    sim.clock.advance(Duration::from_secs(3600));
    assert_eq!(job.wait(charge), None);
    sim.tree.set_rate(&Scope::Fleet, rate(100_000)).unwrap();
    assert_eq!(job.wait(charge), Some(Duration::from_millis(40)));
    sim.clock.advance(Duration::from_millis(40));
    assert_eq!(job.wait(charge), Some(Duration::ZERO));
}

#[test]
fn a_rate_of_zero_stops_what_was_let_through_in_advance() {
    let sim = Sim::new(rate(1_000_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    sim.clock.advance(Duration::from_secs(1));
    let charge = job.charge(65_536);
    assert_eq!(job.wait(charge), Some(Duration::ZERO));
    assert_eq!(job.granted(), 65_536 + (1 << 20), "a lease was taken");
    sim.tree.set_rate(&Scope::Fleet, rate(0)).unwrap();
    assert_eq!(job.granted(), 65_536, "and called back");
    let charge = job.charge(1);
    assert_eq!(job.wait(charge), None);
}

#[test]
fn a_lease_counts_as_burst_and_ends_when_somebody_waits() {
    let sim = Sim::new(rate(100_000_000));
    let (a, b) =
        (sim.tree.join(&host("a"), JobShare::default()), sim.tree.join(&host("b"), JobShare::default()));
    let (a, b) = (a.unwrap(), b.unwrap());
    sim.clock.advance(Duration::from_secs(1));
    assert_eq!(a.wait(a.charge(1)), Some(Duration::ZERO));
    assert_eq!(a.granted(), 1 + (1 << 20));
    sim.clock.advance(Duration::from_secs(1));
    // The burst is 5 MB: 4 are left beside the lease, and all 5 once it was called back.
    let charge = b.charge(5_000_000);
    assert_eq!(b.wait(charge), Some(Duration::ZERO));
    assert_eq!(a.granted(), 1);
}

#[test]
fn unlimited_leaves_neither_debt_nor_credit() {
    let sim = Sim::new(Rate::Unlimited);
    let job = sim.tree.join(&Scope::Fleet, JobShare::default()).unwrap();
    for _ in 0..1000 {
        assert_eq!(job.wait(job.charge(1 << 20)), Some(Duration::ZERO));
    }
    sim.clock.advance(Duration::from_secs(3600));
    sim.tree.set_rate(&Scope::Fleet, rate(1_000_000)).unwrap();
    assert_eq!(job.wait(job.charge(20_000)), Some(Duration::from_millis(20)));
}

#[test]
fn a_clock_that_jumps_gives_a_burst_and_no_more() {
    let mut sim = Sim::new(rate(1_000_000));
    sim.job(&host("a"), JobShare::default());
    sim.clock.set(10 * HOUR);
    sim.run(Duration::from_secs(1));
    for to in [11 * HOUR, 10 * HOUR, 10 * HOUR, 12 * HOUR, HOUR / 60] {
        sim.clock.set(to);
        let moved = sim.run(Duration::ZERO)[0];
        assert!(moved <= 70_000, "{moved} at once after a jump to {to}");
        let moved = sim.run(Duration::from_secs(10))[0];
        assert!(moved.abs_diff(10_000_000) <= 70_000, "{moved} in 10 s after a jump to {to}");
    }
}

#[test]
fn chunks_larger_than_any_burst_pass_in_their_time() {
    let mut sim = Sim::new(rate(1_000_000));
    let (a, b) = (sim.job(&Scope::Fleet, JobShare::default()), sim.job(&Scope::Fleet, JobShare::default()));
    sim.jobs[a].chunk = Some(5_000_000);
    let moved = sim.run(Duration::from_millis(20_500));
    assert_eq!(moved[a], 10_000_000, "at half the rate, one every 10 s");
    assert!(moved[b].abs_diff(10_250_000) < 150_000, "the other is not kept waiting: {moved:?}");
}

#[test]
fn absurd_numbers_are_bounded() {
    for bytes in [0, 1, 2, u64::MAX - 1, u64::MAX] {
        let sim = Sim::new(rate(bytes));
        let share = JobShare::default().ceiling(rate(u64::MAX)).floor(u64::MAX).weight(0);
        let job = sim.tree.join(&host("a"), share).unwrap();
        job.set_weight(u32::MAX);
        for charge in [0, 1, u64::MAX, u64::MAX] {
            let charge = job.charge(charge);
            if let Some(wait) = job.wait(charge) {
                assert!(wait <= Duration::from_secs(1), "{bytes} B/s: {wait:?}");
            }
            sim.clock.advance(Duration::from_secs(u64::from(u32::MAX)));
        }
        for difference in [i64::MIN, -1, 0, 1, i64::MAX] {
            job.correct(difference);
        }
        assert!(job.max_chunk() >= 1);
    }
}

#[test]
fn a_debt_is_paid_within_a_second() {
    let sim = Sim::new(rate(1_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    job.correct(3_600_000_000);
    let charge = job.charge(1);
    let before = sim.clock.nanos();
    while let Some(wait) = job.wait(charge).filter(|wait| !wait.is_zero()) {
        sim.clock.advance(wait);
    }
    let took = Duration::from_nanos(sim.clock.nanos() - before);
    assert!(took.abs_diff(Duration::from_secs(1)) < Duration::from_millis(5), "{took:?}");
}

#[test]
fn what_will_not_move_is_given_back() {
    let sim = Sim::new(rate(1_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    let taken = job.charge(20_000);
    sim.clock.advance(Duration::from_millis(20));
    assert_eq!(job.wait(taken), Some(Duration::ZERO));
    job.correct(-20_000);
    assert_eq!(job.wait(job.charge(20_000)), Some(Duration::ZERO), "it was still there");
    let (first, second) = (job.charge(20_000), job.charge(20_000));
    job.correct(-20_000);
    assert_ne!(job.wait(first), Some(Duration::ZERO));
    sim.clock.advance(Duration::from_millis(20));
    assert_eq!(job.wait(second), Some(Duration::ZERO), "who gave up keeps nobody waiting");
    assert_eq!(job.granted(), 40_000);
}

#[test]
fn a_host_moves_with_its_jobs() {
    let mut sim = Sim::new(Rate::Unlimited);
    sim.tree.set_rate(&link("slow"), rate(1_000_000)).unwrap();
    sim.tree.set_rate(&host("a"), rate(4_000_000)).unwrap();
    sim.job(&host("a"), JobShare::default());
    let moved = sim.run(Duration::from_secs(5))[0];
    assert!(moved.abs_diff(20_000_000) < 200_000, "{moved}");
    sim.tree.set_parent(&host("a"), &link("slow")).unwrap();
    assert_eq!(sim.tree.waiting(&link("slow")), sim.tree.waiting(&Scope::Fleet));
    let moved = sim.run(Duration::from_secs(5))[0];
    assert!(moved.abs_diff(5_000_000) < 100_000, "{moved}");
}

#[test]
fn wrong_places_are_refused_by_name_and_change_nothing() {
    let sim = Sim::new(Rate::Unlimited);
    let tree = &sim.tree;
    let group = Scope::Group("orders".into());
    assert_eq!(tree.set_rate(&group, rate(1)), Err(PlaceError::NotAPlace(group.clone())));
    assert!(matches!(tree.join(&host(" "), JobShare::default()), Err(PlaceError::Name { .. })));
    assert!(matches!(tree.set_parent(&host("a"), &host("b")), Err(PlaceError::WrongKind { .. })));
    assert!(matches!(tree.set_parent(&Scope::Fleet, &link("l")), Err(PlaceError::WrongKind { .. })));
    tree.set_parent(&link("in"), &link("out")).unwrap();
    assert!(matches!(tree.set_parent(&link("out"), &link("in")), Err(PlaceError::Cycle { .. })));
    assert!(matches!(tree.set_parent(&link("in"), &link("in")), Err(PlaceError::Cycle { .. })));
    // The same is said beforehand, and nothing is made.
    assert!(matches!(tree.check_parent(&link("out"), &link("in")), Err(PlaceError::Cycle { .. })));
    assert!(matches!(tree.check_parent(&host("a"), &host("b")), Err(PlaceError::WrongKind { .. })));
    assert_eq!(tree.check_parent(&host("a"), &link("out")), Ok(()));
    assert_eq!(tree.rate(&host("a")), None);
}

#[test]
fn what_waits_and_what_was_taken_is_told_of_each_place() {
    let sim = Sim::new(rate(1_000_000));
    let job = sim.tree.join(&host("a"), JobShare::default()).unwrap();
    let other = sim.tree.join(&host("b"), JobShare::default()).unwrap();
    let (charge, _) = (job.charge(20_000), other.charge(5_000));
    let told = |place: &Scope| (sim.tree.waiting(place), sim.tree.granted(place));
    assert_eq!(told(&host("a")), (Some(20_000), Some(0)));
    assert_eq!(told(&Scope::Fleet), (Some(25_000), Some(0)));
    assert_eq!(told(&host("c")), (None, None));
    sim.clock.advance(Duration::from_millis(25));
    assert_eq!(job.wait(charge), Some(Duration::ZERO));
    assert_eq!(told(&host("a")), (Some(0), Some(20_000)));
    assert_eq!(told(&Scope::Fleet), (Some(0), Some(25_000)));
}

/// Threads that charge with and without a lease while rates change: every byte is taken once, and all end.
#[test]
fn threads_and_new_rates_lose_nothing() {
    let clock = TestClock::at(1);
    let tree = BandwidthTree::new(Arc::new(clock.clone()), rate(1_000_000_000));
    let (total, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let jobs: Vec<_> = (0..3).map(|_| tree.join(&host("a"), JobShare::default()).unwrap()).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..6)
            .map(|n| {
                let (job, total, clock) = (&jobs[n / 2], &total, &clock);
                scope.spawn(move || {
                    for turn in 0..1_000_u64 {
                        let bytes = 1 + turn * 7919 % 20_000;
                        let charge = job.charge(bytes);
                        total.fetch_add(bytes, SeqCst);
                        while job.wait(charge) != Some(Duration::ZERO) {
                            clock.advance(Duration::from_micros(50));
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let rates = scope.spawn(|| {
            for turn in 0.. {
                if done.load(SeqCst) {
                    break;
                }
                tree.set_rate(&Scope::Fleet, rate([1_000_000_000, 0, 50_000_000_000, 1_000][turn % 4]))
                    .unwrap();
                std::thread::yield_now();
            }
            tree.set_rate(&Scope::Fleet, Rate::Unlimited).unwrap();
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, SeqCst);
        rates.join().unwrap();
    });
    tree.set_rate(&Scope::Fleet, rate(1)).unwrap();
    assert_eq!(tree.granted(&Scope::Fleet), Some(total.load(SeqCst)));
    assert_eq!(tree.waiting(&Scope::Fleet), Some(0));
}

#[test]
fn a_clock_that_panics_leaves_the_tree_usable() {
    #[derive(Debug)]
    struct Panics(TestClock, Arc<AtomicBool>);
    impl Clock for Panics {
        fn now(&self) -> Now {
            assert!(!self.1.load(SeqCst), "on purpose");
            self.0.now()
        }
    }
    let (clock, panics) = (TestClock::at(HOUR), Arc::<AtomicBool>::default());
    let tree = BandwidthTree::new(Arc::new(Panics(clock.clone(), panics.clone())), rate(1_000));
    let job = tree.join(&host("a"), JobShare::default()).unwrap();
    panics.store(true, SeqCst);
    for _ in 0..3 {
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.wait(job.charge(1_000))));
        assert!(asked.is_err());
        let set =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tree.set_rate(&host("a"), rate(1))));
        assert!(set.is_err());
    }
    panics.store(false, SeqCst);
    tree.set_rate(&host("a"), rate(1_000)).unwrap();
    let charge = job.charge(1_000);
    let is_served = (0..100).any(|_| {
        let wait = job.wait(charge).expect("it has a rate");
        clock.advance(wait);
        wait.is_zero()
    });
    assert!(is_served, "what was charged before is paid for, and then it goes on");
}
