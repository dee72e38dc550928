//! Resource names and demand vectors, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use slab::Slab;

use crate::name::ResourceName;
use crate::terms::{Demand, JobTerms};

use super::index::{DemandIx, ResourceIx};
use super::terms::Terms;

/// Amounts by resource, in order of first mention.
pub(super) type Amounts = Arc<[(ResourceIx, u64)]>;

/// Bits of an amount that tell two demand bands apart: amounts below 16 are bands of their own, larger ones share a
/// band with those up to a sixteenth larger. That bounds the number of classes when amounts follow sizes.
const BAND_BITS: u32 = 4;

/// Terms whose demand was looked up last; policies hand out the same few again and again.
const REMEMBERED_TERMS: usize = 16;

#[derive(Debug)]
struct Entry {
    amounts: Amounts,
    band: DemandIx,
    users: u32,
}

/// All resource names and demand vectors in use.
#[derive(Debug, Default)]
pub(super) struct Demands {
    names: Vec<Resource>,
    by_name: HashMap<ResourceName, ResourceIx, FixedState>,
    entries: Slab<Entry>,
    by_amounts: HashMap<Amounts, DemandIx, FixedState>,
    remembered: Vec<(Arc<Terms>, DemandIx)>,
    next_remembered: usize,
}

#[derive(Debug)]
struct Resource {
    name: ResourceName,
    /// A paused job keeps it.
    held: bool,
}

impl Demands {
    /// The index of a resource name, made when it is new.
    pub(super) fn resource(&mut self, name: &ResourceName) -> ResourceIx {
        if let Some(ix) = self.by_name.get(name) {
            return *ix;
        }
        let ix = ResourceIx::new(self.names.len());
        self.names.push(Resource { name: name.clone(), held: false });
        self.by_name.insert(name.clone(), ix);
        ix
    }

    pub(super) fn known(&self, name: &ResourceName) -> Option<ResourceIx> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&self, resource: ResourceIx) -> &ResourceName {
        &self.names[resource.at()].name
    }

    pub(super) fn set_held(&mut self, name: &ResourceName) {
        let ix = self.resource(name);
        self.names[ix.at()].held = true;
    }

    pub(super) fn is_held(&self, resource: ResourceIx) -> bool {
        self.names[resource.at()].held
    }

    pub(super) fn amounts(&self, demand: DemandIx) -> &Amounts {
        &self.entries[demand.at()].amounts
    }

    /// How much of one resource.
    pub(super) fn amount(&self, demand: DemandIx, resource: ResourceIx) -> u64 {
        self.amounts(demand).iter().find(|(r, _)| *r == resource).map_or(0, |(_, amount)| *amount)
    }

    /// The band of a demand: what classes are told apart by.
    pub(super) fn band(&self, demand: DemandIx) -> DemandIx {
        self.entries[demand.at()].band
    }

    /// `terms` as the engine keeps them and their demand, if they were looked up lately.
    pub(super) fn recall(&self, terms: &Arc<JobTerms>) -> Option<(&Arc<Terms>, DemandIx)> {
        let found = self.remembered.iter().find(|(known, _)| Arc::ptr_eq(&known.given, terms));
        found.map(|(terms, ix)| (terms, *ix))
    }

    /// The demand of `terms`, which are recalled from now on. Give it back with [`release`](Self::release).
    pub(super) fn of_terms(&mut self, terms: &Arc<Terms>) -> DemandIx {
        let ix = self.of(&terms.demand);
        // One more user: the memory itself.
        self.entries[ix.at()].users += 1;
        if self.remembered.len() < REMEMBERED_TERMS {
            self.remembered.push((terms.clone(), ix));
        } else {
            let (_, forgotten) =
                std::mem::replace(&mut self.remembered[self.next_remembered], (terms.clone(), ix));
            self.next_remembered = (self.next_remembered + 1) % REMEMBERED_TERMS;
            self.release(forgotten);
        }
        ix
    }

    fn of(&mut self, demand: &Demand) -> DemandIx {
        let amounts: Vec<_> = demand.iter().map(|(name, amount)| (self.resource(name), amount)).collect();
        self.intern(amounts)
    }

    /// The part of a demand that a paused job gives back.
    pub(super) fn flow_of(&mut self, demand: DemandIx) -> DemandIx {
        let amounts = self.amounts(demand).clone();
        let flow = amounts.iter().copied().filter(|(resource, _)| !self.is_held(*resource)).collect();
        self.intern(flow)
    }

    pub(super) fn intern(&mut self, amounts: Vec<(ResourceIx, u64)>) -> DemandIx {
        if let Some(ix) = self.by_amounts.get(&amounts[..]) {
            self.entries[ix.at()].users += 1;
            return *ix;
        }
        let floored: Vec<_> = amounts.iter().map(|(resource, amount)| (*resource, floor(*amount))).collect();
        let own_band = floored == amounts;
        let amounts: Amounts = amounts.into();
        let ix = DemandIx::new(self.entries.insert(Entry {
            amounts: amounts.clone(),
            band: DemandIx::NONE,
            users: 1,
        }));
        self.by_amounts.insert(amounts, ix);
        // A band is in use as long as one of its demands is.
        let band = if own_band { ix } else { self.intern(floored) };
        self.entries[ix.at()].band = band;
        ix
    }

    /// One user less; the last one takes the entry with it.
    pub(super) fn release(&mut self, demand: DemandIx) {
        let entry = &mut self.entries[demand.at()];
        entry.users -= 1;
        if entry.users == 0 {
            let entry = self.entries.remove(demand.at());
            self.by_amounts.remove(&entry.amounts);
            if entry.band != demand {
                self.release(entry.band);
            }
        }
    }

    pub(super) fn retain(&mut self, demand: DemandIx) {
        self.entries[demand.at()].users += 1;
    }
}

