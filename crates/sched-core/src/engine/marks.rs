//! What is true of a job or not, in one byte.

use crate::spec::JobSpec;

/// Facts of a job, each one bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

/// One of [`Marks`].
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    /// The request itself said how large the backup is; otherwise that was learned.
    AskedSize = 1,
    /// It said how long the backup takes.
    AskedDuration = 1 << 1,
    /// It said how old the recovery point may become.
    AskedRpo = 1 << 2,
    /// That its deadline is in danger was told.
    RiskTold = 1 << 3,
    /// It waits for another backup of its instance to end.
    WaitsForOverlap = 1 << 4,
    /// Operators want it now.
    Express = 1 << 5,
    /// It may have claims on places.
    Claims = 1 << 6,
    /// A planner said when it should start.
    Planned = 1 << 7,
}

impl Marks {
    /// What a request says itself of what is otherwise learned or taken from the terms.
    pub(super) fn asked_by(spec: &JobSpec) -> Self {
        let mut marks = Self::default();
        marks.set(Mark::AskedSize, spec.size_bytes.is_some());
        marks.set(Mark::AskedDuration, spec.expected_duration.is_some());
        marks.set(Mark::AskedRpo, spec.rpo.is_some());
        marks
    }

    pub(super) fn has(self, mark: Mark) -> bool {
        self.0 & mark as u8 != 0
    }

    /// Returns whether it was set before.
    pub(super) fn set(&mut self, mark: Mark, is_so: bool) -> bool {
        let before = self.has(mark);
        self.0 = if is_so { self.0 | mark as u8 } else { self.0 & !(mark as u8) };
        before
    }
}
