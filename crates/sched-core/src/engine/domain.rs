//! What jobs share: places with their resources, technologies, destinations, groups and instances.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::gate::{LoadLevel, LoadState, Reason, Scope};
use crate::resource::Capacity;
use crate::time::MonoTime;

use super::breaker::Breaker;
use super::index::{BracketIx, ClassIx, DemandIx, DomainIx, JobIx, ResourceIx, SensitivityIx};
use super::orders::Order;
use super::parked::Parked;
use super::roster::Roster;
use super::sensitivity::{Feels, FeltBy};
use super::windows::Windows;

/// Whatever several jobs have in common, with the gates that hold for all of them alike.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) scope: Scope,
    /// The place above it; none for the fleet and for what is not a place.
    pub(super) parent: DomainIx,
    /// Resources, for places.
    pub(super) resources: Vec<(ResourceIx, Capacity)>,
    /// Everything that has begun and not ended.
    pub(super) attempts: Roster,
    /// One bracket a class with jobs at or below a place, in order of class.
    pub(super) brackets: Vec<(ClassIx, BracketIx)>,
    /// Brackets that are kept back because a gate of this domain is closed for them.
    pub(super) shut: Vec<BracketIx>,
    /// A more urgent job that could start but for resources of this place.
    pub(super) claim: Option<Claim>,
    /// Gates other than resources, once there was one.
    pub(super) gates: Option<Box<Gates>>,
    /// Jobs that have not ended and use this place, or one below it.
    pub(super) jobs: u32,
    /// Attempts among these that stand paused and have given back what flows.
    pub(super) standing: u32,
    /// Something of it may have opened.
    pub(super) touched: bool,
    /// How often that was so.
    pub(super) openings: u32,
}

/// A reservation: holds nothing, but whoever passes must not delay its owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) owner: JobIx,
    /// When the owner is expected to find room.
    pub(super) until: MonoTime,
}

/// Gates of a domain, all open by default.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub(super) hold: Option<Held>,
    pub(super) short: Option<Reason>,
    pub(super) down: Option<Reason>,
    pub(super) load: Option<LoadState>,
    /// The load as some feel it, in order of whom. Of a sensitivity only while it is not calm: there may be many.
    pub(super) load_of: Vec<(FeltBy, LoadState)>,
    /// When a calendar's jobs may run.
    pub(super) windows: Option<Box<Windows>>,
    pub(super) limit: Option<u32>,
    /// Why there is as much of a resource as there is, where somebody said so.
    pub(super) totals_because: Vec<(ResourceIx, Reason)>,
    pub(super) breaker: Option<Breaker>,
    pub(super) run_now: Option<Order>,
    pub(super) ceiling: Option<(u64, Order)>,
    /// When the first of these orders expires.
    pub(super) orders_end: Option<MonoTime>,
    /// Jobs that wait for this very domain, outside every queue.
    pub(super) parked: Parked,
    /// Jobs of which a member is here: their choice depends on these gates.
    pub(super) choosers: BTreeSet<JobIx>,
    /// Jobs whose back-off ends when it opens: what made them fail is over then.
    pub(super) backing_off: BTreeSet<JobIx>,
}

/// An operator's hold.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) order: Order,
    /// Somebody waits for what still runs to end.
    pub(super) drain: bool,
    /// That it has ended was told.
    pub(super) told: bool,
}

/// A gate of a domain that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    Hold,
    Blackout,
    Capacity,
    Breaker,
    Limit,
    Health,
    Window,
    Load(LoadLevel),
}

/// Which gates a job passes though they are closed for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pass {
    /// Was paused and goes on: past holds, breakers and limits.
    pub(super) goes_on: bool,
    pub(super) heeds: Heeds,
    /// The highest load at which it runs.
    pub(super) tolerated: LoadLevel,
}

/// What of its calendar keeps a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Heeds {
    /// That no window is open, and blackouts.
    Windows,
    /// Blackouts alone.
    Blackouts,
    /// Nothing: it has begun and runs to its end.
    Nothing,
}

impl Gates {
    /// Takes note of a load, as some feel it or all; returns the level that it had.
    pub(super) fn set_load(&mut self, by: Option<FeltBy>, state: LoadState) -> LoadLevel {
        let before = match by {
            None => self.load.replace(state),
            Some(by) => {
                let keep = matches!(by, FeltBy::Technology(_)) || state.level > LoadLevel::Calm;
                match self.load_of.binary_search_by_key(&by, |(of, _)| *of) {
                    Ok(at) if keep => Some(std::mem::replace(&mut self.load_of[at].1, state)),
                    Ok(at) => Some(self.load_of.remove(at).1),
                    Err(at) => {
                        if keep {
                            self.load_of.insert(at, (by, state));
                        }
                        None
                    }
                }
            }
        };
        before.map(|load| load.level).unwrap_or_default()
    }
}

