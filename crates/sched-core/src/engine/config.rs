//! How an engine behaves: [`EngineConfig`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::gate::Scope;
use crate::name::{ResourceName, TechnologyName, TenantName};
use crate::queue::{IndexedQueue, JobQueue};
use crate::spec::Priority;
use crate::terms::SLOTS;

use super::breaker::BreakerConfig;

/// How an [`Engine`](super::Engine) behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Resources of the whole fleet and how much there is of each. Default: two [`SLOTS`]. Those of links, hosts and
    /// volumes are set with [`Engine::set_resource`](super::Engine::set_resource).
    pub resources: BTreeMap<ResourceName, u64>,
    /// Resources that a paused job keeps. All others flow: pausing gives them back, and a paused job needs them
    /// again to go on. Default `memory` and `snapshot_space`.
    pub held: BTreeSet<ResourceName>,
    /// How many jobs of a scope may run at once: of every cluster, host, technology, destination. A group must be
    /// named here, or given a limit later, before jobs may name it. Default: no limits.
    pub limits: BTreeMap<Scope, u32>,
    /// Shares of tenants where several compete, by weight (1 to 1,000). Who is not named weighs 1. Default: empty.
    pub tenants: BTreeMap<TenantName, u32>,
    /// What a class gains on others in the order. Default: see [`Boosts`].
    pub boosts: Boosts,
    /// Share of what runs, in percent, above which critical jobs no longer go first while others wait; who stands paused
    /// does not run. Of the whole, not of each place. Default 80.
    pub critical_share_percent: u8,
    /// Which running jobs make room for a critical one, by pausing. Default [`Preemption::LowAndNormal`].
    pub preemption: Preemption,
    /// How long a job that was told to pause for another may take to reach a checkpoint before it goes on.
    /// Default 30 s.
    pub pause_within: Duration,
    /// How long an attempt that was told to stop may take to end before that is [said](crate::EventKind::DoesNotStop).
    /// It keeps what it holds all the same. Default 5 min.
    pub stop_within: Duration,
    /// Circuit breakers.
    pub breaker: BreakerConfig,
    /// Retries that may be made for each first attempt, in percent; when they are used up, a job waits for
    /// half to all of its longest back-off. The idea is gRPC's retry throttling. Default 20, with 10 to start with.
    pub retry_budget_percent: u32,
    /// Technologies that go first when all else is equal, in this order. Default: none.
    pub technology_order: Vec<TechnologyName>,
    /// Jobs that may be pending at once. Default 1,000,000.
    pub max_pending: usize,
    /// Ended jobs that are remembered. Default 1,000.
    pub history: usize,
    /// Decisions that are remembered, for questions about the past. Default 10,000.
    pub decisions: usize,
    /// Jobs that each list of a status names at most. Default 1,000.
    pub listed: usize,
    /// Seed of the jitter. Default 0.
    pub seed: u64,
    /// The number of the first job that is submitted, at least 1; later ones count up from there. Schedulers that share
    /// a store have ranges of their own. Default 1.
    pub first_job: u64,
    /// Decide and say so, but gate nothing of the surroundings: only its requested start, its back-off and another
    /// backup of the same instance and kind keep a job waiting. Default `false`.
    pub advise_only: bool,
    /// Whether a [`Record`](crate::Record) is made of every change that must survive, and starts wait until theirs is
    /// [`committed`](super::Engine::committed). Default `false`.
    pub journal: bool,
    /// Whether events are made. Without them nobody is told why, and there is no decision log. Default `true`.
    pub events: bool,
    /// Makes the queue of each place and class of jobs. Default [`IndexedQueue`].
    pub queue: fn() -> Box<dyn JobQueue>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            resources: BTreeMap::from([(SLOTS.into(), 2)]),
            held: ["memory", "snapshot_space"].map(ResourceName::from).into(),
            limits: BTreeMap::new(),
            tenants: BTreeMap::new(),
            boosts: Boosts::default(),
            critical_share_percent: 80,
            preemption: Preemption::default(),
            pause_within: Duration::from_secs(30),
            stop_within: Duration::from_secs(5 * 60),
            breaker: BreakerConfig::default(),
            retry_budget_percent: 20,
            technology_order: Vec::new(),
            max_pending: 1_000_000,
            history: 1_000,
            decisions: 10_000,
            listed: 1_000,
            seed: 0,
            first_job: 1,
            advise_only: false,
            journal: false,
            events: true,
            queue: || Box::new(IndexedQueue::new()),
        }
    }
}

/// Which running jobs make room for a critical one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preemption {
    /// None: a critical job waits for what runs.
    Never,
    /// Pausable low ones.
    Low,
    /// Pausable low and normal ones.
    #[default]
    LowAndNormal,
}

impl Preemption {
    pub(super) fn takes_from(self, priority: Priority) -> bool {
        match self {
            Self::Never => false,
            Self::Low => priority == Priority::Low,
            Self::LowAndNormal => priority <= Priority::Normal,
        }
    }
}

/// How much earlier a class is put in the order than its latest start says.
///
/// Starvation bound: no job submitted later than a waiting job's latest start (or submission, if that was later), plus
/// the largest boost, plus [`overdue`](Self::overdue), goes before it, unless the waiting one lacks something. Critical
/// jobs and those that operators want now are strict and outside this bound, up to
/// [`EngineConfig::critical_share_percent`]; so are jobs of other tenants, whose shares count first. A failed job is
/// placed as if it had been submitted when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Boosts {
    /// For [`Priority::High`]. Default 4 h.
    pub high: Duration,
    /// For [`Priority::Normal`]. Default 1 h.
    pub normal: Duration,
    /// How far before its own submission an overdue job may be placed. Default 24 h: after an outage of a day the
    /// most overdue still go first.
    pub overdue: Duration,
}

impl Default for Boosts {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self { high: hours(4), normal: hours(1), overdue: hours(24) }
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
