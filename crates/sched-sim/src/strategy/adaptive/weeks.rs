//! What is learned of the hosts' loads: [`Weeks`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::FixedState;
use jiff::SignedDuration;
use sched_workload::{Forecast, ForecastSlot, LearnedWeek, LocalClock, OwnLoad};

use crate::MONDAY;
use crate::load::{LoadClass, LoadPattern, SLOTS_OF_DAY};
use crate::noise::hash;

const HOUR: Duration = Duration::from_secs(3600);
/// Days of load from which each week is learned.
const LEARNED_DAYS: i64 = 14;
/// Days that are forecast: those that may be simulated, and what is planned at their end.
const FORECAST_DAYS: u32 = 3;
/// Slots of the load that was learned from: whole weeks after all that is simulated, so that its noise is another.
const HISTORY: u32 = 1_000 * 7 * SLOTS_OF_DAY;

/// The hosts' loads as learned in the fortnight before a simulation, with their noise, and forecast from its beginning.
/// Nothing is learned while it runs. Clones share what they have learned.
#[derive(Clone, Debug, Default)]
pub struct Weeks {
    shared: Option<Rc<RefCell<Tables>>>,
}

type Tables = HashMap<Shape, Rc<[ForecastSlot]>, FixedState>;

/// What hosts have in common that share a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    class: LoadClass,
    /// In twentieths.
    base: u32,
    swing: u32,
    noise: u32,
    /// In half hours.
    peak: u32,
    days: u32,
}

impl Weeks {
    /// Each host has its own.
    pub fn own() -> Self {
        Self::default()
    }

    /// Hosts whose loads follow the same pattern, to a twentieth of their height and half an hour, share the week of one
    /// such host: a million hosts have a few thousand patterns. Loads at random are then those of another host.
    pub fn shared() -> Self {
        Self { shared: Some(Rc::default()) }
    }

    /// Whether hosts share weeks.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// The load expected in each hour of so many days and a few more.
    pub(super) fn of(&self, load: &LoadPattern, days: u32) -> Rc<[ForecastSlot]> {
        let Some(shared) = &self.shared else { return learn(load, days) };
        let shape = Shape::of(load, days);
        let mut tables = shared.borrow_mut();
        tables.entry(shape).or_insert_with(|| learn(&shape.pattern(), days)).clone()
    }
}

impl Shape {
    fn of(load: &LoadPattern, days: u32) -> Self {
        let twentieths = |share: f32| (20.0 * share).round() as u32;
        let peak = if matches!(load.class, LoadClass::Daily | LoadClass::Weekly | LoadClass::NightlyBatch) {
            (2.0 * load.peak_hour).round() as u32
        } else {
            0
        };
        let (base, swing, noise) = (twentieths(load.base), twentieths(load.swing), twentieths(load.noise));
        Self { class: load.class, base, swing, noise, peak, days }
    }

    fn pattern(self) -> LoadPattern {
        let Self { class, base, swing, noise, peak, .. } = self;
        let key = u64::from(base) | u64::from(swing) << 8 | u64::from(noise) << 16 | u64::from(peak) << 24;
        let share = |twentieths: u32| twentieths as f32 / 20.0;
        LoadPattern {
            class,
            base: share(base),
            swing: share(swing),
            peak_hour: peak as f32 / 2.0,
            noise: share(noise),
            seed: hash(class as u64, key),
        }
    }
}

/// One sample an hour, as a probe would have given.
fn learn(load: &LoadPattern, days: u32) -> Rc<[ForecastSlot]> {
    let (mut clock, mut week) = (LocalClock::utc(), LearnedWeek::new());
    for (hour, load) in (0..24 * LEARNED_DAYS).zip(load.hourly(HISTORY)) {
        let at = MONDAY - SignedDuration::from_hours(24 * LEARNED_DAYS - hour);
        week.update(clock.slot(at), load, OwnLoad::None);
    }
    let hours = 24 * (days + FORECAST_DAYS) as usize;
    let Forecast { slots, .. } = week.forecast(&mut clock, MONDAY, HOUR, hours);
    slots.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(weeks: &Weeks, load: &LoadPattern) -> f64 {
        let learned = weeks.of(load, 7);
        let mean = |hour: usize| (0..4).map(|part| load.mean(4 * hour as u32 + part)).sum::<f64>() / 4.0;
        let off = |hour: usize| (f64::from(learned[hour].mean) - mean(hour)).abs();
        (0..168).map(off).sum::<f64>() / 168.0
    }

    #[test]
    fn a_week_is_learned_as_it_will_be() {
        for class in [LoadClass::Stable, LoadClass::Daily, LoadClass::Weekly, LoadClass::NightlyBatch] {
            let load = LoadPattern { class, base: 0.12, swing: 0.52, peak_hour: 11.3, noise: 0.03, seed: 5 };
            for weeks in [Weeks::own(), Weeks::shared()] {
                let error = error(&weeks, &load);
                assert!(error < 0.07, "{class:?} {error}");
            }
        }
    }

    #[test]
    fn hosts_share_what_is_alike() {
        let load = |base, seed| LoadPattern {
            class: LoadClass::Daily,
            base,
            swing: 0.5,
            peak_hour: 11.0,
            noise: 0.03,
            seed,
        };
        let weeks = Weeks::shared();
        let first = weeks.of(&load(0.1, 1), 7);
        assert!(Rc::ptr_eq(&first, &weeks.clone().of(&load(0.11, 2), 7)));
        assert!(!Rc::ptr_eq(&first, &weeks.of(&load(0.2, 1), 7)));
    }
}
