//! Reservations: a large job is not starved by small ones, and small ones are not held up for nothing.
//!
//! When a job is about to pass a more urgent one that waits for nothing but resources, the waiting one gets a claim
//! on every place on its way. A claim holds nothing: a less urgent job may pass if it is expected to end before the
//! owner finds room, or if both fit beside each other at that time (EASY backfill: Lifka, *The ANL/IBM SP Scheduling
//! System*, 1995). When that time comes without a start, the claim lapses, so that an owner that meanwhile waits for
//! something else keeps nobody; an owner that keeps slipping lets nobody pass any more who would not fit beside it.

use std::time::Duration;

use crate::queue::OrderKey;
use crate::state::JobState;
use crate::time::{MonoTime, Now};

use super::domain::{Claim, Need};
use super::index::{ActiveIx, DomainIx, JobIx, ResourceIx};
use super::marks::Mark;
use super::sensitivity::Feels;
use super::{Alarm, Engine};

/// Lapsed claims after which nobody passes on the promise to end in time.
const STRICT_AFTER_SLIPS: u8 = 2;
/// Jobs that wait at one place and are looked at beyond the first: what that one cannot use, the next may.
pub(super) const LOOKED_PAST: usize = 16;
/// How much longer an attempt is expected to take that has run past its expected end: a tenth, at least this.
const OVERRUN: Duration = Duration::from_secs(60);

impl Engine {
    /// Takes a job's claims back: it starts, leaves or changes.
    pub(super) fn withdraw_claim(&mut self, ix: JobIx) {
        if !self.jobs[ix.at()].marks.set(Mark::Claims, false) {
            return;
        }
        for place in self.places_of(ix) {
            if self.domains[place].claim.is_some_and(|claim| claim.owner == ix) {
                self.set_claim(place, None);
                self.touch(place);
            }
        }
    }

    /// Reserves room for the most urgent job that waits for nothing but resources of a place on the way of `ix`,
    /// if `ix`, less urgent, would take what that one needs.
    ///
    /// Whoever shares a place with the waiting job also passes the place that keeps it back, so that is where to
    /// look; the claim then stands on all places of its owner.
    pub(super) fn reserve_before(&mut self, now: Now, ix: JobIx) {
        for place in self.places_of(ix) {
            if self.domains[place].resources.is_empty() {
                continue;
            }
            let key = self.jobs[ix.at()].key;
            let needs = self.demands.amounts(self.needed(&self.jobs[ix.at()])).clone();
            if self.domains[place].lacks(&needs).is_some() {
                continue;
            }
            for other in self.waiting_before(place, key) {
                let Some(owner) = self.find(other.id).filter(|owner| *owner != ix) else { continue };
                let first = &self.domains[place].claim;
                if first.is_some_and(|claim| self.jobs[claim.owner.at()].key <= other) {
                    break;
                }
                if !self.both_fit_now(place, &needs, owner)
                    && self.lacks_only_room(now, owner)
                    && let Some(until) = self.finds_room_at(now, owner)
                {
                    self.claim(owner, until);
                    break;
                }
            }
        }
    }

    /// The most urgent jobs before `key` that a place keeps back, in order. Of a long line only the first few of each
    /// class or lane are looked at: they are the ones that have the next turns.
    fn waiting_before(&self, place: DomainIx, key: OrderKey) -> Vec<OrderKey> {
        let entry = &self.domains[place];
        let shut = entry.shut.iter().filter_map(|bracket| self.forest.head(*bracket));
        let parked = entry.gates.iter().flat_map(|gates| gates.parked.before(key, LOOKED_PAST));
        let mut waiting: Vec<_> = shut.filter(|other| *other < key).chain(parked).collect();
        if place == self.fleet() {
            for (need, turns) in self.forest.lanes.needs() {
                if turns.first().is_some() && !self.may_fit(place, need, Feels::AS_ALL) {
                    self.forest.lanes.before(turns, &key, LOOKED_PAST, &mut waiting);
                }
            }
        }
        waiting.sort_unstable();
        waiting
    }

