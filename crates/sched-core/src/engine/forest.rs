//! Where queued jobs stand: one tournament for each class of jobs, along the tree of places.
//!
//! Jobs for which every shared gate stands alike form a class. A class has a bracket at every place with such jobs
//! at or below it: the jobs of that very place in a queue, and the brackets of the places below, those that are not
//! shut, in a heap by their most urgent job. So the top of a class's bracket at the fleet is the most urgent job
//! that no place below keeps back, and a place that closes or opens costs one heap operation a class and level,
//! however many jobs stand behind it.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use slab::Slab;

use crate::queue::{JobQueue, OrderKey};
use crate::spec::JobId;

use super::domain::{ClassKey, Domains, Need};
use super::index::{BracketIx, ClassIx, DomainIx, LaneIx};
use super::lanes::Lanes;

/// Children of a heap node, as in [`IndexedQueue`](crate::IndexedQueue).
const ARITY: usize = 4;
const NOWHERE: u32 = u32::MAX;

/// A class's jobs at or below one place.
#[derive(Debug)]
pub(super) struct Bracket {
    pub(super) place: DomainIx,
    pub(super) class: ClassIx,
    parent: BracketIx,
    /// Brackets right below, shut ones included.
    below: u32,
    /// Position in the parent's heap, or in the lane's when it has no parent.
    position: u32,
    /// The domain that keeps it back, and for whom that counts.
    shut_by: DomainIx,
    shut_for: For,
    shut_position: u32,
    head: Option<OrderKey>,
    children: Vec<Entry>,
    queue: Option<Box<dyn JobQueue>>,
}

/// For whom a shut bracket is closed: when another job comes to its top, that may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Every job of the class.
    All,
    /// Every job that is not more urgent than the one at the top: it would take what is kept for a more urgent one,
    /// or make others yield.
    LessUrgent,
    /// The job at the top.
    Top,
}

#[derive(Debug)]
struct Class {
    key: ClassKey,
    root: BracketIx,
    lane: LaneIx,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: OrderKey,
    pub(super) bracket: BracketIx,
}

/// Positions of the children of a heap node.
pub(super) fn children_of(at: usize) -> std::ops::RangeInclusive<usize> {
    at * ARITY + 1..=at * ARITY + ARITY
}

#[derive(Debug)]
pub(super) struct Forest {
    classes: Slab<Class>,
    by_key: HashMap<ClassKey, ClassIx, FixedState>,
    brackets: Slab<Bracket>,
    pub(super) lanes: Lanes,
    make: fn() -> Box<dyn JobQueue>,
}

impl Forest {
    pub(super) fn new(make: fn() -> Box<dyn JobQueue>) -> Self {
        let (classes, by_key, brackets) = Default::default();
        Self { classes, by_key, brackets, lanes: Lanes::default(), make }
    }

    /// Adds a job; returns its bracket.
    pub(super) fn insert(
        &mut self,
        domains: &mut Domains,
        class: &ClassKey,
        place: DomainIx,
        key: OrderKey,
    ) -> BracketIx {
        let class = self.class_of(domains, class);
        let at = self.bracket(domains, class, place);
        let make = self.make;
        self.brackets[at.at()].queue.get_or_insert_with(make).insert(key);
        self.publish(domains, at);
        at
    }

    /// Takes a job out; what is then empty goes with it.
    pub(super) fn remove(&mut self, domains: &mut Domains, at: BracketIx, job: JobId) {
        if let Some(queue) = &mut self.brackets[at.at()].queue {
            queue.remove(job);
        }
        self.publish(domains, at);
        self.prune(domains, at);
    }

    fn class_of(&mut self, domains: &mut Domains, key: &ClassKey) -> ClassIx {
        if let Some(found) = self.by_key.get(key) {
            return *found;
        }
        let lane = self.lanes.join(key.lane);
        let class = ClassIx::new(self.classes.insert(Class { key: *key, root: BracketIx::NONE, lane }));
        self.by_key.insert(*key, class);
        self.classes[class.at()].root = self.add_bracket(domains, class, Domains::fleet(), BracketIx::NONE);
        class
    }

    /// The bracket of `class` at `place`, made with those above it when it is new.
    fn bracket(&mut self, domains: &mut Domains, class: ClassIx, place: DomainIx) -> BracketIx {
        let listed = &domains[place].brackets;
        if let Ok(at) = listed.binary_search_by_key(&class, |(class, _)| *class) {
            return listed[at].1;
        }
        let above = domains[place].parent;
        let parent = self.bracket(domains, class, above);
        self.brackets[parent.at()].below += 1;
        self.add_bracket(domains, class, place, parent)
    }

