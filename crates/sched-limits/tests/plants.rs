//! The laws on simulated machines, and the harness itself: it must fail laws that are known to be bad.

use std::ops::Range;
use std::time::Duration;

use sched_core::{Now, Reason};
use sched_limits::plant::{HEALTHY_SECONDS, Scenario, Sees, Table, Trial};
use sched_limits::{
    AimdConfig, AimdLaw, ControlLaw, FixedLaw, Observation, PiConfig, PiLaw, PressureConfig, PressureLaw,
    Share,
};

/// None of those that the laws' settings were chosen on (0 to 799).
const SEEDS: Range<u64> = 10_000..10_012;

fn healthy() -> Duration {
    Duration::from_secs_f64(HEALTHY_SECONDS)
}

fn told() -> Box<dyn ControlLaw> {
    Box::new(PiLaw::new(PiConfig::healthy(healthy())).unwrap())
}

fn learned() -> Box<dyn ControlLaw> {
    Box::new(PiLaw::new(PiConfig::learned()).unwrap())
}

/// A law with a floor under it.
#[derive(Debug)]
struct Floor(Box<dyn ControlLaw>, f64);

impl ControlLaw for Floor {
    fn step(&mut self, now: Now, sample: Option<Observation>) -> Share {
        let share = self.0.step(now, sample);
        Share { share: share.granted().max(self.1), pause: None, reason: share.reason }
    }
}

/// The share that nobody else uses, less a reserve of 20 %.
#[derive(Debug)]
struct Idle(f64);

impl ControlLaw for Idle {
    fn step(&mut self, _: Now, sample: Option<Observation>) -> Share {
        self.0 = sample.map_or(self.0, |sample| (sample.value - 0.2).max(0.0));
        Share::new(self.0, Reason::new("idle"))
    }
}

/// Netflix's Gradient2: a long mean of the latency is the yardstick, so that it follows the harm that it does.
#[derive(Debug, Default)]
struct Gradient2 {
    long: f64,
    share: f64,
}

impl ControlLaw for Gradient2 {
    fn step(&mut self, _: Now, sample: Option<Observation>) -> Share {
        if let Some(Observation { value, .. }) = sample {
            self.long = if self.long == 0.0 { value } else { self.long + (value - self.long) * 2.0 / 601.0 };
            if self.long / value > 2.0 {
                self.long *= 0.95;
            }
            let gradient = (1.5 * self.long / value).clamp(0.5, 1.0);
            self.share = (0.8 * self.share + 0.2 * (gradient * self.share + 0.04)).clamp(0.0, 1.0);
        }
        Share::new(self.share, Reason::new("gradient2"))
    }
}

#[test]
fn pi_that_is_told_does_next_to_no_harm_and_uses_what_is_free() {
    let mut table = Table::new(&Scenario::ALL, SEEDS);
    table.add("told", Sees::Latency, told);
    println!("{table}");
    for name in ["A", "B", "C", "E", "F"] {
        let score = table.score("told", name).unwrap();
        assert!(score.harm_pct <= 1.0, "{score:?}");
        assert!(name == "C" || score.use_pct >= 65.0, "{score:?}");
    }
    let (a, f) = (table.score("told", "A").unwrap(), table.score("told", "F").unwrap());
    assert!(a.recovery_s.unwrap() <= 5.0 && f.recovery_s.unwrap() <= 20.0, "{a:?} {f:?}");
    for name in ["A", "E", "F"] {
        let score = table.score("told", name).unwrap();
        assert!(score.reuse_s.unwrap() <= 60.0, "{score:?}");
    }
}

#[test]
fn pi_that_learns_does_nearly_as_well_as_if_it_were_told() {
    let all = [Scenario::A, Scenario::B, Scenario::C, Scenario::F];
    let mut table = Table::new(&all, 10_000..10_024);
    // With the noise of E single runs differ so much that .95 means something only over many of them. Over 2000 others
    // it is .948: see docs/benchmarks.md.
    let mut noisy = Table::new(&[Scenario::E], 10_000..10_096);
    for table in [&mut table, &mut noisy] {
        table.add("told", Sees::Latency, told);
        table.add("learned", Sees::Latency, learned);
        println!("{table}");
        let (told, learned) = table.scores().split_at(table.scores().len() / 2);
        for (told, learned) in told.iter().zip(learned) {
            assert!(learned.harm_pct <= 1.0, "{learned:?}");
            assert!(learned.use_pct >= 0.95 * told.use_pct, "{learned:?} beside {told:?}");
            assert!(learned.reuse_s.is_none_or(|s| s <= 60.0) && learned.paused_pct <= 4.5, "{learned:?}");
        }
    }
}

