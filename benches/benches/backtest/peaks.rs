//! Bursts are added to recorded loads: how many are seen, how soon, and how often is there an alarm without one.

use jiff::Timestamp;
use sched_core::LoadLevel;
use sched_workload::{LearnedWeek, LocalClock, OwnLoad, PeakDetector, PeakSettings};

use crate::score::quantile;
use crate::traces::{DAY, GRID, Trace};

/// Samples come every five minutes.
const STEP: i64 = 300;
const A_DAY: usize = (DAY / STEP) as usize;
/// Days that are learned from before anything counts.
const WARM: usize = 7;
/// A burst is seen in time up to so many samples after it began.
const SOON: usize = 2;
/// How long after a burst its alarm is waited for to end, in samples.
const AFTER: usize = 36;

/// A load every five minutes, the same with a burst a day, and where those are.
pub(crate) struct Case {
    start: i64,
    clean: Vec<f32>,
    burst: Vec<f32>,
    /// First sample, and the first after it.
    bursts: Vec<(usize, usize)>,
    point: f32,
}

/// What was seen, summed over bursts and days.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) bursts: f64,
    pub(crate) soon: f64,
    pub(crate) at_all: f64,
    pub(crate) alarms: f64,
    pub(crate) days: f64,
    /// Bursts whose alarm lasted to their end.
    pub(crate) held: f64,
    /// Samples from the end of a burst to that of its alarm.
    pub(crate) clearing: f64,
}

impl Case {
    /// None for traces of hours, for short ones, and where there is nothing to tell a burst from: the load varies by
    /// less than two points.
    pub(crate) fn new(trace: &Trace, size: f32) -> Option<Self> {
        let seed = trace
            .name
            .bytes()
            .fold(1469, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut dice = fastrand::Rng::with_seed(seed);
        let trace = trace.gridded();
        let range = quantile(&trace.values, 0.95) - quantile(&trace.values, 0.05);
        let clean = refined(&trace, &mut dice);
        let point = trace.point() as f32;
        if trace.step > GRID || clean.len() < (WARM + 2) * A_DAY || range < 2.0 * point {
            return None;
        }
        let mut burst = clean.clone();
        let mut bursts = Vec::new();
        for day in WARM..clean.len() / A_DAY {
            // 15 to 120 minutes, with time for the alarm to end on the same day.
            let length = dice.usize(3..=24);
            let from = day * A_DAY + dice.usize(0..A_DAY - length - AFTER);
            burst[from..from + length].iter_mut().for_each(|load| *load += size * range);
            bursts.push((from, from + length));
        }
        Some(Self { start: trace.start, clean, burst, bursts, point })
    }

    /// What a detector sees with its thresholds multiplied by `scale`.
    pub(crate) fn run(&self, scale: f32) -> Seen {
        let mut seen = Seen::default();
        let clean = self.alarms(&self.clean, scale);
        let begins = |at: &usize| clean[*at] && !clean[at - 1];
        seen.alarms = (WARM * A_DAY..clean.len()).filter(begins).count() as f64;
        seen.days = (clean.len() - WARM * A_DAY) as f64 / A_DAY as f64;
        let with = self.alarms(&self.burst, scale);
        for (from, until) in &self.bursts {
            // An alarm that is on already is not this burst's.
            if with[*from - 1] {
                continue;
            }
            seen.bursts += 1.0;
            if let Some(after) = with[*from..*until].iter().position(|alarm| *alarm) {
                seen.at_all += 1.0;
                seen.soon += f64::from(after <= SOON);
                seen.held += f64::from(with[*until - 1]);
                seen.clearing += with[*until..].iter().take(AFTER).take_while(|alarm| **alarm).count() as f64;
            }
        }
        seen
    }

    /// Whether there is an alarm, by sample.
    fn alarms(&self, loads: &[f32], scale: f32) -> Vec<bool> {
        let normal = PeakSettings::default();
        let mut settings = normal.above(normal.median_above * scale, (normal.sum_above * scale).min(29.9));
        settings.least_deviation = 0.5 * self.point;
        settings.median_below = settings.median_below.min(0.9 * settings.median_above);
        settings.sum_below = settings.sum_below.min(0.9 * settings.sum_above);
        let mut detector = PeakDetector::new(settings).expect("they are in order");
        let (mut week, mut clock) = (LearnedWeek::new(), LocalClock::utc());
        let mut alarm = |(at, load): (usize, &f32)| {
            let at = Timestamp::from_second(self.start + at as i64 * STEP).expect("traces are of our time");
            let slot = clock.slot(at);
            detector.update(&week, at, slot, f64::from(*load), OwnLoad::None);
            week.update(slot, f64::from(*load), OwnLoad::None);
            detector.state(at).is_some_and(|state| state.level == LoadLevel::Peak)
        };
        loads.iter().enumerate().map(&mut alarm).collect()
    }
}

/// A trace of 15 minutes as one of five: straight lines between the means, and noise that leaves each mean as it is, of
/// the size that the trace itself has from step to step, as if that were independent.
fn refined(trace: &Trace, dice: &mut fastrand::Rng) -> Vec<f32> {
    let parts = usize::try_from(trace.step / STEP).unwrap_or(1).max(1);
    let values = &trace.values;
    let bends: Vec<f32> =
        values.windows(3).map(|v| (v[0] - 2.0 * v[1] + v[2]).abs()).filter(|b| b.is_finite()).collect();
    // A second difference of independent noise has √6 times its deviation, and a mean of three √3 times less than each.
    let noise = 1.48 * quantile(&bends, 0.5) / 6.0_f32.sqrt() * (parts as f32).sqrt();
    let mut refined = Vec::with_capacity(values.len() * parts);
    for (at, value) in values.iter().enumerate() {
        let near = |other: Option<&f32>| other.copied().filter(|v| v.is_finite()).unwrap_or(*value);
        let slope = (near(values.get(at + 1)) - near(at.checked_sub(1).and_then(|at| values.get(at)))) / 2.0;
        let extra: Vec<f32> = (0..parts).map(|_| noise * normal(dice)).collect();
        let mean = extra.iter().sum::<f32>() / parts as f32;
        for (part, extra) in extra.iter().enumerate() {
            let place = (part as f32 + 0.5) / parts as f32 - 0.5;
            refined.push((value + slope * place + extra - mean).max(0.0));
        }
    }
    refined
}

/// A standard normal deviate, nearly: the sum of twelve uniform ones.
fn normal(dice: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| dice.f32()).sum::<f32>() - 6.0
}

/// The sums of all cases; means are over bursts and days.
pub(crate) fn total(seen: &[Seen]) -> Seen {
    seen.iter().fold(Seen::default(), |a, b| Seen {
        bursts: a.bursts + b.bursts,
        soon: a.soon + b.soon,
        at_all: a.at_all + b.at_all,
        alarms: a.alarms + b.alarms,
        days: a.days + b.days,
        held: a.held + b.held,
        clearing: a.clearing + b.clearing,
    })
}
