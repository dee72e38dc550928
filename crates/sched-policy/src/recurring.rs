//! Who is backed up again and again without being asked for: [`Policies::recurring`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sched_core::{BackupKind, DestinationName, GroupName, InstanceName, TechnologyName};

use crate::fleet::{Cluster, Instance};
use crate::policies::{Policies, Resolved};
use crate::schedule::Recurrence;
use crate::values::Effective;

/// A recurring backup that the configuration asks for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recurring {
    /// What is backed up: an instance, or a cluster of which one member is, as [`Policies::requests`] has it.
    pub instance: InstanceName,
    /// Its technology.
    pub technology: TechnologyName,
    /// Of which kind.
    pub kind: BackupKind,
    /// When. Whoever has the same policy shares it.
    pub recurrence: Arc<Recurrence>,
    /// Within which time the backup must be renewed.
    pub rpo: Duration,
    /// Where it goes.
    pub destination: Option<DestinationName>,
    /// How many bytes it is expected to move: the size that the configuration tells of full backups, else what the expected
    /// rate moves in the expected duration.
    pub bytes: u64,
}

impl Policies {
    /// The backups that the configuration asks for by a `schedule`, by name and kind.
    ///
    /// An instance without a cluster has its own. A cluster has one for all its members, or one for each where every member
    /// is backed up; one of which nobody has a role that its policy takes has none. A member has one of its own besides
    /// where it says `schedule` itself, or a label of its own does. What the file does not name has no schedule, whatever
    /// its technology says: nobody knows that it is there.
    pub fn recurring(&self) -> Vec<Recurring> {
        let mut found = Found { policies: self, recurrences: HashMap::new(), all: Vec::new() };
        for (name, cluster) in &self.clusters {
            found.of_cluster(name, cluster);
        }
        for (name, instance) in &self.instances {
            found.of_instance(name, instance);
        }
        let mut all = found.all;
        let key = |it: &Recurring| (it.instance.clone(), it.kind);
        all.sort_unstable_by(|a, b| (&a.instance, a.kind).cmp(&(&b.instance, b.kind)));
        all.dedup_by(|a, b| key(a) == key(b));
        all
    }
}

struct Found<'p> {
    policies: &'p Policies,
    /// Of each policy, by its address.
    recurrences: HashMap<*const Effective, Option<Arc<Recurrence>>>,
    all: Vec<Recurring>,
}

impl Found<'_> {
    fn of_cluster(&mut self, name: &GroupName, cluster: &Resolved<Cluster>) {
        let as_instance = InstanceName::from(name.as_str());
        if self.policies.instances.contains_key(&as_instance) {
            return;
        }
        for kind in BackupKind::ALL {
            let effective = self.policies.chains.effective(cluster.chain, kind);
            if effective.schedule.is_none() && !effective.every_member {
                continue;
            }
            let Ok(members) = self.policies.by_role(name, effective) else { continue };
            if !effective.every_member {
                let destination = cluster.entry.about.destination.clone();
                let best = members.first().map(|(_, about)| *about);
                self.add(as_instance.clone(), &cluster.technology, kind, effective, destination, best);
                continue;
            }
            for (member, _) in members {
                if let Some(instance) = self.policies.instances.get(member) {
                    self.of_member(member, instance, kind);
                }
            }
        }
    }

    fn of_instance(&mut self, name: &InstanceName, instance: &Resolved<Instance>) {
        let about = &instance.entry.about;
        let alone = about.cluster.is_none();
        let labels = about.labels.iter().flatten().filter_map(|label| self.policies.labels.get(label));
        let own: Vec<_> = labels.map(|label| &label.policy).chain([&instance.entry.policy]).collect();
        for kind in BackupKind::ALL {
            let mut said = own.iter().flat_map(|profile| profile.of(kind));
            if alone || said.any(|(_, values)| values.schedule.is_some()) {
                self.of_member(name, instance, kind);
            }
        }
    }

    fn of_member(&mut self, name: &InstanceName, instance: &Resolved<Instance>, kind: BackupKind) {
        let about = &instance.entry.about;
        let cluster = about.cluster.as_ref().and_then(|cluster| self.policies.clusters.get(cluster));
        let of_cluster = || cluster.and_then(|cluster| cluster.entry.about.destination.clone());
        let destination = about.destination.clone().or_else(of_cluster);
        let effective = self.policies.chains.effective(instance.chain, kind);
        self.add(name.clone(), &instance.technology, kind, effective, destination, Some(about));
    }

    fn add(
        &mut self,
        instance: InstanceName,
        technology: &TechnologyName,
        kind: BackupKind,
        effective: &Arc<Effective>,
        destination: Option<DestinationName>,
        about: Option<&Instance>,
    ) {
        let recurrence = self.recurrences.entry(Arc::as_ptr(effective));
        let recurrence = recurrence.or_insert_with(|| effective.recurrence().map(Arc::new)).clone();
        let Some(recurrence) = recurrence else { return };
        let size = about.and_then(|about| about.size).filter(|_| kind == BackupKind::Full);
        let usual = || effective.expected_rate.0.saturating_mul(effective.expected_duration.as_secs().max(1));
        let bytes = size.map_or_else(usual, |size| size.0);
        let (technology, rpo) = (technology.clone(), effective.rpo);
        self.all.push(Recurring { instance, technology, kind, recurrence, rpo, destination, bytes });
    }
}
