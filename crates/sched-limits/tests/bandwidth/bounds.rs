//! No more than the rates allow, at any node, in any window; and no less.

use std::time::Duration;

use proptest::prelude::*;
use sched_core::{Pacer, Scope};
use sched_limits::{JobShare, Rate};

use super::sim::{Sim, host, link, rate};

#[test]
fn the_rate_is_exact_from_kilobytes_to_a_hundred_gigabytes() {
    for lease in [0, 1 << 20] {
        for bytes in [1_000, 1_000_000, 50_000_000, 1_000_000_000, 100_000_000_000] {
            let mut sim = Sim::with_lease(rate(bytes), lease);
            sim.job(&host("a"), JobShare::default());
            let secs = if bytes < 1_000_000 { 1_000 } else { 20 };
            let secs = if bytes > 10_000_000_000 { 2 } else { secs };
            let moved = sim.run(Duration::from_secs(secs))[0] as f64;
            let ratio = moved / (bytes * secs) as f64;
            // One chunk may be under way at the end.
            let chunk = sim.jobs[0].pacer.max_chunk() as f64 / (bytes * secs) as f64;
            assert!(ratio <= 1.001 && ratio + chunk >= 0.999, "{bytes} B/s with lease {lease}: {ratio}");
        }
    }
}

#[test]
fn a_job_is_held_by_each_level_in_turn() {
    let mut sim = Sim::new(rate(4_000_000));
    sim.tree.set_parent(&host("a"), &link("up")).unwrap();
    let job = sim.job(&Scope::Volume("a".into(), "data".into()), JobShare::default());
    let levels = [Scope::Fleet, link("up"), host("a"), Scope::Volume("a".into(), "data".into())];
    for (at, level) in levels.iter().enumerate() {
        let bytes = 4_000_000 >> at;
        sim.tree.set_rate(level, rate(bytes)).unwrap();
        let moved = sim.run(Duration::from_secs(20))[0] as f64 / (bytes * 20) as f64;
        assert!((moved - 1.0).abs() < 0.01, "{level}: {moved}");
    }
    sim.jobs[job].pacer.set_ceiling(rate(100_000));
    let moved = sim.run(Duration::from_secs(20))[0] as f64 / 2e6;
    assert!((moved - 1.0).abs() < 0.01, "its own: {moved}");
}

/// What a node's rate allowed and what was taken there, after every step.
pub(crate) struct Book {
    place: Option<Scope>,
    rate: u64,
    allowed: u128,
    steps: Vec<(u128, u64, u64)>,
}

impl Book {
    pub(crate) fn new(place: Option<Scope>, rate: u64) -> Self {
        Self { place, rate, allowed: 0, steps: Vec::new() }
    }

