//! Which places and jobs there are, under what, and at which rates: [`Tree`]. Time is an argument.

use std::collections::HashMap;
use std::sync::Arc;

use sched_core::{MonoTime, PlaceError, Scope};
use slab::Slab;

use super::bucket::{Bucket, chunk};
use super::line::Line;
use super::node::{Job, Kind, Node, node, stride};
use crate::rate::Rate;

pub(super) type Ix = usize;

/// All nodes. The fleet is always there.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Slab<Node>,
    places: HashMap<Scope, Ix>,
    fleet: Ix,
    /// Jobs with a floor.
    pub(super) floored: Vec<Ix>,
    /// Bytes let through in advance when nobody waits.
    pub(super) lease: u64,
    /// Jobs that may take by themselves; none while anybody waits.
    pub(super) gates: Vec<Ix>,
    /// The last time seen.
    pub(super) at: MonoTime,
}

impl Tree {
    pub(super) fn new(rate: Rate, lease: u64, now: MonoTime) -> Self {
        let mut nodes = Slab::new();
        let fleet = nodes.insert(node(rate, None, 0, now, Kind::Place(Scope::Fleet, true)));
        let places = HashMap::from([(Scope::Fleet, fleet)]);
        Self { nodes, places, fleet, floored: Vec::new(), lease, gates: Vec::new(), at: now }
    }

    pub(super) fn fleet(&self) -> Ix {
        self.fleet
    }

    pub(super) fn find(&self, scope: &Scope) -> Option<&Node> {
        self.places.get(scope).map(|ix| &self.nodes[*ix])
    }

    pub(super) fn granted(&self, ix: Ix) -> u64 {
        self.nodes[ix].granted.wrapping_add(self.unentered(ix))
    }

    pub(super) fn granted_at(&self, scope: &Scope) -> Option<u64> {
        self.places.get(scope).map(|ix| self.granted(*ix))
    }

    /// The node of a place, made when it is new: links and hosts under the fleet, volumes under their host.
    fn place(&mut self, scope: &Scope) -> Result<Ix, PlaceError> {
        if let Some(ix) = self.places.get(scope) {
            return Ok(*ix);
        }
        if !scope.is_place() {
            return Err(PlaceError::NotAPlace(scope.clone()));
        }
        scope.check().map_err(|source| PlaceError::Name { place: scope.clone(), source })?;
        let parent = match scope {
            Scope::Volume(host, _) => self.place(&Scope::Host(host.clone()))?,
            _ => self.fleet,
        };
        let kind = Kind::Place(scope.clone(), false);
        let ix = self.insert(node(Rate::Unlimited, Some(parent), 0, self.at, kind));
        self.places.insert(scope.clone(), ix);
        Ok(ix)
    }

    /// The node of a place that is to be kept from now on.
    fn configure(&mut self, scope: &Scope) -> Result<Ix, PlaceError> {
        let ix = self.place(scope)?;
        if let Kind::Place(_, configured) = &mut self.nodes[ix].kind {
            *configured = true;
        }
        Ok(ix)
    }

    fn insert(&mut self, mut node: Node) -> Ix {
        if let Some(parent) = node.parent {
            self.nodes[parent].children += 1;
            node.tag = self.nodes[parent].clock;
        }
        self.nodes.insert(node)
    }

    pub(super) fn set_rate(&mut self, scope: &Scope, rate: Rate, now: MonoTime) -> Result<(), PlaceError> {
        let ix = self.configure(scope)?;
        self.set_node_rate(ix, rate, now);
        Ok(())
    }

    pub(super) fn set_node_rate(&mut self, ix: Ix, rate: Rate, now: MonoTime) {
        if self.nodes[ix].bucket.rate() != rate {
            self.close_gates(now);
            self.nodes[ix].bucket.set_rate(rate, now);
            self.measure_chunks();
        }
    }

    pub(super) fn set_weight(&mut self, scope: &Scope, weight: u32) -> Result<(), PlaceError> {
        let ix = self.configure(scope)?;
        self.set_node_weight(ix, weight);
        Ok(())
    }

    pub(super) fn set_node_weight(&mut self, ix: Ix, weight: u32) {
        self.nodes[ix].stride = stride(weight);
    }

    pub(super) fn set_floor(&mut self, ix: Ix, floor: u64, now: MonoTime) {
        self.floored.retain(|floored| *floored != ix);
        if floor > 0 {
            self.floored.push(ix);
        }
        if let Some(job) = self.nodes[ix].job_mut() {
            job.floor.set_rate(Rate::BytesPerSec(floor), now);
        }
    }

