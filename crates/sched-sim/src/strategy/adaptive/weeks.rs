//! What is learned of the hosts' loads: [`Weeks`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::FixedState;
use jiff::SignedDuration;
use sched_workload::{Forecast, ForecastSlot, LearnedWeek, LocalClock, OwnLoad};

use crate::MONDAY;
use crate::fleet::Host;
use crate::load::{LoadClass, LoadPattern, SLOTS_OF_DAY};
use crate::noise::hash;

const HOUR: Duration = Duration::from_secs(3600);
/// Days of load before a simulation from which each week is learned.
pub const LEARNED_DAYS: u32 = 14;
/// Days that are forecast: those that may be simulated, and what is planned at their end.
const FORECAST_DAYS: u32 = 3;
/// Slots of the load that was learned from: whole weeks after all that is simulated, so that its noise is another.
const HISTORY: u32 = 1_000 * 7 * SLOTS_OF_DAY;

/// The hosts' loads as learned in the fortnight before a simulation, with their noise, and forecast from its beginning.
/// While it runs, only the loads of hosts are learned on, each midnight, that were recorded or shift: of the others nothing
/// would be new. Clones share what they have learned.
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

    /// The load of a host that is expected in each hour of so many days and a few more, as it was before the first.
    pub(super) fn of(&self, host: &Host, days: u32) -> Rc<[ForecastSlot]> {
        let pattern = |load: &LoadPattern| forecast(&learn(load.hourly(HISTORY)), 0, days).into();
        match &self.shared {
            _ if host.recorded.is_some() => forecast(&before(host), 0, days).into(),
            None => pattern(&host.load),
            Some(shared) => {
                let shape = Shape::of(&host.load, days);
                let mut tables = shared.borrow_mut();
                tables.entry(shape).or_insert_with(|| pattern(&shape.pattern())).clone()
            }
        }
    }
}

/// The week of a host whose load does not stay what it was: learned on, day by day, while the simulation goes on.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) host: u32,
    week: LearnedWeek,
    /// Days of the simulation that it has learned.
    learned: u32,
}

impl Course {
    /// As it was before the simulation; `None` for a host of which nothing more is to be learned.
    pub(super) fn new(number: u32, host: &Host) -> Option<Self> {
        host.changes().then(|| Self { host: number, week: before(host), learned: 0 })
    }

    /// Learns the days that are over, and has the hours to come as they are expected now.
    pub(super) fn follow(&mut self, host: &Host, over: u32, days: u32, expected: &mut Rc<[ForecastSlot]>) {
        let mut clock = LocalClock::utc();
        for hour in 24 * self.learned..24 * over {
            let at = MONDAY + SignedDuration::from_hours(hour.into());
            self.week.update(clock.slot(at), host.load_at(hour * SLOTS_OF_DAY / 24), OwnLoad::None);
        }
        self.learned = over;
        let past = expected[..expected.len().min(24 * over as usize)].iter().copied();
        *expected = past.chain(forecast(&self.week, over, days)).collect();
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

/// What was learned of a host before the simulation.
fn before(host: &Host) -> LearnedWeek {
    let Some(recorded) = &host.recorded else { return learn(host.load.hourly(HISTORY)) };
    let slots_of_hour = i64::from(SLOTS_OF_DAY / 24);
    learn((-24 * i64::from(LEARNED_DAYS)..).map(|hour| recorded.at(hour * slots_of_hour)))
}

/// One sample an hour, as a probe would have given.
fn learn(loads: impl Iterator<Item = f64>) -> LearnedWeek {
    let (mut clock, mut week) = (LocalClock::utc(), LearnedWeek::new());
    for (hour, load) in (0..24 * LEARNED_DAYS).zip(loads) {
        let at = MONDAY - SignedDuration::from_hours(i64::from(24 * LEARNED_DAYS - hour));
        week.update(clock.slot(at), load, OwnLoad::None);
    }
    week
}

/// What is expected from the midnight after so many days on.
fn forecast(week: &LearnedWeek, over: u32, days: u32) -> Vec<ForecastSlot> {
    let hours = 24 * (days + FORECAST_DAYS).saturating_sub(over) as usize;
    let from = MONDAY + SignedDuration::from_hours(24 * i64::from(over));
    let Forecast { slots, .. } = week.forecast(&mut LocalClock::utc(), from, HOUR, hours);
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(load: LoadPattern) -> Host {
        Host { name: "h".into(), link: 0, bytes_per_sec: 1e9, load, recorded: None, shift: None }
    }

    fn error(weeks: &Weeks, load: &LoadPattern) -> f64 {
        let learned = weeks.of(&host(*load), 7);
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
        let load = |base, seed| {
            host(LoadPattern {
                class: LoadClass::Daily,
                base,
                swing: 0.5,
                peak_hour: 11.0,
                noise: 0.03,
                seed,
            })
        };
        let weeks = Weeks::shared();
        let first = weeks.of(&load(0.1, 1), 7);
        assert!(Rc::ptr_eq(&first, &weeks.clone().of(&load(0.11, 2), 7)));
        assert!(!Rc::ptr_eq(&first, &weeks.of(&load(0.2, 1), 7)));
    }

    #[test]
    fn a_shift_is_learned_after_it_has_come_and_a_recording_as_it_was_before() {
        use crate::load::{LevelShift, Recording};
        let flat = LoadPattern {
            class: LoadClass::Stable,
            base: 0.2,
            swing: 0.0,
            peak_hour: 0.0,
            noise: 0.01,
            seed: 3,
        };
        let shifting = Host { shift: Some(LevelShift { slot: 96, by: 0.3 }), ..host(flat) };
        let mut expected = Weeks::own().of(&shifting, 7);
        let mut course = Course::new(0, &shifting).unwrap();
        let at = |expected: &[ForecastSlot], hour: usize| f64::from(expected[hour].mean);
        assert!((at(&expected, 100) - 0.2).abs() < 0.02);
        course.follow(&shifting, 1, 7, &mut expected);
        assert!((at(&expected, 100) - 0.2).abs() < 0.02, "nobody knows yet");
        course.follow(&shifting, 4, 7, &mut expected);
        assert_eq!(expected.len(), 240);
        assert!((at(&expected, 100) - 0.5).abs() < 0.08, "{}", at(&expected, 100));
        assert!((at(&expected, 90) - 0.2).abs() < 0.02, "what is past stays what was expected");
        // Three weeks: the first is simulated, the others came before it.
        let weeks = (0..504).map(|hour| (3600.0 * f64::from(hour), if hour < 168 { 0.1 } else { 0.6 }));
        let recorded = Host { recorded: Some(Recording::new(weeks).unwrap()), ..host(flat) };
        for weeks in [Weeks::own(), Weeks::shared()] {
            assert!((at(&weeks.of(&recorded, 7), 50) - 0.6).abs() < 0.02);
        }
        assert!(Course::new(0, &host(flat)).is_none());
    }
}
