//! The pressure law beside a foreground that stalls by itself.

use std::time::Duration;

use sched_core::{Clock, ManualClock};
use sched_limits::{ControlLaw, Observation, PressureConfig, PressureLaw, Share};

const SECOND: Duration = Duration::from_secs(1);

/// What the machines of these tests are held to: stalls a fifth of the time that is left.
fn config() -> PressureConfig {
    let mut config = PressureConfig::default();
    config.target = 0.2;
    config
}

/// A machine that stalls by itself for a part of the time, and more where backups move something: with the whole share
/// `most` of what is left, with `half_at` of it half of that.
struct Machine {
    alone: f64,
    most: f64,
    half_at: f64,
    rng: fastrand::Rng,
    clock: ManualClock,
}

impl Machine {
    fn new(alone: f64, most: f64, half_at: f64) -> Self {
        Self { alone, most, half_at, rng: fastrand::Rng::with_seed(7), clock: ManualClock::default() }
    }

    /// Of the time that the machine leaves by itself.
    fn added(&self, share: f64) -> f64 {
        self.most * (1.0 + self.half_at) * share / (share + self.half_at)
    }

    fn stalled(&mut self, share: f64) -> f64 {
        let stalled = self.alone + (1.0 - self.alone) * self.added(share);
        (stalled * (1.0 + 0.06 * (self.rng.f64() - 0.5))).min(1.0)
    }

    /// The share at which backups add all that they may.
    fn right(&self, target: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = (low + high) / 2.0;
            if self.added(middle) < target { low = middle } else { high = middle }
        }
        low
    }

    /// What backups were granted in each of so many seconds, of which they use all, but never less than `floor`.
    fn steer(&mut self, law: &mut PressureLaw, seconds: usize, floor: f64) -> Vec<f64> {
        let mut granted = 0.0_f64;
        let mut all = Vec::new();
        for _ in 0..seconds {
            self.clock.advance(SECOND);
            let now = self.clock.now();
            let said = law.step(now, Some(Observation::new(now.mono, self.stalled(granted), granted)));
            granted = if said.pause.is_some() { 0.0 } else { said.share.max(floor) };
            all.push(granted);
        }
        all
    }
}

