//! What a scheduler is told of the world, which need not be so: [`Reading`].

use super::World;

/// What a probe of a host's foreground load has said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// When it was measured, in seconds.
    pub at: f64,
    /// The load: from 0 to 1, if the probe tells the truth.
    pub load: f64,
}

impl World<'_> {
    /// What the probe of a host says; `None` when it does not answer.
    pub fn probe(&self, host: u32) -> Option<Reading> {
        self.faults.reading(self.fleet, host, self.now, |at| self.load_at(host, at))
    }

    /// What the wall clock of the scheduler says, in seconds: the time, but for its jumps.
    pub fn clock(&self) -> f64 {
        self.now + self.faults.clock_error(self.now)
    }

    /// When a record that is written now is durable, in seconds.
    pub fn durable_at(&self) -> f64 {
        self.faults.durable_at(self.now)
    }

    /// Whether it ever takes time until a record is durable.
    pub fn has_slow_store(&self) -> bool {
        !self.faults.stores.is_empty()
    }

    /// What a backup of an instance is said to move, in bytes.
    pub fn told_bytes(&self, instance: u32) -> f64 {
        let of = &self.fleet.instances[instance as usize];
        of.bytes_after(self.now / 86_400.0) * self.faults.size_error(of.seed)
    }

    /// Whether a host is down, as far as its network tells.
    pub fn is_lost(&self, host: u32) -> bool {
        self.faults.is_lost(self.fleet, host, self.now)
    }

    /// Whether the destination of a host's backups is full.
    pub fn is_full(&self, host: u32) -> bool {
        self.faults.is_full(self.fleet, host, self.now)
    }

    /// When hosts, destinations or the clock next change because something goes wrong or comes right, in seconds;
    /// infinite for never.
    pub fn next_change(&self) -> f64 {
        let next = self.changes.partition_point(|at| *at <= self.now);
        self.changes.get(next).copied().unwrap_or(f64::INFINITY)
    }
}