    /// Puts a claim on every place of `owner`, wherever nobody more urgent has one.
    fn claim(&mut self, owner: JobIx, until: MonoTime) {
        let key = self.jobs[owner.at()].key;
        self.jobs[owner.at()].marks.set(Mark::Claims, true);
        for place in self.places_of(owner) {
            let before = self.domains[place].claim;
            let outranked = before.is_some_and(|claim| self.jobs[claim.owner.at()].key < key);
            if outranked || self.domains[place].resources.is_empty() {
                continue;
            }
            self.set_claim(place, Some(Claim { owner, until }));
            // Whoever was kept back for the former owner may pass the new one.
            if before.is_some() {
                self.touch(place);
            }
        }
    }

    /// Replaces a place's claim, and with it the alarm for its end.
    fn set_claim(&mut self, place: DomainIx, claim: Option<Claim>) {
        self.alarms.extend(claim.map(|claim| (claim.until, Alarm::Claim(place))));
        let before = std::mem::replace(&mut self.domains[place].claim, claim);
        if let Some(Claim { until, .. }) = before
            && claim.is_none_or(|claim| claim.until != until)
        {
            self.alarms.remove(&(until, Alarm::Claim(place)));
        }
    }

    /// Whether nothing but resources keeps a job from starting.
    fn lacks_only_room(&self, now: Now, ix: JobIx) -> bool {
        let closed = self.closed_gates(ix, now);
        closed.iter().all(|closed| {
            matches!(closed, super::gates::Closed::Resource(..) | super::gates::Closed::Promised(..))
        })
    }

    /// When what runs is expected to have given back enough for a job. `None` when that will not do, and when it
    /// lacks nothing: only its turn keeps it waiting then, and a claim would keep that turn from ever coming.
    fn finds_room_at(&self, now: Now, ix: JobIx) -> Option<MonoTime> {
        let amounts = self.demands.amounts(self.needed(&self.jobs[ix.at()])).clone();
        let mut at = None;
        for place in self.places_of(ix) {
            let entry = &self.domains[place];
            if entry.lacks(&amounts).is_none() {
                continue;
            }
            for (resource, amount) in amounts.iter() {
                let Some(capacity) = entry.capacity(*resource).filter(|c| c.free() < *amount) else {
                    continue;
                };
                let attempts = entry.attempts.iter();
                let mut ends: Vec<_> = attempts.map(|a| (self.expected_end(now, a, *resource), a)).collect();
                ends.sort();
                let mut used = capacity.used;
                let mut ends = ends.iter();
                while capacity.total.saturating_sub(used) < *amount {
                    let (end, active) = ends.next()?;
                    used = used.saturating_sub(self.holds(*active, *resource));
                    at = at.max(Some(*end));
                }
            }
        }
        at
    }

    /// Whether a place has enough for both without waiting for anything: the common case, without a look at what
    /// runs there.
    fn both_fit_now(&self, place: DomainIx, needs: &[(ResourceIx, u64)], owner: JobIx) -> bool {
        self.kept_for(place, needs, owner).next().is_none()
    }

    /// The resources of a place of which an owner and somebody else both need some, and too little is free for both.
    pub(super) fn kept_for(
        &self,
        place: DomainIx,
        needs: &[(ResourceIx, u64)],
        owner: JobIx,
    ) -> impl Iterator<Item = ResourceIx> {
        let reserved = self.demands.amounts(self.needed(&self.jobs[owner.at()]));
        let short = move |(resource, reserved): &(ResourceIx, u64)| {
            let capacity = self.domains[place].capacity(*resource)?;
            let (_, needed) = needs.iter().find(|(other, _)| other == resource)?;
            (capacity.free().saturating_sub(*reserved) < *needed).then_some(*resource)
        };
        reserved.iter().filter_map(short)
    }

