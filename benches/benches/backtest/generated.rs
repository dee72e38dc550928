//! Loads of known shapes, from a seed.

use crate::traces::{DAY, GRID, Trace};

const DAYS: usize = 42;
const STEPS: usize = (DAY / GRID) as usize;
/// Monday 2024-03-04T00:00Z.
const START: i64 = 1_709_510_400;

/// A shape: the load by day, weekday and hour of the day.
type Shape = fn(usize, usize, f32) -> f32;

const SHAPES: [(&str, Shape); 9] = [
    ("syn_office", |_, _, hour| 10.0 + 55.0 * office(hour)),
    ("syn_working_days", |_, weekday, hour| 8.0 + 60.0 * office(hour) * if weekday < 5 { 1.0 } else { 0.1 }),
    ("syn_evening_weekends", |_, weekday, hour| {
        10.0 + 45.0 * hump(hour, 20.5, 3.0) * if weekday < 5 { 0.6 } else { 1.5 }
    }),
    ("syn_nightly_batch", |_, _, hour| {
        9.0 + 30.0 * office(hour) + if (1.25..4.75).contains(&hour) { 65.0 } else { 0.0 }
    }),
    ("syn_sunday_batch", |_, weekday, hour| {
        9.0 + 40.0 * office(hour) + if weekday == 6 && hour < 7.0 { 70.0 } else { 0.0 }
    }),
    ("syn_level_shift", |day, _, hour| 8.0 + 35.0 * office(hour) + if day < 21 { 0.0 } else { 30.0 }),
    ("syn_phase_shift", |day, _, hour| {
        10.0 + 55.0 * office(if day < 21 { hour } else { (hour + 6.0) % 24.0 })
    }),
    ("syn_growth", |day, _, hour| (8.0 + 40.0 * office(hour)) * (1.0 + day as f32 / DAYS as f32)),
    ("syn_drifting_dip", |day, _, hour| {
        let since = (day as f32 * 24.0 + hour) % 23.0;
        if since < 2.0 { 3.0 } else { 12.0 }
    }),
];

fn hump(hour: f32, middle: f32, width: f32) -> f32 {
    let away = ((hour - middle + 12.0).rem_euclid(24.0) - 12.0) / width;
    (-0.5 * away * away).exp()
}

fn office(hour: f32) -> f32 {
    (hump(hour, 11.0, 2.6) + 0.9 * hump(hour, 15.5, 2.4)).min(1.0)
}

/// Each shape with noise that lasts some hours, and one that is nothing but bursts.
pub(crate) fn generated() -> Vec<Trace> {
    let mut dice = fastrand::Rng::with_seed(20_240_304);
    let mut noise = 0.0;
    let mut traces = Vec::new();
    for (name, shape) in SHAPES {
        let load = |at: usize| {
            noise = 0.8 * noise + 3.0 * (dice.f32() - 0.5) * 2.0;
            (shape(at / STEPS, at / STEPS % 7, (at % STEPS) as f32 / 4.0) + noise).max(0.0)
        };
        traces.push(trace(name, (0..DAYS * STEPS).map(load).collect()));
    }
    let mut bursts: Vec<f32> = (0..DAYS * STEPS).map(|_| 5.0 + 2.0 * dice.f32()).collect();
    for _ in 0..70 {
        let (from, size) = (dice.usize(0..bursts.len() - 16), 20.0 + 60.0 * dice.f32());
        let length = dice.usize(1..16);
        bursts[from..from + length].iter_mut().for_each(|load| *load += size);
    }
    traces.push(trace("syn_bursts", bursts));
    traces
}

fn trace(name: &str, values: Vec<f32>) -> Trace {
    Trace { name: name.into(), start: START, step: GRID, values }
}