fn by_pressure(target: f64, look_every: Option<Duration>) -> Box<dyn ControlLaw> {
    let mut config = PressureConfig::default();
    (config.target, config.look_every) = (target, look_every);
    // In F the machine feels a pause for eight seconds and more.
    config.settle = Duration::from_secs(12);
    Box::new(PressureLaw::new(config).unwrap())
}

#[test]
fn where_no_latency_is_told_pressure_does() {
    let mut table = Table::new(&[Scenario::A, Scenario::B, Scenario::F], SEEDS);
    // On the simulated machine a twentieth of the time is stalled when the foreground is 1.1 × slower.
    table.add("pressure", Sees::Pressure, || by_pressure(0.05, None));
    println!("{table}");
    for score in table.scores() {
        assert!(score.harm_pct <= 1.0 && score.use_pct >= 65.0, "{score:?}");
    }
}

/// Who allows backups a part of what is left has to find out what that is: beside a foreground that goes up and down within an
/// hour that costs harm, and where the signal is late both.
#[test]
fn what_the_machine_does_by_itself_is_found_out_while_it_changes() {
    let mut table = Table::new(&[Scenario::A, Scenario::B, Scenario::F], SEEDS);
    let looks = PressureConfig::default().look_every;
    table.add("pressure, looks", Sees::Pressure, || by_pressure(0.03, looks));
    println!("{table}");
    for (score, (harm, used)) in table.scores().iter().zip([(0.6, 55.0), (1.5, 58.0), (4.5, 52.0)]) {
        assert!(score.harm_pct <= harm && score.use_pct >= used, "{score:?}");
    }
}

#[test]
fn the_harness_fails_laws_that_are_known_to_be_bad() {
    let mut table = Table::new(&[Scenario::A, Scenario::E, Scenario::F], SEEDS);
    table.add("gradient2", Sees::Latency, || Box::<Gradient2>::default());
    table.add("idle", Sees::Idle, || Box::new(Idle(0.0)));
    table.add("floor", Sees::Latency, || Box::new(Floor(told(), 0.05)));
    table.add("learned, floor", Sees::Latency, || Box::new(Floor(learned(), 0.05)));
    println!("{table}");
    for score in table.scores() {
        // A floor does harm for the third of the time in which it is more than is safe, the others nearly always.
        let least = if score.law.ends_with("floor") { 30.0 } else { 90.0 };
        assert!(score.harm_pct > least, "passes: {score:?}");
    }
    // Use cannot tell them apart: without the harm the worst laws would be the best ones.
    assert!(table.score("idle", "A").unwrap().use_pct > 95.0);
}

/// Standard deviation of the share over its mean, in the second half of a run and outside of pauses.
fn swing(trial: &Trial) -> f64 {
    let half = &trial.shares[trial.shares.len() / 2..];
    let half: Vec<_> = half.iter().copied().filter(|share| *share > 0.0).collect();
    let mean = half.iter().sum::<f64>() / half.len() as f64;
    let variance = half.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / half.len() as f64;
    variance.sqrt() / mean.max(0.01)
}

#[test]
fn no_lag_delay_or_gain_makes_it_oscillate() {
    let lags = [0.0, 1.0, 4.0, 10.0];
    let plants = lags.into_iter().flat_map(|lag| [0, 2, 5].map(|delay| (lag, delay)));
    let plants = plants.flat_map(|(lag, delay)| [0.25, 1.0, 4.0].map(|gain| (lag, delay, gain)));
    for (seed, (lag, delay, gain)) in (SEEDS.start..).zip(plants) {
        let noisy = Scenario { foreground: |_| 0.3, seconds: 1800, lag, delay, gain, ..Scenario::A };
        let quiet = Scenario { sigma: 0.0, ..noisy };
        // Without noise an oscillation is all that can move the share; with noise it would be kept going.
        for (scenario, most) in [(quiet, 0.02), (noisy, 0.25)] {
            for (name, law) in [("told", told as fn() -> _), ("learned", learned)] {
                let swing = swing(&scenario.run(&mut *law(), Sees::Latency, seed));
                let sigma = scenario.sigma;
                assert!(
                    swing < most,
                    "{name}, lag {lag}, delay {delay}, gain {gain}, noise {sigma}: {swing}"
                );
            }
        }
    }
}

