//! What the surroundings report and configure: load, capacity, health, resources, limits, the tree of places.

use crate::event::EventKind;
use crate::gate::{CapacityState, LoadState, Reason, Scope};
use crate::name::ResourceName;
use crate::resource::{Capacity, PlaceError};
use crate::spec::BackupKind;
use crate::time::Now;

use super::Engine;
use super::domain::Domains;
use super::index::{DomainIx, JobIx};
use super::job::Job;

impl Engine {
    /// Publishes the load of a scope.
    pub fn set_load(&mut self, now: Now, scope: Scope, state: LoadState) {
        self.observe(now);
        let domain = self.domain(&scope);
        let before = self.domains[domain].load_level();
        let level = state.level;
        self.domains[domain].gates_mut().load = Some(state.clone());
        if level == before {
            return;
        }
        if level < before {
            self.opened(domain);
        }
        self.reviews.extend(self.domains[domain].attempts.iter());
        self.emit(None, EventKind::LoadChanged { scope, state });
    }

    /// Publishes whether a scope has room.
    pub fn set_capacity(&mut self, now: Now, scope: Scope, state: CapacityState) {
        self.observe(now);
        let domain = self.domain(&scope);
        let gates = self.domains[domain].gates_mut();
        let changed = match &state {
            CapacityState::Closed { reason } => gates.short.replace(reason.clone()).is_none(),
            CapacityState::Open => gates.short.take().is_some(),
        };
        if changed {
            if state == CapacityState::Open {
                self.opened(domain);
            }
            self.emit(None, EventKind::CapacityChanged { scope, state });
        }
    }

    /// Publishes that a host, an instance or anything else is down, with the reason, or up again (`None`). Nothing
    /// starts there while it is down; jobs that can take another member do.
    pub fn set_down(&mut self, now: Now, scope: Scope, down: Option<Reason>) {
        let now = self.observe(now);
        let domain = self.domain(&scope);
        let before = std::mem::replace(&mut self.domains[domain].gates_mut().down, down.clone());
        if before.is_some() == down.is_some() {
            return;
        }
        if down.is_none() {
            self.opened(domain);
        }
        let watchers: Vec<JobIx> = self.domains[domain].gates_mut().watchers.iter().copied().collect();
        for ix in watchers {
            // Who failed at a place that it has left since may be gone.
            let waits = self.jobs.get(ix.at()).is_some_and(|job| job.state.is_waiting());
            if waits && self.has_members(ix) {
                self.withdraw_claim(ix);
                self.leave(ix);
                self.choose_member(ix);
                self.enter(now, ix);
            }
        }
        self.emit(None, EventKind::HealthChanged { scope, down });
    }

    /// Sets how much there is of a resource at a place, made when it is new. Below what is used, nothing new starts
    /// there, and the least urgent jobs that may pause are told to, until the rest fits.
    ///
    /// # Errors
    /// When the scope is not a place, or a name cannot be used. Nothing has changed then.
    pub fn set_resource(
        &mut self,
        now: Now,
        place: &Scope,
        name: ResourceName,
        total: u64,
    ) -> Result<(), PlaceError> {
        let now = self.observe(now);
        name.check().map_err(|source| PlaceError::Resource { name: name.clone(), source })?;
        let domain = self.place(place)?;
        let resource = self.demands.resource(&name);
        // Attempts under way count from the start, as if the resource had been limited when they began.
        let taken = self.domains[domain].attempts.iter().map(|active| {
            let entry = &self.actives[active.at()];
            let amounts = self.demands.amounts(entry.demand);
            let gone = entry.gave_back && !self.demands.is_held(resource);
            amounts.iter().find(|(r, _)| *r == resource && !gone).map_or(0, |(_, amount)| *amount)
        });
        let used = taken.fold(0, u64::saturating_add);
        self.domains[domain].set_total(resource, total, used);
        self.touch(domain);
        self.relieve(now, domain);
        Ok(())
    }

    /// Sets how many jobs of a scope may run at once; `None` lifts the limit. What runs goes on.
    ///
    /// # Errors
    /// When the scope's name cannot be used.
    pub fn set_limit(&mut self, now: Now, scope: &Scope, limit: Option<u32>) -> Result<(), PlaceError> {
        self.observe(now);
        scope.check().map_err(|source| PlaceError::Name { place: scope.clone(), source })?;
        let domain = self.domain(scope);
        self.domains[domain].gates_mut().limit = limit;
        self.touch(domain);
        Ok(())
    }

