//! What a scheduler owns, as all its threads see it: [`Desk`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sched_core::store::{Entry, FleetDesk, JobEntry, TakenShare};
use sched_core::{InstanceName, JobId, JobSpec, Scope};

use super::lease::{BootTime, Lease};
use super::{share_of, share_of_name};

/// What a scheduler owns. The thread that decides changes it, the one that writes looks at it.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) shares: u32,
    pub(super) lease: Lease,
    owned: Mutex<OwnedShares>,
}

/// What is owned, and what is known to be in it.
#[derive(Debug, Default)]
pub(super) struct OwnedShares {
    /// The incarnation that owns it.
    pub(super) scheduler: i64,
    /// The shares with their epochs.
    pub(super) shares: BTreeMap<u32, i64>,
    /// Jobs that have not ended.
    pub(super) jobs: HashMap<JobId, u32>,
    /// Instances that had a job.
    instances: HashMap<InstanceName, u32>,
}

impl Desk {
    pub(super) fn new(shares: u32, lease: Lease) -> Self {
        Self { shares, lease, owned: Mutex::default() }
    }

    pub(super) fn owned(&self) -> MutexGuard<'_, OwnedShares> {
        self.owned.lock()
    }
}

impl FleetDesk for Desk {
    fn share_of(&self, spec: &JobSpec) -> u32 {
        share_of(spec, self.shares)
    }

    fn lease_left(&self) -> Duration {
        self.lease.until().0.saturating_sub(BootTime::now().0)
    }

    fn own(&self, taken: &TakenShare) {
        let mut owned = self.owned();
        owned.scheduler = taken.owner;
        owned.shares.insert(taken.share, taken.epoch);
        taken.jobs.iter().for_each(|job| owned.hold(taken.share, job));
    }

    fn disown(&self, share: u32) {
        let mut owned = self.owned();
        owned.shares.remove(&share);
        owned.jobs.retain(|_, place| *place != share);
        owned.instances.retain(|_, place| *place != share);
    }
}

impl OwnedShares {
    /// A share holds a job.
    pub(super) fn hold(&mut self, share: u32, job: &JobEntry) {
        let record = &job.record;
        self.jobs.insert(record.id, share);
        if !self.instances.contains_key(&record.spec.instance) {
            self.instances.insert(record.spec.instance.clone(), share);
        }
    }

    /// The share that a fact belongs to; `None` where it concerns the fleet.
    pub(super) fn share_of_fact(&self, entry: &Entry, shares: u32) -> Option<u32> {
        let instance = match entry {
            Entry::Estimate(record) => &record.instance,
            Entry::Schedule(schedule) => &schedule.instance,
            Entry::Week(Scope::Instance(instance), _) => instance,
            Entry::Week(Scope::Group(group), _) => return Some(share_of_name(group.as_str(), shares)),
            Entry::Week(Scope::Host(host), _) => return Some(share_of_name(host.as_str(), shares)),
            _ => return None,
        };
        self.instances.get(instance).copied()
    }
}
