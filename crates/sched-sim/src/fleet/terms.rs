//! What policies say of a fleet: [`Terms`].

use std::collections::BTreeMap;
use std::sync::Arc;

use sched_core::{Calendar, CalendarName, JobTerms};

use super::{Fleet, cadence};

/// The terms under which each instance of a fleet is backed up, and the calendars that these name.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    of: Vec<Arc<JobTerms>>,
    /// When each of the calendars is open.
    pub calendars: BTreeMap<CalendarName, Arc<dyn Calendar>>,
}

impl Terms {
    /// The terms of each instance, in the order of the fleet.
    pub fn new(of: Vec<Arc<JobTerms>>, calendars: BTreeMap<CalendarName, Arc<dyn Calendar>>) -> Self {
        Self { of, calendars }
    }

    /// Gives each instance of the fleet the RPO of its terms, and an interval with which it can be met.
    pub fn apply(&self, fleet: &mut Fleet) {
        for (instance, terms) in fleet.instances.iter_mut().zip(&self.of) {
            instance.rpo = terms.rpo;
            instance.every = cadence(terms.rpo);
        }
    }

    /// Those of an instance, by number; `None` where nothing was said.
    pub fn of(&self, instance: u32) -> Option<&Arc<JobTerms>> {
        self.of.get(instance as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::FleetShape;

    #[test]
    fn who_goes_by_the_clock_can_meet_the_rpo_of_the_terms() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let mut fleet = FleetShape { instances: 3, ..FleetShape::default() }.generate();
        let of = [1, 24, 80].map(|rpo| {
            let mut terms = JobTerms::default();
            terms.rpo = hours(rpo);
            Arc::new(terms)
        });
        Terms::new(of.to_vec(), BTreeMap::new()).apply(&mut fleet);
        let every: Vec<_> = fleet.instances.iter().map(|instance| instance.every).collect();
        assert_eq!(every, [Duration::from_secs(48 * 60), hours(12), hours(48)]);
        assert_eq!(fleet.instances[2].rpo, hours(80));
    }
}
