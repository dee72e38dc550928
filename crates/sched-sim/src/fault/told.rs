//! Faults of what the scheduler relies on: probes, its store, its clock.

use serde::{Deserialize, Serialize};

use super::{Faults, Where};
use crate::fleet::Fleet;
use crate::world::Reading;

/// A probe of the foreground's load that does not tell the truth for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FalseProbe {
    /// Of which hosts.
    pub place: Where,
    /// From when, in seconds.
    pub from: f64,
    /// Until when, in seconds.
    pub to: f64,
    /// What it says meanwhile.
    pub says: Says,
}

/// What a false probe says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// It does not answer.
    Nothing,
    /// Again and again what it measured last, and that it was measured then.
    Stale,
    /// This load, whatever the truth; it need not be a number.
    Load(f64),
}

/// A time in which the store of the scheduler's records is slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowStore {
    /// From when, in seconds.
    pub from: f64,
    /// Until when, in seconds: all that was written is durable by then.
    pub to: f64,
    /// It takes so many seconds until what is written is durable; infinite when it is full.
    pub secs: f64,
}

/// A jump of the scheduler's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WallJump {
    /// When, in seconds.
    pub at: f64,
    /// By so many seconds, back if negative.
    pub secs: f64,
}

impl Faults {
    /// What a host's probe says now, if it answers; `load` is the truth at a moment.
    pub(crate) fn reading(
        &self,
        fleet: &Fleet,
        host: u32,
        now: f64,
        load: impl Fn(f64) -> f64,
    ) -> Option<Reading> {
        let here =
            |probe: &&FalseProbe| probe.from <= now && now < probe.to && probe.place.covers(fleet, host);
        match self.probes.iter().find(here) {
            None => Some(Reading { at: now, load: load(now) }),
            Some(FalseProbe { says: Says::Nothing, .. }) => None,
            Some(FalseProbe { says: Says::Stale, from, .. }) => {
                Some(Reading { at: *from, load: load(*from) })
            }
            Some(FalseProbe { says: Says::Load(load), .. }) => Some(Reading { at: now, load: *load }),
        }
    }

    /// When what is written to the store now is durable.
    pub(crate) fn durable_at(&self, now: f64) -> f64 {
        let slow = self.stores.iter().filter(|slow| slow.from <= now && now < slow.to);
        slow.map(|slow| (now + slow.secs.max(0.0)).min(slow.to)).fold(now, f64::max)
    }

    /// By how much the scheduler's wall clock is ahead.
    pub(crate) fn clock_error(&self, now: f64) -> f64 {
        self.jumps.iter().filter(|jump| jump.at <= now).map(|jump| jump.secs).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetShape;

    #[test]
    fn a_false_probe_says_what_it_is_told_to_while_it_is_false() {
        let fleet = FleetShape { instances: 2, ..FleetShape::default() }.generate();
        let says = |says: Says| Faults {
            probes: vec![FalseProbe { place: Where::Host(1), from: 100.0, to: 200.0, says }],
            ..Faults::default()
        };
        let read = |faults: &Faults, host, now| {
            faults.reading(&fleet, host, now, |at| at / 1e3).map(|reading| (reading.at, reading.load))
        };
        let truth = |now: f64| Some((now, now / 1e3));
        for faults in [says(Says::Nothing), says(Says::Stale), says(Says::Load(f64::NAN))] {
            assert_eq!(read(&faults, 0, 150.0), truth(150.0));
            assert_eq!((read(&faults, 1, 99.0), read(&faults, 1, 200.0)), (truth(99.0), truth(200.0)));
        }
        assert_eq!(read(&says(Says::Nothing), 1, 150.0), None);
        assert_eq!(read(&says(Says::Stale), 1, 150.0), Some((100.0, 0.1)));
        assert_eq!(read(&says(Says::Load(0.7)), 1, 150.0), Some((150.0, 0.7)));
    }

    #[test]
    fn a_store_is_as_slow_as_it_is_but_no_longer() {
        let slow = |secs| SlowStore { from: 100.0, to: 200.0, secs };
        let faults = Faults { stores: vec![slow(30.0), slow(5.0)], ..Faults::default() };
        let at = [99.0, 100.0, 180.0, 200.0].map(|now| faults.durable_at(now));
        assert_eq!(at, [99.0, 130.0, 200.0, 200.0]);
        let full = Faults { stores: vec![slow(f64::INFINITY)], ..Faults::default() };
        assert_eq!(full.durable_at(150.0), 200.0);
    }
}