#[test]
fn a_backup_that_does_no_harm_gets_the_cap() {
    for (name, law) in [("told", told as fn() -> _), ("learned", learned)] {
        for seed in SEEDS {
            let trial = Scenario::NULL.run(&mut *law(), Sees::Latency, seed);
            let last = trial.shares[2400..].iter().sum::<f64>() / 300.0;
            assert!(last >= 0.95, "{name}, seed {seed}: {last}");
        }
    }
}

#[test]
fn without_spare_capacity_the_share_reaches_zero() {
    let full = Scenario { foreground: |t| if t < 600 { 0.3 } else { 0.97 }, ..Scenario::FULL };
    for law in [told, learned] {
        for seed in SEEDS {
            let trial = full.run(&mut *law(), Sees::Latency, seed);
            assert!(trial.shares[660..].iter().all(|share| *share == 0.0), "seed {seed}");
        }
    }
}

#[test]
fn two_schedulers_on_one_host_share_it() {
    for (name, law) in [("told", told as fn() -> _), ("learned", learned)] {
        for seed in SEEDS {
            let (mut a, mut b) = (law(), law());
            let scenario = Scenario { foreground: |_| 0.3, ..Scenario::A };
            let trials = scenario.run_together(&mut [&mut *a, &mut *b], Sees::Latency, seed);
            let moved: Vec<f64> = trials.iter().map(|trial| trial.shares.iter().sum()).collect();
            let (sum, squares) = (moved.iter().sum::<f64>(), moved.iter().map(|m| m * m).sum::<f64>());
            let (jain, harm) = (sum * sum / (2.0 * squares), trials[0].harm_pct);
            assert!(jain >= 0.9 && harm <= 2.0, "{name}, seed {seed}: {jain}, {harm}");
        }
    }
}

#[test]
fn lost_readings_and_outages_do_no_harm() {
    let lossy = Scenario { name: "lossy", lost: 0.1, ..Scenario::A };
    let outage = Scenario { name: "outage", outage: (885, 915), ..Scenario::A };
    let mut table = Table::new(&[lossy, outage], SEEDS);
    table.add("told", Sees::Latency, told);
    table.add("learned", Sees::Latency, learned);
    for score in table.scores() {
        // The outage hides the step up: for 15 s the law cannot know.
        assert!(score.harm_pct <= 1.2 && score.use_pct >= 62.0, "{score:?}");
    }
}

#[test]
fn one_poisoned_reading_changes_the_share_by_a_tenth_at_most() {
    for (law, poisoned) in [told, learned].into_iter().flat_map(|law| [(law, 500), (law, 700), (law, 850)]) {
        for seed in SEEDS {
            let clean = Scenario { foreground: |_| 0.3, seconds: 960, ..Scenario::A };
            let bad = Scenario { poisoned: Some(poisoned), ..clean };
            let clean = clean.run(&mut *law(), Sees::Latency, seed);
            let bad = bad.run(&mut *law(), Sees::Latency, seed);
            let minute = poisoned as usize..poisoned as usize + 60;
            for (a, b) in clean.shares[minute.clone()].iter().zip(&bad.shares[minute]) {
                assert!((a - b).abs() <= 0.1 * a.max(0.01), "seed {seed}, {poisoned}: {a} and {b}");
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for law in [told, learned] {
        let run = |seed| Scenario::E.run(&mut *law(), Sees::Latency, seed);
        assert_eq!(run(7).shares, run(7).shares);
        assert_ne!(run(7).shares, run(8).shares);
    }
}

#[test]
fn a_fixed_throttle_and_aimd_are_ranked_as_expected() {
    let mut table = Table::new(&[Scenario::A], SEEDS);
    table.add("told", Sees::Latency, told);
    table.add("fixed", Sees::Latency, || Box::new(FixedLaw::new(0.03).unwrap()));
    table.add("aimd", Sees::Latency, || {
        Box::new(AimdLaw::new(AimdConfig::new(healthy().mul_f64(1.1))).unwrap())
    });
    let of = |law| table.score(law, "A").unwrap();
    // The best fixed throttle that keeps the bound at the peak is slow all day.
    assert!(of("fixed").harm_pct == 0.0 && of("fixed").use_pct < 15.0, "{:?}", of("fixed"));
    assert!(of("aimd").harm_pct <= 1.0 && of("aimd").use_pct > 30.0, "{:?}", of("aimd"));
    assert!(of("told").use_pct > 1.5 * of("aimd").use_pct);
}