fn law() -> PressureLaw {
    PressureLaw::new(config()).unwrap()
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

#[test]
fn a_machine_that_is_busy_by_itself_is_backed_up_as_fast_as_it_can_bear() {
    // From one whose stalls grow with the share to one that stalls nearly all it ever will at a tenth of it.
    for (most, half_at) in [(0.6, 1.0), (0.6, 0.2), (0.5, 0.05)] {
        for alone in [0.0, 0.3, 0.5, 0.8] {
            let (mut machine, mut law) = (Machine::new(alone, most, half_at), law());
            let right = machine.right(0.2);
            let shares = machine.steer(&mut law, 1800, 0.0);
            let usual = mean(&shares[900..]);
            let told = format!("{alone} alone, half of {most} at {half_at}: {usual:.3} of {right:.3}");
            assert!(usual > 0.6 * right && usual < 1.2 * right, "{told}");
            let known = law.stalled_alone().expect("it was seen alone");
            assert!((known - alone).abs() < 0.05, "{told}: {known} by itself");
        }
    }
}

#[test]
fn who_never_looks_takes_all_stalls_for_those_of_backups() {
    let mut config = config();
    config.look_every = None;
    let mut law = PressureLaw::new(config).unwrap();
    let shares = Machine::new(0.5, 0.6, 1.0).steer(&mut law, 900, 0.0);
    assert!(shares[300..].iter().all(|share| *share == 0.0));
}

#[test]
fn where_a_trickle_already_stalls_too_much_nothing_is_learned_of_it() {
    // What runs in any case, a four hundredth, adds more than a fifth.
    let (mut machine, mut law) = (Machine::new(0.1, 0.9, 0.002), law());
    assert!(machine.added(0.0025) > 0.4);
    let shares = machine.steer(&mut law, 3600, 0.0025);
    assert!(
        shares[600..].iter().all(|share| *share < 0.03),
        "{:?}",
        shares[600..].iter().copied().fold(0.0, f64::max)
    );
    assert!(mean(&shares[600..]) < 0.004);
    assert!(law.stalled_alone().unwrap() < 0.15, "{:?}", law.stalled_alone());
}

#[test]
fn a_foreground_that_does_more_is_made_room_for_and_then_lived_with() {
    let (mut machine, mut law) = (Machine::new(0.1, 0.6, 1.0), law());
    let right = machine.right(0.2);
    machine.steer(&mut law, 900, 0.0025);
    machine.alone = 0.7;
    let busy = machine.steer(&mut law, 900, 0.0025);
    assert!(busy[3..20].iter().all(|share| *share < 0.1 * right), "{:?} of {right}", &busy[..20]);
    assert!(mean(&busy[600..]) > 0.5 * right, "{} of {right}", mean(&busy[600..]));
}

#[test]
fn a_foreground_that_does_less_is_not_filled_up_to_what_it_did() {
    let (mut machine, mut law) = (Machine::new(0.7, 0.6, 1.0), law());
    let right = machine.right(0.2);
    machine.steer(&mut law, 900, 0.0);
    machine.alone = 0.1;
    let quiet = machine.steer(&mut law, 1800, 0.0);
    let over = quiet.iter().filter(|share| **share > 1.5 * right).count();
    assert!(over < 60, "{over} s over one and a half times the right share of {right}");
    assert!(mean(&quiet[900..]) < 1.2 * right, "{} of {right}", mean(&quiet[900..]));
}

/// What a law says after each second, told what is stalled and used.
fn each_second(law: &mut PressureLaw) -> impl FnMut(f64, f64) -> Share {
    let clock = ManualClock::default();
    move |stalled, used| {
        clock.advance(SECOND);
        let now = clock.now();
        law.step(now, Some(Observation::new(now.mono, stalled, used)))
    }
}

#[test]
fn looks_cost_a_thirtieth_of_the_time() {
    let (mut machine, mut law) = (Machine::new(0.3, 0.6, 1.0), law());
    machine.steer(&mut law, 600, 0.0);
    let shares = machine.steer(&mut law, 7200, 0.0);
    let paused = shares.iter().filter(|share| **share == 0.0).count();
    assert!((60..=290).contains(&paused), "{paused} s of 7200");
}

#[test]
fn nobody_is_paused_while_no_backup_runs_and_those_that_start_find_less_where_there_is_less_room() {
    let mut law = law();
    let mut step = each_second(&mut law);
    // The first look, and then a while in which nothing moves.
    (0..20).for_each(|_| drop(step(0.1, 0.0)));
    assert!((0..900).all(|_| step(0.1, 0.0).pause.is_none()));
    let mut share = 0.0;
    for _ in 0..120 {
        share = step(0.1, share).granted();
    }
    assert!(share > 0.5, "{share}");
    let before = share;
    for _ in 0..120 {
        share = step(0.8, 0.0).granted();
    }
    assert!((0.15..0.3).contains(&(share / before)), "{share} after {before}");
    for _ in 0..120 {
        share = step(0.1, 0.0).granted();
    }
    assert!((share / before - 1.0).abs() < 0.15, "{share} after {before}");
}

#[test]
fn a_calm_machine_is_not_looked_at() {
    let (mut machine, mut law) = (Machine::new(0.02, 0.05, 1.0), law());
    let shares = machine.steer(&mut law, 3600, 0.0);
    assert!(shares.iter().all(|share| *share > 0.0));
    assert!(shares[120..].iter().all(|share| *share == 1.0));
}

#[test]
fn a_machine_that_stalls_nearly_always_is_left_alone() {
    let (mut machine, mut law) = (Machine::new(0.93, 0.1, 1.0), law());
    let shares = machine.steer(&mut law, 1800, 0.0);
    assert!(
        shares[60..].iter().all(|share| *share == 0.0),
        "{:?}",
        shares[60..].iter().copied().fold(0.0, f64::max)
    );
}

#[test]
fn what_backups_do_while_they_move_nothing_is_not_taken_for_the_machine() {
    let (mut machine, mut law) = (Machine::new(0.3, 0.6, 1.0), law());
    law.allow(Some(1.1));
    machine.steer(&mut law, 900, 0.0);
    let before = law.stalled_alone().unwrap();
    // A check of what was written, at the full speed of the disk.
    for _ in 0..600 {
        machine.clock.advance(SECOND);
        let now = machine.clock.now();
        law.step(now, Some(Observation::new(now.mono, 0.85, 0.0)));
    }
    let known = law.stalled_alone().unwrap();
    assert!((known - before).abs() < 0.1, "{known} after {before}");
    let right = machine.right(0.2);
    let after = machine.steer(&mut law, 600, 0.0);
    assert!(after.iter().all(|share| *share < 1.3 * right), "{after:?} of {right}");
    assert!(mean(&after[..60]) > 0.5 * right, "{after:?} of {right}");
}

#[test]
fn what_another_law_says_while_nothing_runs_does_not_outlast_that() {
    let (mut machine, mut law) = (Machine::new(0.3, 0.6, 1.0), law());
    let right = machine.right(0.2);
    machine.steer(&mut law, 900, 0.0);
    for _ in 0..120 {
        machine.clock.advance(SECOND);
        let now = machine.clock.now();
        law.step(now, Some(Observation::new(now.mono, 0.3, 0.0)));
        law.track(0.0);
    }
    // The other one has nothing against it any more.
    machine.steer(&mut law, 1, 0.0);
    let after = machine.steer(&mut law, 20, 0.0);
    assert!(mean(&after) > 0.5 * right, "{after:?} of {right}");
}

#[test]
fn silence_pauses_nobody_and_ends_no_pause_at_once() {
    let clock = ManualClock::default();
    let step = |law: &mut PressureLaw, stalled: Option<f64>| {
        clock.advance(SECOND);
        let now = clock.now();
        law.step(now, stalled.map(|stalled| Observation::new(now.mono, stalled, 0.01)))
    };
    let mut calm = law();
    let before = (0..20).map(|_| step(&mut calm, Some(0.02))).last().unwrap();
    let silent = step(&mut calm, None);
    assert_eq!((silent.pause, silent.share), (None, before.share));
    let mut looks = law();
    assert!(step(&mut looks, Some(0.3)).pause.is_some(), "the first look");
    assert!((0..5).all(|_| step(&mut looks, None).pause.is_some()), "held as a share would be");
    let given_up = step(&mut looks, None);
    assert!(given_up.pause.is_none() && given_up.share == 0.01, "{given_up:?}");
}

#[test]
fn backups_at_work_that_stood_still_go_on_when_the_machine_has_become_quiet() {
    let (mut machine, mut law) = (Machine::new(0.3, 0.6, 1.0), law());
    let right = machine.right(0.2);
    law.allow(Some(1.1));
    machine.steer(&mut law, 900, 0.0);
    machine.alone = 0.95;
    assert_eq!(machine.steer(&mut law, 300, 0.0)[60..], [0.0; 240]);
    machine.alone = 0.1;
    let after = machine.steer(&mut law, 900, 0.0);
    assert!(mean(&after[300..]) > 0.5 * right, "{} of {right}", mean(&after[300..]));
}

#[test]
fn stalls_right_after_the_last_backup_are_still_counted_as_its_own() {
    let mut law = law();
    let mut step = each_second(&mut law);
    (0..20).for_each(|_| drop(step(0.1, 0.0)));
    let before = (0..120).fold(0.0, |share, _| step(0.1, share).granted());
    assert!(before > 0.5, "{before}");
    let after = [step(0.9, 0.0), step(0.9, 0.0)];
    assert!(after.iter().all(|said| said.pause.is_none()) && after[1].share < before, "{before}: {after:?}");
}

#[test]
fn what_is_measured_while_nothing_runs_is_told_beside_what_backups_may_add_to_it() {
    let clock = ManualClock::default();
    let mut law = law();
    let mut step = || {
        clock.advance(SECOND);
        let now = clock.now();
        law.step(now, Some(Observation::new(now.mono, 0.5, 0.0)))
    };
    let measured = (0..20).map(|_| step()).last().unwrap().reason.measured.unwrap();
    assert_eq!((measured.value, measured.threshold), (0.5, 0.5 + 0.2 * 0.5));
}

/// What is granted second by second to backups that use all of it, beside a foreground that stalls nearly always from second
/// 200 to 240 and later from `peaks_again` on, and never else. One reading of three is off by `noise`: by itself it changes
/// nothing.
fn around_a_peak(noise: f64, seconds: usize, peaks_again: usize) -> Vec<f64> {
    let mut config = config();
    config.look_every = None;
    let (mut law, clock, mut granted) = (PressureLaw::new(config).unwrap(), ManualClock::default(), 0.0);
    let mut second = |second: usize| {
        clock.advance(SECOND);
        let now = clock.now();
        let off = if second % 3 == 2 { noise } else { 0.0 };
        let stalled = if (200..240).contains(&second) || second >= peaks_again { 0.9 - off } else { off };
        granted = law.step(now, Some(Observation::new(now.mono, stalled, granted))).granted();
        granted
    };
    let shares: Vec<_> = (0..seconds).map(&mut second).collect();
    assert!(shares[199] > 0.9 && shares[239] == 0.0, "{} {}", shares[199], shares[239]);
    shares
}

#[test]
fn capacity_is_taken_back_in_leaps_unless_readings_are_too_noisy() {
    let [quiet, noisy] = [0.20, 0.25].map(|noise| around_a_peak(noise, 290, 290)[289]);
    assert!(quiet > 0.3 && noisy < 0.15, "{quiet} {noisy}");
}

#[test]
fn what_was_taken_back_and_is_too_much_is_given_up_at_once() {
    let shares = around_a_peak(0.0, 279, 277);
    // The mean is three periods late, so as much is given up as was taken back in these.
    assert!(shares[276] > 0.2 && shares[277] > shares[276], "{:?}", &shares[270..]);
    assert!(shares[278] < 0.8 * shares[276], "{:?}", &shares[270..]);
}

#[test]
fn what_is_no_share_of_time_is_no_reading() {
    for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
        let (mut silent, mut told, clock) = (law(), law(), ManualClock::default());
        for _ in 0..20 {
            clock.advance(SECOND);
            let now = clock.now();
            let calm = Observation::new(now.mono, 0.02, 1.0);
            assert_eq!(silent.step(now, Some(calm)), told.step(now, Some(calm)));
        }
        clock.advance(SECOND * 10);
        let now = clock.now();
        let said = told.step(now, Some(Observation::new(now.mono, nonsense, 1.0)));
        assert_eq!(said, silent.step(now, None), "{nonsense}");
    }
}

#[test]
fn a_law_that_has_no_say_follows_what_was_granted() {
    let (mut machine, mut law) = (Machine::new(0.02, 0.05, 1.0), law());
    assert_eq!(machine.steer(&mut law, 300, 0.0)[299], 1.0);
    machine.clock.advance(SECOND);
    let now = machine.clock.now();
    law.step(now, Some(Observation::new(now.mono, 0.02, 1.0)));
    law.track(0.1);
    machine.clock.advance(SECOND);
    let now = machine.clock.now();
    let share = law.step(now, Some(Observation::new(now.mono, 0.02, 0.0))).share;
    assert!(share < 0.15, "{share}");
}
