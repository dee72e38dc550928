//! What a host's foreground does: [`LoadPattern`], [`Recording`], [`LevelShift`].

mod recording;

pub(crate) use recording::Samples;
pub use recording::{Recording, RecordingError};
use serde::{Deserialize, Serialize};

use crate::noise::{normal, unit};

/// Seconds of a slot: load is constant within one.
pub const SLOT_SECS: u32 = 900;
/// Slots of a day.
pub const SLOTS_OF_DAY: u32 = 86_400 / SLOT_SECS;
/// No foreground uses more than this of its host: the rest is kept idle by whoever sized it.
pub(crate) const BUSIEST: f64 = 0.97;

/// How the load of a host goes, in the classes that Seagull (Microsoft, VLDB 2021) found among database servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadClass {
    /// About the same at all times.
    Stable,
    /// Up in the day, down in the night, every day.
    Daily,
    /// The same on working days only.
    Weekly,
    /// A nightly batch, and little else: 02:00 is the worst moment.
    NightlyBatch,
    /// No pattern: runs of load at random.
    Erratic,
    /// Nothing to speak of.
    Idle,
}

/// The load of one host over time, as a share of its capacity. The same seed gives the same load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadPattern {
    /// Its class.
    pub class: LoadClass,
    /// Load at the quietest, from 0 to 1.
    pub base: f32,
    /// What is added at the busiest, from 0 to 1.
    pub swing: f32,
    /// The local hour at which it is busiest, from 0 to 24.
    pub peak_hour: f32,
    /// Standard deviation of a slot about its mean.
    pub noise: f32,
    /// Of the noise, and of what comes at random.
    pub seed: u64,
}

/// A step of a host's load, up or down, that stays: a customer comes or goes, a cache is lost, a release costs more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelShift {
    /// From which slot on, counted from the simulation's Monday midnight.
    pub slot: u32,
    /// What is added to the load then, from -1 to 1.
    pub by: f32,
}

impl LoadPattern {
    /// The load in a slot, counted from a Monday midnight, local time: from 0 to .97.
    pub fn at(&self, slot: u32) -> f64 {
        self.at_with(slot, 0.0)
    }

    /// The same with so much added to its mean.
    pub(crate) fn at_with(&self, slot: u32, more: f64) -> f64 {
        self.noisy(slot, self.mean(slot) + more)
    }

    /// The load at each full hour, from a slot on with which a day begins: as [`at`](Self::at), but what the hours of
    /// all days have in common is worked out once.
    pub(crate) fn hourly(&self, from: u32) -> impl Iterator<Item = f64> {
        let (load, slots_of_hour) = (*self, SLOTS_OF_DAY / 24);
        let office: [f64; 24] = std::array::from_fn(|hour| load.office(hour as f64));
        (0..).map(move |hour| {
            let slot = from + hour * slots_of_hour;
            let shape = load.shape_of(slot, |_| office[hour as usize % 24]);
            load.noisy(slot, f64::from(load.base) + f64::from(load.swing) * shape)
        })
    }

    fn noisy(&self, slot: u32, mean: f64) -> f64 {
        let noise = f64::from(self.noise) * normal(self.seed, u64::from(slot));
        (mean + noise).clamp(0.0, BUSIEST)
    }

    /// Without the noise: what the best forecast could know.
    pub fn mean(&self, slot: u32) -> f64 {
        f64::from(self.base) + f64::from(self.swing) * self.shape_of(slot, |hour| self.office(hour))
    }

    /// The mean in the quietest hour of the week.
    pub fn quietest(&self) -> f64 {
        let days = match self.class {
            LoadClass::Idle | LoadClass::Stable | LoadClass::Erratic => return self.base.into(),
            LoadClass::Daily | LoadClass::NightlyBatch => 0..1,
            LoadClass::Weekly => 4..6,
        };
        let hours =
            days.flat_map(|day| (0..24).map(move |hour| day * SLOTS_OF_DAY + hour * SLOTS_OF_DAY / 24));
        hours.map(|slot| self.mean(slot)).fold(f64::INFINITY, f64::min)
    }

