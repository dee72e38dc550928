//! Parts of an attempt that tolerate different things: [`RunPhase`].

use serde::{Deserialize, Serialize};

use crate::name::ResourceName;
use crate::terms::Demand;

/// A part of an attempt, announced by its executor when it begins. What it says holds until the next one; before the
/// first, the terms do.
///
/// ```
/// use sched_core::RunPhase;
///
/// // The redo log wraps if copying is too slow; uploading what was copied can stand still.
/// let copy = RunPhase::new("copy").floor(20 << 20);
/// let upload = RunPhase::new("upload").pausable().gives_back("snapshot_space", 40 << 30);
/// assert!(upload.pausable && !copy.pausable);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunPhase {
    /// What it is called in events.
    pub name: String,
    /// Whether it may stand still at a checkpoint. Default no: a pause waits for the next phase that may.
    pub pausable: bool,
    /// Rate below which slowing it does harm; `u64::MAX`: it is not slowed at all. Default 0: none.
    pub floor_bytes_per_sec: u64,
    /// What the attempt needs no longer, of what it holds. Nothing can be taken in addition. Default nothing.
    pub gives_back: Demand,
}

impl RunPhase {
    /// A phase that may be slowed, but must not stand still.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), pausable: false, floor_bytes_per_sec: 0, gives_back: Demand::default() }
    }

    /// Lets it stand still at a checkpoint.
    #[must_use]
    pub fn pausable(mut self) -> Self {
        self.pausable = true;
        self
    }

    /// Sets the rate below which slowing it does harm.
    #[must_use]
    pub fn floor(mut self, bytes_per_sec: u64) -> Self {
        self.floor_bytes_per_sec = bytes_per_sec;
        self
    }

    /// Adds what the attempt needs no longer.
    #[must_use]
    pub fn gives_back(mut self, resource: impl Into<ResourceName>, amount: u64) -> Self {
        self.gives_back.add(resource, amount);
        self
    }
}
