//! The simulated machine: [`Machine`].

use std::collections::VecDeque;

use super::Scenario;

/// Foreground p99 of the idle machine, in seconds.
pub const HEALTHY_SECONDS: f64 = 0.002;
/// Utilization beyond which latency grows no further: queues are bounded.
const FULLEST: f64 = 0.999;
/// A p99 over this ratio to the one without backup is harm.
const HARM_FROM: f64 = 1.2;

/// The machine at one moment.
pub(super) struct Machine {
    scenario: Scenario,
    rng: fastrand::Rng,
    /// Shares that were granted and do not act yet.
    under_way: VecDeque<f64>,
    load: f64,
}

/// The truth about one second, and what is told of it.
pub(super) struct Second {
    pub(super) p99: f64,
    pub(super) harmed: bool,
    /// The highest backup load without harm.
    pub(super) safe: f64,
    pub(super) load: f64,
    pub(super) utilization: f64,
    /// The reading, with its noise; `None` when it is lost.
    pub(super) reading: Option<f64>,
}

/// The foreground's p99 over that on the idle machine, at this utilization: 1 + ρ⁶ / (1 − ρ), gentle until the machine is
/// nearly full. Utilization counts from 0 to .999, since queues are bounded.
pub fn latency(utilization: f64) -> f64 {
    let rho = utilization.clamp(0.0, FULLEST);
    1.0 + rho.powi(6) / (1.0 - rho)
}

impl Machine {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        Self {
            scenario: *scenario,
            rng: fastrand::Rng::with_seed(seed),
            under_way: VecDeque::from(vec![0.0; scenario.delay]),
            load: 0.0,
        }
    }

    /// One second at these shares together.
    pub(super) fn run(&mut self, t: u32, share: f64) -> Second {
        let Scenario { foreground, base, lag, gain, sigma, spikes, lost, outage, poisoned, .. } =
            self.scenario;
        self.under_way.push_back(share * gain);
        let acting = self.under_way.pop_front().unwrap_or(0.0);
        self.load += (acting - self.load) * (1.0 - (-1.0 / lag.max(1e-9)).exp());
        let foreground = foreground(t);
        let alone = latency(foreground);
        let ratio = latency(foreground + self.load) / alone;
        let p99 = HEALTHY_SECONDS * base(t) * alone * ratio;
        // Drawn in any case, so that a fault changes nothing but itself.
        let noise = (sigma * self.normal()).exp();
        let spike = if self.rng.f64() < spikes { 3.0 } else { 1.0 };
        let arrives = self.rng.f64() >= lost && !(outage.0..outage.1).contains(&t);
        let poison = if poisoned == Some(t) { 100.0 } else { 1.0 };
        Second {
            p99,
            harmed: ratio > HARM_FROM,
            safe: safe(foreground),
            load: self.load,
            utilization: (foreground + self.load).min(1.0),
            reading: arrives.then_some(p99 * noise * spike * poison),
        }
    }

    /// A standard normal number (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.rng.f64(), self.rng.f64());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// The highest backup load without harm, by bisection: the slowdown grows with utilization.
fn safe(foreground: f64) -> f64 {
    let bound = HARM_FROM * latency(foreground);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if latency(foreground + middle) <= bound { low = middle } else { high = middle }
    }
    low
}
