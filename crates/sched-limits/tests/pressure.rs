//! The pressure law beside a foreground that stalls by itself.

use std::time::Duration;

use sched_core::{Clock, ManualClock};
use sched_limits::{ControlLaw, Learning, Observation, PressureConfig, PressureLaw};

/// Stalls by themselves for a part of the time, and for more the more backups move.
struct Machine {
    alone: f64,
    /// Stalls a unit of time that a full share adds, where nothing stalls yet.
    effect: f64,
    rng: fastrand::Rng,
    clock: ManualClock,
}

impl Machine {
    fn new(alone: f64, effect: f64) -> Self {
        Self { alone, effect, rng: fastrand::Rng::with_seed(7), clock: ManualClock::default() }
    }

    fn stalled(&mut self, share: f64) -> f64 {
        let noise = 1.0 + 0.1 * (self.rng.f64() - 0.5);
        1.0 - ((1.0 - self.alone) * (-self.effect * share).exp()).powf(noise)
    }
}

fn learning() -> PressureConfig {
    let mut config = PressureConfig::default();
    config.learning = Some(Learning::default());
    config
}

/// The highest and the last share of so many seconds, during which backups use what they may.
fn steer(law: &mut PressureLaw, machine: &mut Machine, seconds: u32) -> (f64, f64) {
    let (mut share, mut highest): (f64, f64) = (0.0, 0.0);
    for _ in 0..seconds {
        machine.clock.advance(Duration::from_secs(1));
        let now = machine.clock.now();
        let observed = Observation { at: now.mono, value: machine.stalled(share), used: share };
        let said = law.step(now, Some(observed));
        share = if said.pause.is_some() { 0.0 } else { said.share };
        highest = highest.max(share);
    }
    (highest, share)
}

/// The share at which backups add all that they may.
fn right(config: &PressureConfig, machine: &Machine) -> f64 {
    -(1.0 - config.target).ln() / machine.effect
}

#[test]
fn a_machine_that_is_busy_by_itself_is_backed_up_as_fast_as_it_can_bear() {
    for alone in [0.0, 0.3, 0.5, 0.8] {
        let (config, mut machine) = (learning(), Machine::new(alone, 1.0));
        let right = right(&config, &machine);
        let mut law = PressureLaw::new(config).unwrap();
        let (highest, last) = steer(&mut law, &mut machine, 900);
        assert!(last > 0.7 * right && highest < 1.5 * right, "{alone}: {last} and {highest} of {right}");
        let known = law.stalled_alone().expect("it was seen alone");
        assert!((known - alone).abs() < 0.1, "{known} for {alone}");
    }
}

#[test]
fn without_learning_a_busy_machine_is_not_backed_up() {
    let mut law = PressureLaw::new(PressureConfig::default()).unwrap();
    let (_, last) = steer(&mut law, &mut Machine::new(0.5, 1.0), 900);
    assert!(last == 0.0, "{last}");
}

#[test]
fn a_machine_without_room_is_left_alone() {
    let mut law = PressureLaw::new(learning()).unwrap();
    // A hundredth of the ceiling takes a fifth of the time that is left.
    let (_, last) = steer(&mut law, &mut Machine::new(0.5, 50.0), 900);
    assert!(last < 0.01, "{last}");
}

#[test]
fn what_the_foreground_does_more_is_no_reason_to_do_more() {
    let mut law = PressureLaw::new(learning()).unwrap();
    let mut machine = Machine::new(0.1, 1.0);
    let (_, calm) = steer(&mut law, &mut machine, 600);
    machine.alone = 0.6;
    let (_, busy) = steer(&mut law, &mut machine, 600);
    assert!(calm > 0.1 && busy == 0.0, "{calm}, then {busy}");
}
