//! From foreground latency to a share of the ceiling: [`PiLaw`].

use std::time::Duration;

use sched_core::{Measured, MonoTime, Reason};

/// The longest gap between two samples, in periods, that moves the law as if it had been watched all along.
const LONGEST_STEP_PERIODS: f64 = 2.0;
/// Older samples, in periods, are held; then the share decays.
const HELD_PERIODS: f64 = 5.0;
/// One reading of foreground latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySample {
    /// When it was taken.
    pub at: MonoTime,
    /// The latency of the quantile that the goal speaks of.
    pub latency: Duration,
    /// Whether backups used what they were granted: only then does a higher share mean anything.
    pub demand_limited: bool,
}

/// What a law says: a share of the ceiling, from 0 to 1, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The share.
    pub share: f64,
    /// The signal, its value and its target.
    pub reason: Reason,
}

/// Turns samples into shares. Pure: no clock, no I/O.
pub trait ControlLaw: Send {
    /// The share after a sample.
    fn update(&mut self, sample: LatencySample) -> Share;

    /// The share when no sample came by `now`. Never higher than the last one.
    fn missing(&mut self, now: MonoTime) -> Share;
}

/// Settings of a [`PiLaw`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PiConfig {
    /// The latency that is to be kept.
    pub target: Duration,
    /// How far the target lies above the healthy latency, as a ratio over 1: the law's unit of error. Default 1.10.
    pub allowance: f64,
    /// Time between samples. Default 1 s.
    pub period: Duration,
    /// Weight of a new sample in the running mean of ln latency, over 0 up to 1. Default .3.
    pub smoothing: f64,
    /// Integral gain a period. Default .02.
    pub integral_gain: f64,
    /// Proportional gain. Default .2.
    pub proportional_gain: f64,
    /// The highest share. Default 1.
    pub cap: f64,
    /// The share when nothing is known. Default .05.
    pub blind: f64,
}

impl PiConfig {
    /// Everything at its default but the target.
    pub fn new(target: Duration) -> Self {
        Self {
            target,
            allowance: 1.10,
            period: Duration::from_secs(1),
            smoothing: 0.3,
            integral_gain: 0.02,
            proportional_gain: 0.2,
            cap: 1.0,
            blind: 0.05,
        }
    }

    fn check(&self) -> Result<(), LawError> {
        let wrong = |field, value: f64, right| Err(LawError { field, value, right });
        let within = |value: f64, low: f64, high: f64| value.is_finite() && value > low && value <= high;
        if self.target.is_zero() {
            return wrong("target", 0.0, "a positive latency");
        }
        if self.period.is_zero() {
            return wrong("period", 0.0, "a positive duration");
        }
        if !within(self.allowance, 1.0, 100.0) {
            return wrong("allowance", self.allowance, "a ratio over 1 and at most 100");
        }
        if !within(self.smoothing, 0.0, 1.0) {
            return wrong("smoothing", self.smoothing, "over 0 and at most 1");
        }
        for (field, gain) in
            [("integral_gain", self.integral_gain), ("proportional_gain", self.proportional_gain)]
        {
            if !within(gain, 0.0, 10.0) {
                return wrong(field, gain, "over 0 and at most 10");
            }
        }
        if !within(self.cap, 0.0, 1.0) {
            return wrong("cap", self.cap, "over 0 and at most 1");
        }
        if !(self.blind.is_finite() && (0.0..=self.cap).contains(&self.blind)) {
            return wrong("blind", self.blind, "from 0 to the cap");
        }
        Ok(())
    }
}

/// A setting that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}; it must be {right}")]
pub struct LawError {
    /// Which setting.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// What would be right.
    pub right: &'static str,
}

/// A proportional-integral law on the logarithm of latency.
///
/// With θ = ln allowance and s the running mean of ln(latency / target): the error is e = −s, at most θ; the
/// integral moves by gain · e a period, upwards only while backups use what they are granted; the proportional part
/// is gain · max(e, −3 θ); the share is their sum, kept within [0, cap]. A ratio rather than a difference makes one
/// set of gains fit a cache of 100 µs and a report of 10 s. The error is cut off above and not below, so that the
/// share falls as fast as the harm is great and rises slowly.
#[derive(Clone, Debug)]
pub struct PiLaw {
    config: PiConfig,
    theta: f64,
    state: Option<State>,
    share: f64,
}

#[derive(Clone, Copy, Debug)]
struct State {
    at: MonoTime,
    mean: f64,
    integral: f64,
}

