//! Which places and jobs there are, under what, and at which rates: [`Tree`]. Time is an argument.

use std::collections::HashMap;
use std::sync::Arc;

use sched_core::{MonoTime, PlaceError, Scope};
use slab::Slab;

use super::bucket::{Bucket, chunk};
use super::line::{Line, Shape};
use super::node::{Job, Kind, Node, node};
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
    pub(super) shape: Shape,
    /// The last time seen.
    pub(super) at: MonoTime,
}

impl Tree {
    pub(super) fn new(rate: Rate, lease: u64, now: MonoTime) -> Self {
        let mut nodes = Slab::new();
        let fleet = nodes.insert(node(rate, None, 0, now, Kind::Place(Scope::Fleet, true)));
        let places = HashMap::from([(Scope::Fleet, fleet)]);
        let shape = Shape::default();
        shape.change();
        Self { nodes, places, fleet, floored: Vec::new(), lease, gates: Vec::new(), shape, at: now }
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
            self.shape.change();
        }
    }

    pub(super) fn set_weight(&mut self, scope: &Scope, weight: u32) -> Result<(), PlaceError> {
        let ix = self.configure(scope)?;
        self.set_node_weight(ix, weight);
        Ok(())
    }

    pub(super) fn set_node_weight(&mut self, ix: Ix, weight: u32) {
        let before = u64::from(self.nodes[ix].weight);
        self.nodes[ix].set_weight(weight);
        let (after, has_jobs) = (u64::from(self.nodes[ix].weight), self.nodes[ix].jobs > 0);
        if let Some(parent) = self.nodes[ix].parent.filter(|_| has_jobs) {
            self.nodes[parent].weights = self.nodes[parent].weights - before + after;
        }
        self.shape.change();
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

    /// Whether a link or a host can be put under a link or the fleet.
    pub(super) fn check_parent(&self, child: &Scope, parent: &Scope) -> Result<(), PlaceError> {
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
        Ok(())
    }

    /// Puts a link or a host under a link or the fleet, with all that is below it.
    pub(super) fn set_parent(
        &mut self,
        child: &Scope,
        parent: &Scope,
        now: MonoTime,
    ) -> Result<(), PlaceError> {
        self.check_parent(child, parent)?;
        let (ix, to) = (self.configure(child)?, self.configure(parent)?);
        self.close_gates(now);
        let (waiting, jobs) = (self.nodes[ix].waiting, self.nodes[ix].jobs);
        self.set_waiting(ix, 0);
        self.set_jobs(ix, 0);
        if let Some(from) = self.nodes[ix].parent.replace(to) {
            self.nodes[from].children -= 1;
        }
        self.nodes[to].children += 1;
        self.nodes[ix].tag = self.nodes[to].clock;
        self.set_waiting(ix, waiting);
        self.set_jobs(ix, jobs);
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
        let line = Arc::new(Line::new(self.shape.clone()));
        let floor_bucket = Bucket::new(Rate::BytesPerSec(0), now);
        let job = Job {
            line: line.clone(),
            gate_open: false,
            floor: floor_bucket,
            issued: 0,
            given_up: 0,
            piece: 0,
            measured: 0,
        };
        let ix = self.insert(node(ceiling, Some(parent), weight, now, Kind::Job(job)));
        self.set_floor(ix, floor, now);
        self.set_jobs(ix, 1);
        Ok((ix, line))
    }

    /// A job has ended: what it was let through and did not use goes back, what it still asked for is forgotten.
    pub(super) fn leave(&mut self, ix: Ix, now: MonoTime) {
        self.set_floor(ix, 0, now);
        self.close_gates(now);
        self.set_waiting(ix, 0);
        self.set_jobs(ix, 0);
        self.remove(ix);
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

    /// What a job may charge at once.
    pub(super) fn chunk(&mut self, ix: Ix) -> u64 {
        self.measure(ix);
        self.nodes[ix].job().and_then(|job| job.line.chunk()).unwrap_or(1)
    }

    /// What a job is let through with next: whole chunks as long as they are no larger than they should be.
    pub(super) fn next_piece(&mut self, ix: Ix) -> Option<u64> {
        self.measure(ix);
        let bytes = self.nodes[ix].waiting.min(self.nodes[ix].job()?.piece);
        (bytes > 0).then_some(bytes)
    }

    /// Works out how much a job may charge, and is let through, at once, if something has changed since that was done.
    fn measure(&mut self, ix: Ix) {
        let shape = self.shape.count();
        if self.nodes[ix].job().is_none_or(|job| job.measured == shape) {
            return;
        }
        let (mut most, mut burst, mut part) = (u64::MAX, u64::MAX, 1.0);
        for here in self.path(ix) {
            let node = &self.nodes[here];
            most = most.min(chunk(node.bucket.rate(), part));
            burst = burst.min(node.bucket.burst());
            part *= node.parent.map_or(1.0, |parent| node.part(&self.nodes[parent]));
        }
        if let Some(job) = self.nodes[ix].job_mut() {
            (job.piece, job.measured) = (most.min(burst), shape);
            job.line.set_chunk(most, shape);
        }
    }

    /// Sets how many jobs are at or below a node, on all levels.
    fn set_jobs(&mut self, ix: Ix, jobs: u64) {
        let before = self.nodes[ix].jobs;
        let mut at = Some(ix);
        while let Some(here) = at {
            let node = &mut self.nodes[here];
            let had = node.jobs > 0;
            node.jobs = node.jobs - before + jobs;
            let (has, weight, parent) = (node.jobs > 0, u64::from(node.weight), node.parent);
            if let Some(above) = parent.filter(|_| had != has) {
                let weights = &mut self.nodes[above].weights;
                *weights = if has { *weights + weight } else { *weights - weight };
            }
            at = parent;
        }
        self.shape.change();
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
