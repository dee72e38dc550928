//! What the surroundings report and configure: load, capacity, health, resources, limits, the tree of places.

use crate::event::EventKind;
use crate::gate::{CapacityState, LoadLevel, LoadState, Reason, Scope};
use crate::name::{ResourceName, SensitivityName, TechnologyName};
use crate::resource::{Capacity, PlaceError};
use crate::spec::BackupKind;
use crate::time::Now;

use super::Engine;
use super::domain::Domains;
use super::index::{DomainIx, JobIx};
use super::sensitivity::FeltBy;

impl Engine {
    /// Publishes the load of a scope. Ignored when the scope's name cannot be used: nothing accepted is of it.
    pub fn set_load(&mut self, now: Now, scope: Scope, state: LoadState) {
        self.set_load_for(now, scope, None, state);
    }

    /// [`set_load`](Self::set_load) as one technology feels it, where thresholds differ: the same host may be busy for
    /// one and calm for another. Beside it, what was said for all (`None`) counts too; the worse of both holds.
    pub fn set_load_for(
        &mut self,
        now: Now,
        scope: Scope,
        technology: Option<TechnologyName>,
        state: LoadState,
    ) {
        self.observe(now);
        let of = technology.clone().map(|name| self.subject(&Scope::Technology(name), true));
        if of == Some(None) {
            return;
        }
        let by = of.flatten().map(FeltBy::Technology);
        self.publish_load(&scope, by, &state, true, || EventKind::LoadChanged {
            scope: scope.clone(),
            technology,
            sensitivity: None,
            state: state.clone(),
        });
    }

    /// [`set_load`](Self::set_load) as jobs of one [sensitivity](crate::JobTerms::sensitivity) feel it. Beside it, what
    /// was said for all and for their technology counts too; the worst holds.
    pub fn set_load_of(&mut self, now: Now, scope: Scope, sensitivity: SensitivityName, state: LoadState) {
        self.observe(now);
        let of = self.sensitivities.find_or_make(&sensitivity);
        if of.is_none() {
            return;
        }
        let remember = state.level > LoadLevel::Calm;
        self.publish_load(&scope, Some(FeltBy::Sensitivity(of)), &state, remember, || {
            EventKind::LoadChanged {
                scope: scope.clone(),
                technology: None,
                sensitivity: Some(sensitivity),
                state: state.clone(),
            }
        });
    }

    /// Takes note of a load, and shows what has opened; a scope that is new is made only if it is to be remembered.
    fn publish_load(
        &mut self,
        scope: &Scope,
        by: Option<FeltBy>,
        state: &LoadState,
        remember: bool,
        event: impl FnOnce() -> EventKind,
    ) {
        let Some(domain) = self.subject(scope, remember) else { return };
        let level = state.level;
        let before = self.domains[domain].gates_mut().set_load(by, state.clone());
        if level == before {
            return;
        }
        if level < before {
            self.opened(domain);
        } else {
            self.changed(domain);
        }
        self.reviews.extend(self.domains[domain].attempts.iter());
        self.emit(None, event());
    }

    /// Publishes whether a scope has room. Ignored when the scope's name cannot be used.
    pub fn set_capacity(&mut self, now: Now, scope: Scope, state: CapacityState) {
        self.observe(now);
        let Some(domain) = self.subject(&scope, state != CapacityState::Open) else { return };
        let gates = self.domains[domain].gates_mut();
        let changed = match &state {
            CapacityState::Closed { reason } => gates.short.replace(reason.clone()).is_none(),
            CapacityState::Open => gates.short.take().is_some(),
        };
        if changed {
            if state == CapacityState::Open {
                self.opened(domain);
            } else {
                self.changed(domain);
            }
            self.emit(None, EventKind::CapacityChanged { scope, state });
        }
    }