    /// When an attempt is expected to give back what it holds of a resource: soon, if it was told to make room.
    fn expected_end(&self, now: Now, active: ActiveIx, resource: ResourceIx) -> MonoTime {
        let entry = &self.actives[active.at()];
        let job = &self.jobs[entry.job.at()];
        let end = match entry.expected_end {
            end if end > now.mono => end,
            _ => now.mono + (job.expected() / 10).max(OVERRUN),
        };
        let told = match (job.state, &entry.pause) {
            (JobState::Pausing, Some(pause)) if pause.yields.is_some() && !self.demands.is_held(resource) => {
                pause.since
            }
            (JobState::Cancelling, _) => now.mono,
            _ => return end,
        };
        Some(told + self.config.pause_within)
            .filter(|soon| *soon > now.mono)
            .map_or(end, |soon| soon.min(end))
    }

    /// An attempt was told to make room or to stop: whoever a claim kept back because of it may pass now.
    pub(super) fn ends_sooner(&mut self, active: ActiveIx) {
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            if self.domains[domain].claim.is_some() {
                self.touch(domain);
            }
        }
    }

    /// What an attempt uses of a resource at present.
    pub(super) fn holds(&self, active: ActiveIx, resource: ResourceIx) -> u64 {
        let entry = &self.actives[active.at()];
        if entry.gave_back && !self.demands.is_held(resource) {
            return 0;
        }
        let amounts = self.demands.amounts(entry.demand);
        amounts.iter().find(|(r, _)| *r == resource).map_or(0, |(_, amount)| *amount)
    }

    /// The more urgent job for which what is free at `place` is kept, if `ix` would delay it.
    pub(super) fn promised(&self, place: DomainIx, ix: JobIx, now: Now) -> Option<JobIx> {
        let owner = self.domains[place].claim?.owner;
        let job = &self.jobs[ix.at()];
        let needs = self.demands.amounts(self.needed(job));
        let delayed = owner != ix && self.would_delay(place, job.key, needs, job.expected(), now);
        delayed.then_some(owner)
    }

    /// Whether every job of a need that is not more urgent than `key` would delay the owner of a claim: even the
    /// smallest and shortest.
    pub(super) fn promised_to_another(&self, place: DomainIx, need: &Need, key: OrderKey, now: Now) -> bool {
        self.domains[place].claim.is_some()
            && self.would_delay(place, key, self.demands.amounts(need.band), need.shortest(), now)
    }

    fn would_delay(
        &self,
        place: DomainIx,
        key: OrderKey,
        needs: &[(ResourceIx, u64)],
        expected: Duration,
        now: Now,
    ) -> bool {
        let entry = &self.domains[place];
        let Some(Claim { owner, until }) = entry.claim else { return false };
        let first = &self.jobs[owner.at()];
        if first.key >= key || self.both_fit_now(place, needs, owner) {
            return false;
        }
        if first.slips < STRICT_AFTER_SLIPS && now.mono + expected <= until {
            return false;
        }
        let fits_beside = self.demands.amounts(self.needed(first)).iter().all(|(resource, reserved)| {
            let Some(capacity) = entry.capacity(*resource) else { return true };
            let Some((_, needed)) = needs.iter().find(|(r, _)| r == resource) else { return true };
            let still = entry.attempts.iter().filter(|a| self.expected_end(now, *a, *resource) > until);
            let used = still.fold(0_u64, |sum, active| sum.saturating_add(self.holds(active, *resource)));
            capacity.total.saturating_sub(used).saturating_sub(*reserved) >= *needed
        });
        !fits_beside
    }

    /// A claim's time has come without a start.
    pub(super) fn lapse(&mut self, now: Now, place: DomainIx) {
        let Some(Claim { owner, until }) = self.domains[place].claim else { return };
        if until <= now.mono {
            let job = &mut self.jobs[owner.at()];
            job.slips = job.slips.saturating_add(1);
            self.withdraw_claim(owner);
        }
    }
}
