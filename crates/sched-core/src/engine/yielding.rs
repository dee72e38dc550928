//! Who makes room: running jobs pause for a critical one, or because a resource shrank.

use crate::gate::Reason;
use crate::resource::Capacity;
use crate::spec::{JobId, Priority};
use crate::state::JobState;
use crate::time::Now;

use super::Engine;
use super::domain::Shut;
use super::gates::Closed;
use super::index::{ActiveIx, DomainIx, JobIx, ResourceIx};
use super::job::{Stop, Yields};

/// How an attempt makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Pause,
    Cancel,
}

impl Engine {
    /// Has less urgent attempts pause for a critical job that lacks room, if that gives it enough everywhere.
    pub(super) fn make_room(&mut self, now: Now, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        if job.priority != Priority::Critical {
            return;
        }
        let id = job.id();
        let amounts = self.demands.amounts(self.needed(job)).clone();
        let mut chosen: Vec<(ActiveIx, Way)> = Vec::new();
        let (mut enough, mut coming) = (true, false);
        for place in self.places_of(ix) {
            for (resource, amount) in amounts.iter().copied() {
                let Some(capacity) = self.domains[place].capacity(resource) else { continue };
                let lacking = amount.saturating_sub(capacity.free());
                if lacking > 0 {
                    self.wanting.insert((place, id));
                    let flows = !self.demands.is_held(resource);
                    coming |=
                        self.domains[place].attempts.iter().any(|active| self.is_coming(active, flows, &[]));
                }
                enough &= capacity.total >= amount && self.choose(place, resource, lacking, &mut chosen);
            }
        }
        // While others are still on their way, whoever made room now would take it again before they are.
        if enough && !coming {
            self.order_room(now, id, chosen);
        }
    }

    /// Has a cancellable attempt stop for a critical job that a full limit keeps back. A paused one still counts, so
    /// nothing less will do.
    pub(super) fn make_room_at_limit(&mut self, now: Now, ix: JobIx, closed: Closed) {
        let Closed::Domain(domain, Shut::Limit) = closed else { return };
        let job = &self.jobs[ix.at()];
        if job.priority != Priority::Critical {
            return;
        }
        let id = job.id();
        self.wanting.insert((domain, id));
        for closed in self.closed_gates(ix, now) {
            // When that opens it is asked again whether a place in the limit is all it lacks.
            if let Closed::Resource(at, ..) | Closed::Promised(at, ..) | Closed::Domain(at, _) = closed {
                self.wanting.insert((at, id));
            }
        }
        let entry = &self.domains[domain];
        let limit = entry.gates.as_ref().and_then(|gates| gates.limit).unwrap_or_default() as usize;
        let state = |active: ActiveIx| self.jobs[self.actives[active.at()].job.at()].state;
        let going = entry.attempts.iter().filter(|active| state(*active) == JobState::Cancelling).count();
        if limit == 0 || entry.attempts.len() - going < limit {
            return;
        }
        let able = entry.attempts.iter().filter(|active| self.way(*active, false) == Some(Way::Cancel));
        let victim = able.max_by_key(|active| self.jobs[self.actives[active.at()].job.at()].key);
        if let Some(victim) = victim.filter(|victim| self.is_kept_by_alone(now, ix, *victim)) {
            self.order_room(now, id, vec![(victim, Way::Cancel)]);
        }
    }

    /// Whether a job could start if an attempt ended. Otherwise that one would have made room in vain, and take it again.
    fn is_kept_by_alone(&self, now: Now, ix: JobIx, active: ActiveIx) -> bool {
        let entry = &self.actives[active.at()];
        let is_in = |domain: DomainIx| entry.domains.iter().any(|(other, _)| *other == domain);
        self.closed_gates(ix, now).into_iter().all(|closed| match closed {
            Closed::Domain(domain, Shut::Limit) => is_in(domain),
            Closed::Resource(place, resource, amount) => {
                let free = self.domains[place].capacity(resource).map_or(0, Capacity::free);
                is_in(place) && amount <= free.saturating_add(self.holds(active, resource))
            }
            _ => false,
        })
    }

