//! A scheduler's parts of the limits of its fleet, and what it tells of their use.

use std::collections::BTreeSet;

use sched_core::Now;
use sched_core::store::LimitUse;
use sched_limits::Rate;

use super::Dispatcher;

impl Dispatcher {
    pub(super) fn set_part(&mut self, now: Now, name: &str, amount: u64) {
        let Some(sharing) = &mut self.sharing else { return };
        let Some((limit, applied)) = sharing.limits.iter_mut().find(|(limit, _)| limit.name() == name) else {
            return;
        };
        *applied = amount;
        let limit = limit.clone();
        match &limit.resource {
            Some(resource) => {
                let set =
                    self.parts.engine.set_part(now, &limit.place, resource.clone(), amount, limit.total);
                debug_assert!(set.is_ok(), "places of limits are checked at the start: {set:?}");
            }
            None => {
                // A rate of zero would be none: who has no part yet trickles.
                if self.parts.rates.set(&limit.place, Some(Rate::BytesPerSec(amount.max(1)))).is_ok() {
                    self.wake_all();
                }
            }
        }
    }

    /// Nothing is used of limits before there is a part. Tells which of them cannot be.
    pub(in super::super) fn begin_sharing(&mut self, now: Now) {
        let limits: Vec<String> = self
            .sharing
            .iter()
            .flat_map(|sharing| sharing.limits.iter().map(|(limit, _)| limit.name()))
            .collect();
        limits.iter().for_each(|limit| self.set_part(now, limit, 0));
        self.report_to_fleet();
    }

    /// Writes down what the next beat tells.
    pub(super) fn report_to_fleet(&mut self) {
        let Some(sharing) = &mut self.sharing else { return };
        let engine = &self.parts.engine;
        let mut busy: BTreeSet<u32> = sharing.leaving.keys().copied().collect();
        busy.extend(self.running.keys().filter_map(|job| sharing.places.get(job)));
        let uses = sharing.limits.iter().map(|(limit, applied)| {
            let applied = *applied;
            let told = match &limit.resource {
                Some(resource) => {
                    let wants = engine.wants(&limit.place, resource);
                    let (key, next) = wants.first.unwrap_or((i64::MAX, 0));
                    let demand = wants.used.saturating_add(wants.waiting.saturating_mul(next.max(1)));
                    let demand = demand.min(limit.total);
                    let least = wants.used.saturating_add(next).min(limit.total);
                    LimitUse { applied, used: wants.used, demand, least, key }
                }
                None => {
                    // Bytes move as fast as they may while anything runs.
                    let runs = !self.running.is_empty();
                    let demand = if runs { limit.total } else { 0 };
                    LimitUse { applied, used: 0, demand, least: 0, key: i64::MAX }
                }
            };
            (limit.name(), told)
        });
        let uses = uses.collect();
        let asked = sharing.elsewhere.keys().copied().collect();
        sharing.thread.report(|report| {
            (report.busy, report.uses, report.asked) = (busy, uses, asked);
        });
    }
}
