//! Machines: [`Host`].

use crate::load::{BUSIEST, LevelShift, LoadPattern, Recording};

/// A machine with foreground load.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Which of the fleet's links it uses.
    pub link: u32,
    /// What its disk moves when nobody else uses it, in bytes a second: a backup load of 1.
    pub bytes_per_sec: f64,
    /// What its foreground does, unless that was recorded.
    pub load: LoadPattern,
    /// What its foreground was seen doing, with noise and all; the pattern does not count then.
    pub recorded: Option<Recording>,
    /// A step of the load on top of that.
    pub shift: Option<LevelShift>,
}

impl Host {
    /// The foreground's load in a slot, counted from the simulation's Monday midnight: from 0 to .97.
    pub fn load_at(&self, slot: u32) -> f64 {
        let shift = self.shifted(slot);
        match &self.recorded {
            None => self.load.at_with(slot, shift),
            Some(recorded) => (recorded.at(slot.into()) + shift).clamp(0.0, BUSIEST),
        }
    }

    /// Without the noise of its pattern: what the best forecast could know. From 0 to 1.
    pub fn mean_load(&self, slot: u32) -> f64 {
        (self.unshifted_mean(slot) + self.shifted(slot)).clamp(0.0, 1.0)
    }

    /// Whether its load is other than it was before the simulation: what was learned of it has to be learned anew.
    pub fn changes(&self) -> bool {
        self.recorded.is_some() || self.shift.is_some()
    }

    pub(crate) fn unshifted_mean(&self, slot: u32) -> f64 {
        self.recorded.as_ref().map_or_else(|| self.load.mean(slot), |recorded| recorded.at(slot.into()))
    }

    /// The mean in the quietest hour of the week, before a shift.
    pub(crate) fn quietest(&self) -> f64 {
        self.recorded.as_ref().map_or_else(|| self.load.quietest(), Recording::quietest)
    }

    /// By how much the load is shifted in a slot.
    pub(crate) fn shifted(&self, slot: u32) -> f64 {
        self.shift.filter(|shift| slot >= shift.slot).map_or(0.0, |shift| shift.by.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetShape;

    #[test]
    fn a_shift_begins_and_stays_within_what_a_host_has() {
        let mut host = FleetShape { instances: 1, ..FleetShape::default() }.generate().hosts.remove(0);
        let before: Vec<f64> = (0..672).map(|slot| host.load_at(slot)).collect();
        host.shift = Some(LevelShift { slot: 200, by: 0.25 });
        for (slot, before) in (0..).zip(before) {
            let shifted = before + if slot < 200 { 0.0 } else { 0.25 };
            assert!((host.load_at(slot) - shifted.min(0.97)).abs() < 1e-6, "{slot}");
            assert_eq!(host.unshifted_mean(slot), host.load.mean(slot));
        }
        host.shift = Some(LevelShift { slot: 200, by: -1.0 });
        assert_eq!((host.load_at(300), host.mean_load(300)), (0.0, 0.0));
    }

    #[test]
    fn what_was_recorded_goes_before_the_pattern() {
        let mut host = FleetShape { instances: 1, ..FleetShape::default() }.generate().hosts.remove(0);
        host.recorded = Some(Recording::new([(0.0, 0.5), (43_200.0, 0.9)]).unwrap());
        host.shift = Some(LevelShift { slot: 96, by: 0.2 });
        let rounded = |load: f64| (load * 100.0).round() / 100.0;
        assert_eq!([0, 48, 96, 144].map(|slot| rounded(host.load_at(slot))), [0.5, 0.9, 0.7, 0.97]);
        assert!((host.quietest() - 0.5).abs() < 0.02);
    }
}