    /// Puts a link or a host under a link or the fleet, with all that is below it.
    pub(super) fn set_parent(
        &mut self,
        child: &Scope,
        parent: &Scope,
        now: MonoTime,
    ) -> Result<(), PlaceError> {
        let goes_under = matches!(child, Scope::Host(_) | Scope::Link(_));
        if !goes_under || !matches!(parent, Scope::Link(_) | Scope::Fleet) {
            return Err(PlaceError::WrongKind { child: child.clone(), parent: parent.clone() });
        }
        for scope in [child, parent] {
            scope.check().map_err(|source| PlaceError::Name { place: scope.clone(), source })?;
        }
        let below =
            |ix: &Ix| self.places.get(child).is_some_and(|child| self.path(*ix).any(|above| above == *child));
        if child == parent || self.places.get(parent).is_some_and(below) {
            return Err(PlaceError::Cycle { child: child.clone(), parent: parent.clone() });
        }
        let (ix, to) = (self.configure(child)?, self.configure(parent)?);
        self.close_gates(now);
        let (waiting, jobs) = (self.nodes[ix].waiting, self.nodes[ix].jobs);
        self.set_waiting(ix, 0);
        if let Some(from) = self.nodes[ix].parent.replace(to) {
            self.nodes[from].children -= 1;
            self.on_path(from, |node| node.jobs -= jobs);
        }
        self.nodes[to].children += 1;
        self.nodes[ix].tag = self.nodes[to].clock;
        self.set_waiting(ix, waiting);
        self.on_path(to, |node| node.jobs += jobs);
        self.measure_chunks();
        Ok(())
    }

    /// A new job at a place.
    pub(super) fn join(
        &mut self,
        place: &Scope,
        (ceiling, floor, weight): (Rate, u64, u32),
        now: MonoTime,
    ) -> Result<(Ix, Arc<Line>), PlaceError> {
        let parent = self.place(place)?;
        let line = Arc::<Line>::default();
        let floor_bucket = Bucket::new(Rate::BytesPerSec(0), now);
        let job = Job { line: line.clone(), floor: floor_bucket, issued: 0, given_up: 0, piece: 0 };
        let ix = self.insert(node(ceiling, Some(parent), weight, now, Kind::Job(job)));
        self.set_floor(ix, floor, now);
        self.on_path(ix, |node| node.jobs += 1);
        self.measure_chunks();
        Ok((ix, line))
    }

    /// A job has ended: what it was let through and did not use goes back, what it still asked for is forgotten.
    pub(super) fn leave(&mut self, ix: Ix, now: MonoTime) {
        self.set_floor(ix, 0, now);
        self.close_gates(now);
        self.set_waiting(ix, 0);
        self.on_path(ix, |node| node.jobs -= 1);
        self.remove(ix);
        self.measure_chunks();
    }

    fn remove(&mut self, ix: Ix) {
        let gone = self.nodes.remove(ix);
        if let Kind::Place(scope, _) = &gone.kind {
            self.places.remove(scope);
        }
        let Some(parent) = gone.parent else { return };
        self.nodes[parent].children -= 1;
        let empty = self.nodes[parent].children == 0;
        if empty && matches!(self.nodes[parent].kind, Kind::Place(_, false)) {
            self.remove(parent);
        }
    }

    /// The node and all above it.
    pub(super) fn path(&self, ix: Ix) -> impl Iterator<Item = Ix> + '_ {
        std::iter::successors(Some(ix), |ix| self.nodes[*ix].parent)
    }

    fn measure_chunks(&mut self) {
        let jobs: Vec<Ix> = self.nodes.iter().filter(|(_, node)| node.job().is_some()).map(|n| n.0).collect();
        jobs.into_iter().for_each(|ix| self.measure_chunk(ix));
    }

    /// What a job may charge, and is let through, at once.
    fn measure_chunk(&mut self, ix: Ix) {
        let nodes = || self.path(ix).map(|ix| &self.nodes[ix]);
        let most = nodes().map(|node| chunk(node.bucket.rate(), node.jobs)).min().unwrap_or(1);
        let burst = nodes().map(|node| node.bucket.burst()).min().unwrap_or(0);
        if let Some(job) = self.nodes[ix].job_mut() {
            job.piece = most.min(burst);
            job.line.set_chunk(most);
        }
    }

    pub(super) fn backlog(&self, ix: Ix) -> u64 {
        self.nodes[ix].job().map_or(0, Job::backlog)
    }

    /// Puts bytes in a job's line, on all levels, and returns their place.
    pub(super) fn line_up(&mut self, ix: Ix, bytes: u64, now: MonoTime) -> u64 {
        self.close_gates(now);
        let place = self.nodes[ix].job_mut().map_or(0, |job| {
            job.issued = job.issued.wrapping_add(bytes);
            job.issued
        });
        self.set_waiting(ix, self.backlog(ix));
        place
    }

    pub(super) fn set_waiting(&mut self, ix: Ix, waiting: u64) {
        let before = self.nodes[ix].waiting;
        let mut at = Some(ix);
        while let Some(here) = at {
            let node = &mut self.nodes[here];
            let was_active = node.waiting > 0;
            node.waiting = (node.waiting - before).saturating_add(waiting);
            let (is_active, parent) = (node.waiting > 0, node.parent);
            if let Some(above) = parent.filter(|_| was_active != is_active) {
                let active = &mut self.nodes[above].active;
                if is_active {
                    active.push(here);
                } else {
                    active.retain(|child| *child != here);
                }
            }
            at = parent;
        }
    }

    pub(super) fn on_path(&mut self, ix: Ix, mut change: impl FnMut(&mut Node)) {
        let mut at = Some(ix);
        while let Some(here) = at {
            let node = &mut self.nodes[here];
            change(node);
            at = node.parent;
        }
    }
}