    fn add_bracket(
        &mut self,
        domains: &mut Domains,
        class: ClassIx,
        place: DomainIx,
        parent: BracketIx,
    ) -> BracketIx {
        let at = BracketIx::new(self.brackets.insert(Bracket {
            place,
            class,
            parent,
            below: 0,
            position: NOWHERE,
            shut_by: DomainIx::NONE,
            shut_for: For::All,
            shut_position: NOWHERE,
            head: None,
            children: Vec::new(),
            queue: None,
        }));
        let listed = &mut domains[place].brackets;
        let position = listed.partition_point(|(other, _)| *other < class);
        listed.insert(position, (class, at));
        at
    }

    /// Removes empty brackets from `at` upwards, and with the last one the class.
    fn prune(&mut self, domains: &mut Domains, mut at: BracketIx) {
        loop {
            let bracket = &self.brackets[at.at()];
            if bracket.below > 0 || bracket.head.is_some() {
                return;
            }
            self.unlist_shut(domains, at);
            let Bracket { place, class, parent, .. } = self.brackets.remove(at.at());
            domains[place].brackets.retain(|(other, _)| *other != class);
            if parent.is_none() {
                let class = self.classes.remove(class.at());
                self.by_key.remove(&class.key);
                self.lanes.quit(class.lane);
                return;
            }
            self.brackets[parent.at()].below -= 1;
            at = parent;
        }
    }

    /// Works out anew which job a bracket puts forward, and tells the brackets above.
    ///
    /// A shut bracket is shown again when the gate may stand otherwise for the new head.
    fn publish(&mut self, domains: &mut Domains, mut at: BracketIx) {
        loop {
            let bracket = &mut self.brackets[at.at()];
            let own = bracket.queue.as_ref().and_then(|queue| queue.first());
            let below = bracket.children.first().map(|entry| entry.key);
            let head = own.into_iter().chain(below).min();
            let before = std::mem::replace(&mut bracket.head, head);
            let reopens = match bracket.shut_for {
                For::All => false,
                For::LessUrgent => head.is_some_and(|head| before.is_none_or(|before| head < before)),
                For::Top => head != before,
            };
            if reopens && !bracket.shut_by.is_none() {
                self.unlist_shut(domains, at);
            }
            let Some(above) = self.put_forward(at, before) else { return };
            at = above;
        }
    }

    /// Tells the brackets above that one with an unchanged head was shut or is shown again.
    fn announce(&mut self, domains: &mut Domains, at: BracketIx) {
        let head = self.brackets[at.at()].head;
        if let Some(above) = self.put_forward(at, head) {
            self.publish(domains, above);
        }
    }

    /// Has the bracket above, or the lane, know what `at` shows; its head was `before`. Returns the bracket above if
    /// it must be worked out anew.
    fn put_forward(&mut self, at: BracketIx, before: Option<OrderKey>) -> Option<BracketIx> {
        let bracket = &self.brackets[at.at()];
        let shown = bracket.head.filter(|_| bracket.shut_by.is_none());
        let was_shown = bracket.position != NOWHERE;
        if shown.is_some() == was_shown && (!was_shown || bracket.head == before) {
            return None;
        }
        let Some(parent) = bracket.parent.some() else {
            let lane = self.classes[bracket.class.at()].lane;
            let mut heap = self.lanes.take_roots(lane);
            self.show(&mut heap, at, shown);
            self.lanes.set_roots(lane, heap);
            return None;
        };
        let mut heap = std::mem::take(&mut self.brackets[parent.at()].children);
        let first = heap.first().map(|entry| entry.key);
        self.show(&mut heap, at, shown);
        // Above, only the first of the heap counts.
        let same = heap.first().map(|entry| entry.key) == first;
        self.brackets[parent.at()].children = heap;
        (!same).then_some(parent)
    }

    /// Puts a bracket into a heap, moves it there, or takes it out.
    fn show(&mut self, heap: &mut Vec<Entry>, bracket: BracketIx, shown: Option<OrderKey>) {
        let position = self.brackets[bracket.at()].position;
        let at = match (shown, position) {
            (None, NOWHERE) => return,
            (None, position) => {
                self.brackets[bracket.at()].position = NOWHERE;
                heap.swap_remove(position as usize);
                if position as usize == heap.len() {
                    return;
                }
                position as usize
            }
            (Some(key), NOWHERE) => {
                heap.push(Entry { key, bracket });
                heap.len() - 1
            }
            (Some(key), position) => {
                heap[position as usize].key = key;
                position as usize
            }
        };
        self.settle(heap, at);
    }