    /// Puts a link or a host under a link or the fleet. Either is made when it is new. New hosts hang under the
    /// fleet until they are put elsewhere.
    ///
    /// # Errors
    /// When the tree would have a cycle, the kinds do not go together, or jobs that have not ended use the child or
    /// what is below it. To put it where it is already is no error.
    pub fn set_parent(&mut self, now: Now, child: &Scope, parent: &Scope) -> Result<(), PlaceError> {
        self.observe(now);
        let goes_under = matches!(child, Scope::Host(_) | Scope::Link(_));
        let carries = matches!(parent, Scope::Link(_) | Scope::Fleet);
        if !goes_under || !carries {
            return Err(PlaceError::WrongKind { child: child.clone(), parent: parent.clone() });
        }
        child.check().map_err(|source| PlaceError::Name { place: child.clone(), source })?;
        parent.check().map_err(|source| PlaceError::Name { place: parent.clone(), source })?;
        let (known, above) = (self.domains.find(child), self.domains.find(parent));
        if child == parent
            || matches!((known, above), (Some(known), Some(above)) if self.is_above(known, above))
        {
            return Err(PlaceError::Cycle { child: child.clone(), parent: parent.clone() });
        }
        // Configurations are loaded again while jobs run.
        if known.zip(above).is_some_and(|(known, above)| self.domains[known].parent == above) {
            return Ok(());
        }
        let jobs = known.map_or(0, |known| self.domains[known].jobs as usize);
        if jobs > 0 {
            return Err(PlaceError::InUse { place: child.clone(), jobs });
        }
        let child = self.domains.find_or_make(child);
        let parent = self.domains.find_or_make(parent);
        self.domains[child].parent = parent;
        Ok(())
    }

    /// The resources of a place and of what is above it, from the fleet down.
    pub fn resources(&self, place: &Scope) -> Vec<(Scope, ResourceName, Capacity)> {
        let Some(domain) = self.domains.find(place) else { return vec![] };
        let mut path: Vec<_> = self.domains.path(domain).collect();
        path.reverse();
        let of = |at: DomainIx| {
            let entry = &self.domains[at];
            entry.resources.iter().map(|(r, c)| (entry.scope.clone(), self.demands.name(*r).clone(), *c))
        };
        path.into_iter().flat_map(of).collect()
    }

    /// Records an event of the surroundings, so that it reaches whoever listens in its right place.
    pub fn note(&mut self, now: Now, kind: EventKind) {
        self.observe(now);
        self.emit(None, kind);
    }

    /// Takes no more submissions and cancels what waits, in steps; what runs goes on until it ends or is cancelled.
    pub fn close(&mut self, now: Now, reason: &Reason) {
        self.observe(now);
        self.closed = Some(reason.clone());
        self.begin_sweep(true);
    }

    /// The domain of a scope, made when it is new.
    pub(super) fn domain(&mut self, scope: &Scope) -> DomainIx {
        if let Some(found) = self.domains.find(scope) {
            return found;
        }
        let domain = self.domains.find_or_make(scope);
        if let Scope::Instance(instance) = scope {
            // Its jobs have been counted nowhere yet: whoever runs is counted from now on.
            for kind in BackupKind::ALL {
                if let Some(target) = self.find_target(instance, kind) {
                    self.targets[target.at()].domain = domain;
                    self.count_in(domain, self.targets[target.at()].begun);
                }
            }
        }
        domain
    }

    fn count_in(&mut self, domain: DomainIx, job: JobIx) {
        let Some(active) = job.some().and_then(|ix| self.jobs[ix.at()].active.some()) else { return };
        let position = self.domains[domain].attempts.add(active);
        self.actives[active.at()].domains.push((domain, position));
    }

    /// Counts a job at every place that it uses: these stay where they are in the tree until it has ended.
    pub(super) fn count_in_places(&mut self, ix: JobIx) {
        for place in self.places_of(ix) {
            self.domains[place].jobs += 1;
        }
    }

    pub(super) fn count_out_of_places(&mut self, ix: JobIx) {
        for place in self.places_of(ix) {
            self.domains[place].jobs -= 1;
        }
    }

    fn place(&mut self, place: &Scope) -> Result<DomainIx, PlaceError> {
        if !place.is_place() {
            return Err(PlaceError::NotAPlace(place.clone()));
        }
        place.check().map_err(|source| PlaceError::Name { place: place.clone(), source })?;
        Ok(self.domains.find_or_make(place))
    }

