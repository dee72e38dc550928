//! How an engine behaves: [`EngineConfig`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::name::{ResourceName, TechnologyName};
use crate::queue::{IndexedQueue, JobQueue};
use crate::spec::{Priority, SLOTS};

/// How an [`Engine`](super::Engine) behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Named resources and how much there is of each. Default: two [`SLOTS`].
    pub resources: BTreeMap<ResourceName, u64>,
    /// What a class gains on others in the order. Default: see [`Boosts`].
    pub boosts: Boosts,
    /// Technologies that go first when all else is equal, in this order. Default: none.
    pub technology_order: Vec<TechnologyName>,
    /// Jobs that may be pending at once. Default 1,000,000.
    pub max_pending: usize,
    /// Ended jobs that are remembered. Default 1,000.
    pub history: usize,
    /// Jobs that each list of a status names at most. Default 1,000.
    pub listed: usize,
    /// Seed of the back-off jitter. Default 0.
    pub seed: u64,
    /// Decide and say so, but let every job start at once. Default `false`.
    pub advise_only: bool,
    /// Makes the waiting line of each gate. Default [`IndexedQueue`].
    pub queue: fn() -> Box<dyn JobQueue>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            resources: BTreeMap::from([(SLOTS.into(), 2)]),
            boosts: Boosts::default(),
            technology_order: Vec::new(),
            max_pending: 1_000_000,
            history: 1_000,
            listed: 1_000,
            seed: 0,
            advise_only: false,
            queue: || Box::new(IndexedQueue::new()),
        }
    }
}

/// How much earlier a class is put in the order than its latest start says.
///
/// The largest boost is the starvation bound: no job submitted later than a waiting job's latest start plus that
/// boost goes before it. Critical jobs are strict and outside this bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Boosts {
    /// For [`Priority::High`]. Default 4 h.
    pub high: Duration,
    /// For [`Priority::Normal`]. Default 1 h.
    pub normal: Duration,
}

impl Default for Boosts {
    fn default() -> Self {
        Self { high: Duration::from_secs(4 * 3600), normal: Duration::from_secs(3600) }
    }
}

impl Boosts {
    pub(super) fn of(self, priority: Priority) -> Duration {
        match priority {
            Priority::Critical | Priority::High => self.high,
            Priority::Normal => self.normal,
            Priority::Low => Duration::ZERO,
        }
    }
}