/// `amount` without all but its leading bits.
fn floor(amount: u64) -> u64 {
    let shift = (u64::BITS - amount.leading_zeros()).saturating_sub(BAND_BITS);
    amount >> shift << shift
}

#[cfg(test)]
mod tests {
    use super::super::index::{DomainIx, SensitivityIx};
    use super::*;

    fn demand(amounts: &[(&str, u64)]) -> Demand {
        let mut demand = Demand::default();
        for (name, amount) in amounts {
            demand.add(*name, *amount);
        }
        demand
    }

    #[test]
    fn bands_are_exact_for_small_amounts_and_a_sixteenth_wide_for_large_ones() {
        assert!((0..16).all(|n| floor(n) == n));
        for n in [16, 17, 100, 1 << 40, u64::MAX] {
            assert!(floor(n) <= n && n - floor(n) <= n / 8, "{n}: {}", floor(n));
        }
        let mut demands = Demands::default();
        let (a, b) = (demands.of(&demand(&[("io", 1000)])), demands.of(&demand(&[("io", 1001)])));
        assert_ne!(a, b);
        assert_eq!(demands.band(a), demands.band(b));
    }

    #[test]
    fn the_last_user_takes_the_entry_along() {
        let mut demands = Demands::default();
        let a = demands.of(&demand(&[("io", 1000), ("slots", 1)]));
        assert_eq!(demands.of(&demand(&[("io", 1000), ("slots", 1)])), a);
        demands.release(a);
        assert_eq!(demands.entries.len(), 2, "the demand and its band");
        demands.release(a);
        assert!(demands.entries.is_empty() && demands.by_amounts.is_empty());
    }

    #[test]
    fn the_same_terms_are_found_again_and_forgotten_in_turn() {
        let mut demands = Demands::default();
        let terms = |n: u64| {
            let given = Arc::new(JobTerms { demand: demand(&[("io", 1 << n)]), ..JobTerms::default() });
            Arc::new(Terms {
                given,
                calendar: DomainIx::NONE,
                sensitivity: SensitivityIx::NONE,
                own_class: false,
            })
        };
        let terms: Vec<_> = (1..=40).map(terms).collect();
        for terms in &terms {
            assert!(demands.recall(&terms.given).is_none());
            let ix = demands.of_terms(terms);
            let recalled = demands.recall(&terms.given).map(|(known, ix)| (known.clone(), ix));
            assert!(recalled.is_some_and(|(known, same)| same == ix && Arc::ptr_eq(&known, terms)));
            demands.release(ix);
        }
        assert_eq!(demands.entries.len(), REMEMBERED_TERMS);
    }
}
