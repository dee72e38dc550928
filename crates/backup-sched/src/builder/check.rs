//! Settings that cannot be: told before anything is started.

use std::time::Duration;

use sched_core::{ResourceName, SLOTS, SignalName};

use super::SchedulerBuilder;
use crate::error::StartError;
use crate::runtime::{LawTerms, ROOM};

/// Asking more often would be load of its own.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

impl SchedulerBuilder {
    pub(super) fn check(&self) -> Result<(), StartError> {
        let wrong = |setting, problem: String| Err(StartError::Setting { setting, problem });
        if self.ceiling == Some(0) {
            return wrong(
                "rate_ceiling",
                "0 bytes a second would never finish; leave it out for no ceiling".into(),
            );
        }
        if self.engine.resources.get(&ResourceName::from(SLOTS)).copied().unwrap_or(0) == 0 {
            return wrong(
                "max_running",
                "0 would never start a backup; use `Scheduler::hold` to wait".into(),
            );
        }
        for name in self.engine.resources.keys() {
            if let Err(error) = name.check() {
                return wrong("resource", format!("the name {name:?} cannot be used: {error}"));
            }
            if name.as_str() == ROOM {
                return wrong("resource", format!("{ROOM:?} is what the scheduler itself measures"));
            }
        }
        for LawTerms { signal, place, .. } in &self.laws {
            if let Some(place) = place
                && !(place.is_place() && place.check().is_ok())
            {
                return wrong(
                    "law_at",
                    format!("{place} has no rate; the fleet, links, hosts and volumes with a name have"),
                );
            }
            if let Err(error) = signal.check() {
                return wrong("law", format!("the signal's name {signal:?} cannot be used: {error}"));
            }
        }
        let probes = self.probes.iter().map(|probe| (probe.name(), probe.period()));
        let detectors = self.detectors.iter().map(|detector| (detector.name(), detector.period()));
        let mut seen = std::collections::BTreeSet::new();
        for (name, period) in probes.chain(detectors) {
            if period < SHORTEST_PERIOD {
                return wrong(
                    "probe or detector",
                    format!("{name:?} has a period of {period:?}; at least {SHORTEST_PERIOD:?}"),
                );
            }
            if let Err(error) = SignalName::from(name).check() {
                return wrong("probe or detector", format!("the name {name:?} cannot be used: {error}"));
            }
            if !seen.insert(name) {
                return wrong(
                    "probe or detector",
                    format!("two are named {name:?}; events could not tell them apart"),
                );
            }
        }
        Ok(())
    }
}

/// Whether the host may say how much there is of a resource.
pub(crate) fn check_capacity(name: &ResourceName) -> Result<(), String> {
    match name.as_str() {
        ROOM => Err(format!("{ROOM:?} is what the scheduler itself measures; use another name")),
        _ => Ok(()),
    }
}
