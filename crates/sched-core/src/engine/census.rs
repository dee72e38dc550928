//! How many jobs wait, by technology and class: [`Census`].

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::spec::Priority;
use crate::status::Backlog;

use super::Engine;
use super::index::{DomainIx, JobIx};

/// Counts kept as jobs come and go, so that a million of them need not be looked at to be counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    waiting: HashMap<DomainIx, [usize; Priority::ALL.len()], FixedState>,
}

impl Census {
    fn add(&mut self, technology: DomainIx, class: Priority) {
        self.waiting.entry(technology).or_default()[class as usize] += 1;
    }

    fn remove(&mut self, technology: DomainIx, class: Priority) {
        let Some(counts) = self.waiting.get_mut(&technology) else { return };
        counts[class as usize] -= 1;
        // Its place may become another scope's.
        if counts.iter().all(|count| *count == 0) {
            self.waiting.remove(&technology);
        }
    }
}

impl Engine {
    /// A job waits from now on.
    pub(super) fn count_waiting(&mut self, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        self.counts.pending += 1;
        self.census.add(self.targets[job.target.at()].technology, job.priority);
    }

    /// A job waits no longer. Must be told before its class changes.
    pub(super) fn count_waiting_no_more(&mut self, ix: JobIx) {
        let job = &self.jobs[ix.at()];
        self.counts.pending -= 1;
        self.census.remove(self.targets[job.target.at()].technology, job.priority);
    }

    /// Gives a job another class.
    pub(super) fn set_class(&mut self, ix: JobIx, class: Priority) {
        let job = &mut self.jobs[ix.at()];
        let before = std::mem::replace(&mut job.priority, class);
        if job.state.is_waiting() {
            let technology = self.targets[job.target.at()].technology;
            self.census.remove(technology, before);
            self.census.add(technology, class);
        }
    }

    /// The jobs that wait, by technology and class: only what is not zero, in order of their names.
    pub(super) fn backlog(&self) -> Vec<Backlog> {
        let of = |(technology, counts): (&DomainIx, &[usize; 4])| {
            let counts = Priority::ALL.into_iter().zip(*counts).filter(|(_, waiting)| *waiting > 0);
            let technology = self.technology(*technology);
            counts
                .map(move |(priority, waiting)| Backlog { technology: technology.clone(), priority, waiting })
                .collect::<Vec<_>>()
        };
        let mut backlog: Vec<_> = self.census.waiting.iter().flat_map(of).collect();
        backlog.sort_by(|a, b| (&a.technology, a.priority).cmp(&(&b.technology, b.priority)));
        backlog
    }
}
