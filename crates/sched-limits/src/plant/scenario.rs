//! What happens on the simulated machine: [`Scenario`].

use std::f64::consts::TAU;

/// A course of foreground load, and how the machine answers a backup.
///
/// The machine has a capacity of 1. With foreground load f and backup load x its utilization is ρ = f + x, and the
/// true p99 of the foreground is L0 · base · (1 + ρ⁶ / (1 − ρ)) with L0 = [`HEALTHY_SECONDS`](super::HEALTHY_SECONDS):
/// gentle until the machine is nearly full.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// A short name for tables.
    pub name: &'static str,
    /// How long it lasts, in seconds; one reading a second.
    pub seconds: u32,
    /// Foreground load at a second, from 0 to 1.
    pub foreground: fn(u32) -> f64,
    /// Factor on the foreground's latency that has nothing to do with backups.
    pub base: fn(u32) -> f64,
    /// Time constant with which the backup's load follows its rate, in seconds.
    pub lag: f64,
    /// Dead time between a rate and the reading that shows it, in whole seconds.
    pub delay: usize,
    /// Backup load that a share of 1 causes.
    pub gain: f64,
    /// Standard deviation of the natural logarithm of a reading.
    pub sigma: f64,
    /// Share of the readings that are three times too high.
    pub spikes: f64,
    /// Share of the readings that never arrive.
    pub lost: f64,
    /// Seconds in which no reading arrives, from and to.
    pub outage: (u32, u32),
    /// A second whose reading is a hundred times too high.
    pub poisoned: Option<u32>,
}

impl Scenario {
    /// A load step 30 → 75 → 30 %, 900 s each.
    pub const A: Self = Self {
        name: "A",
        seconds: 2700,
        foreground: step,
        base: |_| 1.0,
        lag: 1.0,
        delay: 0,
        gain: 1.0,
        sigma: 0.1,
        spikes: 0.0,
        lost: 0.0,
        outage: (0, 0),
        poisoned: None,
    };
    /// A day in an hour: a sine from 20 to 80 %, beginning at its mean and rising.
    pub const B: Self = Self {
        name: "B",
        seconds: 3600,
        foreground: |t| 0.5 + 0.3 * (TAU * f64::from(t) / 3600.0).sin(),
        ..Self::A
    };
    /// A constant load of 30 %; the foreground's latency doubles by itself for the middle third.
    pub const C: Self = Self {
        name: "C",
        foreground: |_| 0.3,
        base: |t| if (900..1800).contains(&t) { 2.0 } else { 1.0 },
        ..Self::A
    };
    /// A square wave between 30 and 75 %, 45 s each: faster than any feedback can follow.
    pub const D: Self =
        Self { name: "D", foreground: |t| if (t / 45) % 2 == 0 { 0.3 } else { 0.75 }, ..Self::A };
    /// Like A with much noise and spikes.
    pub const E: Self = Self { name: "E", sigma: 0.3, spikes: 0.02, ..Self::A };
    /// Like A with 5 s of lag and 3 s of dead time.
    pub const F: Self = Self { name: "F", lag: 5.0, delay: 3, ..Self::A };
    /// A to F.
    pub const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F];
    /// A machine on which the backup does no harm at all.
    pub const NULL: Self = Self { name: "null", foreground: |_| 0.3, gain: 0.0, ..Self::A };
    /// A machine without spare capacity for half an hour.
    pub const FULL: Self = Self { name: "full", foreground: |_| 0.97, ..Self::A };

    /// When the load steps up and down again, where it does so once.
    pub(super) fn steps(&self) -> Option<(u32, u32)> {
        let changes: Vec<_> = (1..self.seconds)
            .filter(|&t| ((self.foreground)(t) - (self.foreground)(t - 1)).abs() > 0.2)
            .collect();
        match changes[..] {
            [up, down] => Some((up, down)),
            _ => None,
        }
    }
}

fn step(t: u32) -> f64 {
    if (900..1800).contains(&t) { 0.75 } else { 0.30 }
}