    /// Publishes that a host, an instance or anything else is down, with the reason, or up again (`None`). Nothing
    /// starts there while it is down; jobs that can take another member do. Ignored when the scope's name cannot be
    /// used.
    pub fn set_down(&mut self, now: Now, scope: Scope, down: Option<Reason>) {
        self.observe(now);
        let Some(domain) = self.subject(&scope, down.is_some()) else { return };
        let before = std::mem::replace(&mut self.domains[domain].gates_mut().down, down.clone());
        if before.is_some() == down.is_some() {
            return;
        }
        if down.is_none() {
            self.opened(domain);
        } else {
            self.changed(domain);
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
        self.set_resource_because(now, place, name, total, None)
    }

    /// [`set_resource`](Self::set_resource) with the reason why there is no more: jobs that lack it, and those that
    /// pause because of it, say so. It is replaced by that of the next call, with the same total too.
    ///
    /// # Errors
    /// When the scope is not a place, or a name cannot be used. Nothing has changed then.
    pub fn set_resource_because(
        &mut self,
        now: Now,
        place: &Scope,
        name: ResourceName,
        total: u64,
        because: Option<Reason>,
    ) -> Result<(), PlaceError> {
        let now = self.observe(now);
        name.check().map_err(|source| PlaceError::Resource { name: name.clone(), source })?;
        let domain = self.place(place)?;
        let resource = self.demands.resource(&name);
        self.domains[domain].set_total_because(resource, because);
        if self.domains[domain].capacity(resource).is_some_and(|capacity| capacity.total == total) {
            return Ok(());
        }
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

    /// Sets this engine's part of a resource that it shares with others, as [`set_resource`](Self::set_resource) would, and
    /// how much there is for all: a job may need more than the part, and waits until that is large enough.
    ///
    /// # Errors
    /// As [`set_resource`](Self::set_resource).
    pub fn set_part(
        &mut self,
        now: Now,
        place: &Scope,
        name: ResourceName,
        part: u64,
        whole: u64,
    ) -> Result<(), PlaceError> {
        let because = Reason::new("other schedulers have the rest of it");
        let because = Some(because).filter(|_| part < whole);
        self.set_resource_because(now, place, name.clone(), part, because)?;
        let part_of = (self.place(place)?, self.demands.resource(&name));
        self.wholes.insert(part_of, whole);
        Ok(())
    }

    /// Says no longer how much there is of a resource at a place: in the fleet, it is as much again as the configuration
    /// said, or without limit like anywhere else.
    ///
    /// # Errors
    /// As [`set_resource`](Self::set_resource).
    pub fn unset_resource(&mut self, now: Now, place: &Scope, name: &ResourceName) -> Result<(), PlaceError> {
        if let Some(total) = self.config.resources.get(name).copied().filter(|_| *place == Scope::Fleet) {
            return self.set_resource(now, place, name.clone(), total);
        }
        self.observe(now);
        let domain = self.place(place)?;
        if let Some(resource) = self.demands.known(name) {
            self.wholes.remove(&(domain, resource));
            let resources = &mut self.domains[domain].resources;
            let before = resources.len();
            resources.retain(|(known, _)| *known != resource);
            if resources.len() < before {
                self.domains[domain].set_total_because(resource, None);
                self.touch(domain);
            }
        }
        Ok(())
    }

    /// Sets how many jobs of a scope may run at once; `None` lifts the limit. What runs goes on.
    ///
    /// # Errors
    /// When the scope's name cannot be used.
    pub fn set_limit(&mut self, now: Now, scope: &Scope, limit: Option<u32>) -> Result<(), PlaceError> {
        self.observe(now);
        scope.check().map_err(|source| PlaceError::Name { place: scope.clone(), source })?;
        if let Some(domain) = self.subject(scope, limit.is_some()) {
            let before = std::mem::replace(&mut self.domains[domain].gates_mut().limit, limit);
            if before != limit {
                self.touch(domain);
            }
        }
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

    /// As [`close`](Self::close), for an engine with a journal: jobs end here and are not written down as ended, so that a
    /// later engine [goes on](Self::restore) with them. What runs may be [interrupted](Self::interrupt); who is cancelled,
    /// fails for good or succeeds has ended.
    pub fn close_and_keep(&mut self, now: Now, reason: &Reason) {
        self.keeps = self.config.journal;
        self.close(now, reason);
        // Nobody waits for a store.
        self.take_all_back(now, reason);
    }

    /// The domain of the scope that a call is about. One that is new is made only if there is something to remember of
    /// it, and if its name can be used.
    pub(super) fn subject(&mut self, scope: &Scope, remember: bool) -> Option<DomainIx> {
        let known = self.domains.find(scope);
        known.or_else(|| (remember && scope.check().is_ok()).then(|| self.domain(scope)))
    }

    /// The domain of a scope, made when it is new: for instances the only way, or their jobs would not know of it.
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
        self.domains[domain].standing += u32::from(self.actives[active.at()].gave_back);
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
        if self.domains[domain].gates.as_ref().is_some_and(|gates| !gates.backing_off.is_empty()) {
            self.recovered.insert(domain);
        }
    }

    /// The fleet as a scope's domain, or that of the scope if it is known.
    pub(super) fn known(&self, scope: &Scope) -> Option<DomainIx> {
        match scope {
            Scope::Fleet => Some(Domains::fleet()),
            scope => self.domains.find(scope),
        }
    }
}
