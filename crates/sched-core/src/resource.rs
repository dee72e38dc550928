//! Named finite resources: how much there is and what is used.

use serde::{Deserialize, Serialize};

use crate::gate::Scope;
use crate::name::ResourceName;

/// One resource of one place: how much there is, and how much of it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// How much may be used.
    pub total: u64,
    /// How much is used. Above `total` after a shrink, until jobs pause or end.
    pub used: u64,
}

impl Capacity {
    /// What may still be taken.
    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// Why a demand cannot ever be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemandError {
    /// No place on the job's way has a resource of that name.
    #[error("demand: no place from {place} up to the fleet has a resource {name:?}; known there: {known}")]
    Unknown {
        /// The name found.
        name: ResourceName,
        /// Where the job would run.
        place: Scope,
        /// The names that would be right.
        known: String,
    },
    /// More is asked for than there is.
    #[error("demand: {asked} of {name:?} can never be met, {place} has {total} in all")]
    AboveTotal {
        /// The resource.
        name: ResourceName,
        /// Whose resource.
        place: Scope,
        /// How much is asked for.
        asked: u64,
        /// How much there is.
        total: u64,
    },
}

/// Why the tree of places was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The scope is not a place.
    #[error("{0} is not a place: resources belong to the fleet, a link, a host or a volume")]
    NotAPlace(Scope),
    /// The scope's name cannot be used.
    #[error("the name of {place} cannot be used: {source}")]
    Name {
        /// The scope.
        place: Scope,
        /// What is wrong.
        source: crate::name::NameError,
    },
    /// A resource's name cannot be used.
    #[error("the resource name {name:?} cannot be used: {source}")]
    Resource {
        /// The name.
        name: ResourceName,
        /// What is wrong.
        source: crate::name::NameError,
    },
    /// The parent lies below the child.
    #[error("{child} cannot be put under {parent}, which lies below it")]
    Cycle {
        /// What was to be moved.
        child: Scope,
        /// Where to.
        parent: Scope,
    },
    /// Places of these kinds do not go under each other.
    #[error(
        "{child} cannot be put under {parent}: links and hosts go under links or the fleet, volumes stay with their host"
    )]
    WrongKind {
        /// What was to be moved.
        child: Scope,
        /// Where to.
        parent: Scope,
    },
    /// Jobs wait or run there.
    #[error("{place} has {jobs} jobs waiting or running: move it when it has none")]
    InUse {
        /// What was to be moved.
        place: Scope,
        /// Its jobs.
        jobs: usize,
    },
}
