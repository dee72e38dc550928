//! What the jobs of a place want of a resource, for those who divide it among several engines: [`Wants`].

use crate::gate::Scope;
use crate::name::ResourceName;
use crate::queue::OrderKey;
use crate::spec::JobId;

use super::Engine;
use super::index::ResourceIx;

/// What the jobs of a place want of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wants {
    /// What attempts hold of it.
    pub used: u64,
    /// Jobs of the whole engine that wait, whatever for: no fewer than those that want it.
    pub waiting: u64,
    /// Of those that wait for their turn at the place, the most urgent: how urgent (latest start less the boost of its class
    /// in Unix milliseconds; the least there is for one that goes before all others), and what it needs.
    pub first: Option<(i64, u64)>,
}

impl Engine {
    /// What the jobs of a place want of a resource. Costs a look at each class of jobs there.
    pub fn wants(&self, place: &Scope, name: &ResourceName) -> Wants {
        let waiting = self.counts.pending as u64;
        let found = self.known(place).zip(self.demands.known(name));
        let Some((domain, resource)) = found else { return Wants { waiting, ..Wants::default() } };
        let entry = &self.domains[domain];
        let used = entry.capacity(resource).map_or(0, |capacity| capacity.used);
        let queued = entry.brackets.iter().filter_map(|(_, bracket)| self.forest.head(*bracket));
        let parked = entry.gates.iter().flat_map(|gates| gates.parked.firsts().map(|(_, key)| key));
        let keys = queued.chain(parked);
        let needs = keys.filter_map(|key| Some((key, self.needs_of(key.id, resource)?)));
        let urgency = |key: OrderKey| if key.is_strict() { i64::MIN } else { key.start_by_ms() };
        let first = needs.min_by_key(|(key, _)| *key).map(|(key, amount)| (urgency(key), amount));
        Wants { used, waiting, first }
    }

    fn needs_of(&self, job: JobId, resource: ResourceIx) -> Option<u64> {
        let job = &self.jobs[self.find(job)?.at()];
        let amounts = self.demands.amounts(job.demand);
        amounts.iter().find(|(r, _)| *r == resource).map(|(_, amount)| *amount)
    }
}
