//! What attempts were promised, and to what each is held beside the others.

use std::collections::BTreeMap;

use sched_core::{JobId, Scope};
use sched_limits::Rate;

use super::Dispatcher;
use crate::runtime::steering::{Promised, UNSLOWED};

/// Bytes a second for each attempt that may be slowed, where one runs that may not.
pub(super) type Parts = BTreeMap<Scope, u64>;

impl Dispatcher {
    /// What running attempts were promised at each place.
    pub(super) fn promised(&self) -> BTreeMap<Scope, Promised> {
        let mut promised = BTreeMap::<_, Promised>::new();
        for running in self.running.values().filter(|running| running.floor > 0) {
            for place in self.parts.rates.path(&running.place) {
                promised.entry(place).or_default().add(running.floor);
            }
        }
        promised
    }

    /// Where an attempt must not be slowed the place's rate gives way to it. The others there are held to equal parts of
    /// what the laws choose meanwhile; what one of them does not use is nobody's.
    pub(super) fn hold_others(&mut self) {
        let rates = &self.parts.rates;
        let mut parts = Parts::new();
        if rates.gives_way() {
            let mut count = BTreeMap::<Scope, u64>::new();
            for running in self.running.values().filter(|running| running.floor != UNSLOWED) {
                rates.path(&running.place).for_each(|place| *count.entry(place).or_default() += 1);
            }
            // Also where nobody is yet: who begins there finds it.
            parts.extend(rates.giving_way().filter_map(|(place, others)| match others {
                Rate::BytesPerSec(rate) => {
                    Some((place.clone(), rate / count.get(place).copied().unwrap_or(1)))
                }
                Rate::Unlimited => None,
            }));
        }
        if self.parts_beside != parts {
            self.parts_beside = parts;
            self.running.keys().for_each(|job| self.limit(*job));
        }
    }

    /// What is left at a place to each attempt beside one that must not be slowed.
    pub(super) fn part_at(&self, place: &Scope) -> Option<u64> {
        if self.parts_beside.is_empty() {
            return None;
        }
        self.parts.rates.path(place).filter_map(|place| self.parts_beside.get(&place)).min().copied()
    }

    /// Holds an attempt to the lowest of what was asked for, ordered, wanted for a comparison, and left to it beside one
    /// that must not be slowed.
    pub(super) fn limit(&self, job: JobId) {
        let Some(running) = self.running.get(&job) else { return };
        let stopped = self.parts.impact.as_ref().is_some_and(|impact| impact.stops(job));
        let part = self.part_at(&running.place).map(|part| part.max(running.floor));
        let part = part.filter(|_| running.floor != UNSLOWED);
        let stopped = stopped.then_some(running.floor);
        let ordered = [running.ordered_ceiling, part, stopped].into_iter().flatten().min();
        self.parts.rates.limit(&running.pacer, running.own_ceiling, ordered);
        running.control.wake();
    }
}
