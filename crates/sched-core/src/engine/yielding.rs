//! Who makes room: running jobs pause for a critical one, or because a resource shrank.

use crate::gate::Reason;
use crate::spec::Priority;
use crate::state::JobState;
use crate::time::Now;

use super::Engine;
use super::index::{ActiveIx, DomainIx, JobIx, ResourceIx};
use super::job::Stop;

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
        let amounts = self.demands.amounts(self.needed(job)).clone();
        let together = job.extras.iter().flat_map(|extras| extras.together.iter().copied());
        let places: Vec<_> = self.domains.path(job.place).chain(together).collect();
        let mut chosen: Vec<(ActiveIx, Way)> = Vec::new();
        for place in places {
            for (resource, amount) in amounts.iter().copied() {
                let free = match self.domains[place].capacity(resource) {
                    Some(capacity) if capacity.total >= amount => capacity.free(),
                    Some(_) => return,
                    None => continue,
                };
                let lacking = amount.saturating_sub(free);
                if !self.choose(place, resource, lacking, &mut chosen) {
                    return;
                }
            }
        }
        let reason = Reason::new(format!("makes room for {}, which is critical", self.jobs[ix.at()].id()));
        for (active, way) in chosen {
            let victim = self.actives[active.at()].job;
            match way {
                Way::Pause => self.order_pause(now, victim, reason.clone(), true),
                Way::Cancel => self.order_stop(now, victim, Stop::Interrupted(reason.clone(), None)),
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
            JobState::Pausing => flows && entry.pause.as_ref().is_some_and(|pause| pause.yields),
            JobState::Cancelling => true,
            _ => false,
        };
        told || chosen.iter().any(|(other, way)| *other == active && (flows || *way == Way::Cancel))
    }

    /// How an attempt may make room for a critical job, if it may.
    fn way(&self, active: ActiveIx, flows: bool) -> Option<Way> {
        let entry = &self.actives[active.at()];
        let job = &self.jobs[entry.job.at()];
        if !self.config.preemption.takes_from(job.priority) || job.express {
            return None;
        }
        let stands = job.state == JobState::Paused;
        if flows && job.terms.pausable && !entry.deaf && job.state == JobState::Running {
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
                let able = job.state == JobState::Running && job.terms.pausable && !entry.deaf;
                if over == 0 {
                    break;
                }
                if able && flows && holds > 0 {
                    over = over.saturating_sub(holds);
                    let name = self.demands.name(resource);
                    let scope = &self.domains[place].scope;
                    let text = format!("{scope} has only {} of {name} by now", capacity.total);
                    self.order_pause(now, ix, Reason::new(text), true);
                }
            }
        }
    }

    /// [`relieve`](Self::relieve)s the places of an attempt that has just begun to run.
    pub(super) fn relieve_if_short(&mut self, now: Now, active: ActiveIx) {
        for at in 0..self.actives[active.at()].domains.len() {
            let (domain, _) = self.actives[active.at()].domains[at];
            if self.domains[domain].resources.iter().any(|(_, c)| c.used > c.total) {
                self.relieve(now, domain);
            }
        }
    }
}
