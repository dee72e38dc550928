//! What can go wrong with a store: [`StoreError`].

/// Why a store cannot be used, or did not take a group. What it held before is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room left.
    #[error(
        "{place} is full ({error}): make room; it is tried again by itself, and no job is accepted until then"
    )]
    Full {
        /// The store.
        place: String,
        /// What was said.
        error: String,
    },
    /// Somebody else has it open.
    #[error(
        "{place} is open in another process ({error}): end that scheduler first, or give this one a store of its own"
    )]
    Locked {
        /// The store.
        place: String,
        /// What was said.
        error: String,
    },
    /// It was written by a later version of this software.
    #[error(
        "{place} has format {found}, and this software knows formats up to {known}: use the version that wrote it, or a \
         later one; nothing in it was changed"
    )]
    Newer {
        /// The store.
        place: String,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// What it holds cannot be right.
    #[error(
        "{place} is damaged at {at}: {problem}; nothing in it was changed: put it aside and restore it from a copy, or \
         begin with a new one, and every schedule asks for what it misses"
    )]
    Corrupt {
        /// The store.
        place: String,
        /// Where in it.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// Another scheduler has taken over what this one had.
    #[error("{place} belongs to another scheduler by now: {reason}; whatever runs here must stop")]
    Lost {
        /// The store.
        place: String,
        /// Who, and since when.
        reason: String,
    },
    /// It cannot be reached, read or written.
    #[error(
        "{place} cannot be {what}: {error}; it is tried again by itself, and no job is accepted until then"
    )]
    Io {
        /// The store.
        place: String,
        /// What could not be done: `opened`, `read`, `written`.
        what: &'static str,
        /// What was said.
        error: String,
    },
}

impl StoreError {
    /// Whether it may be over without anybody doing something to the store's contents or to this software.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Locked { .. } | Self::Io { .. })
    }
}