    /// From 0 to 1, given what people at work do at an hour of the day.
    fn shape_of(&self, slot: u32, office: impl Fn(f64) -> f64) -> f64 {
        let hour = f64::from(slot % SLOTS_OF_DAY) * 24.0 / f64::from(SLOTS_OF_DAY);
        let day = slot / SLOTS_OF_DAY;
        match self.class {
            LoadClass::Idle | LoadClass::Stable => 0.0,
            LoadClass::Daily => office(hour),
            LoadClass::Weekly => office(hour) * if day % 7 < 5 { 1.0 } else { 0.15 },
            LoadClass::NightlyBatch => {
                let batch = if (1.25..4.75).contains(&hour) { 1.0 } else { 0.0 };
                f64::max(batch, 0.3 * office(hour))
            }
            LoadClass::Erratic => self.bursts(slot),
        }
    }

    /// What people at work do: one hump before noon, a lesser one after it.
    fn office(&self, hour: f64) -> f64 {
        let peak = f64::from(self.peak_hour);
        (hump(hour, peak, 3.0) + 0.7 * hump(hour, peak + 4.5, 2.5)).min(1.0)
    }

    /// Runs of about three hours that are on or off, one in four on.
    fn bursts(&self, slot: u32) -> f64 {
        let run = u64::from(slot / 12);
        if unit(self.seed ^ 0x00b0_0575, run) < 0.25 { 0.5 + 0.5 * unit(self.seed, run) } else { 0.0 }
    }
}

/// A bell on the circle of a day.
fn hump(hour: f64, center: f64, width: f64) -> f64 {
    let since = hour - center + 12.0;
    // Mostly there is nothing to divide.
    let since = if (0.0..24.0).contains(&since) { since } else { since.rem_euclid(24.0) };
    let away = (since - 12.0) / width;
    (-0.5 * away * away).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::HOURS;

    fn pattern(class: LoadClass) -> LoadPattern {
        LoadPattern { class, base: 0.1, swing: 0.6, peak_hour: 11.0, noise: 0.0, seed: 7 }
    }

    #[test]
    fn classes_are_busy_when_they_say() {
        let at = |class, day: u32, hour: u32| pattern(class).at(day * SLOTS_OF_DAY + hour * 4);
        assert!(at(LoadClass::Daily, 0, 11) > 0.6 && at(LoadClass::Daily, 0, 2) < 0.15);
        assert!(at(LoadClass::Daily, 5, 11) > 0.6);
        assert!(at(LoadClass::Weekly, 5, 11) < 0.25);
        assert!(at(LoadClass::NightlyBatch, 2, 2) > 0.6 && at(LoadClass::NightlyBatch, 2, 11) < 0.4);
        assert_eq!(at(LoadClass::Stable, 3, 11), at(LoadClass::Stable, 3, 2));
    }

    #[test]
    fn no_hour_is_quieter_than_the_quietest() {
        for class in [LoadClass::Stable, LoadClass::Daily, LoadClass::Weekly, LoadClass::NightlyBatch] {
            let (pattern, hours) = (pattern(class), (0..HOURS as u32).map(|hour| 4 * hour));
            let quietest = hours.map(|slot| pattern.mean(slot)).fold(1.0, f64::min);
            assert!((pattern.quietest() - quietest).abs() < 1e-6, "{class:?}");
        }
    }

    #[test]
    fn load_is_a_share_of_the_host_and_the_same_each_time() {
        for class in [LoadClass::Erratic, LoadClass::Weekly] {
            let loud = LoadPattern { noise: 0.5, ..pattern(class) };
            let week = || (0..7 * SLOTS_OF_DAY).map(|slot| loud.at(slot)).collect::<Vec<_>>();
            assert!(week().iter().all(|load| (0.0..=BUSIEST).contains(load)));
            assert_eq!(week(), week());
            let hours: Vec<_> = loud.hourly(0).take(HOURS).collect();
            assert_eq!(hours, week().into_iter().step_by(4).collect::<Vec<_>>());
        }
    }
}
