//! Whose turn it is at the fleet: classes that compete by urgency alone stand in one lane, and lanes of jobs that
//! need the same are passed over together when the fleet has no room for them.
//!
//! So nobody is moved when the fleet fills up or gets room again: a turn costs one look at each distinct need, and
//! a heap operation for whoever has it, however many classes and tenants wait.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;
use slab::Slab;

use crate::queue::OrderKey;

use super::domain::{LaneKey, Need};
use super::forest::Entry;
use super::index::{BracketIx, DomainIx, LaneIx};

/// Virtual time that a start costs a tenant of weight 1; divisible by every weight up to ten.
const TENANT_TURN: u64 = 2_520_000;

/// The classes of one tenant that need the same; they differ by technology and destination.
#[derive(Debug)]
struct Lane {
    key: LaneKey,
    need: usize,
    /// Classes of it, shut ones included.
    classes: u32,
    /// What the classes show, a heap by their most urgent job.
    roots: Vec<Entry>,
    /// Open domains where jobs of this lane are parked, by the most urgent of these.
    doors: BTreeSet<(OrderKey, DomainIx)>,
    /// How it stands in the order of turns.
    listed: Option<(u64, OrderKey)>,
}

/// Who comes next in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// The most urgent job of a class.
    Class(BracketIx),
    /// A job that is parked at a domain which has opened.
    Parked(DomainIx, OrderKey),
}

/// A lane as it stands in the order of turns: by its tenant's due, then by urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    tag: u64,
    pub(super) key: OrderKey,
    pub(super) lane: LaneIx,
}

/// The lanes of one need that show something.
#[derive(Debug)]
pub(super) struct Turns {
    need: Need,
    /// Lanes, those that show nothing included.
    lanes: u32,
    /// Who comes first, apart from the rest: most often there is only one tenant.
    first: Option<Turn>,
    rest: BTreeSet<Turn>,
    /// The strict job that found no room in the fleet and has asked others to make it, and the fleet's count of
    /// openings then.
    asked: Option<(OrderKey, u32)>,
}

impl Turns {
    pub(super) fn first(&self) -> Option<&Turn> {
        self.first.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.first.iter().chain(&self.rest)
    }

    fn insert(&mut self, turn: Turn) {
        match &mut self.first {
            Some(first) if *first < turn => _ = self.rest.insert(turn),
            first => self.rest.extend(first.replace(turn)),
        }
    }

    fn remove(&mut self, turn: &Turn) {
        match self.first {
            Some(first) if first == *turn => self.first = self.rest.pop_first(),
            _ => _ = self.rest.remove(turn),
        }
    }

    pub(super) fn has_asked(&self, key: OrderKey, openings: u32) -> bool {
        self.asked == Some((key, openings))
    }
}

/// Whom work is for.
#[derive(Debug)]
struct Tenant {
    weight: u32,
    /// Its next start tag.
    next: u64,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    list: Slab<Lane>,
    by_key: HashMap<LaneKey, LaneIx, FixedState>,
    /// Few: the distinct needs of what waits.
    needs: Slab<Turns>,
    tenants: Vec<Tenant>,
    /// Start tag of the tenant that was served last: virtual time of start-time fair queuing.
    served: u64,
}

impl Lanes {
    /// The lane of a new class.
    pub(super) fn join(&mut self, key: LaneKey) -> LaneIx {
        let lane = self.find_or_make(key);
        self.list[lane.at()].classes += 1;
        lane
    }

    /// A class of the lane has gone.
    pub(super) fn quit(&mut self, lane: LaneIx) {
        self.list[lane.at()].classes -= 1;
        self.prune(lane);
    }

    fn find_or_make(&mut self, key: LaneKey) -> LaneIx {
        if let Some(found) = self.by_key.get(&key) {
            return *found;
        }
        let (roots, doors) = Default::default();
        let need = self.needs.iter().find(|(_, turns)| turns.need == key.need).map(|(at, _)| at);
        let need = need.unwrap_or_else(|| {
            let rest = BTreeSet::new();
            self.needs.insert(Turns { need: key.need, lanes: 0, first: None, rest, asked: None })
        });
        self.needs[need].lanes += 1;
        let lane = LaneIx::new(self.list.insert(Lane { key, need, classes: 0, roots, doors, listed: None }));
        self.by_key.insert(key, lane);
        lane
    }

    fn prune(&mut self, at: LaneIx) {
        let lane = &self.list[at.at()];
        if lane.classes == 0 && lane.doors.is_empty() {
            debug_assert!(lane.listed.is_none(), "a class without jobs shows something");
            let need = lane.need;
            self.by_key.remove(&lane.key);
            self.list.remove(at.at());
            self.needs[need].lanes -= 1;
            if self.needs[need].lanes == 0 {
                self.needs.remove(need);
            }
        }
    }

    /// The heap of what a lane's classes show; give it back with [`set_roots`](Self::set_roots).
    pub(super) fn take_roots(&mut self, lane: LaneIx) -> Vec<Entry> {
        std::mem::take(&mut self.list[lane.at()].roots)
    }

    pub(super) fn set_roots(&mut self, lane: LaneIx, roots: Vec<Entry>) {
        self.list[lane.at()].roots = roots;
        self.list_anew(lane);
    }

