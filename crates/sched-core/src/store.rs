//! Where a scheduler keeps what must survive: [`JobStore`].
//!
//! A store is a map: each [`Entry`] has a [`Key`], and the last entry of a key says all about it. So a store needs to
//! understand nothing of what it keeps, and any order of complete groups is a state that a scheduler can go on from.
//!
//! [`conformance`] checks what any store has to do; [`MemoryStore`] is one for tests.

pub mod conformance;
mod entry;
mod error;
mod fleet;
mod memory;

pub use self::entry::{AUDIT_KEPT, AuditEntry, Entry, JobEntry, Key, ScheduleEntry};
pub use self::error::StoreError;
pub use self::fleet::{
    Ask, Fleet, FleetDesk, FleetMember, FleetNews, FleetReport, LimitUse, Request, SharedLimit, TakenShare,
};
pub use self::memory::MemoryStore;

use crate::spec::JobId;

/// Keeps entries durably, in groups.
///
/// One thread owns a store and calls it, so nothing in it needs to be shared. Calls may take as long as the disk or the
/// network does: nobody who decides waits for them.
///
/// # Order of calls
/// [`open`](Self::open), then [`load`](Self::load) once, then [`commit`](Self::commit) as often as there is something.
/// After an error of `commit`, `open` is called again before anything else, with pauses between tries, until it
/// succeeds; what could not be written comes again with a later group.
pub trait JobStore: Send {
    /// Where it is, for people: a path, or a server without its password.
    fn place(&self) -> String;

    /// Opens it, or after an error opens it anew. An open store is left as it is, or closed first.
    ///
    /// # Errors
    /// When it cannot be used. What it holds has not changed then, and what could not be read is never taken for empty.
    fn open(&mut self) -> Result<(), StoreError>;

    /// Hands everything that it keeps to `take`: each key once, those of jobs in ascending order, audit entries oldest
    /// first. Returns the largest number that a job ever had in here, 0 if there was none: it is not given again.
    ///
    /// # Errors
    /// When something cannot be read.
    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError>;

    /// Writes a group as a whole: all of it is durable on return. Of several entries with one key the last counts, and
    /// entries that [remove](Entry::removes) their key may come for what was never there. Of audit entries the newest
    /// [`AUDIT_KEPT`] are kept.
    ///
    /// # Errors
    /// When it is not certain that all is durable. Then all or nothing of the group is there, and nothing else has
    /// changed.
    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError>;

    /// The place in a fleet of schedulers that share this store. Asked once, after [`load`](Self::load). What is kept of
    /// jobs is then not loaded but comes with the shares that are taken. Default: none, and everything is its own.
    fn fleet(&mut self) -> Option<Fleet> {
        None
    }
}

impl<S: JobStore + ?Sized> JobStore for Box<S> {
    fn place(&self) -> String {
        (**self).place()
    }

    fn open(&mut self) -> Result<(), StoreError> {
        (**self).open()
    }

    fn load(&mut self, take: &mut dyn FnMut(Entry)) -> Result<JobId, StoreError> {
        (**self).load(take)
    }

    fn commit(&mut self, group: &[Entry]) -> Result<(), StoreError> {
        (**self).commit(group)
    }

    fn fleet(&mut self) -> Option<Fleet> {
        (**self).fleet()
    }
}
