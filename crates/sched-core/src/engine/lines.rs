//! The lines in which jobs wait, one for each closed gate.

use std::collections::{BTreeMap, BTreeSet};

use crate::gate::{LoadLevel, Scope};
use crate::name::{InstanceName, ResourceName};
use crate::queue::{JobQueue, OrderKey};
use crate::spec::{BackupKind, JobId};

/// A line: what its members wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    /// To be looked at.
    Ready,
    /// An operator's release.
    Hold(Scope),
    /// Room in a scope.
    Capacity(Scope),
    /// A resource that is used up or promised.
    Resource(ResourceName),
    /// The end of the instance's running backup.
    Overlap(InstanceName, BackupKind),
    /// A load of at most this level.
    Load(Scope, LoadLevel),
    /// A moment; its timer moves the job to `Ready`.
    Time,
}

/// All lines, and which of them must be looked at.
#[derive(Debug)]
pub(super) struct Lines {
    queues: BTreeMap<Line, Box<dyn JobQueue>>,
    touched: BTreeSet<Line>,
    make: fn() -> Box<dyn JobQueue>,
}

impl Lines {
    pub(super) fn new(make: fn() -> Box<dyn JobQueue>) -> Self {
        Self { queues: BTreeMap::new(), touched: BTreeSet::new(), make }
    }

    pub(super) fn insert(&mut self, line: Line, key: OrderKey) {
        self.queues.entry(line).or_insert_with(self.make).insert(key);
    }

    /// Takes a job out of its line. Whoever becomes the head may be able to start: the line is looked at again.
    pub(super) fn remove(&mut self, line: &Line, id: JobId) {
        let Some(queue) = self.queues.get_mut(line) else { return };
        queue.remove(id);
        if queue.is_empty() {
            self.queues.remove(line);
            self.touched.remove(line);
        } else {
            self.touched.insert(line.clone());
        }
    }

    /// The gate of `line` may have opened.
    pub(super) fn touch(&mut self, line: &Line) {
        if self.queues.contains_key(line) {
            self.touched.insert(line.clone());
        }
    }

    /// The load of `scope` fell.
    pub(super) fn touch_load(&mut self, scope: &Scope) {
        for level in [LoadLevel::Calm, LoadLevel::Busy] {
            self.touch(&Line::Load(scope.clone(), level));
        }
    }

    /// The head of this line cannot start: leave the line alone until it is touched again.
    pub(super) fn rest(&mut self, line: &Line) {
        self.touched.remove(line);
    }

    pub(super) fn any_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The most urgent head among the lines to be looked at.
    pub(super) fn next(&self) -> Option<(Line, OrderKey)> {
        let heads = self.touched.iter().filter_map(|line| Some((line, self.first(line)?)));
        heads.min_by_key(|(_, key)| *key).map(|(line, key)| (line.clone(), key))
    }

    pub(super) fn first(&self, line: &Line) -> Option<OrderKey> {
        self.queues.get(line)?.first()
    }

    pub(super) fn ahead(&self, line: &Line, id: JobId, most: usize) -> Option<usize> {
        self.queues.get(line)?.ahead(id, most)
    }
}
