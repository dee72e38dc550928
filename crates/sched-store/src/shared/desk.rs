//! What a scheduler owns, as all its threads see it: [`Desk`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use sched_core::store::{Entry, FleetDesk, JobEntry, TakenShare};
use sched_core::{HostName, InstanceName, JobId, JobSpec, RunLease, Scope};

use super::lease::Lease;
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
    /// Instances that had a job, or of which something is kept.
    instances: HashMap<InstanceName, u32>,
    /// Hosts of the policies, wherever they are: a host of a cluster is in its cluster's share.
    hosts: HashMap<HostName, u32>,
    /// Hosts that had a job in an owned share, or of which something is kept there.
    hosts_of_jobs: HashMap<HostName, u32>,
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

    fn lease(&self) -> Arc<dyn RunLease> {
        Arc::new(self.lease.tenure())
    }

    fn own(&self, taken: &TakenShare) {
        let mut owned = self.owned();
        owned.scheduler = taken.owner;
        owned.shares.insert(taken.share, taken.epoch);
        taken.jobs.iter().for_each(|job| owned.hold(taken.share, job));
        taken.facts.iter().filter_map(instance_of).for_each(|instance| owned.know(taken.share, instance));
        for fact in &taken.facts {
            if let Entry::Week(Scope::Host(host), _) = fact {
                owned.hosts_of_jobs.entry(host.clone()).or_insert(taken.share);
            }
        }
    }

    fn disown(&self, share: u32) {
        let mut owned = self.owned();
        owned.shares.remove(&share);
        owned.jobs.retain(|_, place| *place != share);
        owned.instances.retain(|_, place| *place != share);
        owned.hosts_of_jobs.retain(|_, place| *place != share);
    }

    fn place(&self, instance: &InstanceName, share: u32) {
        self.owned().instances.insert(instance.clone(), share);
    }

    fn place_host(&self, host: &HostName, share: u32) {
        self.owned().hosts.insert(host.clone(), share);
    }
}

impl OwnedShares {
    /// A share holds a job.
    pub(super) fn hold(&mut self, share: u32, job: &JobEntry) {
        let record = &job.record;
        self.jobs.insert(record.id, share);
        self.know(share, &record.spec.instance);
        for host in record.spec.hosts() {
            if !self.hosts_of_jobs.contains_key(host) {
                self.hosts_of_jobs.insert(host.clone(), share);
            }
        }
    }

    fn know(&mut self, share: u32, instance: &InstanceName) {
        if !self.instances.contains_key(instance) {
            self.instances.insert(instance.clone(), share);
        }
    }

    /// Where a fact belongs.
    pub(super) fn place_of_fact(&self, entry: &Entry, shares: u32) -> FactPlace {
        let share = match entry {
            Entry::Week(Scope::Group(group), _) => Some(share_of_name(group.as_str(), shares)),
            Entry::Week(Scope::Host(host), _) => {
                let known = self.hosts.get(host).or_else(|| self.hosts_of_jobs.get(host)).copied();
                Some(known.unwrap_or_else(|| share_of_name(host.as_str(), shares)))
            }
            entry => match instance_of(entry) {
                Some(instance) => self.instances.get(instance).copied(),
                None => return FactPlace::Fleet,
            },
        };
        share.filter(|share| self.shares.contains_key(share)).map_or(FactPlace::Foreign, FactPlace::Share)
    }
}

/// Where something that is kept belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FactPlace {
    /// It concerns the whole fleet.
    Fleet,
    /// To a share that is owned.
    Share(u32),
    /// To a share that is not owned, or to an instance that is not known here: whoever has it writes that.
    Foreign,
}

/// The instance that a fact is about.
fn instance_of(entry: &Entry) -> Option<&InstanceName> {
    match entry {
        Entry::Estimate(record) => Some(&record.instance),
        Entry::Schedule(schedule) => Some(&schedule.instance),
        Entry::Week(Scope::Instance(instance), _) => Some(instance),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sched_core::GroupName;

    use super::*;

    #[test]
    fn a_week_of_a_host_is_where_its_cluster_is() {
        let desk = Desk::new(64, Lease::new(Duration::from_secs(15)));
        let (host, cluster): (HostName, GroupName) = ("db-1".into(), "pg-main".into());
        let of = |name: &str| share_of_name(name, 64);
        let own = |share| {
            desk.own(&TakenShare::new(share, 1, 1));
        };
        let place = || {
            let week = Entry::Week(Scope::Host(host.clone()), None);
            desk.owned().place_of_fact(&week, 64)
        };
        assert_ne!(of("db-1"), of("pg-main"));
        own(of("pg-main"));
        assert_eq!(place(), FactPlace::Foreign);
        desk.place_host(
            &host,
            desk.share_of(&JobSpec::new("orders", "generic").host("db-1").group(&cluster)),
        );
        assert_eq!(place(), FactPlace::Share(of("pg-main")));
        // Whoever owns the share that the host's name alone would say leaves it to the others.
        desk.disown(of("pg-main"));
        own(of("db-1"));
        assert_eq!(place(), FactPlace::Foreign);
    }

    fn desk_with(shares: &[u32]) -> Desk {
        let desk = Desk::new(64, Lease::new(Duration::from_secs(15)));
        for share in shares {
            desk.own(&TakenShare::new(*share, 1, 1));
        }
        desk
    }

    #[test]
    fn hosts_that_no_policy_names_are_forgotten_with_their_share() {
        let (host, share) = (HostName::from("db-1"), 7);
        let desk = desk_with(&[]);
        let week = Entry::Week(Scope::Host(host.clone()), None);
        let facts = vec![week.clone()];
        let mut taken = TakenShare::new(share, 1, 1);
        taken.facts = facts;
        desk.own(&taken);
        assert_eq!(desk.owned().place_of_fact(&week, 64), FactPlace::Share(share));
        // The policies know better.
        desk.place_host(&host, 8);
        assert_eq!(desk.owned().place_of_fact(&week, 64), FactPlace::Foreign);
        desk.disown(share);
        assert!(desk.owned().hosts_of_jobs.is_empty());
    }

    #[test]
    fn what_is_kept_of_an_instance_moves_with_it() {
        let desk = desk_with(&[1, 2]);
        let instance = InstanceName::from("orders");
        let week = Entry::Week(Scope::Instance(instance.clone()), None);
        for share in [1, 2] {
            desk.place(&instance, share);
            assert_eq!(desk.owned().place_of_fact(&week, 64), FactPlace::Share(share));
        }
    }
}