    fn granted(&self, sim: &Sim) -> u64 {
        match &self.place {
            Some(place) => sim.tree.granted(place).unwrap(),
            None => sim.jobs[0].pacer.granted(),
        }
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    pub(crate) fn set(&mut self, rate: u64) {
        self.rate = rate;
    }

    pub(crate) fn pass(&mut self, nanos: u64) {
        self.allowed += u128::from(self.rate) * u128::from(nanos);
    }

    pub(crate) fn note(&mut self, sim: &Sim) {
        self.steps.push((self.allowed, self.granted(sim), burst(self.rate)));
    }

    /// The naive model: in no window more than the integral of the rate and the burst at its start.
    pub(crate) fn check(&self) -> Result<(), TestCaseError> {
        let (allowed, granted, _) = *self.steps.last().unwrap();
        for (from, (before, taken, burst)) in self.steps.iter().enumerate() {
            let most = (allowed - before).div_ceil(1_000_000_000) + u128::from(*burst);
            let took = granted.saturating_sub(*taken);
            prop_assert!(u128::from(took) <= most, "{:?} since {from}: {took} > {most}", self.place);
        }
        Ok(())
    }
}

/// 50 ms, at least a chunk: written out again, and naively.
fn burst(rate: u64) -> u64 {
    let of = |millis: u128| u64::try_from(u128::from(rate) * millis / 1000).unwrap();
    let chunk = of(20).clamp(4096, 1 << 20).min(of(250)).max(1);
    if rate == 0 { 0 } else { of(50).max(chunk) }
}

#[derive(Clone, Debug)]
enum Step {
    Rate(usize, u64),
    Pass(u64),
    Charge(usize, u64),
    GiveUp(usize),
}

fn any_rate() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), 1..10_000_u64, 10_000..1_000_000_000_u64, any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4_usize, any_rate()).prop_map(|(node, rate)| Step::Rate(node, rate)),
        5 => prop_oneof![Just(0), 1..200_000_000_u64, Just(3_600_000_000_000)].prop_map(Step::Pass),
        5 => (0..3_usize, prop_oneof![1..100_000_u64, 1..20_000_000_u64]).prop_map(|(job, bytes)| Step::Charge(job, bytes)),
        1 => (0..3_usize).prop_map(Step::GiveUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// At fleet, link, host and job, whatever the rates become and however large the chunks are; every byte passes
    /// every level; and what a job was told that it may move was taken before.
    #[test]
    fn never_more_than_the_integral_and_a_burst_at_any_node(
        lease in prop_oneof![Just(0), Just(1_u64 << 20), 1..100_000_u64],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut sim = Sim::with_lease(rate(1_000_000), lease);
        sim.tree.set_parent(&host("a"), &link("up")).unwrap();
        sim.tree.set_rate(&link("up"), rate(1_000_000)).unwrap();
        sim.tree.set_rate(&host("a"), rate(1_000_000)).unwrap();
        sim.job(&host("a"), JobShare::default().ceiling(rate(1_000_000)));
        sim.job(&host("a"), JobShare::default().weight(3));
        sim.job(&host("b"), JobShare::default().floor(100_000));
        let places = [Some(Scope::Fleet), Some(link("up")), Some(host("a")), None];
        let mut books = places.map(|place| Book::new(place, 1_000_000));
        for step in steps {
            match step {
                Step::Rate(node, bytes) => {
                    books[node].set(bytes);
                    match &books[node].place {
                        Some(place) => sim.tree.set_rate(place, rate(bytes)).unwrap(),
                        None => sim.jobs[0].pacer.set_ceiling(rate(bytes)),
                    }
                }
                Step::Pass(nanos) => {
                    sim.clock.advance(Duration::from_nanos(nanos));
                    books.iter_mut().for_each(|book| book.pass(nanos));
                }
                Step::Charge(job, bytes) => {
                    let job = &mut sim.jobs[job];
                    if job.held.is_none() {
                        job.held = Some((bytes, job.pacer.charge(bytes)));
                    }
                }
                Step::GiveUp(job) => {
                    let job = &mut sim.jobs[job];
                    if let Some((bytes, _)) = job.held.take() {
                        job.pacer.correct(-i64::try_from(bytes).unwrap());
                    }
                }
            }
            for job in &mut sim.jobs {
                if let Some((bytes, charge)) = job.held && job.pacer.wait(charge) == Some(Duration::ZERO) {
                    job.moved += bytes;
                    job.held = None;
                }
                prop_assert!(job.moved <= job.pacer.granted());
            }
            let taken: Vec<u64> = sim.jobs.iter().map(|job| job.pacer.granted()).collect();
            let at = |place: &Scope| sim.tree.granted(place).unwrap();
            prop_assert_eq!(at(&host("a")), taken[0] + taken[1]);
            prop_assert_eq!(at(&link("up")), at(&host("a")));
            prop_assert_eq!(at(&Scope::Fleet), taken.iter().sum::<u64>());
            for book in &mut books {
                book.note(&sim);
                book.check()?;
            }
        }
    }

    /// Jobs that give up, correct and leave in any order leave nothing behind: who comes after gets the whole rate.
    #[test]
    fn nothing_leaks(
        turns in prop::collection::vec((0..6_usize, 1..3_000_000_u64, 0..4_u8, 0..50_u64), 1..80)
    ) {
        let mut sim = Sim::new(rate(10_000_000));
        sim.tree.set_rate(&host("a"), rate(8_000_000)).unwrap();
        let mut jobs: Vec<_> = (0..6).map(|_| Some(sim.tree.join(&host("a"), JobShare::default()).unwrap())).collect();
        for (at, bytes, what, millis) in turns {
            sim.clock.advance(Duration::from_millis(millis));
            let Some(job) = &jobs[at] else { continue };
            match what {
                0 => drop(job.charge(bytes)),
                1 => job.correct(-i64::try_from(bytes).unwrap()),
                2 => job.correct(i64::try_from(bytes).unwrap()),
                _ => jobs[at] = None,
            }
        }
        drop(jobs);
        prop_assert_eq!(sim.tree.waiting(&Scope::Fleet), Some(0));
        sim.job(&host("a"), JobShare::default());
        let moved = sim.run(Duration::from_secs(5))[0];
        prop_assert!(moved.abs_diff(40_000_000) <= 400_000 + 160_000, "{}", moved);
    }
}

#[test]
fn a_place_that_nobody_set_goes_with_its_last_job() {
    let sim = Sim::new(Rate::Unlimited);
    let job = sim.tree.join(&Scope::Volume("a".into(), "v".into()), JobShare::default()).unwrap();
    assert!(sim.tree.rate(&host("a")).is_some());
    drop(job);
    assert_eq!(sim.tree.rate(&host("a")), None);
    sim.tree.set_rate(&host("b"), rate(5)).unwrap();
    drop(sim.tree.join(&host("b"), JobShare::default()).unwrap());
    assert_eq!(sim.tree.rate(&host("b")), Some(rate(5)));
}