    /// A gate of `domain` opened: shows what it kept back, and ends the back-off of jobs that probably failed
    /// because of it.
    pub(super) fn opened(&mut self, domain: DomainIx) {
        self.touch(domain);
        let now = self.wall.now();
        let watchers = self.domains[domain].gates.as_ref().map(|gates| gates.watchers.iter().copied());
        let watchers: Vec<JobIx> = watchers.into_iter().flatten().collect();
        for ix in watchers {
            let backs_off = |job: &Job| job.back_off_until() > now.mono && job.bracket.is_none();
            if self.jobs.get(ix.at()).is_some_and(backs_off) {
                self.jobs[ix.at()].end_back_off();
                self.domains[domain].gates_mut().watchers.remove(&ix);
                self.reenter(now, ix);
            }
        }
    }

    fn has_members(&self, ix: JobIx) -> bool {
        self.jobs[ix.at()].extras.as_ref().is_some_and(|extras| !extras.spec.members.is_empty())
    }

    /// Has the job told when one of its members goes down or comes up.
    pub(super) fn watch_members(&mut self, ix: JobIx) {
        for domain in self.member_domains(ix) {
            self.domains[domain].gates_mut().watchers.insert(ix);
        }
    }

    fn member_domains(&mut self, ix: JobIx) -> Vec<DomainIx> {
        let Some(extras) = &self.jobs[ix.at()].extras else { return vec![] };
        let members = extras.spec.members.clone();
        let scopes = members.into_iter().flat_map(|m| [Scope::Instance(m.instance), Scope::Host(m.host)]);
        scopes.map(|scope| self.domains.find_or_make(&scope)).collect()
    }

    pub(super) fn unwatch(&mut self, ix: JobIx) {
        if self.jobs[ix.at()].extras.is_none() {
            return;
        }
        let mut domains = self.member_domains(ix);
        let mut own = Vec::new();
        self.domains_of(&self.jobs[ix.at()], &mut own);
        domains.extend(own);
        for domain in domains {
            if let Some(gates) = &mut self.domains[domain].gates {
                gates.watchers.remove(&ix);
            }
        }
    }

    /// Takes the best member that is up; the best of all when none is.
    pub(super) fn choose_member(&mut self, ix: JobIx) {
        self.take_member_from(ix, 0);
    }

    /// A better member was waited for long enough: takes the next that is up, if there is one.
    pub(super) fn lose_patience(&mut self, now: Now, ix: JobIx) {
        let Some(extras) = &self.jobs[ix.at()].extras else { return };
        if extras.patient_until.is_some_and(|until| until <= now.mono) {
            let next = extras.member + 1;
            self.withdraw_claim(ix);
            self.take_member_from(ix, next);
        }
    }

    fn take_member_from(&mut self, ix: JobIx, first: usize) {
        let Some(extras) = &self.jobs[ix.at()].extras else { return };
        let members = extras.spec.members.clone();
        if members.is_empty() {
            return;
        }
        let is_up = |scope: Scope| {
            let gates = self.domains.find(&scope).and_then(|domain| self.domains[domain].gates.as_ref());
            gates.is_none_or(|gates| gates.down.is_none())
        };
        let up = |at: &usize| {
            let member = &members[*at];
            is_up(Scope::Instance(member.instance.clone())) && is_up(Scope::Host(member.host.clone()))
        };
        let now = self.wall.now().mono;
        let chosen = (first..members.len()).find(up);
        let last_up = (0..members.len()).rfind(up);
        let extras = self.extras_mut(ix);
        extras.patient_until = None;
        let Some(chosen) = chosen.or((first == 0).then_some(0)) else { return };
        extras.member = chosen;
        if last_up.is_some_and(|last| last > chosen) {
            extras.patient_until = Some(now + extras.spec.patience);
        }
        let spec = extras.spec.clone();
        let host = Scope::Host(members[chosen].host.clone());
        let scope = match spec.volume {
            Some(volume) => Scope::Volume(members[chosen].host.clone(), volume),
            None => host,
        };
        let place = self.domains.find_or_make(&scope);
        debug_assert!(self.jobs[ix.at()].bracket.is_none(), "a queued job has to leave before it moves");
        self.count_out_of_places(ix);
        self.jobs[ix.at()].place = place;
        self.count_in_places(ix);
    }

    /// The fleet as a scope's domain, or that of the scope if it is known.
    pub(super) fn known(&self, scope: &Scope) -> Option<DomainIx> {
        match scope {
            Scope::Fleet => Some(Domains::fleet()),
            scope => self.domains.find(scope),
        }
    }
}
