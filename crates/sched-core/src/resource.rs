//! Named finite resources and who holds how much of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::ResourceName;
use crate::spec::Demand;

/// One resource: how much there is, and how much of it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// How much may be held.
    pub total: u64,
    /// How much is held. Above `total` after a shrink, until holders finish.
    pub used: u64,
}

impl Capacity {
    /// What may still be taken.
    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// Why a demand cannot ever be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// No resource has that name.
    #[error("demand: there is no resource {name:?}; known: {known}")]
    Unknown {
        /// The name found.
        name: ResourceName,
        /// The names that would be right.
        known: String,
    },
    /// More is asked for than there is.
    #[error("demand: {asked} of {name:?} can never be met, there are {total} in all")]
    AboveTotal {
        /// The resource.
        name: ResourceName,
        /// How much is asked for.
        asked: u64,
        /// How much there is.
        total: u64,
    },
}

/// The ledger of all resources: demands are taken together or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    resources: BTreeMap<ResourceName, Capacity>,
}

impl Ledger {
    pub(crate) fn set_total(&mut self, name: ResourceName, total: u64) {
        self.resources.entry(name).or_default().total = total;
    }

    pub(crate) fn capacity(&self, name: &ResourceName) -> Capacity {
        self.resources.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ResourceName, Capacity)> {
        self.resources.iter().map(|(name, capacity)| (name, *capacity))
    }

    /// Whether `demand` could be met on an idle system.
    pub(crate) fn check(&self, demand: &Demand) -> Result<(), DemandError> {
        for (name, asked) in demand.iter() {
            let Some(capacity) = self.resources.get(name) else {
                let known: Vec<_> = self.resources.keys().map(ResourceName::as_str).collect();
                return Err(DemandError::Unknown { name: name.clone(), known: known.join(", ") });
            };
            if asked > capacity.total {
                return Err(DemandError::AboveTotal { name: name.clone(), asked, total: capacity.total });
            }
        }
        Ok(())
    }

    /// Takes `demand` whether or not it fits; admission has looked before.
    pub(crate) fn take(&mut self, demand: &Demand) {
        for (name, amount) in demand.iter() {
            let used = &mut self.resources.entry(name.clone()).or_default().used;
            *used = used.saturating_add(amount);
        }
    }

    /// Gives back what [`take`](Self::take) took.
    pub(crate) fn give_back(&mut self, demand: &Demand) {
        for (name, amount) in demand.iter() {
            let used = &mut self.resources.entry(name.clone()).or_default().used;
            debug_assert!(*used >= amount, "{name}: {amount} given back, {used} held");
            *used = used.saturating_sub(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_demands_say_what_there_is() {
        let mut ledger = Ledger::default();
        ledger.set_total("slots".into(), 2);
        let mut demand = Demand::default();
        demand.add("slots", 3);
        let text = ledger.check(&demand).unwrap_err().to_string();
        assert_eq!(text, "demand: 3 of \"slots\" can never be met, there are 2 in all");
        let mut demand = Demand::default();
        demand.add("slot", 1);
        let text = ledger.check(&demand).unwrap_err().to_string();
        assert_eq!(text, "demand: there is no resource \"slot\"; known: slots");
    }

    #[test]
    fn shrinking_below_use_leaves_nothing_free() {
        let mut ledger = Ledger::default();
        ledger.set_total("slots".into(), 2);
        let mut demand = Demand::default();
        demand.add("slots", 2);
        ledger.take(&demand);
        ledger.set_total("slots".into(), 1);
        assert_eq!(ledger.capacity(&"slots".into()).free(), 0);
        ledger.give_back(&demand);
        assert_eq!(ledger.capacity(&"slots".into()).free(), 1);
    }
}