impl PiLaw {
    /// A law that has seen nothing; its share is `blind`.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(config: PiConfig) -> Result<Self, LawError> {
        config.check()?;
        let theta = config.allowance.ln();
        Ok(Self { config, theta, state: None, share: config.blind })
    }

    fn say(&self, latency: Duration) -> Share {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let measured = Measured {
            signal: "foreground".into(),
            value: ms(latency),
            threshold: ms(self.config.target),
            unit: "ms".into(),
        };
        let text = format!("logarithmic PI law: {:.1} % of the ceiling", self.share * 100.0);
        Share { share: self.share, reason: Reason::measured(text, measured) }
    }
}

impl ControlLaw for PiLaw {
    fn update(&mut self, sample: LatencySample) -> Share {
        let PiConfig { period, smoothing, integral_gain, proportional_gain, cap, blind, .. } = self.config;
        if sample.latency.is_zero() {
            // No request takes no time: the reading is a mistake and teaches nothing.
            return self.missing(sample.at);
        }
        let x = (sample.latency.as_secs_f64() / self.config.target.as_secs_f64()).ln();
        let first = State { at: sample.at, mean: x, integral: blind };
        let mut s = self.state.unwrap_or(first);
        let periods = sample.at.since(s.at).as_secs_f64() / period.as_secs_f64();
        let periods = periods.min(LONGEST_STEP_PERIODS);
        let weight = 1.0 - (1.0 - smoothing).powf(periods);
        s.mean += weight * (x - s.mean);
        s.at = sample.at;
        let error = (-s.mean).min(self.theta);
        let proportional = proportional_gain * error.max(-3.0 * self.theta);
        let grows = error > 0.0;
        if !grows || sample.demand_limited {
            s.integral = (s.integral + integral_gain * error * periods).clamp(0.0, cap);
        }
        let share = (s.integral + proportional).clamp(0.0, cap);
        self.state = Some(s);
        self.share = share;
        self.say(sample.latency)
    }

    fn missing(&mut self, now: MonoTime) -> Share {
        let reason = match self.state {
            None => Reason::new("no latency was ever measured: blind share"),
            Some(state) => {
                let age = now.since(state.at).as_secs_f64() / self.config.period.as_secs_f64();
                if age > HELD_PERIODS {
                    // Halved with every further period, down to what is safe without knowing.
                    let halved = (self.share * 0.5).max(self.config.blind);
                    self.share = self.share.min(halved);
                    let integral = state.integral.min(self.share);
                    self.state = Some(State { integral, ..state });
                    Reason::new(format!("no latency for {age:.0} periods: falling to the blind share"))
                } else {
                    Reason::new("no new latency: held")
                }
            }
        };
        Share { share: self.share, reason }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Latency of a machine at utilization `rho`, healthy when idle: a queue that is gentle until it is nearly full.
    fn plant(rho: f64) -> f64 {
        let rho = rho.min(0.999);
        1.0 + rho.powi(6) / (1.0 - rho)
    }

    /// A law in the loop with a machine whose foreground steps 30 → 75 → 30 %. Returns the share of time with harm
    /// (latency over 1.2 × what it would be without backup), and the share of the safe spare capacity used.
    fn step_load(seed: u64, mut next: impl FnMut(u64, f64, f64) -> f64) -> (f64, f64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut harm, mut used, mut safe_sum) = (0, 0.0, 0.0);
        let mut backup = 0.05;
        let seconds = 1800;
        for t in 0..seconds {
            let foreground = if (600..1200).contains(&t) { 0.75 } else { 0.30 };
            let alone = plant(foreground);
            let latency = plant(foreground + backup);
            harm += u32::from(latency > 1.2 * alone);
            let safe = (0..1000).map(|k| f64::from(k) / 1000.0);
            let safe = safe.take_while(|x| plant(foreground + x) <= 1.2 * alone).last().unwrap_or(0.0);
            used += backup.min(safe);
            safe_sum += safe;
            // Irwin-Hall approximation of a normal, sigma .1.
            let noise = ((0..12).map(|_| rng.f64()).sum::<f64>() - 6.0) * 0.1;
            backup = next(t, latency * noise.exp() / alone, foreground + backup);
        }
        (f64::from(harm) / seconds as f64, used / safe_sum)
    }

    fn at(t: u64) -> MonoTime {
        MonoTime::from_nanos(t * 1_000_000_000)
    }