impl Domain {
    pub(super) fn new(scope: Scope, parent: DomainIx) -> Self {
        Self {
            scope,
            parent,
            resources: Vec::new(),
            attempts: Roster::default(),
            brackets: Vec::new(),
            shut: Vec::new(),
            claim: None,
            gates: None,
            jobs: 0,
            standing: 0,
            touched: false,
            openings: 0,
        }
    }

    pub(super) fn gates_mut(&mut self) -> &mut Gates {
        self.gates.get_or_insert_default()
    }

    /// A closed gate for a job that feels load so.
    pub(super) fn closed(&self, pass: Pass, feels: Feels) -> Option<Shut> {
        let gates = self.gates.as_ref()?;
        let fresh = !pass.goes_on;
        if fresh && gates.hold.is_some() {
            return Some(Shut::Hold);
        }
        if gates.short.is_some() {
            return Some(Shut::Capacity);
        }
        let running = self.attempts.len();
        if fresh && gates.breaker.as_ref().is_some_and(Breaker::is_closed) {
            return Some(Shut::Breaker);
        }
        if fresh && gates.limit.is_some_and(|limit| running >= limit as usize) {
            return Some(Shut::Limit);
        }
        if fresh && gates.down.is_some() {
            return Some(Shut::Health);
        }
        let window = gates.windows.as_ref().and_then(|windows| windows.closed(pass.heeds));
        let busy = || self.load_level(feels) > pass.tolerated;
        window.or_else(|| busy().then_some(Shut::Load(pass.tolerated)))
    }

    /// Every closed gate, strongest first.
    pub(super) fn all_closed(&self, pass: Pass, feels: Feels) -> Vec<Shut> {
        let Some(gates) = &self.gates else { return vec![] };
        let running = self.attempts.len();
        let fresh = !pass.goes_on;
        let window = gates.windows.as_ref().and_then(|windows| windows.closed(pass.heeds));
        let checks = [
            (fresh && gates.hold.is_some(), Shut::Hold),
            (window == Some(Shut::Blackout), Shut::Blackout),
            (gates.short.is_some(), Shut::Capacity),
            (fresh && gates.breaker.as_ref().is_some_and(Breaker::is_closed), Shut::Breaker),
            (fresh && gates.limit.is_some_and(|limit| running >= limit as usize), Shut::Limit),
            (fresh && gates.down.is_some(), Shut::Health),
            (window == Some(Shut::Window), Shut::Window),
            (self.load_level(feels) > pass.tolerated, Shut::Load(pass.tolerated)),
        ];
        checks.into_iter().filter_map(|(closed, shut)| closed.then_some(shut)).collect()
    }

    pub(super) fn breaker_mut(&mut self) -> Option<&mut Breaker> {
        self.gates.as_mut()?.breaker.as_mut()
    }

    /// The load as a job feels it: the worst of that for all, for its technology and for what it is sensitive to.
    pub(super) fn load(&self, feels: Feels) -> Option<&LoadState> {
        let gates = self.gates.as_ref()?;
        let own = |by: FeltBy| {
            let found = gates.load_of.binary_search_by_key(&by, |(of, _)| *of).ok();
            found.map(|at| &gates.load_of[at].1)
        };
        let of_technology = own(FeltBy::Technology(feels.technology));
        let of_sensitivity = own(FeltBy::Sensitivity(feels.sensitivity));
        gates.load.iter().chain(of_technology).chain(of_sensitivity).max_by_key(|load| load.level)
    }

    pub(super) fn load_level(&self, feels: Feels) -> LoadLevel {
        self.load(feels).map(|load| load.level).unwrap_or_default()
    }

    pub(super) fn capacity(&self, resource: ResourceIx) -> Option<&Capacity> {
        self.resources.iter().find(|(ix, _)| *ix == resource).map(|(_, capacity)| capacity)
    }

    /// Why there is as much of a resource as there is.
    pub(super) fn total_because(&self, resource: ResourceIx) -> Option<&Reason> {
        let reasons = &self.gates.as_ref()?.totals_because;
        reasons.iter().find(|(ix, _)| *ix == resource).map(|(_, because)| because)
    }

    /// Replaces why there is as much of a resource as there is.
    pub(super) fn set_total_because(&mut self, resource: ResourceIx, because: Option<Reason>) {
        if because.is_none() && self.gates.is_none() {
            return;
        }
        let reasons = &mut self.gates_mut().totals_because;
        reasons.retain(|(ix, _)| *ix != resource);
        reasons.extend(because.map(|because| (resource, because)));
    }

    fn capacity_mut(&mut self, resource: ResourceIx) -> Option<&mut Capacity> {
        self.resources.iter_mut().find(|(ix, _)| *ix == resource).map(|(_, capacity)| capacity)
    }