    /// Beyond the share of critical jobs nobody makes room: whoever did would have his turn before the critical one.
    fn order_room(&mut self, now: Now, critical: JobId, chosen: Vec<(ActiveIx, Way)>) {
        let moving = chosen.iter().filter(|(active, _)| !self.actives[active.at()].gave_back).count();
        if self.over_share(self.moving() - moving) {
            // What moves anywhere decides when that changes.
            self.wanting.insert((self.fleet(), critical));
            return;
        }
        let reason = Reason::new(format!("makes room for {critical}, which is critical"));
        for (active, way) in chosen {
            let victim = self.actives[active.at()].job;
            match way {
                Way::Pause => self.order_pause(now, victim, reason.clone(), Some(Yields::ToJob(critical))),
                Way::Cancel => self.order_stop(now, victim, Stop::MadeRoom(reason.clone())),
            }
        }
    }

    /// An attempt has begun to run, goes on, or is less urgent than before: it may have to make room now, for what a
    /// place is short of or for critical jobs that found nobody able to.
    pub(super) fn make_room_again(&mut self, now: Now, active: ActiveIx) {
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            if self.domains[domain].resources.iter().any(|(_, c)| c.used > c.total) {
                self.relieve(now, domain);
            }
            for id in self.who_wants(domain) {
                match self.find(id).filter(|ix| self.jobs[ix.at()].state.is_waiting()) {
                    Some(ix) => self.ask_for_room(now, ix),
                    None => _ = self.wanting.remove(&(domain, id)),
                }
            }
        }
    }

    /// Has others make room for a critical job if that is all it lacks.
    fn ask_for_room(&mut self, now: Now, ix: JobIx) {
        let closed = self.closed_gates(ix, now);
        if closed.iter().all(|closed| matches!(closed, Closed::Resource(..) | Closed::Promised(..))) {
            return self.make_room(now, ix);
        }
        closed.into_iter().for_each(|closed| self.make_room_at_limit(now, ix, closed));
    }

    /// Something has opened for critical jobs that lacked more than others could give: that may be all now.
    pub(super) fn ask_again(&mut self, now: Now, budget: &mut usize) {
        while *budget > 0
            && let Some(id) = self.asking.pop_first()
        {
            let Some(ix) = self.find(id).filter(|ix| self.jobs[ix.at()].state.is_waiting()) else { continue };
            *budget -= 1;
            self.ask_for_room(now, ix);
        }
    }

    pub(super) fn who_wants(&self, domain: DomainIx) -> Vec<JobId> {
        let all = (domain, JobId(0))..=(domain, JobId(u64::MAX));
        self.wanting.range(all).map(|(_, id)| *id).collect()
    }

    /// A critical job starts, ends or is critical no more: who was told to pause for it and has not yet goes on.
    pub(super) fn want_no_room(&mut self, now: Now, ix: JobIx, starts: bool) {
        if self.wanting.is_empty() {
            return;
        }
        let id = self.jobs[ix.at()].id();
        let mut domains = Vec::new();
        self.domains_of(&self.jobs[ix.at()], &mut domains);
        for domain in domains {
            if !self.wanting.remove(&(domain, id)) || starts {
                continue;
            }
            let for_it = |active: &ActiveIx| {
                let pause = self.actives[active.at()].pause.as_ref();
                pause.is_some_and(|pause| pause.yields == Some(Yields::ToJob(id)))
            };
            let told: Vec<_> = self.domains[domain].attempts.iter().filter(for_it).collect();
            for active in told {
                let victim = self.actives[active.at()].job;
                if self.jobs[victim.at()].state == JobState::Pausing {
                    self.order_resume(now, victim);
                }
            }
        }
    }

    /// Adds attempts that may make room to `chosen`, least urgent first, until `lacking` is covered. Returns whether
    /// it is.
    fn choose(
        &self,
        place: DomainIx,
        resource: ResourceIx,
        lacking: u64,
        chosen: &mut Vec<(ActiveIx, Way)>,
    ) -> bool {
        let flows = !self.demands.is_held(resource);
        let attempts: Vec<_> = self.domains[place].attempts.iter().collect();
        let coming = attempts.iter().filter(|active| self.is_coming(**active, flows, chosen));
        let coming = coming.fold(0_u64, |sum, active| sum.saturating_add(self.holds(*active, resource)));
        let mut lacking = lacking.saturating_sub(coming);
        if lacking == 0 {
            return true;
        }
        let mut able: Vec<_> = attempts
            .iter()
            .filter(|active| chosen.iter().all(|(other, _)| other != *active))
            .filter(|active| self.holds(**active, resource) > 0)
            .filter_map(|active| Some((self.way(*active, flows)?, *active)))
            .collect();
        // Pausing before cancelling, then the least urgent first.
        able.sort_by_key(|(way, active)| {
            let key = self.jobs[self.actives[active.at()].job.at()].key;
            (*way == Way::Cancel, std::cmp::Reverse(key))
        });
        for (way, active) in able {
            if lacking == 0 {
                break;
            }
            lacking = lacking.saturating_sub(self.holds(active, resource));
            chosen.push((active, way));
        }
        lacking == 0
    }

    /// Whether what an attempt holds is about to be given back.
    fn is_coming(&self, active: ActiveIx, flows: bool, chosen: &[(ActiveIx, Way)]) -> bool {
        let entry = &self.actives[active.at()];
        let told = match self.jobs[entry.job.at()].state {
            JobState::Pausing => flows && entry.pause.as_ref().is_some_and(|pause| pause.yields.is_some()),
            JobState::Cancelling => true,
            _ => false,
        };
        told || chosen.iter().any(|(other, way)| *other == active && (flows || *way == Way::Cancel))
    }

    /// How an attempt may make room for a critical job, if it may.
    fn way(&self, active: ActiveIx, flows: bool) -> Option<Way> {
        let entry = &self.actives[active.at()];
        let job = &self.jobs[entry.job.at()];
        if !self.config.preemption.takes_from(job.priority) || job.is_express() {
            return None;
        }
        let stands = job.state == JobState::Paused;
        if flows && self.may_pause(active) && !entry.deaf && job.state == JobState::Running {
            return Some(Way::Pause);
        }
        let can_stop = job.state == JobState::Running || stands;
        (job.terms.cancellable && can_stop).then_some(Way::Cancel)
    }

    /// Has the least urgent attempts pause until what is used of each resource of `place` fits again.
    pub(super) fn relieve(&mut self, now: Now, place: DomainIx) {
        let over: Vec<_> =
            self.domains[place].resources.iter().filter(|(_, c)| c.used > c.total).copied().collect();
        for (resource, capacity) in over {
            let mut over = capacity.used - capacity.total;
            let mut attempts: Vec<_> = self.domains[place].attempts.iter().collect();
            attempts
                .sort_by_key(|active| std::cmp::Reverse(self.jobs[self.actives[active.at()].job.at()].key));
            let flows = !self.demands.is_held(resource);
            let coming = attempts.iter().filter(|active| self.is_coming(**active, flows, &[]));
            let coming = coming.fold(0_u64, |sum, active| sum.saturating_add(self.holds(*active, resource)));
            over = over.saturating_sub(coming);
            for active in attempts {
                let entry = &self.actives[active.at()];
                let (ix, holds) = (entry.job, self.holds(active, resource));
                let job = &self.jobs[ix.at()];
                let able = job.state == JobState::Running && self.may_pause(active) && !entry.deaf;
                if over == 0 {
                    break;
                }
                if able && flows && holds > 0 {
                    over = over.saturating_sub(holds);
                    let reason = self.shortage(place, resource, capacity);
                    self.order_pause(now, ix, reason, Some(Yields::ToShortage));
                }
            }
        }
    }

    fn shortage(&self, place: DomainIx, resource: ResourceIx, capacity: Capacity) -> Reason {
        let entry = &self.domains[place];
        let text =
            format!("{} has only {} of {} by now", entry.scope, capacity.total, self.demands.name(resource));
        match entry.total_because(resource) {
            Some(because) => because.after(text),
            None => Reason::new(text),
        }
    }
}