    fn settle(&mut self, heap: &mut [Entry], mut at: usize) {
        let entry = heap[at];
        let mut put = |heap: &mut [Entry], at: usize, entry: Entry| {
            heap[at] = entry;
            self.brackets[entry.bracket.at()].position = at as u32;
        };
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if heap[parent].key <= entry.key {
                break;
            }
            put(heap, at, heap[parent]);
            at = parent;
        }
        loop {
            let children = at * ARITY + 1..(at * ARITY + 1 + ARITY).min(heap.len());
            match children.min_by_key(|child| heap[*child].key) {
                Some(least) if heap[least].key < entry.key => {
                    put(heap, at, heap[least]);
                    at = least;
                }
                _ => break,
            }
        }
        put(heap, at, entry);
    }

    /// Keeps a bracket back because a gate of `by` is closed for it.
    pub(super) fn shut(&mut self, domains: &mut Domains, at: BracketIx, by: DomainIx, closed_for: For) {
        let bracket = &mut self.brackets[at.at()];
        debug_assert!(bracket.shut_by.is_none(), "shut twice");
        bracket.shut_by = by;
        bracket.shut_for = closed_for;
        bracket.shut_position = domains[by].shut.len() as u32;
        domains[by].shut.push(at);
        self.announce(domains, at);
    }

    /// Has a bracket that stays kept back show itself again when a more urgent job comes to its top.
    pub(super) fn admit_more_urgent(&mut self, at: BracketIx) {
        let closed_for = &mut self.brackets[at.at()].shut_for;
        if *closed_for == For::All {
            *closed_for = For::LessUrgent;
        }
    }

    /// Shows a bracket again that was kept back.
    pub(super) fn reopen(&mut self, domains: &mut Domains, at: BracketIx) {
        self.unlist_shut(domains, at);
        self.announce(domains, at);
    }

    fn unlist_shut(&mut self, domains: &mut Domains, at: BracketIx) {
        let bracket = &mut self.brackets[at.at()];
        let Some(by) = std::mem::take(&mut bracket.shut_by).some() else { return };
        let position = std::mem::replace(&mut bracket.shut_position, NOWHERE) as usize;
        let shut = &mut domains[by].shut;
        shut.swap_remove(position);
        if let Some(moved) = shut.get(position) {
            self.brackets[moved.at()].shut_position = position as u32;
        }
    }

    pub(super) fn is_shut(&self, at: BracketIx) -> bool {
        !self.brackets[at.at()].shut_by.is_none()
    }

    /// The bracket right below that puts `at`'s head forward; none when the head stands in its own queue.
    pub(super) fn below(&self, at: BracketIx) -> Option<BracketIx> {
        let bracket = &self.brackets[at.at()];
        let entry = bracket.children.first()?;
        (Some(entry.key) == bracket.head).then_some(entry.bracket)
    }

    pub(super) fn get(&self, at: BracketIx) -> &Bracket {
        &self.brackets[at.at()]
    }

    pub(super) fn key(&self, class: ClassIx) -> &ClassKey {
        &self.classes[class.at()].key
    }

    /// The class of a bracket's jobs.
    pub(super) fn class(&self, at: BracketIx) -> &ClassKey {
        self.key(self.brackets[at.at()].class)
    }

    /// What the jobs of a bracket need.
    pub(super) fn need(&self, at: BracketIx) -> &Need {
        &self.class(at).lane.need
    }

    pub(super) fn head(&self, at: BracketIx) -> Option<OrderKey> {
        self.brackets[at.at()].head
    }

    /// The lowest bracket from `at` upwards that is kept back, and by which domain.
    pub(super) fn kept_back(&self, at: BracketIx) -> Option<(BracketIx, DomainIx)> {
        let up = |at: &BracketIx| self.brackets[at.at()].parent.some();
        let mut upwards = std::iter::successors(at.some(), up);
        upwards.find_map(|at| self.brackets[at.at()].shut_by.some().map(|by| (at, by)))
    }

    /// How many jobs below `at`, kept back by nothing below it, go before `key`; counting stops at `most`.
    pub(super) fn before(&self, at: BracketIx, key: &OrderKey, most: usize) -> usize {
        let mut count = 0;
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            let bracket = &self.brackets[at.at()];
            if count >= most || bracket.head.is_none_or(|head| head >= *key) {
                continue;
            }
            if let Some(queue) = &bracket.queue {
                count += queue.before(key, most - count);
            }
            // In a heap the keys below a given one form a tree that hangs from the root.
            let mut places = vec![0];
            while let Some(place) = places.pop() {
                if let Some(entry) = bracket.children.get(place).filter(|entry| entry.key < *key) {
                    open.push(entry.bracket);
                    places.extend(children_of(place));
                }
            }
        }
        count.min(most)
    }
}