    /// Sets how much there is of a resource. What was taken before counts from the start.
    pub(super) fn set_total(&mut self, resource: ResourceIx, total: u64, used: u64) {
        match self.capacity_mut(resource) {
            Some(capacity) => capacity.total = total,
            None => self.resources.push((resource, Capacity { total, used })),
        }
    }

    /// The first resource of which there is too little here.
    pub(super) fn lacks(&self, amounts: &[(ResourceIx, u64)]) -> Option<(ResourceIx, u64)> {
        self.lacking(amounts).next()
    }

    /// Every resource of which there is too little here.
    pub(super) fn lacking(&self, amounts: &[(ResourceIx, u64)]) -> impl Iterator<Item = (ResourceIx, u64)> {
        amounts.iter().copied().filter(|(resource, amount)| {
            self.capacity(*resource).is_some_and(|capacity| *amount > capacity.free())
        })
    }

    pub(super) fn take(&mut self, amounts: &[(ResourceIx, u64)]) {
        for (resource, amount) in amounts {
            if let Some(capacity) = self.capacity_mut(*resource) {
                capacity.used = capacity.used.saturating_add(*amount);
            }
        }
    }

    pub(super) fn give_back(&mut self, amounts: &[(ResourceIx, u64)]) {
        for (resource, amount) in amounts {
            if let Some(capacity) = self.capacity_mut(*resource) {
                debug_assert!(capacity.used >= *amount, "{amount} given back, {} used", capacity.used);
                capacity.used = capacity.used.saturating_sub(*amount);
            }
        }
    }
}

/// All domains by their scope.
#[derive(Debug)]
pub(super) struct Domains {
    list: Vec<Domain>,
    index: HashMap<Scope, DomainIx, FixedState>,
}

/// The root of the places is the first domain.
pub(super) const FLEET: usize = 0;

impl Domains {
    pub(super) fn new() -> Self {
        let mut domains = Self { list: Vec::new(), index: HashMap::default() };
        domains.make(Scope::Fleet, DomainIx::NONE);
        domains
    }

    pub(super) fn fleet() -> DomainIx {
        DomainIx::new(FLEET)
    }

    pub(super) fn find(&self, scope: &Scope) -> Option<DomainIx> {
        self.index.get(scope).copied()
    }

    /// The domain of a scope. A new host or link is put under the fleet, a volume under its host.
    pub(super) fn find_or_make(&mut self, scope: &Scope) -> DomainIx {
        if let Some(found) = self.find(scope) {
            return found;
        }
        let parent = match scope {
            Scope::Volume(host, _) => self.find_or_make(&Scope::Host(host.clone())),
            Scope::Host(_) | Scope::Link(_) => Self::fleet(),
            _ => DomainIx::NONE,
        };
        self.make(scope.clone(), parent)
    }

    fn make(&mut self, scope: Scope, parent: DomainIx) -> DomainIx {
        let ix = DomainIx::new(self.list.len());
        self.list.push(Domain::new(scope.clone(), parent));
        self.index.insert(scope, ix);
        ix
    }

    /// A place and everything above it, the fleet last.
    pub(super) fn path(&self, place: DomainIx) -> impl Iterator<Item = DomainIx> + '_ {
        std::iter::successors(place.some(), |at| self[*at].parent.some())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DomainIx, &Domain)> {
        self.list.iter().enumerate().map(|(at, domain)| (DomainIx::new(at), domain))
    }
}

impl std::ops::Index<DomainIx> for Domains {
    type Output = Domain;
    fn index(&self, ix: DomainIx) -> &Domain {
        &self.list[ix.at()]
    }
}

impl std::ops::IndexMut<DomainIx> for Domains {
    fn index_mut(&mut self, ix: DomainIx) -> &mut Domain {
        &mut self.list[ix.at()]
    }
}

/// Shared gates by which classes of jobs are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassKey {
    pub(super) technology: DomainIx,
    pub(super) destination: DomainIx,
    pub(super) calendar: DomainIx,
    pub(super) sensitivity: SensitivityIx,
    pub(super) lane: LaneKey,
}

impl ClassKey {
    pub(super) fn feels(&self) -> Feels {
        Feels { technology: self.technology, sensitivity: self.sensitivity }
    }
}

/// What classes have in common that compete by urgency alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneKey {
    pub(super) need: Need,
    pub(super) tenant: u16,
}

/// By what a place tells whether it keeps jobs back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Need {
    /// Goes before everything that is not.
    pub(super) strict: bool,
    pub(super) pass: Pass,
    pub(super) band: DemandIx,
    /// Expected duration to a power of four.
    pub(super) span: u8,
}

impl Need {
    /// An expected duration in milliseconds to a power of four.
    pub(super) fn span(expected: Duration) -> u8 {
        (expected.as_millis().max(1).ilog2() / 2) as u8
    }

    /// The shortest expected duration that comes under the same span.
    pub(super) fn shortest(&self) -> Duration {
        Duration::from_millis(if self.span == 0 { 0 } else { 1 << (2 * self.span) })
    }
}
