//! What goes wrong: [`Faults`].

mod place;
mod told;

use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::noise::{hash, unit};

pub use place::{Crowd, Outage, Where};
pub use told::{FalseProbe, Says, SlowStore, WallJump};

/// What goes wrong, and when. Times are seconds from a Monday midnight. The same seed gives the same faults to everybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Faults {
    /// Of what goes wrong at random.
    pub seed: u64,
    /// Share of attempts that fail somewhere on the way.
    pub failing: f64,
    /// Share of attempts that stand still somewhere on the way, until somebody stops them.
    pub hanging: f64,
    /// Where nothing can be backed up for a while: what runs there fails.
    pub outages: Vec<Outage>,
    /// Hosts that are lost for a while: what runs there stands still, answers nobody, and has failed when they are back.
    /// Who watches them sees that they are down.
    pub lost: Vec<Outage>,
    /// Where the destination is full for a while: what writes there fails. Who watches it sees that there is no room.
    pub full: Vec<Outage>,
    /// Foreground load that nobody could foresee.
    pub crowds: Vec<Crowd>,
    /// Probes of the foreground's load that do not tell the truth.
    pub probes: Vec<FalseProbe>,
    /// Times in which the store of the scheduler's records is slow, or full.
    pub stores: Vec<SlowStore>,
    /// Jumps of the scheduler's wall clock. They add up.
    pub jumps: Vec<WallJump>,
    /// Sizes are told wrong by up to this factor, up or down, each instance's by its own; nothing below 1 counts.
    pub sizes: f64,
}

/// What becomes of an attempt if nobody stops it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Succeeds,
    /// After this part of its bytes.
    Fails(f64),
    /// After this part of its bytes.
    Hangs(f64),
    /// Something on its way is not available.
    Unavailable(Where),
    /// Its instance is dropped before it is done.
    Dropped,
}

impl Faults {
    /// With the places that `here` gives them; what has none there is left out.
    pub(crate) fn filter_places(&self, here: impl Fn(Where) -> Option<Where>) -> Self {
        let mut faults = self.clone();
        for outages in [&mut faults.outages, &mut faults.lost, &mut faults.full] {
            outages.retain_mut(|out| here(out.place).map(|place| out.place = place).is_some());
        }
        faults.crowds.retain_mut(|crowd| here(crowd.place).map(|place| crowd.place = place).is_some());
        faults.probes.retain_mut(|probe| here(probe.place).map(|place| probe.place = place).is_some());
        faults
    }

    /// What becomes of an instance's attempt, counted from 1.
    pub(crate) fn fate(&self, instance: u64, attempt: u32) -> Fate {
        if self.failing <= 0.0 && self.hanging <= 0.0 {
            return Fate::Succeeds;
        }
        let (seed, attempt) = (hash(self.seed, instance), u64::from(attempt));
        let (luck, part) = (unit(seed, 2 * attempt), unit(seed, 2 * attempt + 1));
        if luck < self.failing {
            Fate::Fails(part)
        } else if luck < self.failing + self.hanging {
            Fate::Hangs(part)
        } else {
            Fate::Succeeds
        }
    }

    /// Where that is out which makes whatever runs on a host fail, if anything is.
    pub(crate) fn out(&self, fleet: &Fleet, host: u32, at: f64) -> Option<Where> {
        let mut outages = self.outages.iter().chain(&self.full);
        outages.find(|out| out.covers(fleet, host, at)).map(|out| out.place)
    }

    /// Whether a host is lost.
    pub(crate) fn is_lost(&self, fleet: &Fleet, host: u32, at: f64) -> bool {
        self.lost.iter().any(|out| out.covers(fleet, host, at))
    }

    /// Whether the destination of a host is full.
    pub(crate) fn is_full(&self, fleet: &Fleet, host: u32, at: f64) -> bool {
        self.full.iter().any(|out| out.covers(fleet, host, at))
    }

    pub(crate) fn crowd(&self, fleet: &Fleet, host: u32, at: f64) -> f64 {
        let here = |crowd: &&Crowd| crowd.from <= at && at < crowd.to && crowd.place.covers(fleet, host);
        self.crowds.iter().filter(here).map(|crowd| crowd.load).sum()
    }

    /// The factor by which the size of an instance is told wrong.
    pub(crate) fn size_error(&self, instance: u64) -> f64 {
        match self.sizes.max(1.0) {
            1.0 => 1.0,
            most => most.powf(2.0 * unit(hash(self.seed, instance), u64::MAX) - 1.0),
        }
    }

    /// The moments at which places, stores and clocks change, ascending.
    pub(crate) fn changes(&self) -> Vec<f64> {
        let outages = self.outages.iter().chain(&self.lost).chain(&self.full);
        let mut changes: Vec<f64> = outages.flat_map(|out| [out.from, out.to]).collect();
        changes.extend(self.jumps.iter().map(|jump| jump.at));
        changes.retain(|at| at.is_finite());
        changes.sort_by(f64::total_cmp);
        changes.dedup();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_attempts_fail_and_hang_as_asked() {
        let faults = Faults { failing: 0.1, hanging: 0.05, ..Faults::default() };
        let fates: Vec<_> = (0..20_000).map(|n| faults.fate(n % 100, (n / 100) as u32)).collect();
        let share =
            |which: fn(&Fate) -> bool| fates.iter().filter(|fate| which(fate)).count() as f64 / 20_000.0;
        assert!((share(|fate| matches!(fate, Fate::Fails(_))) - 0.1).abs() < 0.01);
        assert!((share(|fate| matches!(fate, Fate::Hangs(_))) - 0.05).abs() < 0.01);
        assert_eq!(faults.fate(3, 4), faults.fate(3, 4));
    }

    #[test]
    fn sizes_are_as_wrong_as_asked_up_and_down() {
        let faults = Faults { sizes: 4.0, ..Faults::default() };
        let errors: Vec<f64> = (0..1_000).map(|instance| faults.size_error(instance)).collect();
        assert!(errors.iter().all(|error| (0.25..=4.0).contains(error)));
        assert!(errors.iter().filter(|error| **error > 2.0).count() > 200);
        assert!(errors.iter().filter(|error| **error < 0.5).count() > 200);
        assert_eq!(Faults::default().size_error(7), 1.0);
    }
}