    fn pi() -> impl FnMut(u64, f64, f64) -> f64 {
        let mut law = PiLaw::new(PiConfig::new(Duration::from_micros(1100))).unwrap();
        move |t, ratio, _| {
            let latency = Duration::from_secs_f64(ratio * 1e-3);
            law.update(LatencySample { at: at(t), latency, demand_limited: true }).share
        }
    }

    fn mean(runs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
        let all: Vec<_> = runs.collect();
        let n = all.len() as f64;
        (all.iter().map(|r| r.0).sum::<f64>() / n, all.iter().map(|r| r.1).sum::<f64>() / n)
    }

    #[test]
    fn a_load_step_is_followed_with_little_harm_and_much_use() {
        let (harm, used) = mean((0..12).map(|seed| step_load(seed, pi())));
        assert!(harm <= 0.02, "harm {harm}");
        assert!(used >= 0.60, "used {used}");
    }

    #[test]
    fn the_same_plant_fails_laws_that_are_known_to_be_bad() {
        let (idle_harm, _) =
            mean((0..12).map(|seed| step_load(seed, |_, _, rho: f64| (1.0 - rho - 0.2).max(0.0) + 0.2)));
        assert!(idle_harm > 0.2, "a law by idle capacity: {idle_harm}");
        let (floor_harm, _) = mean((0..12).map(|seed| {
            let mut law = pi();
            step_load(seed, move |t, ratio, rho| law(t, ratio, rho).max(0.05))
        }));
        assert!(floor_harm > 0.2, "a floor of 5 %: {floor_harm}");
    }

    #[test]
    fn silence_holds_then_falls_and_never_raises() {
        let mut law = PiLaw::new(PiConfig::new(Duration::from_millis(1))).unwrap();
        assert_eq!(law.missing(at(0)).share, 0.05);
        let quiet =
            |t| LatencySample { at: at(t), latency: Duration::from_micros(500), demand_limited: true };
        let before = (0..60).map(|t| law.update(quiet(t)).share).last().unwrap();
        assert!(before > 0.1);
        assert_eq!(law.missing(at(64)).share, before);
        let fallen: Vec<_> = (66..80).map(|t| law.missing(at(t)).share).collect();
        assert!(fallen.is_sorted_by(|a, b| a >= b));
        assert_eq!(*fallen.last().unwrap(), 0.05);
    }

    #[test]
    fn unused_grants_do_not_raise_the_share() {
        let mut law = PiLaw::new(PiConfig::new(Duration::from_millis(1))).unwrap();
        let idle =
            |t| LatencySample { at: at(t), latency: Duration::from_micros(500), demand_limited: false };
        let shares: Vec<_> = (0..200).map(|t| law.update(idle(t)).share).collect();
        assert!(shares[199] <= shares[20] + 1e-9);
    }

    #[test]
    fn nonsense_settings_are_refused_by_name() {
        let config = |change: fn(&mut PiConfig)| {
            let mut config = PiConfig::new(Duration::from_millis(1));
            change(&mut config);
            PiLaw::new(config).unwrap_err().field
        };
        assert_eq!(config(|c| c.target = Duration::ZERO), "target");
        assert_eq!(config(|c| c.allowance = 1.0), "allowance");
        assert_eq!(config(|c| c.smoothing = f64::NAN), "smoothing");
        assert_eq!(config(|c| c.cap = 1.5), "cap");
        assert_eq!(config(|c| c.blind = -0.1), "blind");
    }

    proptest! {
        #[test]
        fn any_input_gives_a_share_and_more_latency_never_gives_more(
            samples in prop::collection::vec((0..u64::MAX, any::<u64>(), any::<bool>()), 1..50),
            latency in 1..u64::MAX / 2, more in 1..u64::MAX / 2,
        ) {
            let mut law = PiLaw::new(PiConfig::new(Duration::from_millis(1))).unwrap();
            for (t, latency, demand_limited) in samples {
                let latency = Duration::from_nanos(latency);
                let share = law.update(LatencySample { at: MonoTime::from_nanos(t), latency, demand_limited }).share;
                prop_assert!((0.0..=1.0).contains(&share));
            }
            let at = MonoTime::MAX;
            let next = |nanos| {
                let latency = Duration::from_nanos(nanos);
                law.clone().update(LatencySample { at, latency, demand_limited: true }).share
            };
            prop_assert!(next(latency + more) <= next(latency) + 1e-12);
        }
    }
}