    /// Puts a lane where it belongs in the order of turns.
    fn list_anew(&mut self, at: LaneIx) {
        let lane = &self.list[at.at()];
        let tag = self.tag(&lane.key);
        let root = lane.roots.first().map(|entry| entry.key);
        let key = root.into_iter().chain(lane.doors.first().map(|(key, _)| *key)).min();
        let listed = key.map(|key| (tag, key));
        if lane.listed == listed {
            return;
        }
        let turns = &mut self.needs[lane.need];
        if let Some((tag, key)) = lane.listed {
            turns.remove(&Turn { tag, key, lane: at });
        }
        if let Some((tag, key)) = listed {
            turns.insert(Turn { tag, key, lane: at });
        }
        self.list[at.at()].listed = listed;
    }

    /// Jobs of a lane that are parked at `domain` may be let in, the most urgent of them at `key`. Returns whether
    /// that is new.
    pub(super) fn open_door(&mut self, key: LaneKey, domain: DomainIx, first: OrderKey) -> bool {
        let lane = self.find_or_make(key);
        let opened = self.list[lane.at()].doors.insert((first, domain));
        if opened {
            self.list_anew(lane);
        }
        opened
    }

    /// Returns whether the door was open.
    pub(super) fn close_door(&mut self, lane: LaneIx, domain: DomainIx, first: OrderKey) -> bool {
        let closed = self.list[lane.at()].doors.remove(&(first, domain));
        if closed {
            self.list_anew(lane);
            self.prune(lane);
        }
        closed
    }

    pub(super) fn key(&self, lane: LaneIx) -> &LaneKey {
        &self.list[lane.at()].key
    }

    /// Who comes next in a lane that has a turn.
    pub(super) fn next(&self, lane: LaneIx) -> Option<Next> {
        let lane = &self.list[lane.at()];
        let root = lane.roots.first();
        let door = lane.doors.first();
        match (root, door) {
            (Some(root), Some((key, _))) if root.key <= *key => Some(Next::Class(root.bracket)),
            (_, Some((key, domain))) => Some(Next::Parked(*domain, *key)),
            (root, None) => root.map(|root| Next::Class(root.bracket)),
        }
    }

    pub(super) fn needs(&self) -> impl Iterator<Item = (&Need, &Turns)> {
        self.needs.iter().map(|(_, turns)| (&turns.need, turns))
    }

    /// Up to `most` jobs of a need that go before `key` and come next in their lanes or classes.
    pub(super) fn before(&self, turns: &Turns, key: &OrderKey, most: usize, into: &mut Vec<OrderKey>) {
        let most = into.len() + most;
        for turn in turns.iter().take(most) {
            let lane = &self.list[turn.lane.at()];
            into.extend(lane.doors.first().map(|(key, _)| *key).filter(|door| door < key));
            // In a heap the keys below a given one form a tree that hangs from the root.
            let mut open = vec![0];
            while let Some(at) = open.pop().filter(|_| into.len() < most) {
                if let Some(entry) = lane.roots.get(at).filter(|entry| entry.key < *key) {
                    into.push(entry.key);
                    open.extend(super::forest::children_of(at));
                }
            }
        }
    }

    /// What every class shows that nothing keeps back below the fleet.
    pub(super) fn roots(&self) -> impl Iterator<Item = BracketIx> {
        self.list.iter().flat_map(|(_, lane)| lane.roots.iter().map(|entry| entry.bracket))
    }

    /// A strict job has asked others to make room in the fleet; it is looked at again when something has opened.
    pub(super) fn note_asked(&mut self, need: &Need, key: OrderKey, openings: u32) {
        if let Some((_, turns)) = self.needs.iter_mut().find(|(_, turns)| turns.need == *need) {
            turns.asked = Some((key, openings));
        }
    }

    /// The tag by which a lane stands; strict jobs are charged to nobody.
    fn tag(&self, key: &LaneKey) -> u64 {
        if key.need.strict { 0 } else { self.tenants[usize::from(key.tenant)].next }
    }

    /// Corrects who stands first wherever that tenant has been served since it was put there. Tags only grow, so a
    /// first one that is right is the least.
    pub(super) fn settle(&mut self) {
        if self.tenants.len() < 2 {
            return;
        }
        let firsts = |lanes: &Self| {
            let firsts = lanes.needs.iter().filter_map(|(_, turns)| turns.first());
            let wrong = |turn: &&Turn| lanes.tag(&lanes.list[turn.lane.at()].key) != turn.tag;
            firsts.filter(wrong).map(|turn| turn.lane).collect::<Vec<_>>()
        };
        loop {
            let wrong = firsts(self);
            if wrong.is_empty() {
                return;
            }
            wrong.into_iter().for_each(|lane| self.list_anew(lane));
        }
    }

    pub(super) fn tenants(&self) -> usize {
        self.tenants.len()
    }

    pub(super) fn add_tenant(&mut self, weight: u32) {
        self.tenants.push(Tenant { weight, next: 0 });
    }

    /// Has a tenant pay for a start. One that had nothing to start for long is served once and then stands where the
    /// others do.
    pub(super) fn charge(&mut self, tenant: u16) {
        let entry = &mut self.tenants[usize::from(tenant)];
        self.served = self.served.max(entry.next);
        entry.next = self.served + TENANT_TURN / u64::from(entry.weight);
    }
}
